"""Frames of every source as crops: what is loaded, scored and refused."""

import csv
import io
import runpy
import shutil

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from medtune_jax.applications import get
from medtune_jax.applications.frame_quality.cases import scaled
from medtune_jax.datasets import store
from medtune_jax.errors import UserError
from tests.applications.frame_quality.small_study import CONFIGS, config, write_frame, write_videos


def load(folder, **changes):
    return get("frame_quality").load(config(folder, **changes), 32)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return write_videos(tmp_path_factory.mktemp("videos"), [f"v{k}" for k in range(8)])


def test_crops_of_frames_split_by_video(videos):
    dataset = load(videos)
    assert len(dataset.patches) == len(dataset.labels) == 8 * 4 * 3
    assert dataset.classes == ("non_informative", "informative") and dataset.groups_known
    assert not set(dataset.groups[dataset.test]) & set(dataset.groups[~dataset.test])
    assert len(set(dataset.groups[dataset.test])) == 4
    np.testing.assert_array_equal(dataset.names, dataset.units)  # fractions drop whole frames
    frames, counts = np.unique(dataset.names, return_counts=True)
    assert len(frames) == 32 and (counts == 3).all()
    for name, group, label in zip(dataset.names, dataset.groups, dataset.labels, strict=True):
        assert name.startswith(f"{group}/") and label == 1 - int(name[-1]) % 2


def test_a_crop_shows_its_frame(videos):
    dataset = load(videos)
    crops = np.asarray(dataset.patches.take(dataset.patches.arrays(), np.arange(12)))
    for number, crop in enumerate(crops):
        video, name = dataset.names[number].split("/")
        frame = np.asarray(Image.open(videos / video / f"{name}.png"))
        row, column = np.rint(dataset.patches.affines[number, :, 2]).astype(int)
        np.testing.assert_allclose(crop, frame[row : row + 32, column : column + 32], atol=0.1)


def test_test_frames_may_have_more_crops(videos):
    dataset = load(videos, **{"data.test_crops": 5})
    _, counts = np.unique(dataset.names[dataset.test], return_counts=True)
    assert (counts == 5).all() and (~dataset.test).sum() == 16 * 3
    with pytest.raises(UserError, match="0 crops of 32 frames"):
        load(videos, **{"data.test_crops": 0})


def test_the_seeds_decide(videos):
    one, two = load(videos), load(videos)
    assert one.fingerprint() == two.fingerprint() and one.files == two.files
    assert load(videos, **{"data.crop_seed": 1}).fingerprint() != one.fingerprint()
    assert (load(videos, **{"data.split_seed": 3}).test != one.test).any()


def test_frames_come_to_one_height():
    assert scaled(np.zeros((48, 64, 3), np.uint8), 24).shape == (24, 32, 3)
    assert scaled(np.zeros((48, 64, 3), np.uint8), 0).shape == (48, 64, 3)


def test_the_baseline_judges_the_same_test_frames(videos):
    dataset = load(videos, **{"sweep.fractions": "1.0,0.5", "sweep.seeds": 2})
    truth = rows(dataset, "test_frames.csv")
    assert [row["frame"] for row in truth] == sorted(set(dataset.names[dataset.test]))
    scored = rows(dataset, "baseline.csv")
    assert {(row["fraction"], row["seed"]) for row in scored} == {
        (f, s) for f in ("1", "0.5") for s in "01"
    }
    for fraction in ("1", "0.5"):
        chosen = [r for r in scored if (r["fraction"], r["seed"]) == (fraction, "0")]
        assert [row["frame"] for row in chosen] == [row["frame"] for row in truth]
        quality = [int(row["quality"]) for row in truth]
        assert roc_auc_score(quality, [float(row["score"]) for row in chosen]) > 0.95


def rows(dataset, name):
    return list(csv.DictReader(io.StringIO(dataset.files[name].decode())))


def test_frames_are_judged_by_their_sensitivity(videos):
    dataset = load(videos)
    labels = dataset.test_set[0].labels
    assert len(labels) == 16  # a row per frame, whatever the crops
    score = np.where(labels == 1, 1.0, -1.0)
    figures = get("frame_quality").evaluate(dataset, np.stack([-score, score], 1))
    assert set(figures.values()) == {1.0} and "sensitivity_at_fpr_0.10" in figures
    blind = get("frame_quality").evaluate(dataset, np.zeros((len(labels), 2)))
    assert set(blind.values()) == {0.0}


def test_a_given_split_is_kept(tmp_path):
    write_videos(tmp_path / "train", ["a", "b", "c"])
    write_videos(tmp_path / "test", ["d", "e"], seed=1)
    dataset = load(tmp_path)
    assert set(dataset.groups[dataset.test]) == {"d", "e"}
    assert set(dataset.groups[~dataset.test]) == {"a", "b", "c"}


def test_frames_of_unknown_quality_are_left_out(videos, tmp_path):
    shutil.copytree(videos, tmp_path, dirs_exist_ok=True)
    table = (tmp_path / "quality.csv").read_text().splitlines()
    (tmp_path / "quality.csv").write_text("\n".join(table[:-1]) + "\n")
    dataset = load(tmp_path)
    assert len(set(dataset.names)) == 31 and b'"left_out": 1' in dataset.files["frames.json"]


def test_a_prepared_public_set(tmp_path):
    for score in range(4):
        for video in range(3):
            for k in range(2):
                path = tmp_path / "raw" / str(score) / f"bowel_{3 * score + video}_{k}.png"
                write_frame(path, score > 1, 10 * score + video)
    store.prepare("nerthus", tmp_path / "raw", tmp_path / "out")
    dataset = load(tmp_path / "out", **{"data.tfds": "nerthus"})
    informative = set(dataset.groups[dataset.labels == 1])
    assert informative == {f"bowel_{k}" for k in range(6, 12)}
    assert len(set(dataset.groups[dataset.test])) == 6


def test_generated_videos_are_made_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})  # in this process: no time to spawn
    phantom = {"videos": 4, "frames": 4, "height": 32, "width": 40, "seed": 1}
    made = config("")
    made.data.phantom = phantom
    dataset = get("frame_quality").load(made, 32)
    assert len(set(dataset.groups)) == 4 and dataset.labels.mean() == 0.5
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    assert get("frame_quality").load(made, 32).fingerprint() == dataset.fingerprint()
    assert stamps == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}


def declare(root, rows):
    (root / "quality.csv").write_text("\n".join(["video,frame,quality", *rows]) + "\n")


def test_bad_input(videos, tmp_path):
    shutil.copytree(videos, tmp_path / "one")
    one = tmp_path / "one"
    declare(one, [f"v{k},,1" for k in range(8)])
    with pytest.raises(UserError, match=r"class 'non_informative' has 0 video\(s\)"):
        load(one)
    declare(one, ["v0,,0", *(f"v{k},,1" for k in range(1, 8))])
    with pytest.raises(UserError, match=r"class 'non_informative' has 1 video\(s\)"):
        load(one)
    (one / "quality.csv").unlink()
    with pytest.raises(UserError, match="no frame is known to be informative or not"):
        load(one)
    (one / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(UserError, match=r"broken\.mp4: not a readable video"):
        load(one)
    with pytest.raises(UserError, match=r"nowhere: no such folder"):
        load(tmp_path / "nowhere")
    with pytest.raises(UserError, match="'nerthus' is not prepared there"):
        load(tmp_path, **{"data.tfds": "nerthus"})


def test_bad_splits(tmp_path):
    write_videos(tmp_path / "train", ["a", "b"])
    write_videos(tmp_path / "test", ["b", "c"])
    with pytest.raises(UserError, match="video 'b' is in the training and in the test split"):
        load(tmp_path)
    shutil.rmtree(tmp_path / "test")
    write_videos(tmp_path / "test", ["c"])
    with pytest.raises(UserError, match="the test set has one video only"):
        load(tmp_path)
    write_videos(tmp_path / "test", ["c", "d"])
    declare(tmp_path / "test", ["c,,1", "d,,1"])
    with pytest.raises(UserError, match="the test set has no non_informative frame"):
        load(tmp_path)


def test_a_frame_that_is_no_image(videos, tmp_path):
    shutil.copytree(videos, tmp_path, dirs_exist_ok=True)
    (tmp_path / "v0" / "0.png").write_bytes(b"cut")
    with pytest.raises(UserError, match=r"v0/0\.png: not a readable image"):
        load(tmp_path)


def test_an_unknown_preset():
    made = runpy.run_path(str(CONFIGS / "frame_quality.py"))["get_config"]
    with pytest.raises(UserError, match="no preset 'tiny': use :small or none"):
        made("tiny")
    assert made().data.frame_height == 350 and made("small").image_size == 67
