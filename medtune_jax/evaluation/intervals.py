"""Patient-level bootstrap: intervals, paired differences, correction for many comparisons.

Images of one patient (frames of one video) resemble each other, so what is drawn again is the
group, never the image. A resample is a row of integer weights: how many times each item's group
was drawn. Any statistic that understands weights can be bootstrapped, all resamples at once.

Intervals are percentile intervals: they describe the chance of another draw of test patients.
Few patients make them slightly narrow: simulated 95% AUC intervals held the truth in about 93 of
100 test sets of 60 patients, and in about 95 of 100 from 120 patients on.
They do not hold the chance of another training run; several seeds are averaged inside the
statistic, and their spread is shown apart.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from medtune_jax.errors import UserError
from medtune_jax.evaluation.metric import Metric
from medtune_jax.evaluation.sweep import Statistic, estimate

RESAMPLES = 2000
_BLOCK = 2_000_000  # weights held at once: keeps the temporaries of a statistic to tens of MB
_ROUNDS = 200  # attempts at redrawing the resamples that lack a class


class Interval(NamedTuple):
    """A value on the test set with its 95% interval."""

    estimate: float
    low: float
    high: float


class Difference(NamedTuple):
    """A paired difference, its interval, and the two-sided p of "no difference"."""

    estimate: float
    low: float
    high: float
    p: float


def group_bootstrap(
    statistic: Statistic,
    groups: Sequence[str] | np.ndarray,
    needed: Sequence[np.ndarray] = (),
    resamples: int = RESAMPLES,
) -> tuple[np.ndarray, np.ndarray]:
    """A statistic of the test set as it is, [...], and on resampled groups, [resamples, ...].

    As many groups are drawn with replacement as there are groups. A resample that leaves one of
    the `needed` sets empty (say, no positive image: AUC undefined) is drawn again, so the
    interval is conditional on both classes being present; this matters only for very few groups.
    The same groups, needed sets and number of resamples give the same resamples.

    Args:
      statistic: maps float weights [R, N] to values [R, ...].
      groups: [N] any hashable-by-value labels (patient, video) of the N items.
      needed: boolean masks [N]; each must keep an item in every resample.
    """
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    count = len(names)
    if count < 2:
        raise UserError(
            f"An interval needs at least 2 groups (patients, videos), but the test set has {count}: "
            "add test data or check the column that names the groups."
        )
    holders = np.zeros((len(needed), count))
    for row, mask in zip(holders, needed, strict=True):
        row[group[mask]] = 1
    rng = np.random.default_rng(0)
    size = max(1, _BLOCK // group.size)
    blocks = [min(size, resamples - start) for start in range(0, resamples, size)]
    draws = [statistic(_draw(rng, rows, count, holders)[:, group].astype(float)) for rows in blocks]
    return estimate(statistic, group.size), np.concatenate(draws)


def _draw(rng: np.random.Generator, rows: int, count: int, holders: np.ndarray) -> np.ndarray:
    """Multiplicities [rows, count] of the groups, every needed set present in every row."""
    uniform = np.full(count, 1 / count)
    weights = rng.multinomial(count, uniform, size=rows)
    for _ in range(_ROUNDS):
        lacking = np.flatnonzero((weights @ holders.T == 0).any(axis=1))
        if not lacking.size:
            return weights
        weights[lacking] = rng.multinomial(count, uniform, size=lacking.size)
    raise UserError(
        "A class or lesion occurs in no resample of the groups: the test set holds none of it, "
        "so an interval cannot be given; add test data of that class."
    )


def percentile_interval(value: float | np.ndarray, draws: np.ndarray) -> Interval:
    """A value (scalar) and its 95% percentile interval from bootstrap draws [R]."""
    low, high = np.quantile(draws, [0.025, 0.975])
    return Interval(float(value), float(low), float(high))


def bootstrap_intervals(
    statistic: Statistic,
    groups: Sequence[str] | np.ndarray,
    needed: Sequence[np.ndarray] = (),
) -> list[Interval]:
    """A statistic of T values on the test set, each with its 95% interval; arguments as of `group_bootstrap`."""
    values, draws = group_bootstrap(statistic, groups, needed)
    return [percentile_interval(*pair) for pair in zip(values, draws.T, strict=True)]


def tested(value: float | np.ndarray, draws: np.ndarray) -> Difference:
    """A difference (scalar), its interval and p from its bootstrap draws [R].

    p is twice the smaller share of draws on either side of zero, counting one draw more on each
    side so that it is never below 2 / (R + 1).
    """
    side = min((draws <= 0).sum(), (draws >= 0).sum())
    p = min(1.0, 2 * (side + 1) / (draws.size + 1))
    return Difference(*percentile_interval(value, draws), float(p))


def paired_difference(
    first: Statistic,
    second: Statistic,
    groups: Sequence[str] | np.ndarray,
    needed: Sequence[np.ndarray] = (),
) -> Difference:
    """first - second on the same resamples of the same items; statistics return [R]."""
    return tested(*group_bootstrap(lambda w: first(w) - second(w), groups, needed))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: p-values that hold for the whole family of comparisons."""
    from statsmodels.stats.multitest import multipletests  # a second, which a sweep does without

    return multipletests(p_values, method="holm")[1].tolist() if p_values else []


def interval(
    metric: Metric, labels: np.ndarray, scores: np.ndarray, groups: Sequence[str] | np.ndarray
) -> Interval:
    """A metric of the test set, mean over seeds, with its 95% interval.

    Args:
      labels: int [N]. scores: log-odds [N, C], or [S, N, C] of S seeds. groups: [N], the patient of each image.
    """
    statistic = metric.statistic(labels, scores)
    return percentile_interval(*group_bootstrap(statistic, groups, metric.needed(labels, scores)))


def difference(
    metric: Metric,
    labels: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    groups: Sequence[str] | np.ndarray,
) -> Difference:
    """The metric of the first scores minus that of the second on the same images, paired by patient.

    Arguments as of `interval`; the two methods may have different numbers of seeds.
    """
    one, other = (metric.statistic(labels, scores) for scores in (first, second))
    return paired_difference(one, other, groups, metric.needed(labels, first))
