"""The test regions and their experts' contours: how scores are judged, and what is kept for the report."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medtune_jax.applications.intima_media.contours import Contours, extract_contours
from medtune_jax.applications.intima_media.scan import Scan, confidence_maps, traced
from medtune_jax.datasets.carotid.roi import Roi
from medtune_jax.evaluation.boundary import MICROMETRES_PER_MM, boundary_error, thickness
from medtune_jax.patches import padded

_ONE_PIXEL = 1 / MICROMETRES_PER_MM  # boundary_error in "micrometres" of this spacing is in pixels

Row = dict[str, Any]

REGIONS = "regions.npz"  # the test regions, in the study's directory


def network_contours(
    rois: Sequence[Roi], pixels: Scan, probabilities: NDArray
) -> list[tuple[NDArray, Contours]]:
    """Confidence maps [2, H, W] and contours of each region, over its traced columns [W]."""
    pairs = []
    for index, roi in enumerate(rois):
        mine = pixels.roi == index
        scored = np.unique(pixels.column[mine])
        maps = confidence_maps(probabilities[mine], len(roi.image), scored, traced(roi))
        pairs.append((maps, extract_contours(*maps)))
    return pairs


def network_rows(rois: Sequence[Roi], contours: Iterable[Contours]) -> list[Row]:
    """Errors of the step lines and of the snakes, see `error_row`."""
    return [
        error_row(roi, lines.li, lines.ma)
        | {
            f"{which}_step_px": _error(steps, truth[traced(roi)])
            for which, steps, truth in (
                ("li", lines.step_li, roi.li),
                ("ma", lines.step_ma, roi.ma),
            )
        }
        | {"low_confidence": float(lines.low_confidence.mean())}
        for roi, lines in zip(rois, contours, strict=True)
    ]


def error_row(roi: Roi, li: NDArray, ma: NDArray) -> Row:
    """Mean distance to the expert's LI and MA, and both thicknesses, in pixels, over the traced columns.

    li, ma: rows [W] of the traced columns. mm_per_pixel is None for a region without calibration.
    """
    columns = traced(roi)
    return {
        "roi": roi.name,
        "subject": roi.subject,
        "mm_per_pixel": roi.mm_per_pixel,
        "li_px": _error(li, roi.li[columns]),
        "ma_px": _error(ma, roi.ma[columns]),
        "thickness_px": float(thickness(li, ma, _ONE_PIXEL).mean),
        "expert_thickness_px": float(thickness(roi.li[columns], roi.ma[columns], _ONE_PIXEL).mean),
    }


def micrometres(rows: Sequence[Row], field: str) -> NDArray[np.float64]:
    """A field of the rows in micrometres, only of regions with calibration."""
    return np.array(
        [
            row[field] * row["mm_per_pixel"] * MICROMETRES_PER_MM
            for row in rows
            if row["mm_per_pixel"] is not None
        ]
    )


def pack(rois: Sequence[Roi], pixels: Scan) -> bytes:
    """What the report needs of the test regions; see `unpack`."""
    images, shapes = padded([roi.image for roi in rois])
    contours = np.full((2, len(rois), images.shape[2]), np.nan)
    for index, roi in enumerate(rois):
        contours[:, index, : len(roi.li)] = roi.li, roi.ma
    stream = io.BytesIO()
    np.savez_compressed(
        stream,
        images=images,
        shapes=shapes,
        contours=contours,
        mm_per_pixel=np.array([np.nan if r.mm_per_pixel is None else r.mm_per_pixel for r in rois]),
        subjects=np.array([roi.subject for roi in rois]),
        names=np.array([roi.name for roi in rois]),
        pixels=np.stack([pixels.roi, pixels.row, pixels.column, pixels.label, pixels.clear]),
    )
    return stream.getvalue()


def unpack(content: bytes) -> tuple[list[Roi], Scan]:
    """The test regions and their scored pixels, as `pack` kept them."""
    with np.load(io.BytesIO(content)) as file:
        kept = dict(file)
    rois = [
        Roi(
            image[:height, :width],
            li[:width],
            ma[:width],
            None if np.isnan(scale) else float(scale),
            str(subject),
            str(name),
        )
        for image, (height, width), li, ma, scale, subject, name in zip(
            kept["images"],
            kept["shapes"],
            *kept["contours"],
            kept["mm_per_pixel"],
            kept["subjects"],
            kept["names"],
            strict=True,
        )
    ]
    roi, row, column, label, clear = kept["pixels"].astype(np.int32)
    return rois, Scan(roi, row, column, label, clear.astype(bool))


def _error(rows: NDArray, truth: NDArray) -> float:
    return float(boundary_error(rows, truth, _ONE_PIXEL))
