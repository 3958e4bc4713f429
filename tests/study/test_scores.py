"""Scores of whole studies: what saturates as a probability is still ranked; the metric is the one asked for."""

import csv
import json

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

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
