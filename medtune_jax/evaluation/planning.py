"""How many test patients and seeds show a difference of two depths, from the variance components of a finished study.

The variance of a paired difference, mean over S seeds and n patients, has three parts (Obuchowski and Rockette; Hillis,
Obuchowski and Berbaum, Power estimation for multireader ROC methods, Academic Radiology 18, 2011):

    runs / S  +  own / (S n)  +  shared / n

runs: a run's luck, whoever is judged. own: patients on whom one run errs. shared: patients on whom all runs of a depth
differ from all runs of the other. The first two make MS, and are told apart by what the jackknife finds within a run;
the third is Cov2. All are means over the pairs of depths that the study has, since one pair of few seeds says little.
A pilot's variances are more often too small than too large, above all those of few runs. MS and Cov2 are taken as the
mean of what they may be in truth (scaled inverse chi-square): f / (f - 2) times, with f their degrees of freedom.
The test is the one of `readers`, its degrees of freedom included; its power is that of the noncentral t.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from math import ceil
from typing import NamedTuple

import numpy as np
from scipy.stats import nct
from scipy.stats import t as student

from medtune_jax.errors import UserError
from medtune_jax.evaluation import readers
from medtune_jax.evaluation.readers import LEAST_PATIENTS, Part, Readings, Scale

SEEDS = (
    5,
    10,
    20,
)  # with 3, plans from small pilots fall short of their power (docs/statistics.md)
POWER = 0.8
ALPHA = 0.05
MOST_PATIENTS, MOST_SEEDS = 1_000_000, 1_000
LEAST_FREEDOM = (
    4  # of the variance between runs: with fewer a plan may be wrong by a factor of three
)

Pair = tuple[Readings, Readings]  # of the same seeds, in the same order


class Components(NamedTuple):
    """What a difference of two depths varies by: variances on the scale of its test.

    own, shared: of one patient. patients: of the test set that they come from, with the degrees of freedom they gave.
    figure: mean of the depths, in its own units, as the difference to detect.
    """

    runs: float
    own: float
    shared: float
    patients: int
    freedom: float
    figure: float
    scale: Scale

    def error(self, patients: float, seeds: int) -> float:
        """Standard error of a difference at another size."""
        return float(sum(self._parts(patients, seeds)) ** 0.5)

    def _parts(self, patients: float, seeds: int) -> tuple[float, float]:
        """What runs and patients add."""
        return (self.runs + self.own / patients) / seeds, self.shared / patients

    def power(self, detect: float, patients: float, seeds: int, alpha: float = ALPHA) -> float:
        """How probable it is that a difference as large as `detect` is found: two-sided p < alpha.

        Raises UserError for a difference that is not above 0, or that no two figures around this one can have.
        """
        between, shared = self._parts(patients, seeds)
        part = Part(shared, max(self.freedom * patients / self.patients, 1.0))
        freedom = readers.of_both(between, seeds, [part])
        away = self._steps(detect) / max(self.error(patients, seeds), 1e-12)
        critical = student.ppf(1 - alpha / 2, freedom)
        found = nct.sf(critical, freedom, away)
        # SciPy's noncentral t fails where it is all but normal.
        return float(found if np.isfinite(found) else student.sf(critical - away, freedom))

    def _steps(self, detect: float) -> float:
        """A difference around the figure, on the scale of the test."""
        if not detect > 0:
            raise UserError(f"a difference of {detect:g} to detect: give a number above 0")
        if self.scale == "identity":
            return detect
        low, high = self.figure - detect / 2, self.figure + detect / 2
        if low <= 0 or high >= 1:
            raise UserError(
                f"no two depths around {self.figure:.3f} differ by {detect:g}, since a figure ends at 0 and 1: give a "
                f"smaller difference to detect, up to {2 * min(self.figure, 1 - self.figure):.3g}"
            )
        return float(readers.on_scale(self.scale, high) - readers.on_scale(self.scale, low))


def components(pairs: Sequence[Pair], scale: Scale = "logit") -> Components:
    """The variance components of a difference, mean over pairs of depths.

    Args:
      pairs: `Readings` of the seeds that both depths have, in one order. scale: "logit" for what lies in 0..1,
        "identity" for errors.

    Raises UserError for a study that cannot bear it: no pair, too few seeds and depths, figures at their end.
    """
    of_runs = _runs_freedom(pairs)
    between, own, shared, freedom = np.mean([_of_pair(*pair, scale) for pair in pairs], axis=0)
    between *= _likely(of_runs)
    shared = max(shared * _likely(freedom), 0.0)
    own = max(own, 0.0)
    if between + own + shared <= 0:
        raise UserError("the depths do not vary with patients or runs: there is nothing to plan by")
    count = pairs[0][0].stratum.size
    figure = float(np.mean([read.mean for pair in pairs for read in pair]))
    runs = max(between - own / count, 0.0)
    return Components(runs, own, shared, count, float(freedom), figure, scale)


def _likely(freedom: float) -> float:
    """By how much the mean of what a variance may be is larger than its estimate."""
    return float(freedom / (freedom - 2)) if freedom > LEAST_FREEDOM else LEAST_FREEDOM / 2


def needed_patients(
    found: Components, seeds: int, detect: float, power: float = POWER, alpha: float = ALPHA
) -> int | None:
    """The fewest test patients that show the difference; None where no number up to a million does."""
    _check_power(power)
    least = 2 * LEAST_PATIENTS
    return _first(lambda n: found.power(detect, n, seeds, alpha) >= power, least, MOST_PATIENTS)


def needed_seeds(
    found: Components, patients: int, detect: float, power: float = POWER, alpha: float = ALPHA
) -> int | None:
    """The fewest seeds, five or more, that show it with so many test patients; None where a thousand do not."""
    _check_power(power)
    return _first(lambda s: found.power(detect, patients, s, alpha) >= power, SEEDS[0], MOST_SEEDS)


class Size(NamedTuple):
    """patients: None where no number would do with so many seeds."""

    seeds: int
    patients: int | None


def sizes(
    found: Components,
    detect: float,
    power: float = POWER,
    seeds: Sequence[int] = SEEDS,
    alpha: float = ALPHA,
) -> list[Size]:
    """What shows a difference with the power: test patients by number of seeds."""
    return [Size(s, needed_patients(found, s, detect, power, alpha)) for s in seeds]


def _of_pair(one: Readings, other: Readings, scale: Scale) -> tuple[float, float, float, float]:
    """MS, own and shared (of one patient), and the patients' degrees of freedom of one pair."""
    slopes = [readers.slope(scale, read.mean) for read in (one, other)]
    if None in slopes:
        raise UserError(
            "a depth's figure is at its end, where nothing shows how far it varies: harder or more test images would"
        )
    first, second = (r.times(s or 0.0) for r, s in zip((one, other), slopes, strict=True))
    difference = first.plus(second.times(-1))
    count, runs = difference.stratum.size, len(difference.figures)
    strata = [difference.without[difference.stratum == s] for s in np.unique(difference.stratum)]
    within = sum(np.trace(readers.covariance(stratum)) / runs for stratum in strata)
    parts = [readers.shared(stratum) for stratum in strata]
    shared = sum(part.variance for part in parts)
    freedom = readers.satterthwaite(shared, parts) if shared > 0 else count - len(strata)
    between = float(difference.figures.var(ddof=1))
    # Parts may come out below 0 by chance, and their mean over pairs must not be lifted for that.
    own = count * (within - shared)
    return between, own, count * shared, min(freedom, count - len(strata))


def _first(enough: Callable[[int], bool], least: int, most: int) -> int | None:
    """The smallest number in least..most that is enough, where every larger one is too."""
    if not enough(most):
        return None
    return least + bisect_left(range(least, most), True, key=enough)


def _runs_freedom(pairs: Sequence[Pair]) -> float:
    """Degrees of freedom of MS; UserError where they are too few."""
    if not pairs:
        raise UserError(
            "a difference takes two depths with two seeds in common: run more depths or seeds"
        )
    seeds = min(len(one.figures) for one, _ in pairs)
    if seeds < 2:
        raise UserError(
            "one training run of a depth says nothing of how far another would differ: run three seeds, better five"
        )
    # All pairs of so many depths; of pairs with one depth in common it is fewer than there are.
    depths = int((1 + (1 + 8 * len(pairs)) ** 0.5) / 2)
    if (freedom := (seeds - 1) * (depths - 1)) >= LEAST_FREEDOM:
        return freedom
    lacking = ceil(LEAST_FREEDOM / (depths - 1)) + 1
    raise UserError(
        f"{seeds} seeds of {depths} depths say too little of how far training runs differ: run {lacking} seeds"
    )


def _check_power(power: float) -> None:
    if not ALPHA < power < 1:
        raise UserError(f"a power of {power:g}: give a number between {ALPHA} and 1, usually 0.8")
