"""The most certain right and wrong test images with their maps: chosen, kept by the sweep, shown by the report."""

import json
import shutil

import numpy as np
import pytest

from medtune_jax.applications.image_folder.explained import most_certain, read_explained
from medtune_jax.applications.predict import predict
from medtune_jax.paths import damaged
from medtune_jax.study import default_config, sweep
from medtune_jax.study.report import report
from tests.applications.image_folder.test_predict import rows_of, runs_of

SIDE = 64


@pytest.fixture(scope="module")
def images(tmp_path_factory, write_images):
    return write_images(tmp_path_factory.mktemp("images"), patients=14, each=3, side=SIDE)


@pytest.fixture(scope="module")
def config(images):
    made = default_config()
    made.data.dir, made.image_size = str(images), SIDE
    made.sweep.depths, made.sweep.seeds, made.sweep.fractions = "conv10", 2, "1.0"
    made.training.epochs, made.rates.head = 1, 1e-7  # as good as untrained: some are wrong
    return made


@pytest.fixture(scope="module")
def study(config, tmp_path_factory):
    return sweep(config, tmp_path_factory.mktemp("study"), quiet=True)


def test_a_sweep_keeps_them_and_the_report_shows_them(study, images, tmp_path):
    shown = read_explained(study)
    predict(study, [images], tmp_path)
    called = {row["image"]: row for row in rows_of(tmp_path / "predictions.csv")}
    held = {row["image"] for row in rows_of(runs_of(study)[0] / "scores.csv")}
    assert shown and {case.image for case in shown} <= held
    for case in shown:
        assert case.panel.shape == (SIDE, 2 * SIDE, 3)
        assert case.probability == pytest.approx(float(called[case.image][case.named]), abs=1e-5)
        assert case.probability >= 0.5 and case.right == (case.label == case.named)
    about = json.loads((study / "application" / "explained.json").read_text())
    assert about["runs"] == [run.name for run in runs_of(study)] and about["stage"] == "fire9"
    assert damaged(study / "application") is None
    page = report(study).read_text()
    assert "Where the evidence lies" in page and "Grad-CAM at fire9 (the mean of 2 seeds)" in page
    assert f"of the head {min(about['random']['head']):.2f} to " in page
    assert len(set(about["random"]["all"])) == 5  # draws
    sides = {"maps_right": True, "maps_wrong": False}
    for name, right in sides.items():
        drawn = (study / "figures" / f"{name}.svg").is_file()
        assert drawn == any(case.right == right for case in shown)


def test_a_finished_study_is_not_explained_again(study, config, monkeypatch):
    def never(*_):
        raise AssertionError("explained again")

    monkeypatch.setattr("medtune_jax.applications.image_folder.explained.Mapper", never)
    assert sweep(config, study, quiet=True) == study


def test_without_weights_the_report_is_whole_but_for_the_maps(study, config, tmp_path, capsys):
    bare = tmp_path / "bare"
    shutil.copytree(study, bare)
    for path in (*bare.glob("application/explained.*"), bare / "application/SHA256SUMS"):
        path.unlink()
    for run in bare.glob("runs/*/weights"):
        shutil.rmtree(run)
    sweep(config, bare)
    assert "no maps for the report" in capsys.readouterr().err
    assert "Where the evidence lies" not in report(bare).read_text()


@pytest.mark.parametrize("name", ["explained.json", "explained.csv"])
def test_what_is_damaged_or_missing_is_made_anew(study, config, name):
    path = study / "application" / name
    before = path.read_bytes()
    for harm in (path.unlink, lambda: path.write_bytes(b"{}")):
        harm()
        sweep(config, study, quiet=True)
        assert path.read_bytes() == before and damaged(study / "application") is None


def test_a_damaged_picture_whose_network_is_gone_costs_the_report_its_maps_only(
    study, config, tmp_path
):
    copy = shutil.copytree(study, tmp_path / "study")
    (copy / "application" / "explained.jpg").write_bytes(b"cut off")
    for run in runs_of(copy):
        (run / "weights" / "medtune.json").unlink()
    sweep(config, copy, quiet=True)
    assert read_explained(copy) == []
    assert "Where the evidence lies" not in report(copy).read_text()


def test_classes_take_turns_the_most_certain_first():
    scores = np.array([[5, -5], [4, -4], [3, -3], [-1, 1], [-2, 2], [6, -6]], float)
    labels = np.array([0, 0, 0, 1, 0, 1])
    found = most_certain(scores, labels, each=3)
    assert found[:3] == [(0, 0, True), (3, 1, True), (1, 0, True)]
    assert found[3:] == [(5, 0, False), (4, 1, False)]


def test_of_findings_those_above_one_half_count_and_unknown_ones_do_not():
    scores = np.array([[2, 3], [4, -1], [1, -5], [-1, -2]], float)
    labels = np.array([[1, 1], [0, 0], [-1, 1], [1, 1]])
    assert most_certain(scores, labels) == [(0, 1, True), (1, 0, False)]
