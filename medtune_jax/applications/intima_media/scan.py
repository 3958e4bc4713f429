"""Every pixel of a region as a patch, and its scores back as two confidence maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medtune_jax.applications.intima_media.patches import BACKGROUND, LI, MA
from medtune_jax.datasets.carotid.roi import Roi
from medtune_jax.errors import UserError


class Scan(NamedTuple):
    """Pixels of several regions that a network scores; all [N], region by region, row by row.

    roi: index of the region. row, column: pixel. label: class of the pixel. clear: on an interface,
    or far enough from both to be background without doubt.
    """

    roi: NDArray[np.int32]
    row: NDArray[np.int32]
    column: NDArray[np.int32]
    label: NDArray[np.int32]
    clear: NDArray[np.bool_]

    @property
    def centres(self) -> NDArray[np.float32]:
        """(row, col) of each pixel, float32 [N, 2]."""
        return np.stack([self.row, self.column], axis=1).astype(np.float32)


def traced(roi: Roi) -> NDArray[np.int64]:
    """The columns in which both interfaces are known."""
    return np.flatnonzero(~np.isnan(roi.li) & ~np.isnan(roi.ma))


def every_nth(columns: NDArray, step: int) -> NDArray:
    """Every `step`-th of the columns, and the last one."""
    if step < 1:
        raise UserError(f"data.column_step is {step}: give 1 for every column, or more.")
    return np.union1d(columns[::step], columns[-1:])


def scan(rois: Sequence[Roi], step: int = 1, minimum_distance: float = 3.0) -> Scan:
    """All rows of every `step`-th traced column of the regions, with the truth of each pixel.

    A pixel belongs to an interface if the interface passes through it. Nearer to one than
    `minimum_distance` rows, but not on it, it is counted as background yet not clear.
    """
    return Scan(
        *(
            np.concatenate(parts)
            for parts in zip(
                *(_scan(index, roi, step, minimum_distance) for index, roi in enumerate(rois)),
                strict=True,
            )
        )
    )


def _scan(index: int, roi: Roi, step: int, minimum_distance: float) -> tuple[NDArray, ...]:
    columns = every_nth(traced(roi), step)
    row, column = (
        grid.ravel() for grid in np.meshgrid(range(len(roi.image)), columns, indexing="ij")
    )
    below = [row - interface[column] for interface in (roi.li, roi.ma)]
    on_li, on_ma = ((distance > -0.5) & (distance <= 0.5) for distance in below)
    label = np.select([on_ma, on_li], [MA, LI], BACKGROUND)
    far = np.min(np.abs(below), axis=0) >= minimum_distance
    clear = (label != BACKGROUND) | far
    roi_index = np.full(len(row), index)
    return (*(a.astype(np.int32) for a in (roi_index, row, column, label)), clear)


def patch_names(regions: Sequence[str], source: NDArray, where: NDArray) -> NDArray[np.str_]:
    """A name for each patch: its region and its centre (row, col) [N, 2]; unique for pixels."""
    return np.array(
        [
            f"{regions[index]} row {row:06.1f} column {column:04.0f}"
            for index, (row, column) in zip(source, where, strict=True)
        ]
    )


def confidence_maps(
    probabilities: ArrayLike, height: int, scored: ArrayLike, wanted: ArrayLike
) -> NDArray[np.float64]:
    """Confidence of LI and of MA, [2, height, W], from the scores of a region's pixels.

    probabilities: [height * K, 3], row by row over the `scored` columns [K]. wanted: the columns
    [W] of the maps; those between scored columns are interpolated.
    """
    maps = np.asarray(probabilities, float).reshape(height, -1, 3)[..., [LI, MA]]
    scored, wanted = np.asarray(scored), np.asarray(wanted)
    right = np.clip(np.searchsorted(scored, wanted), 1, max(len(scored) - 1, 1))
    left = np.minimum(right - 1, len(scored) - 1)
    right = np.minimum(right, len(scored) - 1)
    span = np.maximum(scored[right] - scored[left], 1)
    share = np.clip((wanted - scored[left]) / span, 0, 1)[:, None]
    return np.moveaxis((1 - share) * maps[:, left] + share * maps[:, right], -1, 0)
