"""Studies written before: version 0.1 kept one metric, probabilities alone, and depths as names."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest

from medtune_jax.errors import UserError
from medtune_jax.report.load import load_study
from medtune_jax.study import report
from tests.report.reading import text_of

KEPT = Path(__file__).with_name("study_of_version_0_1")


@pytest.fixture
def study(tmp_path):
    return Path(shutil.copytree(KEPT, tmp_path / "study"))


def test_its_report_is_written(study):
    text = text_of(report(study).read_text())
    assert "squeezenet on informative / non_informative: 12 patients, 480 images" in text
    assert "With 100% of the training data" in text and "fire8-conv10" in text and "scratch" in text
    rows = list(csv.DictReader((study / "results.csv").open()))
    assert [row["depth"] for row in rows] == ["conv10", "fire8", "scratch"]
    assert all(row["metric"] == "auc" and 0.8 < float(row["test"]) < 1 for row in rows)


def test_it_says_what_saturated_probabilities_did(study):
    """In the run of conv10 the probabilities that are 1 in float32 are ranked by what is left beside them."""
    text = text_of(report(study).read_text())
    kept = re.search(
        r"kept probabilities only.*? (\d+) scores of all runs are exactly 0 or 1", text
    )
    rows = [
        line
        for path in study.glob("runs/*/scores.csv")
        for line in path.read_text().splitlines()
        if ",0," in line or line.endswith(",0")
    ]
    assert kept is not None and int(kept[1]) == len(rows) > 0
    assert "0.9175 recorded, 0.9267 from the scores" in text


def test_depths_and_history_are_read(study):
    found = load_study(study)
    assert [found.label(depth) for depth in found.depths] == [
        "only conv10",
        "fire8-conv10",
        "scratch",
    ]
    assert found.known_depths["fire8"].tuned == ("fire8", "fire9", "conv10")
    assert all(len(run.history) and 0.5 < run.result["validation"] <= 1 for run in found.runs)


@pytest.mark.parametrize(
    "change",
    [
        {"depths": [{"first": "conv10"}]},
        {"depths": ["block4"]},
        {"runs": {"conv10": 1.0}},
        {"network": "squeezenet"},
    ],
)
def test_another_layout_is_refused_in_one_sentence(study, change):
    path = study / "study.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UserError, match=r"layout that medtune_jax .* cannot read") as refusal:
        report(study)
    assert "\n" not in str(refusal.value)
