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
from medtune_jax.evaluation.intervals import Difference
from medtune_jax.evaluation.log_odds import two_sided
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.load import load_study


class Gain(NamedTuple):
    """First minus other at one depth and fraction, mean over seeds, paired by patient."""

    depth: str
    fraction: float
    auc: Difference
    sensitivity: Difference  # mean at 1 to 5 false positives per volume


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
        scores, others = (two_sided(results.scores(cell)) for results in (one, two))
        auc = difference(AUC, truth.positive.astype(int), scores, others, truth.candidate_groups)
        marks, other_marks = one.detections(cell), two.detections(cell)
        sensitivity = sensitivity_difference(marks, other_marks, PER_VOLUME, truth.groups)
        gains.append(Gain(*cell, auc, sensitivity))
    return gains


def _text(difference: Difference) -> str:
    estimate, low, high, p = difference
    return f"{estimate:+.3f} ({low:+.3f} to {high:+.3f}), p {p:.3f}"


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
