"""What stands beside the metric: sections and tables of generated studies, against scikit-learn on their files."""

import csv
import json
import re

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, recall_score

from medtune_jax.report import write_report
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.load import load_study
from medtune_jax.report.reviewer import calibration, confusion, figures, subgroups
from medtune_jax.report.reviewer_tables import by_run
from tests.report.fake_study import write_study
from tests.report.reading import text_of

SMALL = {"depths": ("conv10", "fire9", "scratch"), "fractions": (1.0,), "seeds": 3, "patients": 60}
SITES = np.repeat(
    np.where(np.arange(60) < 57, np.where(np.arange(60) % 2, "Lyon", "Graz"), "Bonn"), 2
)
THREE = ("adenoma", "hyperplastic", "serrated")


def rows_of(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    directory = tmp_path_factory.mktemp("two")
    write_study(directory, **SMALL, validation=80, columns={"site": SITES})
    write_report(directory)
    return directory


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    directory = tmp_path_factory.mktemp("three")
    write_study(directory, **{**SMALL, "patients": 90}, classes=THREE, validation=90)
    write_report(directory)
    return directory


def of_run(study, run):
    scores = rows_of(study / "runs" / run / "scores.csv")
    positive = np.array([row["label"] == "pos" for row in scores])
    return positive, np.array([float(row["logit_pos"]) for row in scores]), scores


def test_results_have_the_figures_of_each_run(study):
    for row in rows_of(study / "results.csv"):
        positive, logit, _ = of_run(study, row["run"])
        called = logit >= float(row["threshold"])
        wanted = {
            "auprc": average_precision_score(positive, logit),
            "brier": brier_score_loss(positive, 1 / (1 + np.exp(-logit))),
            "sensitivity": recall_score(positive, called),
            "specificity": recall_score(~positive, ~called),
        }
        assert {name: float(row[name]) for name in wanted} == pytest.approx(wanted)
        valid = rows_of(study / "runs" / row["run"] / "validation.csv")
        truth = np.array([v["label"] == "pos" for v in valid])
        right = np.array([float(v["logit_pos"]) for v in valid]) >= float(row["threshold"])
        assert recall_score(truth, right) + recall_score(~truth, ~right) > 1.2


def test_the_table_has_means_over_runs_with_intervals(study):
    table = rows_of(study / "classification.csv")
    results = rows_of(study / "results.csv")
    whole = [row for row in table if not row["column"]]
    assert {row["depth"] for row in whole} == set(SMALL["depths"])
    assert {row["class"] for row in table} == {"pos"}
    for row in whole:
        name = "test" if row["figure"] == "auc" else row["figure"]
        runs = [float(r[name]) for r in results if r["depth"] == row["depth"]]
        assert float(row["estimate"]) == pytest.approx(np.mean(runs))
        if row["figure"] == "calibration_error":
            assert not row["low"] and "would not hold" in row["why"]
        else:
            assert float(row["low"]) < float(row["estimate"]) < float(row["high"])
        assert (row["runs"], row["groups"], row["cases"], row["positives"]) == (
            "3",
            "60",
            "120",
            "60",
        )


def test_a_sub_group_is_of_its_own_images(study):
    table = rows_of(study / "classification.csv")
    lyon = [r for r in table if r["value"] == "Lyon" and r["depth"] == "conv10"]
    assert {row["column"] for row in lyon} == {"site"}
    here = np.sort(np.flatnonzero(SITES == "Lyon"))
    found = []
    for seed in range(3):
        (run,) = study.glob(f"runs/conv10-f1-s{seed}-*")
        positive, logit, rows = of_run(study, run.name)
        assert [row["image"] for row in rows] == sorted(row["image"] for row in rows)
        found.append(average_precision_score(positive[here], logit[here]))
    (auprc,) = (float(row["estimate"]) for row in lyon if row["figure"] == "auprc")
    assert auprc == pytest.approx(np.mean(found))
    text = text_of((study / "report.html").read_text())
    assert "Where Bonn has no figure or no interval: a class has" in text


def test_the_page_says_how_the_threshold_was_chosen_and_the_prevalence(study):
    text = text_of((study / "report.html").read_text())
    assert "50.0% of the 120 images in the test set are pos (the prevalence)" in text
    assert "on its own validation images: the largest sum of sensitivity and specificity" in text
    assert not re.search(r"\bnan\b", text.lower())
    assert {p.name for p in (study / "figures").iterdir()} >= {
        "reliability.svg",
        "confusion.svg",
        "subgroups.svg",
    }


def test_confusion_and_calibration_tables_count_every_image(study):
    confused = rows_of(study / "confusion.csv")
    assert sum(int(row["cases"]) for row in confused) == 3 * 3 * 120
    bins = [row for row in rows_of(study / "calibration.csv") if row["depth"] == "conv10"]
    assert sum(float(row["cases"]) for row in bins) == pytest.approx(120)
    assert len(bins) == 10 and all(0 <= float(row["share"]) <= 1 for row in bins if row["share"])


def test_several_classes_have_a_matrix_and_figures_of_each(several):
    table = rows_of(several / "classification.csv")
    of_class = {(row["class"], row["figure"]) for row in table}
    for name in THREE:
        assert {
            (name, f) for f in ("auprc", "sensitivity", "specificity", "recall", "precision")
        } <= of_class
    assert ("", "balanced_accuracy") in of_class
    confused = [r for r in rows_of(several / "confusion.csv") if r["depth"] == "conv10"]
    assert len(confused) == 3 * 9
    recall = {}
    for name in THREE:
        mine = [row for row in confused if row["true"] == name]
        right = sum(int(row["cases"]) for row in mine if row["called"] == name)
        recall[name] = right / sum(int(row["cases"]) for row in mine)
    given = {
        r["class"]: float(r["estimate"])
        for r in table
        if r["figure"] == "recall" and r["depth"] == "conv10"
    }
    assert given == pytest.approx(recall)
    header = rows_of(several / "results.csv")[0]
    assert {f"threshold_{name}" for name in THREE} <= set(header)
    text = text_of((several / "report.html").read_text())
    assert "Each class against the rest" in text and "Recall (sensitivity)" in text


def test_a_study_without_validation_scores_says_so(tmp_path):
    write_study(tmp_path, **SMALL)
    page = text_of(write_report(tmp_path).read_text())
    assert "this study kept no validation scores (older versions did not)" in page
    assert "No confusion matrix can be given" in page
    row = rows_of(tmp_path / "results.csv")[0]
    assert "threshold" not in row and "sensitivity" not in row and float(row["auprc"]) > 0.5
    table = rows_of(tmp_path / "classification.csv")
    assert {r["estimate"] for r in table if r["figure"] == "sensitivity"} == {""}


def test_another_rule_needs_no_other_runs(tmp_path):
    write_study(tmp_path, **SMALL, validation=80)
    manifest = json.loads((tmp_path / "study.json").read_text())
    manifest["config"]["threshold"] = "sensitivity=0.95"
    (tmp_path / "study.json").write_text(json.dumps(manifest))
    page = text_of(write_report(tmp_path).read_text())
    assert "the highest specificity with a sensitivity of at least 0.95" in page
    run = rows_of(tmp_path / "results.csv")[0]
    valid = rows_of(tmp_path / "runs" / run["run"] / "validation.csv")
    found = [float(v["logit_pos"]) >= float(run["threshold"]) for v in valid if v["label"] == "pos"]
    assert np.mean(found) >= 0.95


def test_one_run_with_equal_validation_scores_leaves_its_depth_without(tmp_path):
    """The others keep theirs; the reason names the run."""
    write_study(tmp_path, **SMALL, validation=80)
    folder = next(tmp_path.glob("runs/conv10-f1-s1-*"))
    rows = rows_of(folder / "validation.csv")
    lines = [",".join(rows[0])] + [
        ",".join((*list(r.values())[:3], "0.5", "0.5", "0", "0")) for r in rows
    ]
    (folder / "validation.csv").write_text("\n".join(lines) + "\n")
    evidence = Evidence(load_study(tmp_path))
    found = evidence.classification(("conv10", 1.0)).mean()["sensitivity"].estimate
    assert (
        found.estimate is None
        and "all validation scores are equal" in found.why
        and folder.name in found.why
    )
    assert evidence.classification(("fire9", 1.0)).mean()["sensitivity"].estimate.low is not None
    assert "threshold" not in by_run(evidence)[folder.name]


@pytest.mark.parametrize("patients", [2, 4, 8])
def test_few_patients_give_figures_and_no_interval(tmp_path, patients):
    write_study(
        tmp_path,
        **{**SMALL, "patients": patients},
        validation=8,
        columns={"sex": ["F", "M"] * patients},
    )
    page = text_of(write_report(tmp_path).read_text())
    assert not re.search(r"\bnan\b", page.lower())
    assert not any(row["low"] for row in rows_of(tmp_path / "classification.csv"))
    assert all(row["why"] for row in rows_of(tmp_path / "classification.csv"))


def test_a_study_without_finished_runs_has_none_of_it(tmp_path):
    every = [(d, 1.0, s) for d in SMALL["depths"] for s in range(3)]
    write_study(tmp_path, **SMALL, missing=every)
    write_report(tmp_path)
    evidence = Evidence(load_study(tmp_path))
    assert all(make(evidence) is None for make in (figures, calibration, confusion, subgroups))
    assert not (tmp_path / "classification.csv").exists()


def test_doubtful_images_count_in_no_sub_group(tmp_path):
    write_study(tmp_path, **SMALL, validation=80, doubtful=10, columns={"site": SITES})
    write_report(tmp_path)
    table = rows_of(tmp_path / "classification.csv")
    sizes = {r["value"]: int(r["cases"]) for r in table if r["depth"] == "conv10"}
    assert sizes[""] == 110 == sizes["Lyon"] + sizes["Graz"] + sizes["Bonn"]
