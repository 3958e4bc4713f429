"""Boundary error and thickness of two interfaces drawn column by column.

A contour is one row position per image column, in pixels (fractions allowed), as the intima-media
application traces the lumen-intima and media-adventitia interfaces (docs/paper.md section 4).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from medtune_jax.errors import UserError
from medtune_jax.evaluation import readers
from medtune_jax.evaluation.readers import Estimate, Readings
from medtune_jax.evaluation.sweep import Statistic

MICROMETRES_PER_MM = 1000.0
_NORMAL_95 = float(norm.ppf(0.975))


def _rows(name: str, contour: np.ndarray) -> np.ndarray:
    rows = np.asarray(contour, dtype=float)
    if not np.isfinite(rows).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(rows))[0])
        raise UserError(
            f"The {name} contour has no row at index {where}: give a finite position for every "
            "column, or leave the column out of both contours."
        )
    return rows


def _distance(
    first: np.ndarray, second: np.ndarray, mm_per_pixel: float | np.ndarray
) -> np.ndarray:
    """Signed distance second - first in micrometres [..., columns]."""
    upper, lower = _rows("first", first), _rows("second", second)
    if upper.shape != lower.shape or upper.ndim == 0 or upper.shape[-1] == 0:
        raise UserError(
            f"Two contours of shapes {upper.shape} and {lower.shape} cannot be compared: both "
            "need one row position for the same columns."
        )
    spacing = np.asarray(mm_per_pixel, dtype=float)
    if not (np.isfinite(spacing).all() and (spacing > 0).all()):
        raise UserError(f"mm_per_pixel is {mm_per_pixel}: the pixel height must be positive.")
    return (lower - upper) * spacing[..., None] * MICROMETRES_PER_MM


def boundary_error(
    predicted: np.ndarray, expert: np.ndarray, mm_per_pixel: float | np.ndarray
) -> np.ndarray:
    """Mean absolute vertical distance between two contours, in micrometres: [...].

    Args:
      predicted, expert: [..., columns] row positions in pixels.
      mm_per_pixel: height of a pixel in millimetres, scalar or one per leading index.
    """
    return np.abs(_distance(predicted, expert, mm_per_pixel)).mean(axis=-1)


class Thickness(NamedTuple):
    """Mean and largest vertical distance of two interfaces, in micrometres, each [...]."""

    mean: np.ndarray
    maximum: np.ndarray


def thickness(upper: np.ndarray, lower: np.ndarray, mm_per_pixel: float | np.ndarray) -> Thickness:
    """Intima-media thickness from the upper (lumen-intima) and lower (media-adventitia) contour.

    Rows grow downwards. Where the interfaces cross, the signed distance is negative and lowers
    the mean: nothing is hidden by an absolute value.
    """
    distance = _distance(upper, lower, mm_per_pixel)
    return Thickness(distance.mean(axis=-1), distance.max(axis=-1))


class BlandAltman(NamedTuple):
    """Agreement of two measurements: bias (mean of first - second) and 95% limits of agreement."""

    bias: Estimate
    lower: Estimate
    upper: Estimate
    deviation: float


def bland_altman(
    first: np.ndarray, second: np.ndarray, subjects: Sequence[str] | np.ndarray
) -> BlandAltman:
    """Bias and 95% limits of agreement (bias -/+ 1.96 standard deviations) with 95% intervals.

    subjects: [N], of whom each may have several regions; they are what is left out in turn (`readers`).
    """
    difference = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    if difference.ndim != 1 or difference.size < 2 or not np.isfinite(difference).all():
        raise UserError("Bland-Altman limits need at least 2 finite pairs of measurements.")
    read = readers.read(lambda weights: _weighted_limits(difference, weights)[:, None], subjects)
    why = too_few(subjects)
    if why:
        limits = [Estimate(one.mean, why=why) for one in read.each]
    else:
        limits = [readers.of_mean(one, "identity") for one in read.each]
    bias, lower, upper = limits
    return BlandAltman(bias, lower, upper, float(difference.std(ddof=1)))


def readings(errors: np.ndarray, subjects: Sequence[str] | np.ndarray) -> Readings:
    """Mean of errors [N] or [S, N] by run, and without each subject."""
    return readers.read(mean_by_run(errors), subjects)


def mean_by_run(values: np.ndarray) -> Statistic:
    """Weighted means [R, S] of values [N] or [S, N]."""
    runs = np.atleast_2d(np.asarray(values, float))
    return lambda weights: weights @ runs.T / weights.sum(axis=1, keepdims=True)


def too_few(subjects: Sequence[str] | np.ndarray) -> str:
    """Why there are too few subjects for the interval of a mean; empty if there are not."""
    known = len(np.unique(subjects))
    if known >= readers.LEAST_PATIENTS:
        return ""
    return f"there are {known} test subjects: an interval takes at least {readers.LEAST_PATIENTS}"


def _weighted_limits(difference: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Bias, lower and upper limit [R, 3] of weighted differences."""
    total = weights.sum(axis=1)
    bias = weights @ difference / total
    squares = (weights * (difference - bias[:, None]) ** 2).sum(axis=1)
    spread = _NORMAL_95 * np.sqrt(squares / np.maximum(total - 1, 1))
    return np.stack([bias, bias - spread, bias + spread], axis=-1)
