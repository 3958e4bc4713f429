"""Counts at every decision threshold, for many weightings of the cases at once.

ROC, AUC and FROC are the same walk: lower the threshold from above the highest score, and
count what passes. `ThresholdSweep` sorts once; leaving out a patient, or counting it more often, is then
a row of weights, so that thousands of them cost one cumulative sum.
"""

from collections.abc import Callable

import numpy as np

# Figures of S runs as a function of what each item weighs: weights [R, N] -> values [R, S], or [R, S, T] of T figures.
Statistic = Callable[[np.ndarray], np.ndarray]


def estimate(statistic: Statistic, count: int) -> np.ndarray:
    """A statistic of `count` items as they are, each once: [S] or [S, T]."""
    values: np.ndarray = statistic(np.ones((1, count)))[0]
    return values


# A rate times a number of images may land a rounding error below the integer that it means.
_ROUNDING = 1e-9


class ThresholdSweep:
    """The K distinct thresholds of N scores, from the highest to the lowest.

    Items of equal score pass together (one step), so ties need no tie-breaking.
    """

    def __init__(self, scores: np.ndarray):
        self._order = np.argsort(-scores, kind="stable")
        self._last_of_tie = np.flatnonzero(np.diff(scores[self._order], append=-np.inf) != 0)

    def counts(self, weights: np.ndarray) -> np.ndarray:
        """Sums the weights [..., N] of the items that reach each threshold: [..., K + 1], first none."""
        running = np.cumsum(weights[..., self._order], axis=-1)[..., self._last_of_tie]
        return np.concatenate([np.zeros((*running.shape[:-1], 1)), running], axis=-1)


def area_under(hits: np.ndarray, alarms: np.ndarray) -> np.ndarray:
    """Area under hits against alarms (both [..., K + 1] counts), each scaled to end at 1.

    With positives as hits and negatives as alarms this is the Mann-Whitney statistic, a tied
    pair counting one half.
    """
    area = (np.diff(alarms, axis=-1) * (hits[..., 1:] + hits[..., :-1])).sum(axis=-1) / 2
    return area / (hits[..., -1] * alarms[..., -1])


def average_precision(hits: np.ndarray, alarms: np.ndarray) -> np.ndarray:
    """Area under precision against recall without interpolation, from the counts [..., K + 1] of both.

    The sum over thresholds of (gain in recall) x precision, as scikit-learn's `average_precision_score`.
    """
    marks = hits[..., 1:] + alarms[..., 1:]
    precision = hits[..., 1:] / np.where(marks > 0, marks, 1)
    return (np.diff(hits, axis=-1) * precision).sum(axis=-1) / hits[..., -1]


def most_hits_within(hits: np.ndarray, alarms: np.ndarray, budget: np.ndarray) -> np.ndarray:
    """Hits at the lowest threshold whose alarms stay within a budget: [...].

    No interpolation: the value belongs to a threshold that can really be set.

    Args:
      hits, alarms: [..., K + 1] counts that never fall along the last axis.
      budget: [...] or scalar, the number of alarms allowed.
    """
    steps = (alarms <= np.asarray(budget)[..., None] + _ROUNDING).sum(axis=-1) - 1
    return np.take_along_axis(hits, steps[..., None], axis=-1)[..., 0]
