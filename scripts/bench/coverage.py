"""How often an interval covers and a test errs in simulated studies: runs as readers, beside the old bootstrap.

    python scripts/bench/coverage.py --figure=auc --patients=10,40 --seeds=2,5 --between=0,0.03 --studies=1000

Every combination of the lists is a cell: `--studies` studies of two equally good depths, or with `--gain` of one that
is better by so much, so that the columns "different" are power. A line a cell, as a row of a Markdown table.

A score is the sum of what all runs see in a patient and image (0.6 of the variance), what one depth sees (0.15) and
what one run sees (0.25), half of each by patient and half by image, and of the class. The AUC of a run is drawn around
`--auc` with the standard deviation `--between`. The truth that is to be covered is the figure of infinitely many
patients, the mean of it over all runs; with one seed, that of the very run.

Figures: "sensitivity" is at a false positive rate of 0.10, "threshold" the sensitivity at a threshold that each run
brings from validation (half-way between the classes, with a standard deviation of 0.2), "brier" and "calibration_error"
are of log-odds 1.5 times as far from 0 as calibrated ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from medtune_jax.evaluation import AUC, AUPRC, Metric, log_odds, readers, roc
from medtune_jax.evaluation.boundary import mean_by_run
from medtune_jax.evaluation.classification import BINS, Classification
from medtune_jax.evaluation.froc import Detections, runs_statistic
from medtune_jax.evaluation.readers import Estimate, Scale
from medtune_jax.evaluation.sweep import Statistic

RESAMPLES = 400
COMMON, OF_DEPTH, OF_RUN = 0.6, 0.15, 0.25
FALSE_POSITIVE_RATE, FALSE_PER_IMAGE, REACHED = 0.10, 2.0, 0.9
OF_PROBABILITIES = ("threshold", "brier", "calibration_error")
FIGURES = ("auc", "auprc", "sensitivity", "froc", "error", *OF_PROBABILITIES)
OF_VALIDATION, TOO_SURE = 0.2, 1.5


class Cell(NamedTuple):
    """A kind of study. between: standard deviation of AUC (of an error: relative) between runs of a depth."""

    figure: str
    patients: int
    images: int
    seeds: int
    between: float
    auc: float


class Drawn(NamedTuple):
    """One study. depths: statistics of runs. members: patients of each class, an image each. truth: by run [S]."""

    depths: tuple[Statistic, Statistic]
    groups: np.ndarray
    kinds: list[np.ndarray]
    members: list[np.ndarray]
    truth: np.ndarray
    scale: Scale = "logit"
    in_steps: bool = False
    least_images: int = readers.LEAST_IMAGES


def merits(rng: np.random.Generator, cell: Cell, auc: float, count: int) -> np.ndarray:
    """Distances of the classes [count] in standard deviations, of runs whose AUCs are symmetric around `auc`."""
    room = 0.999 - auc
    aucs = auc + np.clip(rng.normal(0, cell.between, count), -room, room)
    return np.asarray(norm.ppf(aucs) * 2**0.5)


def effects(rng: np.random.Generator, patient: np.ndarray, *shape: int) -> np.ndarray:
    """[..., N] of unit variance, half of it shared by a patient's images."""
    of_patients = rng.normal(size=(*shape, patient.max() + 1))[..., patient]
    return np.asarray((of_patients + rng.normal(size=(*shape, patient.size))) * 0.5**0.5)


def noise(rng: np.random.Generator, patient: np.ndarray, seeds: int, depths: int = 2) -> np.ndarray:
    """What no class explains, [D, S, N]."""
    shares = (
        effects(rng, patient),
        effects(rng, patient, depths, 1),
        effects(rng, patient, depths, seeds),
    )
    parts = (v**0.5 * e for v, e in zip((COMMON, OF_DEPTH, OF_RUN), shares, strict=True))
    return np.asarray(sum(parts))


def precision_area(distance: np.ndarray) -> np.ndarray:
    """Area under precision over recall of two normal classes of one size, [S]."""
    recall = (np.arange(2000) + 0.5) / 2000
    at = distance[:, None] + norm.ppf(1 - recall)
    return np.asarray((recall / (recall + norm.sf(at))).mean(axis=1))


def draw(rng: np.random.Generator, cell: Cell, gain: float) -> Drawn:
    if cell.figure == "error":
        return draw_errors(rng, cell, gain)
    if cell.figure == "froc":
        return draw_detections(rng, cell, gain)
    if cell.figure in OF_PROBABILITIES:
        return draw_probabilities(rng, cell, gain)
    patient = np.repeat(np.arange(cell.patients), cell.images)
    labels = patient % 2
    distance = np.stack([merits(rng, cell, auc, cell.seeds) for auc in (cell.auc, cell.auc - gain)])
    scores = noise(rng, patient, cell.seeds) + distance[..., None] * labels
    metric, truth = figure_of(cell, distance[0])
    kinds = [labels == 1, labels == 0]
    first, second = (metric.statistic(labels, log_odds.two_sided(one)) for one in scores)
    members = [patient[kind] for kind in kinds]
    in_steps = cell.figure == "sensitivity"
    return Drawn((first, second), patient, kinds, members, truth, in_steps=in_steps)


def figure_of(cell: Cell, distance: np.ndarray) -> tuple[Metric, np.ndarray]:
    """The metric, and its truth for runs of these distances [S]."""
    if cell.figure == "auc":
        return AUC, np.asarray(norm.cdf(distance / 2**0.5))
    if cell.figure == "auprc":
        return AUPRC, precision_area(distance)
    metric = roc.at_false_positive_rates(AUC, [FALSE_POSITIVE_RATE])
    return metric, np.asarray(norm.cdf(distance - norm.isf(FALSE_POSITIVE_RATE)))


def draw_probabilities(rng: np.random.Generator, cell: Cell, gain: float) -> Drawn:
    """Log-odds of runs, each with its threshold."""
    patient = np.repeat(np.arange(cell.patients), cell.images)
    labels = patient % 2
    distance = np.stack([merits(rng, cell, auc, cell.seeds) for auc in (cell.auc, cell.auc - gain)])
    at = distance / 2 + rng.normal(0, OF_VALIDATION, distance.shape)
    scores = noise(rng, patient, cell.seeds) + distance[..., None] * labels
    name = "sensitivity" if cell.figure == "threshold" else cell.figure

    def statistic(depth: int) -> Statistic:
        slope, middle = TOO_SURE * distance[depth, :, None], distance[depth, :, None] / 2
        odds = slope * (scores[depth] - middle)
        thresholds = slope * (at[depth, :, None] - middle)
        two = log_odds.two_sided(odds)
        made = Classification(labels, two, patient, thresholds=thresholds)
        place, of_task = made.names.index(name), made.statistic(0)
        return lambda weights: of_task(weights)[..., place]

    kinds = [labels == 1, labels == 0]
    members = [patient[kind] for kind in kinds]
    truth = truth_of_probabilities(cell.figure, distance[0], at[0])
    return Drawn((statistic(0), statistic(1)), patient, kinds, members, truth)


def truth_of_probabilities(figure: str, distance: np.ndarray, at: np.ndarray) -> np.ndarray:
    """By integration over the scores of both classes, [S]."""
    if figure == "threshold":
        return np.asarray(norm.cdf(distance - at))
    score = np.linspace(-6, 10, 1601)[:, None]
    of_class = [norm.pdf(score + 0 * distance), norm.pdf(score - distance)]
    of_class = [density / density.sum(axis=0) / 2 for density in of_class]
    said = log_odds.probabilities(TOO_SURE * distance * (score - distance / 2))
    if figure == "brier":
        return np.asarray((of_class[0] * said**2 + of_class[1] * (1 - said) ** 2).sum(axis=0))
    gap = of_class[1] * (1 - said) - of_class[0] * said
    place = np.minimum((said * BINS).astype(int), BINS - 1)
    return np.asarray(sum(np.abs((gap * (place == b)).sum(axis=0)) for b in range(BINS)))


def draw_detections(rng: np.random.Generator, cell: Cell, gain: float) -> Drawn:
    """Every other image has a lesion, which a candidate hits with 0.9; 2 false candidates an image; 1 is allowed."""
    groups = np.repeat(np.arange(cell.patients), cell.images)
    ill = np.arange(0, groups.size, 2)
    hit = np.flatnonzero(rng.random(ill.size) < REACHED)
    false = np.repeat(np.arange(groups.size), rng.poisson(FALSE_PER_IMAGE, groups.size))
    image = np.concatenate([ill[hit], false])
    lesion = np.concatenate([hit, np.full(false.size, -1)])
    distance = np.stack([merits(rng, cell, auc, cell.seeds) for auc in (cell.auc, cell.auc - gain)])
    scores = noise(rng, groups[image], cell.seeds) if image.size else np.zeros((2, cell.seeds, 0))
    scores = scores + distance[..., None] * (lesion >= 0)
    first, second = (
        runs_statistic([Detections(groups.size, ill, image, run, lesion) for run in one], [1.0])
        for one in scores
    )
    kinds = [np.isin(np.arange(groups.size), ill)]
    truth = REACHED * norm.cdf(distance[0] - norm.isf(1 / FALSE_PER_IMAGE))
    return Drawn(
        (first, second),
        groups,
        [*kinds, ~kinds[0]],
        [groups[ill]],
        np.asarray(truth),
        in_steps=True,
    )


def draw_errors(rng: np.random.Generator, cell: Cell, gain: float) -> Drawn:
    """Errors around 1, log-normal by subject and region, a factor by run."""
    subject = np.repeat(np.arange(cell.patients), cell.images)
    factors = np.clip(rng.normal(1, cell.between, (2, cell.seeds)), 0.5, 1.5)
    factors[1] += gain
    errors = factors[..., None] * np.exp(0.4 * noise(rng, subject, cell.seeds) - 0.4**2 / 2)
    first, second = map(mean_by_run, errors)
    return Drawn((first, second), subject, [], [subject], factors[0], "log", least_images=1)


class Answers(NamedTuple):
    mean: Estimate
    difference: Estimate


def of_runs(study: Drawn) -> Answers:
    """The method of the package."""
    if readers.lacking(study.members, images=study.least_images):
        return Answers(Estimate(None), Estimate(None))
    first, second = (
        readers.read(flat(depth), study.groups, study.kinds, study.in_steps)
        for depth in study.depths
    )
    if (
        study.scale == "log"
    ):  # a difference of errors is a mean of differences: evaluation/paired.py
        gain = readers.of_contrast([(1, first), (-1, second)])
    else:
        gain = readers.of_difference(first, second, study.scale)
    return Answers(readers.of_mean(first, study.scale), gain)


def flat(statistic: Statistic) -> Statistic:
    """[R, S] of a statistic of one figure, whether or not it has an axis for it."""
    return lambda weights: statistic(weights).reshape(len(weights), -1)


def by_bootstrap(study: Drawn, rng: np.random.Generator) -> Answers:
    """What the package did before: patients drawn again, runs averaged, percentiles."""
    count = study.groups.max() + 1
    holders = np.array([np.isin(np.arange(count), member) for member in study.members])
    draws = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    while (bad := (draws @ holders.T == 0).any(axis=1)).any():
        draws[bad] = rng.multinomial(count, np.full(count, 1 / count), size=bad.sum())
    weights = draws[:, study.groups].astype(float)
    first, second = (flat(depth)(weights).mean(axis=1) for depth in study.depths)
    low, high = np.quantile(first, [0.025, 0.975])
    side = min((first <= second).sum(), (first >= second).sum())
    p = min(1.0, 2 * (side + 1) / (RESAMPLES + 1))
    return Answers(Estimate(None, low, high), Estimate(None, p=p))


def of_cell(cell: Cell, studies: int, gain: float, old: bool) -> str:
    """The cell's row of the table."""
    rng = np.random.default_rng(0)
    many = draw(rng, cell._replace(seeds=4000, patients=2, images=1), gain).truth.mean()
    found: list[tuple[float, Answers, Answers | None]] = []
    for _ in range(studies):
        study = draw(rng, cell, gain)
        truth = study.truth[0] if cell.seeds == 1 else many
        found.append((truth, of_runs(study), by_bootstrap(study, rng) if old else None))
    new = [(truth, answers) for truth, answers, _ in found]
    past = [(truth, answers) for truth, _, answers in found if answers]
    return f"| {' | '.join((*map(str, cell), *summary(new), *summary(past)))} |"


def summary(found: Sequence[tuple[float, Answers]]) -> Iterator[str]:
    """Share that covers and share called different, each of those given, with the share that is not given."""
    covered = [x.low <= truth <= x.high for truth, (x, _) in found if x.low is not None]
    different = [x.p < 0.05 for _, (_, x) in found if x.p is not None]
    for known in (covered, different):
        none = 1 - len(known) / len(found) if found else 1.0
        yield (f"{np.mean(known):.3f}" if known else "–") + (f" (none {none:.2f})" if none else "")


def listed(kind: type) -> object:
    return lambda text: [kind(part) for part in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--figure", type=listed(str), default=["auc"], help=", ".join(FIGURES))
    parser.add_argument("--patients", type=listed(int), default=[6, 10, 20, 40, 80, 160])
    parser.add_argument("--images", type=listed(int), default=[1, 4, 10], help="of each patient")
    parser.add_argument("--seeds", type=listed(int), default=[1, 2, 3, 5, 10])
    parser.add_argument("--between", type=listed(float), default=[0.0, 0.01, 0.03])
    parser.add_argument("--auc", type=listed(float), default=[0.7, 0.85, 0.95])
    parser.add_argument("--studies", type=int, default=1000, help="a cell")
    parser.add_argument(
        "--gain", type=float, default=0.0, help="how much better the first depth is"
    )
    parser.add_argument("--no-old", dest="old", action="store_false", help="without the bootstrap")
    options = parser.parse_args()
    unknown = set(options.figure) - set(FIGURES)
    if unknown:
        parser.error(f"unknown figure {', '.join(unknown)}: {', '.join(FIGURES)} are known")
    print(
        "| figure | patients | images | seeds | between | AUC | covers | different | old covers | old different |"
    )
    print("|" + "---|" * 10)
    lists = (options.figure, options.patients, options.images, options.seeds, options.between)
    for values in product(*lists, options.auc):
        print(of_cell(Cell(*values), options.studies, options.gain, options.old), flush=True)


if __name__ == "__main__":
    main()
