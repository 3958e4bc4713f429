"""Whether a study of the planned size finds what it was planned to find, in simulated pairs of a pilot and that study.

    python scripts/bench/power.py --pilot=40 --seeds=3,10 --between=0,0.01 --detect=0.06 --studies=300

Every combination of the lists is a cell: `--studies` times a pilot of `--depths` equally good depths is drawn, its
components say how many test patients show a difference of `--detect` with a power of 0.8 and so many seeds, and a study
of that size is drawn in which one depth is better by just that. A line a cell, as a row of a Markdown table: the
planned patients (median and middle nine tenths), the share of the studies that found the difference at p < 0.05, the
share of pilots that bear no plan, and of those that say no number of patients does. Scores as in coverage.py.
"""

from __future__ import annotations

import argparse
from itertools import combinations, product
from typing import NamedTuple

import numpy as np
from coverage import Cell as Drawn
from coverage import listed, merits, noise

from medtune_jax.errors import UserError
from medtune_jax.evaluation import AUC, difference, log_odds
from medtune_jax.evaluation.intervals import readings
from medtune_jax.evaluation.planning import POWER, components, needed_patients


class Cell(NamedTuple):
    """A pilot, and the seeds of the study it is to plan. between: standard deviation of AUC between runs of a depth."""

    pilot: int
    pilot_seeds: int
    depths: int
    images: int
    between: float
    auc: float
    detect: float
    seeds: int


def scores(
    rng: np.random.Generator, cell: Cell, patients: int, seeds: int, aucs: list[float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels [N], patients [N] and log-odds [D, S, N] of depths of these AUCs."""
    patient = np.repeat(np.arange(patients), cell.images)
    labels = patient % 2
    kind = Drawn("auc", patients, cell.images, seeds, cell.between, cell.auc)
    distance = np.stack([merits(rng, kind, auc, seeds) for auc in aucs])
    return labels, patient, noise(rng, patient, seeds, len(aucs)) + distance[..., None] * labels


def planned(rng: np.random.Generator, cell: Cell) -> int | None:
    """The patients that a pilot plans with; UserError where it bears no plan."""
    aucs = [cell.auc] * cell.depths
    labels, patient, drawn = scores(rng, cell, cell.pilot, cell.pilot_seeds, aucs)
    read = [readings(AUC, labels, log_odds.two_sided(depth), patient) for depth in drawn]
    return needed_patients(components(list(combinations(read, 2))), cell.seeds, cell.detect)


def found(rng: np.random.Generator, cell: Cell, patients: int) -> bool:
    """Whether a study of so many patients calls the better depth different."""
    aucs = [cell.auc + cell.detect / 2, cell.auc - cell.detect / 2]
    labels, patient, (one, other) = scores(rng, cell, patients, cell.seeds, aucs)
    gain = difference(AUC, labels, one, other, patient)
    return gain.p is not None and gain.p < 0.05


def of_cell(cell: Cell, studies: int, most: int) -> str:
    """The cell's row of the table. most: patients; larger plans are counted as none."""
    rng = np.random.default_rng(0)
    sizes: list[int] = []
    hits: list[bool] = []
    unborne = 0
    for _ in range(studies):
        try:
            patients = planned(rng, cell)
        except UserError:
            unborne += 1
            continue
        if patients is not None and patients <= most:
            sizes.append(patients)
            hits.append(found(rng, cell, patients))
    none = studies - unborne - len(sizes)
    middle = (
        "{1:.0f} ({0:.0f}-{2:.0f})".format(*np.quantile(sizes, [0.05, 0.5, 0.95])) if sizes else "–"
    )
    power = f"{np.mean(hits):.2f}" if hits else "–"
    shares = (f"{unborne / studies:.2f}", f"{none / studies:.2f}")
    return f"| {' | '.join((*map(str, cell), middle, power, *shares))} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--pilot", type=listed(int), default=[40], help="test patients of the pilot"
    )
    parser.add_argument("--pilot-seeds", type=listed(int), default=[3])
    parser.add_argument("--depths", type=listed(int), default=[5], help="of the pilot")
    parser.add_argument("--images", type=listed(int), default=[4], help="of each patient")
    parser.add_argument("--between", type=listed(float), default=[0.0, 0.01])
    parser.add_argument("--auc", type=listed(float), default=[0.85])
    parser.add_argument("--detect", type=listed(float), default=[0.06])
    parser.add_argument("--seeds", type=listed(int), default=[3, 10], help="of the planned study")
    parser.add_argument("--studies", type=int, default=300, help="a cell")
    parser.add_argument(
        "--most", type=int, default=2000, help="patients; a larger plan is not tried"
    )
    options = parser.parse_args()
    print(
        f"| {' | '.join(Cell._fields)} | planned patients | power ({POWER} planned) | no plan | no number |"
    )
    print("|" + "---|" * (len(Cell._fields) + 4))
    lists = [getattr(options, name) for name in Cell._fields]
    for values in product(*lists):
        print(of_cell(Cell(*values), options.studies, options.most), flush=True)


if __name__ == "__main__":
    main()
