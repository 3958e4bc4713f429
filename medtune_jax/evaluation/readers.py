"""Training runs are readers, patients are cases, depths are modalities.

A depth's figure is uncertain twice over: other patients would have given another one, and so would other training runs.
Radiology has the theory, the analysis of many readers and many cases of Obuchowski and Rockette (Communications in
Statistics 24, 1995) with the degrees of freedom of Hillis (Statistics in Medicine 26, 2007):

- Each run's figure is taken again with each patient left out (jackknife): the covariance of two runs over
  patients.
- The variance of the mean over S runs is (MS + max(S Cov2, 0)) / S. MS: the variance between the runs' figures.
  Cov2: the mean covariance of two different runs, what they share since they were judged on the same patients.
- A difference of two depths is the same analysis of the runs' differences, paired by seed: its MS is twice their
  MS(TR), and its Cov2 is 2 (Cov2 - Cov3).
- The degrees of freedom are those of MS, S - 1, times (variance / its part from MS)^2.

`scale="identity"` is that analysis as published. The default departs from it where patients are few, runs are few
and figures are near 1 (docs/statistics.md has both, simulated):

- The analysis is done on the logit of the figure (of an error: its logarithm) by the delta method, to its second order:
  it has no end.
- Patients are left out within their class: how many there are of each is no matter of chance.
- The degrees of freedom (Satterthwaite) count patients as well as runs: of a class its patients less 1, or fewer
  where few of them carry the variance (by the kurtosis of their influence). Two or three runs may lie close
  together by chance, and would then claim many: for the degrees of freedom, runs are taken to add 0.35 of what
  patients do beside what they are seen to add.
- A figure that is read off one threshold moves in steps, which a jackknife does not see. There a patient is not
  left out but counted more often, 1 + sqrt(n) times of n: the derivative over a step that shrinks more slowly than
  the figure's own steps do (Hong and Li, The numerical bootstrap, Annals of Statistics 48, 2020).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy.special import expit, logit
from scipy.stats import t as student

from medtune_jax.evaluation.sweep import Statistic
from medtune_jax.words import count

Scale = Literal["logit", "log", "identity"]
LEAST_PATIENTS, LEAST_IMAGES = 5, 20  # of each class; fewer give no interval
CONFIDENCE = 0.95
_UNSEEN = 0.35  # keeps 2 runs between 0.93 and 0.97, 3 nearer, for any ratio of runs' to patients' variance up to 2
_BLOCK = 2_000_000  # weights held at once

ONE_RUN = "one training run says nothing of how far another would differ: three seeds would do, five do well"
TWO_RUNS = (
    "two training runs may lie close together by chance, and a difference would then claim too much: a third seed "
    "gives an interval and a p"
)
_NO_SPREAD = (
    "the figure is at its end, or the same whichever patient is left out, so that nothing shows how far it would vary: "
    "harder or more test images would"
)
_ALL = 0.98  # of all values that a figure in 0..1 can have
_NOTHING_LEFT_OUT = (
    "what patients and training runs add cannot be told from so few: an interval would leave no value out; more test "
    "patients or seeds would give one"
)


class Readings(NamedTuple):
    """Figures of S runs. figures: [S]. without: [G, S], with each patient left out. stratum: int [G], of the patients.

    `read` may add a last axis of T figures to the first two; `each` takes them apart.
    """

    figures: np.ndarray
    without: np.ndarray
    stratum: np.ndarray

    @property
    def mean(self) -> float:
        return float(self.figures.mean())

    @property
    def each(self) -> list[Readings]:
        """The T figures, if `read` was given a statistic of T."""
        rows = range(self.figures.shape[-1])
        return [Readings(self.figures[..., t], self.without[..., t], self.stratum) for t in rows]

    def averaged(self) -> Readings:
        """The mean of the T figures."""
        return Readings(self.figures.mean(axis=-1), self.without.mean(axis=-1), self.stratum)

    def of_runs(self, rows: Sequence[int]) -> Readings:
        return Readings(self.figures[list(rows)], self.without[:, list(rows)], self.stratum)

    def times(self, factor: float) -> Readings:
        return Readings(factor * self.figures, factor * self.without, self.stratum)

    def plus(self, other: Readings) -> Readings:
        """Run by run of one seed; a method without seeds is one run, which goes with all."""
        return Readings(self.figures + other.figures, self.without + other.without, self.stratum)


class Estimate(NamedTuple):
    """A figure, or a difference of two, with its 95% interval and the two-sided p of no difference.

    What cannot be given is None, and `why` says what is lacking and how much would do. error: standard error, with its
    degrees of freedom, on the scale of the analysis.
    """

    estimate: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    why: str = ""
    error: float | None = None
    freedom: float | None = None


def read(
    statistic: Statistic,
    groups: Sequence[str] | np.ndarray,
    kinds: Sequence[np.ndarray] = (),
    in_steps: bool = False,
) -> Readings:
    """The figures of S runs, and again without each patient.

    Args:
      statistic: weights [R, N] -> figures [R, S] or [R, S, T]. groups: [N], the patient of each image. kinds: masks
        bool [N], the classes, whose numbers of patients are taken as given. in_steps: read off one threshold.
    """
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    stratum = _strata(group, kinds)
    patients = np.arange(stratum.size)
    size = np.bincount(stratum)[stratum]
    more = np.sqrt(size) if in_steps else np.full(size.shape, -1.0)
    as_is = statistic(np.ones((1, group.size)))[0]
    blocks = np.array_split(patients, -(-patients.size * group.size // _BLOCK))
    changed = np.concatenate(
        [statistic(1 + more[block, None] * (group == block[:, None])) for block in blocks]
    )
    # What a patient adds to the figure's derivative, as the change that leaving it out would bring.
    factor = -(size + more) / (more * np.maximum(size - 1, 1))
    without = as_is + (changed - as_is) * factor.reshape(-1, *(1 for _ in as_is.shape))
    return Readings(as_is, without, stratum)


def without_any(figures: np.ndarray) -> Readings:
    """Figures [S] of a test set that is too small to leave anyone out: they have a mean and no interval."""
    return Readings(figures, np.empty((0, len(figures))), np.empty(0, int))


def _strata(group: np.ndarray, kinds: Sequence[np.ndarray]) -> np.ndarray:
    """int [G]: a patient is of the rarest class (by patients) that it has images of, if that has enough patients so."""
    count = int(group.max()) + 1
    if not kinds:
        return np.zeros(count, int)
    has = np.stack([np.bincount(group[kind], minlength=count) > 0 for kind in kinds])
    rarest_first = np.argsort(has.sum(axis=1), kind="stable")
    stratum = rarest_first[np.argmax(has[rarest_first], axis=0)]
    _, stratum, sizes = np.unique(stratum, return_inverse=True, return_counts=True)
    largest = int(sizes.argmax())
    return np.unique(
        np.where(sizes[stratum] < LEAST_PATIENTS, largest, stratum), return_inverse=True
    )[1]


def lacking(
    members: Sequence[np.ndarray],
    patients: int = LEAST_PATIENTS,
    images: int = LEAST_IMAGES,
    words: tuple[str, str] = ("patients", "images"),
) -> str:
    """Why a test set is too small for an interval, as a sentence without its stop; empty where it is not.

    members: of each class the patients of its images, [n] each.
    """
    for member in members:
        there, known = len(member), len(np.unique(member))
        if known < patients or there < images:
            needed, found = (
                f"{count(i, words[1])} of {count(p, words[0])}"
                if images > 1
                else count(p, words[0])
                for i, p in ((images, patients), (there, known))
            )
            return f"a class has {found} in the test set: an interval takes at least {needed} of every class"
    return ""


def of_mean(readings: Readings, scale: Scale = "logit") -> Estimate:
    """The mean over runs with its interval. One run: by patients alone, which `why` says."""
    mean, slope = readings.mean, _SCALES[scale].slope(readings.mean)
    reach = _reach(readings.times(slope), scale == "identity") if slope else None
    if reach is None:
        return Estimate(mean, why=_NO_SPREAD)
    # A bent scale carries chance u unevenly, as u + bend u^2 / 2: that moves the mean and adds to the variance. One
    # run's interval is wide enough without (simulated): few patients carry what a single run errs by.
    bend = _SCALES[scale].bend(mean)
    centre = _SCALES[scale].to(mean) - bend * reach.error**2 / 2
    if len(readings.figures) > 1:
        reach = reach.widened(bend**2 * reach.error**4 / 2)
    low, high = (float(_SCALES[scale].back(centre + s * reach.half)) for s in (-1, 1))
    if scale == "logit" and high - low > _ALL:
        return Estimate(mean, why=_NOTHING_LEFT_OUT)
    why = ONE_RUN if len(readings.figures) == 1 else ""
    return Estimate(mean, low, high, None, why, reach.error, reach.freedom)


def of_difference(
    first: Readings, second: Readings, scale: Scale = "logit", fixed: bool = False
) -> Estimate:
    """first - second, run by run of one seed, with its interval and p.

    One run of each: an interval by patients and no p, unless the two are `fixed`, methods that no training made. Two
    runs: neither, but on the scale "identity".
    """
    difference = first.mean - second.mean
    if scale != "identity" and max(len(first.figures), len(second.figures)) == 2:
        return Estimate(difference, why=TWO_RUNS)
    slopes = [_SCALES[scale].slope(one.mean) for one in (first, second)]
    if None in slopes:
        return Estimate(difference, why=_NO_SPREAD)
    one, other = (r.times(slope or 0.0) for r, slope in zip((first, second), slopes, strict=True))
    reach = _reach(one.plus(other.times(-1)), scale == "identity")
    if reach is None:
        return Estimate(difference, why=_NO_SPREAD)
    bends = [_SCALES[scale].bend(readings.mean) for readings in (first, second)]
    reach = reach.widened(_of_bends(one, other, bends, reach))
    # The interval on the scale, in the units of the figures: it holds 0 just where p says so.
    steps = float(_SCALES[scale].to(first.mean) - _SCALES[scale].to(second.mean))
    unit = difference / steps if steps else 1 / (slopes[0] or 1.0)
    low, high = (unit * (steps + side * reach.half) for side in (-1, 1))
    if scale == "logit":
        low, high = max(low, -1.0), min(high, 1.0)
        if high - low > 2 * _ALL:
            return Estimate(difference, why=_NOTHING_LEFT_OUT)
    return _tested(Estimate(difference, low, high), steps, reach, one, other, fixed)


def of_contrast(terms: Sequence[tuple[float, Readings]], fixed: bool = False) -> Estimate:
    """The sum of factor x figure, run by run of one seed, with its interval and p; on the figures' own scale."""
    parts = [readings.times(factor) for factor, readings in terms]
    total = parts[0]
    for part in parts[1:]:
        total = total.plus(part)
    if len(total.figures) == 2:
        return Estimate(total.mean, why=TWO_RUNS)
    reach = _reach(total, textbook=False)
    if reach is None:
        return Estimate(total.mean, why=_NO_SPREAD)
    found = Estimate(total.mean, total.mean - reach.half, total.mean + reach.half)
    return _tested(found, total.mean, reach, total, total, fixed)


def _tested(
    found: Estimate, steps: float, reach: _Reach, one: Readings, other: Readings, fixed: bool
) -> Estimate:
    found = found._replace(error=reach.error, freedom=reach.freedom)
    if len(one.figures) == len(other.figures) == 1 and not fixed:
        return found._replace(why=ONE_RUN)
    return found._replace(p=float(2 * student.sf(abs(steps) / reach.error, reach.freedom)))


class _Scale(NamedTuple):
    to: Callable[[float], float]
    back: Callable[[float], float]
    slope: Callable[[float], float | None]  # None where the figure is at an end
    bend: Callable[[float], float]  # the second derivative over the slope's square


_SCALES = {
    "logit": _Scale(
        logit, expit, lambda x: 1 / (x * (1 - x)) if 0 < x < 1 else None, lambda x: 2 * x - 1
    ),
    "log": _Scale(np.log, np.exp, lambda x: 1 / x if x > 0 else None, lambda x: -1.0),
    "identity": _Scale(float, float, lambda x: 1.0, lambda x: 0.0),
}


def on_scale(scale: Scale, figure: float) -> float:
    """A figure on the scale of its analysis."""
    return float(_SCALES[scale].to(figure))


def slope(scale: Scale, figure: float) -> float | None:
    """Steps of the scale to a unit of the figure; None where the figure is at its end."""
    return _SCALES[scale].slope(figure)


class _Reach(NamedTuple):
    error: float
    freedom: float

    @property
    def half(self) -> float:
        """Of the interval."""
        return float(student.ppf(0.5 + CONFIDENCE / 2, self.freedom)) * self.error

    def widened(self, bent: float) -> _Reach:
        """By the second order's variance, of half of the first at most: beyond that the expansion says nothing."""
        variance = self.error**2
        return self._replace(error=(variance + min(bent, variance / 2)) ** 0.5)


def _of_bends(one: Readings, other: Readings, bends: Sequence[float], both: _Reach) -> float:
    """What the bends a, b of a scale add to the variance of a difference there: that of (a u^2 - b w^2) / 2, where u
    and w are the chance of either figure, normal, and share what the variance of u - w, `both`, leaves them.
    """
    if len(one.figures) == len(other.figures) == 1 or not any(bends):
        return 0.0
    parts = [_reach(readings, textbook=False) for readings in (one, other)]
    (a, b), (v, w) = bends, (part.error**2 if part else 0.0 for part in parts)
    most = (v * w) ** 0.5
    common = min(max((v + w - both.error**2) / 2, -most), most)
    return max((a * v) ** 2 / 2 + (b * w) ** 2 / 2 - a * b * common**2, 0.0)


def _reach(readings: Readings, textbook: bool) -> _Reach | None:
    """How far the mean over runs may lie from the truth; None where nothing varies."""
    runs = len(readings.figures)
    stratum = np.zeros_like(readings.stratum) if textbook else readings.stratum
    parts = [shared(readings.without[stratum == one]) for one in np.unique(stratum)]
    between = float(readings.figures.var(ddof=1)) / runs if runs > 1 else 0.0
    total = between + max(sum(part.variance for part in parts), 0.0)
    if total <= 1e-24:
        return None
    error = total**0.5
    if runs > 1 and textbook:
        freedom = satterthwaite(total, [Part(between, runs - 1)])
    else:
        freedom = of_both(between, runs, parts)
    return _Reach(error, freedom)


class Part(NamedTuple):
    """A part of the variance of the mean over runs, with the degrees of freedom that it was estimated with."""

    variance: float
    freedom: float


def of_both(between: float, runs: int, parts: Sequence[Part]) -> float:
    """Degrees of freedom of the mean over runs: what runs add (`between`) and what the patients' parts do."""
    of_patients = max(sum(part.variance for part in parts), 0.0)
    if runs == 1:
        return satterthwaite(of_patients, parts)
    least = between + _UNSEEN * of_patients
    return min(
        satterthwaite(of_runs + of_patients, [Part(of_runs, runs - 1), *parts])
        for of_runs in (between, least)
    )


def satterthwaite(variance: float, parts: Sequence[Part]) -> float:
    """Degrees of freedom of a sum of variances, each with those that it was estimated with."""
    spread = sum(part.variance**2 / part.freedom for part in parts)
    return variance**2 / spread if spread else float("inf")


def covariance(without: np.ndarray) -> np.ndarray:
    """Of S runs over the patients of one class, [S, S], from the figures without each [G, S]."""
    count = len(without)
    deviation = without - without.mean(axis=0)
    return np.asarray((count - 1) / count * deviation.T @ deviation)


def shared(without: np.ndarray) -> Part:
    """What the patients of one class add to the variance of the mean over runs; without: [G, S]."""
    count, runs = without.shape
    between = covariance(without)
    if runs == 1:
        variance = between[0, 0]
    else:  # of two different runs: what a run has for itself is in MS already
        variance = (between.sum() - np.trace(between)) / (runs * (runs - 1))
    deviation = without - without.mean(axis=0)
    influence = deviation.mean(axis=1) ** 2
    total = influence.sum()
    carriers = total**2 / (influence**2).sum() if total else count
    freedom = 2 / max(1 / carriers - 1 / count, 1e-9)
    return Part(float(variance), float(np.clip(freedom, 1, max(count - 1, 1))))
