"""What the report says of rates and epochs."""

import json

import pytest

from medtune_jax.evaluation.convergence import still_improving
from medtune_jax.paths import csv_bytes
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.fairness import doubts, rates
from medtune_jax.report.load import load_study
from medtune_jax.report.results import write_results
from tests.report.fake_study import write_study


@pytest.mark.parametrize(
    ("best", "epochs", "improving"), [(1, 1, True), (1, 2, True), (8, 10, False), (9, 10, True)]
)
def test_a_best_epoch_among_the_last_two_is_still_improving(best, epochs, improving):
    assert still_improving(best, epochs) is improving


def study(folder, best=lambda depth: 10, factor=None):
    """20 epochs a run. best: epoch by depth. factor: the one chosen, by depth, of a search."""
    write_study(folder, depths=("conv10", "fire9", "scratch"), fractions=(1.0,), seeds=2)
    for path in folder.glob("runs/*/result.json"):
        result = json.loads(path.read_text())
        result["best_epoch"] = best(result["depth"])
        if factor:
            won = factor(result["depth"])
            result |= {"rate_factor": won, "rate": 1e-4 * won, "head_rate": 1e-3 * won}
            result["search"] = [
                {
                    "rate_factor": tried,
                    "validation": 0.8 + 0.1 * (tried == won),
                    "reason": "diverged at step 3" if tried > won else None,
                }
                for tried in (1 / 3, 1.0, 3.0)
            ]
        path.write_text(json.dumps(result))
    return load_study(folder)


def test_runs_that_were_still_improving_are_named_with_the_field_to_raise(tmp_path):
    (note,) = doubts(study(tmp_path, lambda depth: 19 if depth == "scratch" else 18))
    assert note.startswith("Still improving: ") and "of 2 of 6 runs (scratch: 2 of 2)." in note
    assert note.endswith("raise training.scratch.epochs.")


def test_nothing_is_said_where_all_had_enough(tmp_path):
    found = study(tmp_path, factor=lambda depth: 1.0)
    assert doubts(found) == []
    assert "still improving" not in rates(Evidence(found)).html


def test_a_rate_at_the_edge_of_the_grid_is_said(tmp_path):
    found = study(tmp_path, factor={"conv10": 1.0, "fire9": 3.0, "scratch": 1 / 3}.get)
    (note,) = doubts(found)
    assert "best of 4 of 6 runs (fire9-conv10: 2 of 2; scratch: 2 of 2)." in note
    page = str(rates(Evidence(found)).html)
    assert page.count("×3 (edge), ×3 (edge)") == 1
    assert page.count("×1/3 (edge), ×1/3 (edge)") == 1
    assert "×1/3 0.800; ×1 0.900; ×3 2 diverged" in page


@pytest.mark.parametrize(("after", "told"), [(0.70, True), (0.79, False), (0.85, False)])
def test_a_last_phase_that_undoes_the_first_is_said(tmp_path, after, told):
    """Two epochs of the head, which reach 0.8, then two of more stages."""
    write_study(tmp_path, depths=("conv10", "fire9"), fractions=(1.0,), seeds=1)
    [path] = tmp_path.glob("runs/fire9*/result.json")
    path.write_text(
        json.dumps({**json.loads(path.read_text()), "epochs_before": 2, "best_epoch": 1})
    )
    rows = [(1, 9, 0.5, 0.7), (2, 18, 0.4, 0.8), (3, 27, 0.9, 0.5), (4, 36, 0.6, after)]
    head = ("epoch", "batches", "loss", "validation")
    (path.parent / "history.csv").write_bytes(csv_bytes([head, *rows]))
    notes = [note for note in doubts(load_study(tmp_path)) if note.startswith("Undone")]
    assert bool(notes) is told
    assert not told or "of 1 of 2 runs (" in notes[0]


def test_a_study_without_rates_on_record_is_read_all_the_same(tmp_path):
    """One made before rates were kept: the mark follows from its epochs."""
    found = study(tmp_path, lambda depth: 20)
    assert "6 of 6 runs" in doubts(found)[0]
    assert "No rates were searched" in rates(Evidence(found)).html
    text = write_results(found).read_text().splitlines()
    assert text[0].endswith("rate_factor,rate,head_rate,still_improving")
    assert all(line.endswith(",,,,1") for line in text[1:])
