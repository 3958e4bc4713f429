"""Contours against the expert's: one row of errors and thickness for each region."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medtune_jax.applications.intima_media.baselines import (
    Method,
    calibrate,
    dynamic_programming,
    hough_dual_snake,
)
from medtune_jax.applications.intima_media.contours import Contours, extract_contours
from medtune_jax.applications.intima_media.scan import Scan, confidence_maps, traced
from medtune_jax.datasets.carotid import Roi
from medtune_jax.evaluation.boundary import MICROMETRES_PER_MM, boundary_error, thickness

_ONE_PIXEL = 1 / MICROMETRES_PER_MM  # boundary_error in "micrometres" of this spacing is in pixels

METHODS: dict[str, Method] = {
    "Hough + dual snake": hough_dual_snake,
    "dynamic programming": dynamic_programming,
}

Row = dict[str, Any]


def network_contours(
    rois: Sequence[Roi], pixels: Scan, probabilities: NDArray
) -> list[tuple[NDArray, Contours]]:
    """Confidence maps [2, H, W] and contours of each region, over its traced columns [W]."""
    found = []
    for index, roi in enumerate(rois):
        mine = pixels.roi == index
        scored = np.unique(pixels.column[mine])
        maps = confidence_maps(probabilities[mine], len(roi.image), scored, traced(roi))
        found.append((maps, extract_contours(*maps)))
    return found


def network_rows(rois: Sequence[Roi], contours: Iterable[Contours]) -> list[Row]:
    """Errors of the step lines and of the snakes, see `error_row`."""
    return [
        error_row(roi, found.li, found.ma)
        | {
            f"{which}_step_px": _error(steps, truth[traced(roi)])
            for which, steps, truth in (
                ("li", found.step_li, roi.li),
                ("ma", found.step_ma, roi.ma),
            )
        }
        | {"low_confidence": float(found.low_confidence.mean())}
        for roi, found in zip(rois, contours, strict=True)
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


def baseline_rows(training: Sequence[Roi], rois: Sequence[Roi]) -> list[Row]:
    """Both baselines on the same regions, as they are and less the constant learnt in training regions.

    A constant for each interface: the steepest slope lies off the interface by a fixed amount, which
    a comparison must not be about (and which an honest comparison shows).
    """
    rows = []
    for name, method in METHODS.items():
        for calibrated, judged in ((False, method), (True, calibrate(method, training))):
            for roi in rois:
                li, ma = (line[traced(roi)] for line in judged(roi.image))
                rows.append({"method": name, "calibrated": calibrated, **error_row(roi, li, ma)})
    return rows


def micrometres(rows: Sequence[Row], field: str) -> NDArray[np.float64]:
    """A field of the rows in micrometres, only of regions with calibration."""
    return np.array(
        [
            row[field] * row["mm_per_pixel"] * MICROMETRES_PER_MM
            for row in rows
            if row["mm_per_pixel"] is not None
        ]
    )


def _error(found: NDArray, truth: NDArray) -> float:
    return float(boundary_error(found, truth, _ONE_PIXEL))
