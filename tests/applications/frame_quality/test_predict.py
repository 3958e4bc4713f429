"""A small study's networks on new frames and videos, and on the frames of its own test set."""

import csv

import av
import numpy as np
import pytest
from PIL import Image

from medtune_jax.applications.predict import load_all, predict
from medtune_jax.datasets.colonoscopy import videos as films
from medtune_jax.errors import UserError
from medtune_jax.evaluation import figures
from medtune_jax.study import sweep
from tests.applications.frame_quality.small_study import config, write_videos


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    root = tmp_path_factory.mktemp("frames")
    write_videos(root / "train", [f"a{k}" for k in range(5)])
    write_videos(root / "test", [f"b{k}" for k in range(3)], seed=1)
    return root


@pytest.fixture(scope="module")
def study(frames, tmp_path_factory):
    made = config(frames, **{"sweep.seeds": 2, "sweep.depths": "conv10", "training.epochs": 2})
    made.training.keep_weights = True
    return sweep(made, tmp_path_factory.mktemp("study"), quiet=True)


def rows_of(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def write_film(path, images, rate=5):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.height, stream.width, stream.pix_fmt = *images[0].shape[:2], "yuv420p"
        for image in images:
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Four seconds, sharp in the first two."""
    rng, images = np.random.default_rng(0), []
    for number in range(20):
        small = rng.integers(60, 200, (6, 8, 3) if number >= 10 else (48, 64, 3), np.uint8)
        images.append(np.asarray(Image.fromarray(small).resize((64, 48), Image.Resampling.BICUBIC)))
    return write_film(tmp_path_factory.mktemp("film") / "new.mp4", images)


def test_the_test_set_s_own_frames_get_the_scores_of_the_study(study, frames, tmp_path):
    run = next(path.parent for path in study.glob("runs/*/weights"))
    wanted = {row["image"]: row for row in rows_of(run / "scores.csv")}
    predict(run, [frames / "test"], tmp_path)
    got = {row["image"]: row for row in rows_of(tmp_path / "predictions.csv")}
    assert set(wanted) == set(got)
    for name, row in wanted.items():
        assert float(got[name]["informative"]) == pytest.approx(float(row["informative"]), abs=1e-6)
        assert got[name]["label"] == row["label"]


def test_figures_on_new_videos_are_those_of_a_direct_evaluation(study, tmp_path):
    new = write_videos(tmp_path / "new", [f"n{k}" for k in range(6)], frames=8, seed=3)
    single = []
    for number, run in enumerate(sorted(p.parent for p in study.glob("runs/*/weights"))):
        predict(run, [new], tmp_path / str(number))
        rows = rows_of(tmp_path / str(number) / "predictions.csv")
        single.append([float(row["logit_informative"]) for row in rows])
    predict(study, [new], tmp_path / "all")
    labels = np.array([row["label"] == "informative" for row in rows], int)
    thresholds = np.stack([run.thresholds for run in load_all([study]).runs])
    direct = figures(labels, np.array(single), [row["video"] for row in rows], thresholds)
    written = {row["figure"]: row for row in rows_of(tmp_path / "all" / "metrics.csv")}
    for name, found in direct.items():
        assert written[name]["estimate"] == f"{found.estimate:.6g}"
        assert written[name]["low"] == ("" if found.low is None else f"{found.low:.6g}")
    assert written["auc"]["groups"] == "6"


def test_a_video_has_a_timeline(study, film, tmp_path):
    found = predict(study, [film], tmp_path, seconds=0.2)
    rows = rows_of(tmp_path / "predictions.csv")
    assert [float(row["seconds"]) for row in rows] == pytest.approx(np.arange(20) / 5)
    assert rows[5]["image"] == "new/1s" and "spread_informative" in rows[0]
    assert Image.open(tmp_path / "timeline-new.png").width > 500
    assert "20 frames" in found.summary and not (tmp_path / "metrics.csv").exists()


def test_frames_decoded_on_are_those_that_are_sought(film):
    times = [0.0, 0.4, 0.6, 2.2, 3.8, 9.0]
    for at, image in zip(times, films.frames_at(film, times), strict=True):
        np.testing.assert_array_equal(image, next(films.frames_at(film, [at])))


def test_broken_files_are_listed_and_the_others_done(study, film, tmp_path):
    folder = write_videos(tmp_path / "mixed", ["n0"])
    (folder / "broken.mp4").write_bytes(b"no video")
    (folder / "n0" / "9.png").write_bytes(b"no image")
    found = predict(study, [folder, film], tmp_path / "out", labels="none")
    assert "2 of 7 could not be used" in found.unreadable
    assert "broken.mp4" in found.unreadable and "9.png" in found.unreadable
    assert len(rows_of(tmp_path / "out" / "predictions.csv")) == 5


def test_a_gray_frame_is_told_of(study, tmp_path):
    Image.effect_noise((160, 128), 50).save(tmp_path / "xray.png")
    found = predict(study, [tmp_path / "xray.png"], tmp_path / "out")
    assert "1 of 1 frame is gray, and the study's are in colour" in found.summary


def test_inputs_of_another_kind_are_refused(study, tmp_path):
    (tmp_path / "scan.nii").write_bytes(b"")
    with pytest.raises(UserError, match=r"scan\.nii is neither a video nor an image"):
        predict(study, [tmp_path / "scan.nii"], tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty holds neither a video nor an image, which"):
        predict(study, [tmp_path / "empty"], tmp_path / "out")
    (tmp_path / "a.mp4").write_bytes(b"no")
    with pytest.raises(UserError, match="1 of 1 could not be used"):
        predict(study, [tmp_path / "a.mp4"], tmp_path / "out")


def test_explain_draws_the_first_crops_of_each_frame(study, film, tmp_path):
    predict(study, [film], tmp_path, seconds=2.0, explain=True)
    rows = rows_of(tmp_path / "predictions.csv")
    drawn = [Image.open(tmp_path / row["map"]) for row in rows]
    assert len(drawn) == len(list((tmp_path / "maps").iterdir()))
    side = load_all([study]).size
    side *= max(1, 160 // side)
    assert {picture.size for picture in drawn} == {(2 * (2 * side + 3), 2 * (side + 3))}
