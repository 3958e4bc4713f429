"""A whole small study: sweep, results and report."""

import numpy as np
import pytest

from medtune_jax.applications.polyps import drawings, task
from medtune_jax.applications.polyps.report import SECTIONS, froc, merit
from medtune_jax.applications.polyps.show import read_shown
from medtune_jax.applications.polyps.truth import read_truth
from medtune_jax.evaluation import log_odds
from medtune_jax.evaluation.froc import PER_FRAME, sensitivity_at, sensitivity_difference
from medtune_jax.report import write_report
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.froc import FIRST_SEED, HAND_CRAFTED, FrocEvidence
from medtune_jax.report.load import load_study
from medtune_jax.study import sweep
from tests.applications.polyps.small_study import perfect, polyp_config, write_videos


def noisy(cases, data):
    """The candidates of `perfect` with scores that overlap."""
    rng = np.random.default_rng(0)
    return [
        [c._replace(score=c.score + rng.normal(0, 0.4)) for c in row]
        for row in perfect(cases, data)
    ]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    config = polyp_config(write_videos(folder / "videos", 12), train_patches=200, test_variants=2)
    config.sweep.depths, config.sweep.fractions = "conv10", "1.0,0.5"
    config.training.epochs = 4
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task, "find_candidates", noisy)
        return sweep(config, folder / "out", quiet=True)


@pytest.fixture(scope="module")
def evidence(study):
    return Evidence(load_study(study))


@pytest.fixture
def results(study, evidence):
    truth = read_truth(study)
    return FrocEvidence(evidence, truth, truth.hand_crafted)


def test_the_report_shows_all_sections_and_saves_their_figures(study):
    page = write_report(study, SECTIONS).read_text()
    for title in (
        "Polyp detection: FROC", "Maximum-likelihood FROC", "Networks against the hand-crafted",
        "Detections to check", "Patches to check",
    ):  # fmt: skip
        assert title in page
    for name in ("froc", "froc_model", "detections", "patches"):
        assert (study / "figures" / f"{name}.svg").stat().st_size > 5000


def test_figures_of_the_report_are_those_of_the_runs(evidence, results):
    """The report averages patches and seeds anew; `evaluate` did it during the sweep."""
    for fraction in (1.0, 0.5):
        runs = evidence.study.cell("conv10", fraction)
        for rate in (0.001, 0.01, 0.1):
            expected = np.mean([run.result[f"sensitivity_at_{rate:g}"] for run in runs])
            curve = results.curve(("conv10", fraction), [rate])
            assert curve[0] == pytest.approx(expected, abs=1e-6)


def test_the_answer_is_the_mean_sensitivity_of_the_runs(evidence):
    cell = ("conv10", 1.0)
    rows = [
        [run.result[f"sensitivity_at_{r:g}"] for r in PER_FRAME]
        for run in evidence.study.cell(*cell)
    ]
    figures = merit(evidence).readings(cell).figures
    np.testing.assert_allclose(figures, np.mean(rows, axis=1), atol=1e-6)


def test_one_detector_gives_what_the_froc_functions_give(results):
    truth = results.truth
    marks = truth.detections(truth.hand_crafted)
    expected = sensitivity_at([marks], [0.1, 1.0], truth.groups)
    assert results.sensitivity(HAND_CRAFTED, [0.1, 1.0]) == expected
    cell = ("conv10", 0.5)
    seeds = [truth.detections(row) for row in results.scores(cell)]
    assert results.sensitivity(cell, [0.1], FIRST_SEED) == sensitivity_at(
        seeds[:1], [0.1], truth.groups
    )
    assert results.difference(cell, HAND_CRAFTED, [0.1]) == sensitivity_difference(
        seeds, [marks], [0.1], truth.groups
    )


def test_boxes_carry_probabilities(study, results, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        drawings, "draw_detections", lambda image, boxes, _: drawn.extend(boxes) or image
    )
    cell = ("conv10", 1.0)
    drawings.overlays(results, cell, read_shown(study / "application"))
    assert results.scores(cell).min() < 0  # log-odds
    probabilities = log_odds.probabilities(results.scores(cell)).mean(0)
    assert drawn and {box.score for box in drawn} <= set(probabilities.tolist())


def test_without_results_there_is_no_section(study, evidence):
    empty = Evidence(load_study(study))
    object.__setattr__(empty.study, "runs", ())
    empty.cells, empty.study.__dict__["_cells"] = [], {}
    empty.__dict__.pop("recommendations", None)
    assert froc(empty) is None
