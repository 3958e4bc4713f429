import csv
import io

import numpy as np
import pytest
from PIL import Image

from medtune_jax import applications
from medtune_jax.applications.polyps import task
from medtune_jax.applications.splits import training_subset
from medtune_jax.errors import UserError
from medtune_jax.evaluation.log_odds import two_sided
from tests.applications.polyps.small_study import perfect, polyp_config, write_videos

POLYPS = applications.get("polyps")
SIZE = 32


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setattr(task, "find_candidates", perfect)
    return polyp_config(write_videos(tmp_path, 12, 2), train_patches=400, test_variants=3)


@pytest.fixture
def dataset(config):
    return POLYPS.load(config, SIZE)


def test_training_patches_are_balanced_and_test_patches_complete(dataset):
    labels, test = dataset.labels, dataset.test
    assert (~test).sum() == 400 and labels[~test].mean() == 0.5
    names, counts = np.unique(dataset.names[test], return_counts=True)
    assert set(counts) == {3} and sorted(names) == sorted(dataset.extra["truth"].candidates)
    assert not set(dataset.groups[test]) & set(dataset.groups[~test])
    assert all(n.startswith(g + "/") for n, g in zip(dataset.names, dataset.groups, strict=True))
    assert (dataset.units == dataset.groups).all() and dataset.groups_known


def test_a_positive_patch_shows_the_lesion(dataset):
    """The balls are brighter than what lies around them: so must be the middle of their patches."""
    patches = dataset.patches
    index = np.flatnonzero(~dataset.test)
    pixels = np.asarray(patches.take(patches.arrays(), index)).mean(-1)
    middle = pixels[:, 12:20, 12:20].mean((1, 2))
    positive = dataset.labels[index] == 1
    assert middle[positive].mean() > middle[~positive].mean() + 20


def test_a_study_can_take_its_subsets(dataset):
    for fraction in (1.0, 0.5):
        subset = training_subset(dataset, fraction, 0, 0.3)
        assert not set(dataset.groups[subset.train]) & set(dataset.groups[subset.valid])
        assert not dataset.test[subset.train].any()


def test_loading_is_deterministic_and_the_fingerprint_knows_the_settings(config, dataset):
    assert POLYPS.load(config, SIZE).fingerprint() == dataset.fingerprint()
    config.data.patch_seed = 1
    assert POLYPS.load(config, SIZE).fingerprint() != dataset.fingerprint()


def test_a_frame_without_candidates_is_a_miss(dataset):
    truth = dataset.extra["truth"]
    last = np.flatnonzero(truth.lesions)[-1]
    assert last not in truth.candidate_image and truth.lesions[last] == 1
    right = np.where(dataset.test_set[0].labels == 1, 3.0, -3.0)
    result = POLYPS.evaluate(dataset, two_sided(right))
    reachable = (truth.lesions.sum() - 1) / truth.lesions.sum()
    for rate in ("0.001", "0.01", "0.1"):
        assert result[f"sensitivity_at_{rate}"] == pytest.approx(reachable)
    assert POLYPS.evaluate(dataset, two_sided(-right))["sensitivity_at_0.1"] == 0.0


def test_what_the_report_needs_is_kept(dataset):
    files = dataset.files
    rows = list(csv.DictReader(io.StringIO(files["candidates.csv"].decode())))
    truth = dataset.extra["truth"]
    assert [row["candidate"] for row in rows] == truth.candidates.tolist()
    assert {float(row["hand_crafted"]) for row in rows} == {0.25, 0.75}
    montage = Image.open(io.BytesIO(files["patches.png"]))
    assert montage.size == (12 * (SIZE + 3), 4 * (SIZE + 3))
    masks = [name for name in files if name.endswith("-mask.png")]
    assert len(masks) >= 4 and all(name.replace("-mask", "") in files for name in masks)


@pytest.mark.parametrize("positive", [True, False])
def test_one_class_of_candidates_only(config, monkeypatch, positive):
    def one_kind(cases, data):
        score = 0.75 if positive else 0.25
        return [[c for c in row if c.score == score] for row in perfect(cases, data)]

    monkeypatch.setattr(task, "find_candidates", one_kind)
    absent = "negative" if positive else "positive"
    with pytest.raises(UserError, match=f"training candidates is {absent}"):
        POLYPS.load(config, SIZE)


def test_one_class_of_test_candidates_only(config, monkeypatch):
    def no_corner(cases, data):
        by_frame = perfect(cases, data)
        return [
            [c for c in row if c.score == 0.25] if test else row
            for row, test in zip(by_frame, cases.test, strict=True)
        ]

    monkeypatch.setattr(task, "find_candidates", no_corner)
    with pytest.raises(UserError, match="test candidates is positive"):
        POLYPS.load(config, SIZE)


def test_no_candidate_anywhere(config, monkeypatch):
    monkeypatch.setattr(task, "find_candidates", lambda cases, data: [[] for _ in cases.frames])
    with pytest.raises(UserError, match="none of the 0 training candidates is positive"):
        POLYPS.load(config, SIZE)


def test_an_impossible_number_of_variants(config):
    config.data.test_variants = 200
    with pytest.raises(UserError, match="from 1 to 120"):
        POLYPS.load(config, SIZE)
