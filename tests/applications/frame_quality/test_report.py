"""What frame quality adds to the report, on a small finished study."""

import csv
import re

import numpy as np
import pytest
from PIL import Image

from medtune_jax.applications import get
from medtune_jax.applications.frame_quality import report
from medtune_jax.applications.frame_quality.files import PICTURES, picture_of
from medtune_jax.applications.frame_quality.scores import FrameScores
from medtune_jax.errors import UserError
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.load import load_study
from medtune_jax.study import sweep
from tests.applications.frame_quality.small_study import config, write_videos


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    videos = write_videos(folder / "videos", [f"v{k}" for k in range(8)])
    made = config(videos, **{"sweep.depths": "conv10", "training.epochs": 1, "sweep.seeds": 2})
    return sweep(made, folder / "study", quiet=True)


@pytest.fixture(scope="module")
def evidence(study):
    return Evidence(load_study(study), resamples=50)


def cells(html):
    """Rows of text of the tables of a section."""
    rows = re.findall(r"<tr.*?</tr>", html, re.DOTALL)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]


def test_the_table_sets_networks_against_the_baseline(evidence, study):
    section = report.against_baseline(evidence)
    head, network, baseline = cells(str(section.html))
    assert head[0] == "100% of the training frames" and "Sensitivity at FPR 0.15" in head
    assert network[0] == "only conv10" and baseline[0] == "hand-crafted"
    scores = report.cell_scores(evidence, ("conv10", 1.0))
    hand = report._read_baseline(study / "application")[1.0]
    judged = report.judge(scores, hand)
    assert f"{judged.auc.estimate:.3f} " in network[1] and baseline[5:] == ["–", "–"]
    expected = judged.auc.estimate - report.judge(scores._replace(values=hand), None).auc.estimate
    assert judged.gain is not None and judged.gain.estimate == pytest.approx(expected)


def test_scores_are_those_of_the_runs_by_frame(evidence, study):
    scores = report.cell_scores(evidence, ("conv10", 1.0))
    assert scores.values.shape == (2, 16) and len(set(scores.names)) == 16
    path = next(study.glob("runs/conv10-f1-s0-*/scores.csv"))
    rows = list(csv.DictReader(path.open()))
    name = scores.names[5]
    crops = [float(row["informative"]) for row in rows if row["image"] == name]
    assert crops
    assert scores.values[0, 5] == pytest.approx(np.mean(crops), abs=1e-6)


def test_the_worst_frames_come_first_with_their_own_pictures(evidence, study):
    section = report.worst_frames(evidence)
    axes = [ax for ax in section.drawings[0].figure.axes if ax.images]
    scores = report.cell_scores(evidence, ("conv10", 1.0))
    errors = np.abs(scores.labels - scores.values.mean(0))
    shown = [ax.get_title().split("\n")[0] for ax in axes]
    assert shown == [scores.names[i] for i in np.argsort(-errors, kind="stable")]
    video, frame = shown[0].split("/")
    original = np.asarray(Image.open(study.parent / "videos" / video / f"{frame}.png"), float)
    picture = np.asarray(axes[0].images[0].get_array(), float)
    assert picture.shape == original.shape
    # JPEG keeps the light and blurs the colours of such noise.
    assert np.corrcoef(picture.mean(-1).ravel(), original.mean(-1).ravel())[0, 1] > 0.8


def test_a_picture_is_found_on_the_sheet():
    sheet = np.zeros((240, 24 * 168, 3), np.uint8)
    sheet[120:140, 168:198] = 9
    assert (picture_of(sheet, 25, 20, 30) == 9).all()
    assert picture_of(sheet, 25, 20, 30).shape == (20, 30, 3)


def test_a_better_network_is_told_from_the_baseline():
    labels = np.tile([0, 1], 50)
    videos = np.repeat([f"v{k}" for k in range(10)], 10)
    rng = np.random.default_rng(0)
    names = np.array([f"{k:03d}" for k in range(100)])
    scores = FrameScores(names, videos, labels, labels + rng.normal(0, 0.3, (2, 100)))
    weak = labels + rng.normal(0, 2, (2, 100))
    gain = report.judge(scores, weak).gain
    assert gain is not None and gain.low > 0 and gain.p < 0.01
    back = report.judge(scores._replace(values=weak), scores.values).gain
    assert back is not None and back.high < 0


def test_sections_are_part_of_the_application():
    assert get("frame_quality").sections() == report.SECTIONS


def test_missing_files_are_named(evidence, study):
    (study / "application" / PICTURES).rename(study / "away")
    try:
        with pytest.raises(UserError, match=r"test_frames\.jpg is missing: run the sweep again"):
            report.worst_frames(evidence)
    finally:
        (study / "away").rename(study / "application" / PICTURES)
