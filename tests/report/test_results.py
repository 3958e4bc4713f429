"""results.csv: a row for every planned run, with the figures of its scores."""

import json
import re

import numpy as np
import pytest

from medtune_jax.evaluation import AUC, AUPRC, log_odds
from medtune_jax.evaluation.log_odds import two_sided
from medtune_jax.report import write_report
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.load import load_study
from medtune_jax.report.results import COLUMNS, write_results
from tests.report.fake_study import DEPTHS, write_study
from tests.report.reading import damage, table_rows, text_of


def test_results_has_a_row_for_every_planned_run(study_dir):
    rows = table_rows(study_dir)
    assert len(rows) == 11 * 2 * 3
    by_status = {s: [r for r in rows if r["status"] == s] for s in ("done", "failed", "missing")}
    assert [len(found) for found in by_status.values()] == [63, 1, 2]
    done = by_status["done"][0]
    result = json.loads((study_dir / "runs" / done["run"] / "result.json").read_text())
    assert float(done["test"]) == result["test"] and done["metric"] == "auc"
    assert float(done["validation"]) == result["validation"] and float(done["seconds"]) > 0
    failed = by_status["failed"][0]
    assert failed["reason"] == "diverged at step 12 <rate 0.001>" and failed["test"] == ""


def test_results_order_is_shallow_to_deep_large_to_small(study_dir):
    keys = [
        (DEPTHS.index(r["depth"]), -float(r["fraction"]), int(r["seed"]))
        for r in table_rows(study_dir)
    ]
    assert keys == sorted(keys)


def test_the_applications_figures_are_columns(tmp_path):
    """Of any run, in the order they appear, after the fixed ones."""
    directory = write_study(
        tmp_path,
        depths=("conv10",),
        fractions=(1.0,),
        figures=lambda seed: {"sensitivity_at_1": 0.5, "regions": [1]} if seed else {"error_um": 7},
    )
    table = write_results(load_study(directory)).read_text().splitlines()
    assert table[0] == ",".join((*COLUMNS, "error_um", "sensitivity_at_1"))
    assert [row.split(",")[-2:] for row in table[1:]] == [["7", ""], ["", "0.5"], ["", "0.5"]]


@pytest.mark.parametrize("options", [{}, {"scale": 100.0}, {"doubtful": 41, "metric": AUPRC}])
def test_a_result_is_the_metric_of_its_scores(tmp_path, options):
    """Also where probabilities saturate and where some images are not judged."""
    directory = write_study(tmp_path, depths=("conv10", "scratch"), fractions=(1.0,), **options)
    study = load_study(directory)
    assert not any(run.differs for run in study.runs)
    metric, judged = options.get("metric", AUC), study.test.judged
    for run in study.runs:
        probabilities = log_odds.probabilities(run.scores[judged])[:, 1].astype(np.float32)
        assert run.result["test"] == pytest.approx(
            metric(study.test.labels[judged], run.scores[judged]), abs=1e-12
        )
        if options.get("scale"):  # what ranking by probabilities would give
            tied = metric(study.test.labels, two_sided(probabilities))
            assert abs(tied - run.result["test"]) > 1e-3
    evidence = Evidence(study)
    mean = np.mean([run.result["test"] for run in study.cell("conv10", 1.0)])
    assert evidence.test("conv10", 1.0).estimate == pytest.approx(mean)


def test_a_figure_that_is_not_of_its_scores_is_said(tmp_path):
    directory = write_study(tmp_path, depths=("conv10",), fractions=(1.0,), seeds=2)
    assert "is not that of scores.csv" not in text_of(write_report(directory).read_text())
    damage(directory, "result.json", lambda t: re.sub(r'"test": [\d.]+', '"test": 0.25', t))
    text = text_of(write_report(directory).read_text())
    assert "test AUC that result.json records is not that of scores.csv in 1 run" in text
    assert "0.2500 recorded" in text and table_rows(directory)[0]["test"] != "0.25"
