"""Curves behind the metrics, and the sensitivity at clinically chosen false positive rates."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from sklearn.metrics import roc_curve

from medtune_jax.evaluation import intervals, readers
from medtune_jax.evaluation.metric import Metric
from medtune_jax.evaluation.readers import Estimate
from medtune_jax.evaluation.sweep import ThresholdSweep, estimate, most_hits_within

# The paper's operating points for frame quality (Tajbakhsh et al. 2016, docs/paper.md section 3).
FALSE_POSITIVE_RATES = (0.10, 0.15, 0.20)


# The axis of mean curves: middles of equal steps, so that the mean of a curve is the area under it.
GRID = (np.arange(500) + 0.5) / 500


def mean_roc(metric: Metric, labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Sensitivity [500] at the false positive rates `GRID`, mean over a metric's binary tasks and the seeds.

    labels, scores: as a metric is called on. The area under the curve is the AUC of the same tasks.
    """
    curves = []
    for score, positive, negative in metric.binary(labels, scores):
        known = positive | negative
        curves.append(roc_curve(positive[known], score[known])[:2])
    return np.mean([np.interp(GRID, *curve) for curve in curves], axis=0)


def mean_precision(metric: Metric, labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Precision [500] at the sensitivities `GRID`, as `mean_roc`; the area under it is the average precision.

    At each sensitivity the precision of the highest threshold that reaches it: steps, no interpolation.
    """
    curves = []
    for score, *sides in metric.binary(labels, scores):
        sweep = ThresholdSweep(score)
        hits, alarms = (sweep.counts(side.astype(float))[1:] for side in sides)
        reached = np.searchsorted(hits, GRID * hits[-1])
        curves.append((hits / np.maximum(hits + alarms, 1))[reached])
    return np.mean(curves, axis=0)


def at_false_positive_rate(metric: Metric, rate: float) -> Metric:
    """The sensitivity at a rate, as a metric of the binary tasks of another."""

    def area(hits: np.ndarray, alarms: np.ndarray) -> np.ndarray:
        return most_hits_within(hits, alarms, rate * alarms[:, -1]) / hits[:, -1]

    title = f"sensitivity at a false positive rate of {rate:.2f}"
    return replace(metric, title=title, area=area)


def at_false_positive_rates(
    metric: Metric, rates: Sequence[float] = FALSE_POSITIVE_RATES
) -> Metric:
    """The same as a metric of T figures, one for each rate."""
    areas = [at_false_positive_rate(metric, rate).area for rate in rates]

    def area(hits: np.ndarray, alarms: np.ndarray) -> np.ndarray:
        return np.stack([one(hits, alarms) for one in areas], axis=-1)

    return replace(metric, title="sensitivity", area=area)


def sensitivities(metric: Metric, labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The estimates [T] of `sensitivity_at`."""
    statistic = at_false_positive_rates(metric).statistic(labels, scores)
    return np.asarray(estimate(statistic, len(labels)).mean(axis=0))


def sensitivity_at(
    metric: Metric, labels: np.ndarray, scores: np.ndarray, groups: Sequence[str] | np.ndarray
) -> list[Estimate]:
    """Best sensitivity at false positive rates of at most `FALSE_POSITIVE_RATES`, with 95% intervals.

    The threshold is chosen anew for every weighting of the patients, so that the interval covers its uncertainty too.
    Arguments as of `intervals.interval`; only the metric's binary tasks count.
    """
    sensitivity, runs = at_false_positive_rates(metric), intervals.of_runs(scores, len(labels))
    why = intervals.undefined(sensitivity, labels, runs)
    if why:
        return [Estimate(None, why=why)] * len(FALSE_POSITIVE_RATES)
    why = intervals.too_few(sensitivity, labels, runs, groups)
    if why:
        return [Estimate(float(value), why=why) for value in sensitivities(metric, labels, runs)]
    read = intervals.readings(sensitivity, labels, runs, groups, in_steps=True)
    return [readers.of_mean(each) for each in read.each]
