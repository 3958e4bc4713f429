"""Which depth to use, from validation figures, and how sure that is.

The rule: the depth with the greatest chance to lie within `margin` of the best one. Chances that differ by less than
0.1 are a tie, which goes to the fewest tuned stages: they are cheaper and have less to overfit. With fewer than three
seeds there are no chances, and all depths within the margin of the best mean are tied. Test data play no part.

The chance is over patients and runs. A seed draws its own validation patients, which are easy or hard for all depths:
figure[depth, seed] = depth + seed + rest, fitted by least squares, so that a failed run is no trouble. The variance of
the rest is one for all depths, as in the analysis of Obuchowski and Rockette with several modalities: three seeds of
five depths then have 8 degrees of freedom. The depths' true figures are taken as drawn from one distribution, whose
width is unknown too (`chances`).

- On validation data seeds share most of their training patients and some of their validation patients, so that the
  mean over them varies by more than rest / S: by rest x (1 / S + validation / training patients) (Nadeau and Bengio,
  Inference for the generalization error, Machine Learning 52, 2003).
- On the test set the patients' part comes from the jackknife covariances of different runs (`readers`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import NamedTuple

import numpy as np

from medtune_jax.evaluation.readers import Part, Readings, satterthwaite

MARGIN = 0.01  # of AUC: less makes no difference to a patient
VALID_FRACTION = 0.2  # of the training patients, where a study does not say
LEAST_SEEDS = 3
TIE = 0.1  # of chance
_DRAWS = 10_000

# depth -> seed -> figure (higher is better)
Figures = Mapping[str, Mapping[int, float]]


@dataclass(frozen=True)
class Choice:
    """The depth to use, and the one with the best mean.

    means: validation figure by depth, over the same seeds. chances: of each depth to be within the margin of the best;
    empty where `why` says what is lacking.
    """

    depth: str
    best: str
    means: Mapping[str, float]
    chances: Mapping[str, float] = field(default_factory=dict)
    why: str = ""


class _Fit(NamedTuple):
    """figure = depth + seed + rest. means: [D]. unit: [D, D], their covariance where the rest has variance 1."""

    means: np.ndarray
    unit: np.ndarray
    variance: float
    freedom: int


def choose(
    order: Sequence[str],
    validation: Figures,
    margin: float = MARGIN,
    valid_fraction: float = VALID_FRACTION,
) -> Choice | None:
    """Applies the rule of the module; None when no depth has a figure.

    Args:
      order: depths with fewer tuned stages first. valid_fraction: share of the training patients that validate.
    """
    known = {depth: validation[depth] for depth in order if validation.get(depth)}
    if not known:
        return None
    fit = _fit(known)
    if fit is None:  # no seeds in common
        means = {depth: fmean(figures.values()) for depth, figures in known.items()}
    else:
        means = dict(zip(known, fit.means.tolist(), strict=True))
    best = max(known, key=lambda one: means[one])
    why = _lacking(known, fit)
    if why or fit is None:
        depth = next(one for one in known if means[one] >= means[best] - margin)
        return Choice(depth, best, means, why=why)
    seeds = len({seed for figures in known.values() for seed in figures})
    inflated = 1 + seeds * valid_fraction / (1 - valid_fraction)
    found = chances(fit.means, fit.variance * inflated * fit.unit, fit.freedom, margin)
    by_depth = dict(zip(known, found.tolist(), strict=True))
    depth = next(one for one in known if by_depth[one] > max(by_depth.values()) - TIE)
    return Choice(depth, best, means, by_depth)


def on_test(
    readings: Mapping[str, Readings], seeds: Mapping[str, Sequence[int]], margin: float
) -> tuple[dict[str, float], str]:
    """The chance of each depth to be within `margin` of the best over test patients and runs; empty with a reason.

    readings: of each depth, higher is better, on the figure's own scale. seeds: of their runs.
    """
    known = {
        depth: dict(zip(seeds[depth], read.figures.tolist(), strict=True))
        for depth, read in readings.items()
    }
    fit = _fit(known) if known else None
    why = _lacking(known, fit)
    if why or fit is None:
        return {}, why
    shared, patients = _shared(readings, seeds)
    between = fit.variance * fit.unit
    parts = [
        Part(_of_differences(between), fit.freedom),
        Part(max(_of_differences(shared), 0.0), patients),
    ]
    freedom = satterthwaite(sum(part.variance for part in parts), parts)
    found = chances(fit.means, between + shared, freedom, margin)
    return dict(zip(known, found.tolist(), strict=True)), ""


def chances(means: np.ndarray, covariance: np.ndarray, freedom: float, margin: float) -> np.ndarray:
    """How probable it is that each of D true figures is within `margin` of the highest, [D].

    means: [D], measured with errors of a covariance [D, D] that was estimated with so many degrees of freedom. The true
    figures are normal around their mean with a standard deviation of which nothing is known beforehand (uniform, as
    Gelman advises in Bayesian Analysis 1, 2006): the best of several equal depths is not taken at its word. The same
    arguments give the same chances.
    """
    rng = np.random.default_rng(0)
    count = len(means)
    values, vectors = np.linalg.eigh(covariance)
    floor = 1e-6 * max(float(values[-1]), 1e-12)  # what jackknife leaves negative, and no error
    covariance = (vectors * np.maximum(values, floor)) @ vectors.T
    widest = 4 * (np.var(means) + _of_differences(covariance) / 2) ** 0.5
    spread = widest * rng.random((_DRAWS, 1, 1))
    scale = freedom / rng.chisquare(freedom, spread.shape) if np.isfinite(freedom) else 1.0
    # Given both, true and measured figures are jointly normal; their common mean is flat and integrated out.
    total = scale * covariance + spread**2 * np.eye(count)
    inverse = np.linalg.inv(total)
    weight = inverse.sum(axis=(1, 2))
    centre = (inverse @ means).sum(axis=1) / weight
    rest = means - centre[:, None]
    fit = np.einsum("kd,kde,ke->k", rest, inverse, rest)
    log_likelihood = -0.5 * (np.linalg.slogdet(total)[1] + np.log(weight) + fit)
    likelihood = np.exp(log_likelihood - log_likelihood.max())
    centre = centre + rng.normal(size=_DRAWS) / weight**0.5
    pull = spread**2 * inverse  # towards what was measured
    truth = centre[:, None] + np.einsum("kde,ke->kd", pull, means - centre[:, None])
    left = spread**2 * (np.eye(count) - pull)
    values, vectors = np.linalg.eigh((left + left.transpose(0, 2, 1)) / 2)
    root = vectors * np.sqrt(np.maximum(values, 0))[:, None]
    truth = truth + np.einsum("kde,ke->kd", root, rng.normal(size=truth.shape))
    within = truth >= truth.max(axis=1, keepdims=True) - margin
    return np.asarray(likelihood @ within / likelihood.sum())


def _fit(figures: Figures) -> _Fit | None:
    """Least squares of the two-way table; None where the depths have no seeds that connect them."""
    depths = list(figures)
    seeds = sorted({seed for of_depth in figures.values() for seed in of_depth})
    cells = [(d, seeds.index(seed)) for d, depth in enumerate(depths) for seed in figures[depth]]
    values = np.array([value for depth in depths for value in figures[depth].values()])
    design = np.zeros((len(cells), len(depths) + len(seeds)))
    for row, (d, s) in enumerate(cells):
        design[row, d] = design[row, len(depths) + s] = 1
    rank = np.linalg.matrix_rank(design)
    if rank < len(depths) + len(seeds) - 1:
        return None
    inverse = np.linalg.pinv(design)
    solved = inverse @ values
    # A depth's figure is that of an average seed.
    of_seeds = np.full((len(depths), len(seeds)), 1 / len(seeds))
    to_means = np.hstack([np.eye(len(depths)), of_seeds]) @ inverse
    freedom = len(cells) - int(rank)
    rest = values - design @ solved
    variance = float(rest @ rest) / freedom if freedom else 0.0
    return _Fit(to_means @ values, to_means @ to_means.T, variance, freedom)


def _lacking(known: Figures, fit: _Fit | None) -> str:
    if len(known) < 2:
        return "a chance to be the best takes two depths or more"
    seeds = len({seed for figures in known.values() for seed in figures})
    if seeds < LEAST_SEEDS:
        number = "one seed says" if seeds == 1 else f"{seeds} seeds say"
        return f"{number} too little of how far training runs differ: three would do, five do well"
    if fit is None or not fit.freedom:
        return "too few seeds have finished in several depths: run the sweep to its end"
    return ""


def _of_differences(covariance: np.ndarray) -> float:
    """Mean variance of the difference of two of D figures."""
    count = len(covariance)
    trace, total = float(np.trace(covariance)), float(covariance.sum())
    return (count * trace - total) / (count * (count - 1) / 2)


def _shared(
    readings: Mapping[str, Readings], seeds: Mapping[str, Sequence[int]]
) -> tuple[np.ndarray, float]:
    """What depths share since they were judged on the same patients: covariance [D, D] of runs of different seeds."""
    every = sorted({seed for of_depth in seeds.values() for seed in of_depth})
    first = next(iter(readings.values()))
    sizes = np.bincount(first.stratum)
    deviation = np.zeros((len(readings), len(every), first.stratum.size))
    has = np.zeros((len(readings), len(every)))
    for d, (depth, read) in enumerate(readings.items()):
        columns = [every.index(seed) for seed in seeds[depth]]
        has[d, columns] = 1
        for stratum in np.flatnonzero(sizes):
            of = first.stratum == stratum
            centred = read.without[of] - read.without[of].mean(axis=0)
            deviation[d][np.ix_(columns, of)] = (
                (sizes[stratum] - 1) / sizes[stratum]
            ) ** 0.5 * centred.T
    total = deviation.sum(axis=1)
    same_seed = np.einsum("dsg,esg->de", deviation, deviation)
    pairs = np.outer(has.sum(axis=1), has.sum(axis=1)) - has @ has.T
    shared = (total @ total.T - same_seed) / np.maximum(pairs, 1)
    freedom = first.stratum.size - int(np.count_nonzero(sizes))
    return shared, float(max(freedom, 1))
