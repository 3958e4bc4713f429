"""Whether depths that are said to be among the best with some chance are so that often, in simulated studies.

    python scripts/bench/chance.py --patients=20,80 --seeds=3,5 --spread=0,0.02 --studies=300

Every combination of the lists is a cell: `--studies` studies of `--depths` depths whose true AUCs are drawn around 0.85
with the standard deviation `--spread`. A line a cell, as a row of a Markdown table: for each fifth of the chances
that `choice.on_test` states, the share of the depths that truly lie within 0.01 of the best, and in brackets how many
depths were told so. Scores as in coverage.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np
from coverage import Cell as Drawn
from coverage import listed, merits, noise

from medtune_jax.evaluation import AUC, log_odds
from medtune_jax.evaluation.choice import MARGIN, on_test
from medtune_jax.evaluation.intervals import readings

CENTRE = 0.85
EDGES = (0.2, 0.4, 0.6, 0.8)


class Cell(NamedTuple):
    """between: standard deviation of AUC between runs of a depth. spread: of the true AUC between depths."""

    patients: int
    images: int
    seeds: int
    depths: int
    between: float
    spread: float


def of_study(rng: np.random.Generator, cell: Cell) -> Iterator[tuple[float, bool]]:
    """The chance that is stated of each depth, and whether it truly lies within the margin."""
    patient = np.repeat(np.arange(cell.patients), cell.images)
    labels = patient % 2
    aucs = np.clip(CENTRE + cell.spread * rng.normal(size=cell.depths), 0.6, 0.98)
    kind = Drawn("auc", cell.patients, cell.images, cell.seeds, cell.between, CENTRE)
    distance = np.stack([merits(rng, kind, auc, cell.seeds) for auc in aucs])
    scores = noise(rng, patient, cell.seeds, cell.depths) + distance[..., None] * labels
    read = {
        str(depth): readings(AUC, labels, log_odds.two_sided(runs), patient)
        for depth, runs in enumerate(scores)
    }
    stated, _ = on_test(read, {depth: range(cell.seeds) for depth in read}, MARGIN)
    truly = aucs >= aucs.max() - MARGIN
    return ((chance, bool(truly[int(depth)])) for depth, chance in stated.items())


def of_cell(cell: Cell, studies: int) -> str:
    """The cell's row of the table."""
    rng = np.random.default_rng(0)
    pairs = [pair for _ in range(studies) for pair in of_study(rng, cell)]
    stated, truly = map(np.array, zip(*pairs, strict=True))
    fifth = np.digitize(stated, EDGES)
    shares = [
        f"{truly[fifth == k].mean():.2f} ({(fifth == k).sum()})" if (fifth == k).any() else "–"
        for k in range(len(EDGES) + 1)
    ]
    return f"| {' | '.join((*map(str, cell), *shares))} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--patients", type=listed(int), default=[20, 80])
    parser.add_argument("--images", type=listed(int), default=[4], help="of each patient")
    parser.add_argument("--seeds", type=listed(int), default=[3, 5])
    parser.add_argument("--depths", type=listed(int), default=[5])
    parser.add_argument("--between", type=listed(float), default=[0.01])
    parser.add_argument("--spread", type=listed(float), default=[0.0, 0.02])
    parser.add_argument("--studies", type=int, default=300, help="a cell")
    options = parser.parse_args()
    bounds = (0.0, *EDGES, 1.0)
    fifths = [f"{low:g}–{high:g}" for low, high in pairwise(bounds)]
    print(f"| {' | '.join((*Cell._fields, *fifths))} |")
    print("|" + "---|" * (len(Cell._fields) + len(fifths)))
    for values in product(*(getattr(options, name) for name in Cell._fields)):
        print(of_cell(Cell(*values), options.studies), flush=True)


if __name__ == "__main__":
    main()
