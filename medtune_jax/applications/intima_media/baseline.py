"""LI and MA without learning: Hough line with dual snake, and dynamic programming on the gradient.

Both rest on the far wall's double line: from the lumen downwards the picture turns from dark to
bright at LI, fades in the media, and turns bright again at MA, the stronger and longer edge. Each
takes a region uint8 [H, W] and returns rows of LI and MA, float [W].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter, maximum_filter1d, uniform_filter1d
from skimage.transform import hough_line, hough_line_peaks

from medtune_jax.applications.intima_media.contours import Rows, Snake, dual_snake, parabola_peak
from medtune_jax.applications.intima_media.scan import traced
from medtune_jax.applications.intima_media.truth import Row, error_row
from medtune_jax.datasets.carotid.roi import Roi
from medtune_jax.errors import UserError

Method = Callable[[ArrayLike], tuple[Rows, Rows]]

# An edge's snake follows grey-level gradients, which are rougher than a network's confidence.
EDGE_SNAKE = Snake(alpha=0.1, beta=20.0, force=2.0, blur=1.0, minimum_gap=4.0)


def hough_dual_snake(
    image: ArrayLike,
    thickness: tuple[float, float] = (5.0, 20.0),
    max_tilt: float = 20.0,
    snake: Snake = EDGE_SNAKE,
) -> tuple[Rows, Rows]:
    """Straight lines by the Hough transform, refined by two coupled snakes on the edge strength.

    The hand-crafted method that the paper compares with (Tajbakhsh et al. 2016, intima-media).
    Of all pairs of lines `thickness` pixels apart (in the middle column) the pair along which the
    edges are strongest starts the snakes. `max_tilt` is the wall's greatest inclination in degrees.
    """
    edge = rising_edge(image)
    height, width = edge.shape
    ridge = (edge >= np.roll(edge, 1, axis=0)) & (edge > np.roll(edge, -1, axis=0)) & (edge > 0.15)
    tilts = np.deg2rad(np.arange(-max_tilt, max_tilt + 0.5, 0.5))
    # A line's normal points down for a horizontal wall: 90 degrees in scikit-image's convention.
    votes, angles, distances = hough_line(ridge, theta=np.pi / 2 + tilts)
    if votes.max() == 0:
        raise UserError("the region has no edge from dark to bright: is it empty?")
    _, angle, distance = hough_line_peaks(
        votes, angles, distances, min_distance=3, min_angle=4, threshold=0.2 * votes.max()
    )
    columns = np.arange(width)
    lines = (distance[:, None] - columns * np.cos(angle)[:, None]) / np.sin(angle)[:, None]
    lines = np.clip(lines, 0, height - 1)
    gap = lines[None, :, width // 2] - lines[:, None, width // 2]  # LI on the first axis, MA second
    fits = (gap >= thickness[0]) & (gap <= thickness[1])
    # Edge strength near each line tells MA, the strongest, from a reverberation in the lumen; the
    # dark above it tells LI from a sheet of the adventitia.
    nearby = np.rint(lines).astype(int), columns
    strength = maximum_filter1d(edge, 5, axis=0)[nearby].mean(axis=1)
    lumen = _darkness_above(image)[nearby].mean(axis=1)
    worth = np.where(fits, (strength * lumen)[:, None] + strength, -np.inf)
    li, ma = np.unravel_index(np.argmax(worth), worth.shape)
    start = np.stack([lines[li], lines[ma]])
    if not fits.any():  # no pair: the wall's strongest edge is MA, and LI is sought above it
        ma = np.argmax(strength)
        start = np.stack([lines[ma] - np.mean(thickness), lines[ma]])
    rows = dual_snake(np.stack([edge, edge]), start, snake)
    return rows[0], rows[1]


def dynamic_programming(
    image: ArrayLike,
    thickness: tuple[int, int] = (4, 28),
    smoothness: float = 0.15,
    darkness: float = 0.6,
) -> tuple[Rows, Rows]:
    """The pair of paths with the most edge strength, found exactly by dynamic programming.

    One state is a row of LI and a distance to MA within `thickness` pixels; between neighbouring
    columns each may change by one pixel, at a cost of `smoothness`. `darkness` weighs the evidence
    that the lumen lies above LI. Rows are refined below the pixel.
    """
    edge = rising_edge(image)
    height = len(edge)
    least, most = thickness
    gaps = np.arange(least, min(most, height - 1) + 1)
    if gaps.size == 0:
        raise UserError(f"the region is {height} px high: LI and MA need more than {least} px.")
    gain_li = edge * (1 - darkness + darkness * _darkness_above(image))
    ma_rows = np.arange(height)[:, None] + gaps
    inside = ma_rows < height
    gain_ma = np.where(inside[..., None], edge[np.minimum(ma_rows, height - 1)], -np.inf)
    li, gap = best_paths(gain_li[:, None] + gain_ma, smoothness)
    return parabola_peak(edge, li), parabola_peak(edge, li + gaps[gap])


def best_paths(gain: NDArray, smoothness: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The path of two coupled indices, each [W], with the greatest total gain [N, M, W].

    From column to column each index changes by at most one. The toll is `smoothness` times the
    squared changes of the first index and of the sum of both (the rows of LI and of MA).
    """
    rows, gaps, width = gain.shape
    moves = [(row, gap) for row in (-1, 0, 1) for gap in (-1, 0, 1)]
    toll = smoothness * np.array([row**2 + (row + gap) ** 2 for row, gap in moves], float)
    best, came_from = gain[..., 0], np.zeros(gain.shape, dtype=np.int8)
    for column in range(1, width):
        wall = np.pad(best, 1, constant_values=-np.inf)
        options = np.stack([wall[1 - r : 1 - r + rows, 1 - g : 1 - g + gaps] for r, g in moves])
        options -= toll[:, None, None]
        came_from[..., column] = np.argmax(options, axis=0)
        best = options.max(axis=0) + gain[..., column]

    path = np.empty((2, width), dtype=np.int64)
    row, gap = np.unravel_index(np.argmax(best), best.shape)
    for column in range(width - 1, -1, -1):
        path[:, column] = row, gap
        move = moves[came_from[row, gap, column]]
        row, gap = row - move[0], gap - move[1]
    return path[0], path[1]


def calibrate(method: Method, rois: Iterable[Roi]) -> Method:
    """`method` less its median signed distance to the experts' LI and MA in training regions.

    The steepest slope lies on an echo's leading skirt, about a pixel above the interface itself,
    and experts have a habit of their own: without this a comparison measures mostly that constant.
    """
    located = [(roi, method(roi.image)) for roi in rois]
    if not located:
        raise UserError("a baseline is calibrated on at least one training region; none was given.")
    li_off = np.nanmedian(np.concatenate([li - roi.li for roi, (li, _) in located]))
    ma_off = np.nanmedian(np.concatenate([ma - roi.ma for roi, (_, ma) in located]))

    def calibrated(image: ArrayLike) -> tuple[Rows, Rows]:
        li, ma = method(image)
        return li - li_off, ma - ma_off

    return calibrated


BASELINES = "baselines.csv"  # errors of the methods on the test regions, in the study's directory

METHODS: dict[str, Method] = {
    "Hough + dual snake": hough_dual_snake,
    "dynamic programming": dynamic_programming,
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


def rising_edge(image: ArrayLike, vertical: float = 1.2, horizontal: float = 2.0) -> NDArray:
    """Strength (0-1) of the change from dark to bright downwards, [H, W].

    A derivative of a Gaussian; wider along the wall than across it, to average speckle.
    """
    picture = _region(image)
    slope = gaussian_filter(picture, (vertical, horizontal), order=(1, 0), mode="nearest")
    slope = np.clip(slope, 0, None)
    return slope / max(np.percentile(slope, 99), 1e-9)


def _darkness_above(image: ArrayLike, reach: int = 9) -> NDArray:
    """How dark (0-1) the `reach` pixels above each pixel are, relative to the region, [H, W]."""
    picture = _region(image)
    above = uniform_filter1d(picture, reach, axis=0, origin=reach // 2, mode="nearest")
    low, high = np.percentile(picture, (5, 95))
    return np.clip(1 - (above - low) / max(high - low, 1e-9), 0, 1)


def _region(image: ArrayLike) -> NDArray:
    picture = np.asarray(image, dtype=float)
    if picture.ndim != 2 or min(picture.shape) < 8:
        raise UserError("a region must be a gray image of at least 8 x 8 px.")
    return picture
