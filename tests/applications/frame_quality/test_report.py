"""What frame quality adds to the report, on a small finished study."""

import re

import numpy as np
import pytest
from PIL import Image

from medtune_jax.applications import get
from medtune_jax.applications.frame_quality import report
from medtune_jax.applications.frame_quality.baseline import read_baseline
from medtune_jax.applications.frame_quality.truth import PICTURES
from medtune_jax.errors import UserError
from medtune_jax.evaluation import AUC, log_odds
from medtune_jax.evaluation.scores import TestSet
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
    return Evidence(load_study(study))


def cells(html):
    """Rows of text of the tables of a section."""
    rows = re.findall(r"<tr.*?</tr>", html, re.DOTALL)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]


def test_the_table_sets_networks_against_the_baseline(evidence, study):
    section = report.against_baseline(evidence)
    head, network, baseline = cells(str(section.html))
    assert head[0] == "100% of the training frames" and "Sensitivity at FPR 0.15" in head
    assert network[0] == "only conv10" and baseline[0] == "hand-crafted"
    test, scores = evidence.study.test, report.informative(evidence, ("conv10", 1.0))
    hand = read_baseline(study)[1.0]
    judged = report.judge(AUC, test, scores, hand)
    assert f"{judged.merit.estimate:.3f}" in network[1] and baseline[5:] == ["–", "–"]
    expected = judged.merit.estimate - report.judge(AUC, test, hand).merit.estimate
    assert judged.gain is not None and judged.gain.estimate == pytest.approx(expected)


def test_the_worst_frames_come_first_with_their_own_pictures(evidence, study):
    section = report.worst_frames(evidence)
    axes = [ax for ax in section.drawings[0].figure.axes if ax.images]
    test, scores = evidence.study.test, report.informative(evidence, ("conv10", 1.0))
    errors = np.abs(test.labels - log_odds.probabilities(scores).mean(0))
    shown = [ax.get_title().split("\n")[0] for ax in axes]
    assert shown == [test.names[i] for i in np.argsort(-errors, kind="stable")]
    video, frame = shown[0].split("/")
    original = np.asarray(Image.open(study.parent / "videos" / video / f"{frame}.png"), float)
    picture = np.asarray(axes[0].images[0].get_array(), float)
    assert picture.shape == original.shape
    # JPEG keeps the light and blurs the colours of such noise.
    assert np.corrcoef(picture.mean(-1).ravel(), original.mean(-1).ravel())[0, 1] > 0.8


def test_a_better_network_is_told_from_the_baseline():
    labels = np.tile([0, 1], 50)
    videos = np.repeat([f"v{k}" for k in range(10)], 10)
    rng = np.random.default_rng(0)
    test = TestSet(np.arange(100).astype(str), videos, labels, np.ones(100, bool))
    strong, weak = labels + rng.normal(0, 0.3, (3, 100)), labels + rng.normal(0, 2, (3, 100))
    gain = report.judge(AUC, test, strong, weak).gain
    assert gain is not None and gain.low > 0 and gain.p < 0.01
    back = report.judge(AUC, test, weak, strong).gain
    assert back is not None and back.high < 0


def test_sections_are_part_of_the_application():
    assert get("frame_quality").sections() == report.SECTIONS


def test_missing_files_are_named(evidence, study):
    (study / "application" / PICTURES).rename(study / "away")
    try:
        with pytest.raises(
            UserError, match=r"test_frames\.jpg is missing: run the same sweep again"
        ):
            report.worst_frames(evidence)
    finally:
        (study / "away").rename(study / "application" / PICTURES)
