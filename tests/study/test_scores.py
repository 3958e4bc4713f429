"""Scores of whole studies: what saturates as a probability is still ranked; the metric is the one asked for."""

import csv
import json

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from medtune_jax.errors import UserError
from medtune_jax.evaluation.scores import label_of
from medtune_jax.study import default_config, report, sweep


@pytest.fixture(scope="module")
def images(tmp_path_factory, write_images):
    return write_images(tmp_path_factory.mktemp("images"), 16, 4, 64)


def config(images, **changes):
    made = default_config()
    made.data.dir, made.image_size = str(images), 64
    made.sweep.depths, made.sweep.seeds = "conv10", 1
    made.training.epochs = 2
    made.update_from_flattened_dict(changes)
    return made


def only_run(study):
    (folder,) = (study / "runs").iterdir()
    result = json.loads((folder / "result.json").read_text())
    with (folder / "scores.csv").open(newline="") as stream:
        return result, list(csv.DictReader(stream))


def column(rows, name):
    return np.array([float(row[name]) for row in rows])


def test_memory_settings_do_not_move_saturated_scores(images, tmp_path):
    """A head that has gone too far: float32 probabilities tie, log-odds do not, wherever the features lie."""
    far = {"rates.head": 8e-4, "rates.tuned": 8e-4}
    found = [
        only_run(
            sweep(
                config(images, **far, **{"memory.device_gib": gib}), tmp_path / str(gib), quiet=True
            )
        )
        for gib in (0.0, 1e-4)
    ]
    for result, rows in found:
        assert result["status"] == "done", result["reason"]
        p, logit = column(rows, "dark").astype(np.float32), column(rows, "logit_dark")
        assert len(np.unique(p)) < len(np.unique(logit))  # some probabilities are exactly 0 or 1
        truth = np.array([row["label"] == "dark" for row in rows])
        assert result["test"] == pytest.approx(roc_auc_score(truth, logit), abs=1e-12)
    (first, rows), (second, others) = found
    difference = column(rows, "logit_dark") - column(others, "logit_dark")
    assert np.linalg.norm(difference) <= 1e-4 * np.linalg.norm(column(rows, "logit_dark"))
    assert first["test"] == pytest.approx(second["test"], abs=1e-3)


def test_validation_scores_are_those_of_the_kept_epoch(images, tmp_path):
    study = sweep(config(images, **{"training.epochs": 3}), tmp_path, quiet=True)
    result, tested = only_run(study)
    (folder,) = (study / "runs").iterdir()
    with (folder / "validation.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == result["val_images"]
    assert not {row["patient"] for row in rows} & {row["patient"] for row in tested}
    truth = np.array([row["label"] == "dark" for row in rows])
    found = roc_auc_score(truth, column(rows, "logit_dark"))
    assert result["validation"] == pytest.approx(found, abs=1e-6)


def test_another_threshold_is_another_report_of_the_same_runs(images, tmp_path):
    study = sweep(config(images), tmp_path, quiet=True)
    before = only_run(study)
    with pytest.raises(UserError, match="did you mean 'sensitivity'"):
        sweep(config(images, threshold="sensitvity=0.9"), tmp_path, quiet=True)
    sweep(config(images, threshold="sensitivity=0.9"), tmp_path, quiet=True)
    assert only_run(study) == before
    assert "a sensitivity of at least 0.9" in report(study).read_text()


def test_sub_groups_of_labels_csv_reach_the_page(images, tmp_path, write_images):
    folder = tmp_path / "images"
    folder.mkdir()
    write_images(folder, 16, 4, 64)
    head, *lines = (folder / "labels.csv").read_text().splitlines()
    sites = (f"{line},{'AB'[n // 4 % 2]}" for n, line in enumerate(lines))
    (folder / "labels.csv").write_text("\n".join([f"{head},site", *sites]) + "\n")
    study = sweep(config(folder), tmp_path / "study", quiet=True)
    with (study / "application" / "subgroups.csv").open(newline="") as stream:
        kept = list(csv.DictReader(stream))
    assert len(kept) == len(only_run(study)[1]) and {row["site"] for row in kept} <= {"A", "B"}
    assert "Sub-groups" in report(study).read_text()
    plain = sweep(config(images), tmp_path / "plain", quiet=True)
    assert only_run(plain)[0]["run"] == only_run(study)[0]["run"]  # a column decides no result


def test_a_study_of_another_metric_is_of_it_from_validation_to_interval(images, tmp_path):
    study = sweep(config(images, metric="auprc"), tmp_path, quiet=True)
    result, rows = only_run(study)
    truth = np.array([row["label"] == "dark" for row in rows])
    wanted = average_precision_score(truth, column(rows, "logit_dark"))
    assert result["metric"] == "auprc"
    assert result["test"] == pytest.approx(wanted, abs=1e-12)
    page = report(study).read_text()
    assert f"test AUPRC of {wanted:.3f}" in page
    with (study / "results.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert row["metric"] == "auprc" and float(row["test"]) == pytest.approx(wanted, abs=1e-12)


def test_a_class_called_uncertain_is_a_class():
    """Also in studies of before there were findings, whose column of uncertain ones has that name."""
    assert label_of({"label": "uncertain", "uncertain": "0.7"}, ["benign", "uncertain"]) == 1
    assert label_of({"label": "A", "uncertain": "B"}, ["A", "B", "C"]) == [1, -1, 0]
