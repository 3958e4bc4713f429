"""Two studies of the same candidates side by side: vessel-aligned planes against orthogonal slices, say.

python -m medtune_jax.applications.embolism.compare STUDY OTHER
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

from medtune_jax.applications.embolism.report import froc_evidence
from medtune_jax.applications.embolism.truth import TRUTH, truth_files
from medtune_jax.errors import UserError
from medtune_jax.evaluation import AUC, difference
from medtune_jax.evaluation.froc import PER_VOLUME, sensitivity_difference
from medtune_jax.evaluation.readers import Estimate
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.load import load_study


class Gain(NamedTuple):
    """First minus other at one depth and fraction, over the seeds that both have, paired by patient and by seed."""

    depth: str
    fraction: float
    auc: Estimate
    sensitivity: Estimate  # mean at 1 to 5 false positives per volume


def compare(first: Path, other: Path) -> list[Gain]:
    """The gains at every depth and fraction that both studies finished.

    Raises UserError when they were not scored on the same candidates.
    """
    one, two = (froc_evidence(Evidence(load_study(path))) for path in (first, other))
    if truth_files(one.truth)[TRUTH] != truth_files(two.truth)[TRUTH]:
        raise UserError(
            f"{first} and {other} have other test candidates: run both on the same data"
        )
    shared = [cell for cell in one.evidence.cells if two.evidence.has(*cell)]
    if not shared:
        raise UserError(f"{first} and {other} share no finished depth and fraction")
    truth = one.truth
    gains = []
    for cell in shared:
        seeds = [s for s in one.evidence.seeds(cell) if s in two.evidence.seeds(cell)]
        if not seeds:
            raise UserError(
                f"{first} and {other} share no seed of {cell[0]}: runs are compared seed by seed"
            )
        scores, others = (results.scores_of(cell, seeds) for results in (one, two))
        auc = difference(AUC, truth.positive.astype(int), scores, others, truth.candidate_groups)
        marks, other_marks = ([truth.detections(row) for row in rows] for rows in (scores, others))
        sensitivity = sensitivity_difference(marks, other_marks, PER_VOLUME, truth.groups)
        gains.append(Gain(*cell, auc, sensitivity))
    return gains


def _text(found: Estimate) -> str:
    if found.low is None:
        return f"{found.estimate:+.3f} (no interval: {found.why})"
    text = f"{found.estimate:+.3f} ({found.low:+.3f} to {found.high:+.3f}), "
    return text + (f"no p: {found.why}" if found.p is None else f"p {found.p:.3f}")


def main(arguments: list[str]) -> int:
    """Prints a Markdown table; exit code 2 for bad input."""
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        gains = compare(*map(Path, arguments))
    except UserError as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2
    print("| depth | emboli | AUC by candidate | mean sensitivity at 1 to 5 |\n|---|---|---|---|")
    for depth, fraction, auc, sensitivity in gains:
        print(f"| {depth} | {fraction:.0%} | {_text(auc)} | {_text(sensitivity)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
