"""Curves behind the metrics, and the sensitivity at clinically chosen false positive rates."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.metrics import roc_curve

from medtune_jax.errors import UserError
from medtune_jax.evaluation.intervals import Interval, bootstrap_intervals
from medtune_jax.evaluation.metric import Metric
from medtune_jax.evaluation.sweep import Statistic, ThresholdSweep, estimate, most_hits_within

# The paper's operating points for frame quality (Tajbakhsh et al. 2016, docs/paper.md section 3).
FALSE_POSITIVE_RATES = (0.10, 0.15, 0.20)


class RocCurve(NamedTuple):
    """Points of a ROC curve from (0, 0) to (1, 1), and the threshold of each ([K], falling)."""

    false_positive_rate: np.ndarray
    sensitivity: np.ndarray
    thresholds: np.ndarray


def _checked(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    positive = np.asarray(labels).astype(bool)
    values = np.asarray(scores, dtype=float)
    if positive.shape != values.shape or positive.ndim != 1:
        raise UserError(
            f"Labels {positive.shape} and scores {values.shape} must be two lists of one length."
        )
    if not np.isfinite(values).all():
        raise UserError("Scores hold NaN or infinity: the ROC of a diverged run is undefined.")
    if positive.all() or not positive.any():
        raise UserError(
            f"All {positive.size} images have the same class: a ROC curve needs positive and "
            "negative ones."
        )
    return positive, values


def roc_points(labels: np.ndarray, scores: np.ndarray) -> RocCurve:
    """All points of the ROC curve that differ from a straight line between their neighbours."""
    return RocCurve(*roc_curve(*_checked(labels, scores)))


# The axis of mean curves: middles of equal steps, so that the mean of a curve is the area under it.
GRID = (np.arange(500) + 0.5) / 500


def mean_roc(metric: Metric, labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Sensitivity [500] at the false positive rates `GRID`, mean over a metric's binary tasks and the seeds.

    labels, scores: as a metric is called on. The area under the curve is the AUC of the same tasks.
    """
    curves = [roc_points(positive, score) for score, positive in metric.binary(labels, scores)]
    return np.mean([np.interp(GRID, c.false_positive_rate, c.sensitivity) for c in curves], axis=0)


def mean_precision(metric: Metric, labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Precision [500] at the sensitivities `GRID`, as `mean_roc`; the area under it is the average precision.

    At each sensitivity the precision of the highest threshold that reaches it: steps, no interpolation.
    """
    curves = []
    for score, positive in metric.binary(labels, scores):
        sweep = ThresholdSweep(score)
        hits, alarms = (sweep.counts(side.astype(float))[1:] for side in (positive, ~positive))
        reached = np.searchsorted(hits, GRID * hits[-1])
        curves.append((hits / (hits + alarms))[reached])
    return np.mean(curves, axis=0)


def _sensitivities(labels: np.ndarray, scores: np.ndarray, rates: Sequence[float]) -> Statistic:
    checked = [_checked(labels, row) for row in np.atleast_2d(scores)]
    positive = checked[0][0]
    sweeps = [ThresholdSweep(values) for _, values in checked]

    def of_seed(sweep: ThresholdSweep, weights: np.ndarray) -> np.ndarray:
        hits, alarms = sweep.counts(weights * positive), sweep.counts(weights * ~positive)
        found = [most_hits_within(hits, alarms, rate * alarms[:, -1]) for rate in rates]
        return np.stack(found, axis=-1) / hits[:, -1:]

    return lambda weights: np.mean([of_seed(sweep, weights) for sweep in sweeps], axis=0)


def sensitivities(
    labels: np.ndarray, scores: np.ndarray, rates: Sequence[float] = FALSE_POSITIVE_RATES
) -> np.ndarray:
    """The estimates of `sensitivity_at`, one per rate."""
    return estimate(_sensitivities(labels, scores, rates), np.size(labels))


def sensitivity_at(
    labels: np.ndarray,
    scores: np.ndarray,
    groups: Sequence[str] | np.ndarray,
    rates: Sequence[float] = FALSE_POSITIVE_RATES,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> list[Interval]:
    """Best sensitivity at a false positive rate of at most each given rate, with 95% intervals.

    The threshold is chosen anew in each resample of the patients, so that the interval covers
    its uncertainty too.

    Args:
      labels, groups: [N] class (0/1) and patient of each image.
      scores: [N], or [S, N] of S seeds, whose sensitivities are averaged.
      rates: false positive rates within 0..1.
    """
    positive = _checked(labels, np.atleast_2d(scores)[0])[0]
    return bootstrap_intervals(
        _sensitivities(labels, scores, rates),
        groups,
        needed=[positive, ~positive],
        resamples=resamples,
        seed=seed,
    )
