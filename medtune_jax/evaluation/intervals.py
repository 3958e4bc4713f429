"""A metric with its interval, a difference of two with its p: `readers` applied to labels and scores.

What a class, a run or a score lacks is said in `Estimate.why`; no number stands where none can be given.
"""

from collections.abc import Sequence

import numpy as np

from medtune_jax.errors import UserError
from medtune_jax.evaluation import log_odds, readers
from medtune_jax.evaluation.metric import Metric
from medtune_jax.evaluation.readers import Estimate, Readings, Scale


def interval(
    metric: Metric,
    labels: np.ndarray,
    scores: np.ndarray,
    groups: Sequence[str] | np.ndarray,
    scale: Scale = "logit",
) -> Estimate:
    """A metric of the test set, mean over training runs, with its 95% interval over patients and runs.

    Args:
      labels: int [N]. scores: of class 1 [S, N], of each class [S, N, C]; log-odds, or any rating that ranks; S runs.
      groups: [N], the patient of each image. scale: "logit", or "identity" for the analysis as published.
    """
    labels, runs = np.asarray(labels), of_runs(scores, len(labels))
    why = undefined(metric, labels, runs)
    if why:
        return Estimate(None, why=why)
    why = too_few(metric, labels, runs, groups, scale)
    if why:
        return Estimate(metric(labels, runs), why=why)
    return readers.of_mean(readings(metric, labels, runs, groups), scale)


def difference(
    metric: Metric,
    labels: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    groups: Sequence[str] | np.ndarray,
    scale: Scale = "logit",
    fixed: bool = False,
) -> Estimate:
    """The metric of the first scores minus that of the second on the same images, paired by patient and run.

    Arguments as of `interval`. Runs in the same place share a seed; one run alone (a hand-crafted method) is compared
    with every run of the other. One run of each give no p, unless both are `fixed`: methods that no training made.
    """
    labels = np.asarray(labels)
    one, other = (of_runs(scores, len(labels)) for scores in (first, second))
    if 1 not in (len(one), len(other)) and len(one) != len(other):
        raise UserError(
            f"{len(one)} runs cannot be paired with {len(other)} by seed: give the scores of the seeds that both have."
        )
    why = undefined(metric, labels, one) or undefined(metric, labels, other)
    if why:
        return Estimate(None, why=why)
    why = too_few(metric, labels, one, groups, scale)
    if why:
        return Estimate(metric(labels, one) - metric(labels, other), why=why)
    first_read, second_read = (readings(metric, labels, runs, groups) for runs in (one, other))
    return readers.of_difference(first_read, second_read, scale, fixed)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction: p-values that hold for the whole family of those that are given."""
    from statsmodels.stats.multitest import multipletests  # a second, which a sweep does without

    known = [p for p in p_values if p is not None]
    corrected = iter(multipletests(known, method="holm")[1].tolist() if known else [])
    return [None if p is None else next(corrected) for p in p_values]


def of_runs(scores: np.ndarray, images: int) -> np.ndarray:
    """Scores [S, N, C] from those of class 1 [N] or [S, N], or as they are."""
    scores = np.asarray(scores, float)
    runs = scores if scores.ndim == 3 else log_odds.two_sided(np.atleast_2d(scores))
    if runs.ndim != 3 or runs.shape[1] != images:
        raise UserError(
            f"Scores of shape {scores.shape} do not belong to {images} labels: give [runs, images] of class 1, or "
            "[runs, images, classes]."
        )
    return runs


def readings(
    metric: Metric,
    labels: np.ndarray,
    runs: np.ndarray,
    groups: Sequence[str] | np.ndarray,
    in_steps: bool = False,
) -> Readings:
    """The metric of scores [S, N, C] by run, and without each patient."""
    kinds = metric.needed(labels, runs)
    return readers.read(metric.statistic(labels, runs), groups, kinds, in_steps)


def undefined(metric: Metric, labels: np.ndarray, runs: np.ndarray) -> str:
    """Why scores [S, N, C] have no metric; empty if they have."""
    diverged = [str(s + 1) for s, run in enumerate(runs) if not np.isfinite(run).all()]
    if diverged:
        return (
            f"the scores of run {', '.join(diverged)} of {len(runs)} hold NaN or infinity, since training diverged: "
            "run it again at a lower rate, or leave it out"
        )
    if not all(kind.any() for kind in metric.needed(labels, runs)):
        return (
            f"a class has no image here, so that the {metric.title} is undefined: add images of it"
        )
    return ""


def too_few(
    metric: Metric,
    labels: np.ndarray,
    runs: np.ndarray,
    groups: Sequence[str] | np.ndarray,
    scale: Scale = "logit",
    words: tuple[str, str] = ("patients", "images"),
) -> str:
    """Why a test set is too small for an interval of a metric; empty if it is not. The textbook takes two cases."""
    members = [np.asarray(groups)[kind] for kind in metric.needed(labels, runs)]
    least = (2, 2) if scale == "identity" else (readers.LEAST_PATIENTS, readers.LEAST_IMAGES)
    return readers.lacking(members, *least, words)
