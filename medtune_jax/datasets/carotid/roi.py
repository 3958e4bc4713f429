"""A region of interest of the carotid wall with its LI and MA contours.

Pixel centres are whole numbers, the first is 0. Rows count downwards and the lumen is above, so LI
has the smaller rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medtune_jax.errors import UserError


@dataclass(frozen=True, eq=False)
class Roi:
    """A gray image uint8 [H, W] and its contours: rows li and ma, float [W], NaN where untraced.

    `mm_per_pixel` is vertical, None without calibration; `name` is unique in its data set. colour: whether the
    picture that it was read from is in colour; notes: how that was read, where that must be said.
    """

    image: NDArray[np.uint8]
    li: NDArray[np.float64]
    ma: NDArray[np.float64]
    mm_per_pixel: float | None
    subject: str
    name: str
    colour: bool = False
    notes: tuple[str, ...] = ()


class Picture(NamedTuple):
    """What a file holds, as the fields of `Roi`."""

    image: NDArray[np.uint8]
    mm_per_pixel: float | None = None
    colour: bool = False
    notes: tuple[str, ...] = ()


def untraced(picture: Picture, mm_per_pixel: float | None, subject: str, name: str) -> Roi:
    """An image whose contours are not known."""
    rows = np.full(picture.image.shape[1], np.nan)
    told = picture.colour, picture.notes
    return Roi(picture.image, rows, rows, mm_per_pixel, subject, name, *told)


def with_contours(roi: Roi, li_points: ArrayLike, ma_points: ArrayLike) -> Roi:
    """`roi` with contours given as points (x, y) [N, 2] in pixels, interpolated to its columns."""
    li = _per_column(np.asarray(li_points, float), roi, "LI")
    ma = _per_column(np.asarray(ma_points, float), roi, "MA")
    roi = replace(roi, li=li, ma=ma)
    check_roi(roi)
    return roi


def check_size(roi: Roi, patch: float) -> None:
    """Refuse a region smaller than a patch of so many pixels."""
    height, width = roi.image.shape
    if min(height, width) < patch:
        raise UserError(
            f"{roi.name} is {width} x {height} px, smaller than a patch of {patch:g} px: cut a larger region."
        )


def check_roi(roi: Roi) -> None:
    """Refuse contours that share no column or are out of order."""
    shared = ~np.isnan(roi.li) & ~np.isnan(roi.ma)
    if not shared.any():
        raise UserError(
            f"{roi.name}: LI and MA do not overlap in x; trace the same stretch of wall."
        )
    crossed = np.flatnonzero(shared & ~(roi.li < roi.ma))
    if crossed.size:
        raise UserError(
            f"{roi.name}: MA lies on or above LI at column {crossed[0]} ({crossed.size} columns in "
            "all); the lumen must be above, so check that the two files are not swapped."
        )


def crop_around(roi: Roi, margin: int) -> Roi:
    """The part of `roi` within `margin` pixels of its contours."""
    rows = np.stack([roi.li, roi.ma])
    columns = np.flatnonzero(~np.isnan(rows).all(axis=0))
    if columns.size == 0:
        raise UserError(f"{roi.name} has no contour to crop around.")
    left, right = max(columns[0] - margin, 0), columns[-1] + margin + 1
    top = max(int(np.nanmin(rows)) - margin, 0)
    bottom = int(np.ceil(np.nanmax(rows))) + margin + 1
    return replace(
        roi,
        image=roi.image[top:bottom, left:right],
        li=roi.li[left:right] - top,
        ma=roi.ma[left:right] - top,
    )


def _per_column(points: NDArray, roi: Roi, which: str) -> NDArray[np.float64]:
    """Rows [W] of a contour from its points: linear between them, NaN beyond its ends."""
    height, width = roi.image.shape
    x, first = np.unique(points[:, 0], return_index=True)
    y = points[first, 1]
    # Half a pixel of slack: some tools count from a pixel's corner.
    outside = (x < -0.5) | (x > width) | (y < -0.5) | (y > height)
    if outside.any():
        bad = int(np.flatnonzero(outside)[0])
        raise UserError(
            f"{roi.name}: {which} reaches ({x[bad]:g}, {y[bad]:g}), outside the image of {width} x "
            f"{height} px; was it traced on an image of another size?"
        )
    return np.interp(np.arange(width), x, y, left=np.nan, right=np.nan)
