"""From a config to patches, and from scores to boundary errors."""

import csv
import importlib.util
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medtune_jax import applications
from medtune_jax.applications.intima_media.cases import held_out, phantom_regions
from medtune_jax.applications.intima_media.patches import BACKGROUND, LI, MA
from medtune_jax.applications.intima_media.task import INTIMA_MEDIA
from medtune_jax.applications.intima_media.truth import unpack
from medtune_jax.applications.splits import training_subset
from medtune_jax.errors import UserError
from medtune_jax.evaluation import log_odds
from tests.phantoms.subjects import write_subjects

CONFIG = Path(__file__).resolve().parents[3] / "configs" / "intima_media.py"


def config(**data):
    spec = importlib.util.spec_from_file_location("intima_media_config", CONFIG)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = module.get_config("small")
    small = {
        "subjects": 5,
        "rois": 1,
        "test_fraction": 0.4,
        "train_patches": 300,
        "column_step": 12,
    }
    found.data.update({**small, **data})
    return found


@pytest.fixture(scope="module")
def dataset():
    return INTIMA_MEDIA.load(config(), 67)


def peaks(dataset, shift=0.0, width=1.0):
    """Probabilities of a network whose confidence is a bump about the interfaces moved by `shift`."""
    pixels, rois = dataset.extra["pixels"], dataset.extra["rois"]
    found = np.zeros((len(pixels.row), 3))
    for label, which in ((LI, "li"), (MA, "ma")):
        truth = np.array(
            [getattr(rois[r], which)[c] for r, c in zip(pixels.roi, pixels.column, strict=True)]
        )
        found[:, label] = 0.9 * np.exp(-(((pixels.row - truth - shift) / width) ** 2) / 2)
    found[:, BACKGROUND] = 1 - found.sum(1).clip(max=1)
    return found


def evaluated(dataset, probabilities):
    return INTIMA_MEDIA.evaluate(dataset, log_odds.of_probabilities(probabilities))


def test_the_application_is_registered():
    assert applications.get("intima_media") is INTIMA_MEDIA


def test_patches_are_stratified_and_subjects_do_not_cross_the_split(dataset):
    train = ~dataset.test
    assert np.bincount(dataset.labels[train]).tolist() == [100, 100, 100]
    assert not set(dataset.groups[train]) & set(dataset.groups[dataset.test])
    assert len(dataset.patches) == len(dataset.labels) == len(dataset.names)
    assert len(set(dataset.names[dataset.test])) == dataset.test.sum()


def test_test_patches_are_the_pixels_of_the_test_regions(dataset):
    pixels, rois = dataset.extra["pixels"], dataset.extra["rois"]
    affine = dataset.patches.affines[dataset.test]
    middle = affine @ np.array([33.0, 33.0, 1.0])
    np.testing.assert_allclose(middle, pixels.centres, atol=1e-3)
    source = dataset.patches.source[dataset.test]
    first = dataset.patches.sources[source[0]][: len(rois[0].image)]
    np.testing.assert_array_equal(first[:, :92], rois[0].image)
    assert len(pixels.row) == len(rois) * 60 * 9  # columns 0, 12 .. 84 and 91


def test_loading_is_deterministic_and_follows_its_seeds(dataset):
    assert INTIMA_MEDIA.load(config(), 67).fingerprint() == dataset.fingerprint()
    for other in ({"patch_seed": 1}, {"phantom_seed": 1}, {"patch": 30.0}):
        assert INTIMA_MEDIA.load(config(**other), 67).fingerprint() != dataset.fingerprint()


def test_a_perfect_network_has_small_errors_and_an_auc_of_one(dataset):
    result, test = evaluated(dataset, peaks(dataset)), dataset.test_set[0]
    scores = log_odds.of_probabilities(peaks(dataset))
    assert INTIMA_MEDIA.metric(test.labels[test.judged], scores[test.judged]) > 0.9999
    assert result["li_error_px"] < 0.15
    assert result["ma_error_px"] < 0.15
    assert len(result["regions"]) == len(dataset.extra["rois"])
    json.dumps(result)


def test_an_offset_of_two_pixels_is_an_error_of_two_pixels_in_micrometres(dataset):
    result = evaluated(dataset, peaks(dataset, shift=2.0))
    assert result["li_error_px"] == pytest.approx(2.0, abs=0.15)
    assert result["ma_step_error_px"] == pytest.approx(2.0, abs=0.25)
    assert result["li_error_um"] == pytest.approx(1000 / 15 * result["li_error_px"], rel=1e-6)
    row = result["regions"][0]
    assert row["thickness_px"] == pytest.approx(row["expert_thickness_px"], abs=0.3)


def test_snakes_lower_the_error_of_noisy_step_lines(dataset):
    noise = np.random.default_rng(0).gumbel(scale=0.12, size=(dataset.test.sum(), 3))
    result = evaluated(dataset, np.clip(peaks(dataset, width=2.0) + noise, 0, 1))
    assert result["li_error_px"] < 0.8 * result["li_step_error_px"]
    assert result["ma_error_px"] < 0.8 * result["ma_step_error_px"]


def test_merged_interfaces_may_be_confused_at_no_cost():
    labels = np.array([BACKGROUND, LI, MA, BACKGROUND])
    confused = np.array([[0.8, 0.1, 0.1], [0.1, 0.0, 0.9], [0.2, 0.8, 0.0], [0.7, 0.2, 0.1]])
    scores = log_odds.of_probabilities(confused)
    assert INTIMA_MEDIA.metric(labels, scores) == 1.0
    assert INTIMA_MEDIA.metric(labels, np.roll(scores, 1, axis=0)) == 0.5


def test_what_the_report_needs_comes_back(dataset):
    rois, pixels = unpack(dataset.files["regions.npz"])
    for roi, kept in zip(dataset.extra["rois"], rois, strict=True):
        np.testing.assert_array_equal(roi.image, kept.image)
        np.testing.assert_array_equal(roi.li, kept.li)
        assert (roi.name, roi.subject) == (kept.name, kept.subject)
        assert kept.mm_per_pixel == pytest.approx(1 / 15)
    for one, other in zip(dataset.extra["pixels"], pixels, strict=True):
        np.testing.assert_array_equal(one, other)


def test_baselines_are_scored_as_they_are_and_calibrated(dataset):
    rows = list(csv.DictReader(io.StringIO(dataset.files["baselines.csv"].decode())))
    assert len(rows) == 2 * 2 * len(dataset.extra["rois"])
    error = {
        calibrated: np.mean([float(r["li_px"]) for r in rows if r["calibrated"] == calibrated])
        for calibrated in ("True", "False")
    }
    assert error["True"] < 0.5 < 1 < error["False"]


def test_files_and_phantoms_give_the_same_regions(tmp_path):
    write_subjects(tmp_path, subjects=5, rois=1, seed=0)
    rois = INTIMA_MEDIA.load(config(dir=str(tmp_path)), 67).extra["rois"]
    generated = phantom_regions(5, 1, 0)
    generated = [r for r, out in zip(generated, held_out(generated, 0.4, 0), strict=True) if out]
    for one, other in zip(rois, generated, strict=True):
        assert one.name == other.name
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_allclose(one.li, other.li, atol=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_subjects_that_share_a_picture_are_on_one_side(capsys, seed):
    rois = phantom_regions(6, 1, 0)
    rois[5] = replace(rois[5], image=rois[0].image)
    test = held_out(rois, 0.5, seed)
    assert test[0] == test[5] and 0 < test.sum() < 6
    assert "2 subjects share regions of the same pixels" in capsys.readouterr().err


def test_they_are_one_group_of_the_study_too(tmp_path):
    write_subjects(tmp_path, subjects=5, rois=1, seed=0)
    shutil.copy(tmp_path / "subject0000" / "roi0.png", tmp_path / "subject0001" / "roi0.png")
    dataset = INTIMA_MEDIA.load(config(dir=str(tmp_path)), 67)
    assert set(dataset.groups) == {f"subject000{k}" for k in (0, 2, 3, 4)}
    assert len(set(dataset.units)) == 5


def test_uncalibrated_regions_are_judged_in_pixels_only(tmp_path):
    write_subjects(tmp_path, subjects=5, rois=1, seed=0)
    (tmp_path / "calibration.csv").unlink()
    dataset = INTIMA_MEDIA.load(config(dir=str(tmp_path)), 67)
    result = evaluated(dataset, peaks(dataset))
    assert result["li_error_um"] is None
    assert result["li_error_px"] < 0.2
    assert b"no calibration" in dataset.files["warnings.txt"]


def test_training_shrinks_by_subject_down_to_one():
    dataset = INTIMA_MEDIA.load(config(subjects=10), 67)
    subset = training_subset(dataset, 0.2, 0, 0.2)
    assert len(set(dataset.groups[subset.train])) == 1
    assert len(set(dataset.groups[subset.valid])) == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"subjects": 3}, "3 subjects are too few"),
        ({"patch": 61.0}, "smaller than a patch of 61 px"),
        ({"column_step": 0}, "column_step is 0"),
        ({"dir": "/nowhere", "layout": "dicom"}, "data.layout is 'dicom'"),
        ({"dir": "/nowhere"}, "/nowhere is not a folder"),
    ],
)
def test_bad_configs_are_refused(data, message):
    with pytest.raises(UserError, match=message):
        INTIMA_MEDIA.load(config(**data), 67)
