"""A small study's detector and networks on new frames, and on the frames of its own test set."""

import csv
import shutil

import joblib
import numpy as np
import pytest
from PIL import Image
from sklearn.ensemble import RandomForestClassifier

from medtune_jax.applications.polyps.film import write_films
from medtune_jax.applications.polyps.forest import Forest
from medtune_jax.applications.polyps.truth import read_truth
from medtune_jax.applications.predict import load_all, predict
from medtune_jax.datasets.colonoscopy import FrameFile, videos
from medtune_jax.errors import UserError
from medtune_jax.evaluation.froc import PER_FRAME, Detections, sensitivity_at
from medtune_jax.serving.answer import Served
from medtune_jax.study import sweep
from tests.applications.polyps.small_study import polyp_config, write_videos


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    root = tmp_path_factory.mktemp("frames")
    write_videos(root / "train", 6, 2)
    write_videos(root / "test", 3, 2, seed=1)
    for video in (root / "test").iterdir():
        video.rename(video.with_name(f"t{video.name}"))
    return root


@pytest.fixture(scope="module")
def study(frames, tmp_path_factory):
    made = polyp_config(frames, train_patches=120, test_variants=2, candidates=4)
    made.sweep.depths, made.sweep.fractions, made.sweep.seeds = "conv10", "1.0", 2
    made.training.epochs, made.training.keep_weights = 2, True
    with pytest.MonkeyPatch.context() as patch, joblib.parallel_config("threading"):
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return sweep(made, tmp_path_factory.mktemp("study"), quiet=True)


def rows_of(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_forest_of_arrays_says_what_its_own_does(tmp_path):
    rng = np.random.default_rng(0)
    features, label = rng.normal(size=(300, 5)).astype(np.float32), rng.integers(0, 3, 300)
    fitted = RandomForestClassifier(20, max_depth=6, random_state=0).fit(features, label)
    arrays = Forest.of(fitted).arrays("it")
    np.savez(tmp_path / "it.npz", **arrays)
    new = rng.normal(size=(100, 5)).astype(np.float32)
    with np.load(tmp_path / "it.npz", allow_pickle=False) as kept:
        again = Forest.read(kept, "it")
    np.testing.assert_allclose(again.predict_proba(new), fitted.predict_proba(new), atol=1e-12)


def test_the_test_set_s_own_frames_get_the_scores_of_the_study(study, frames, tmp_path):
    run = next(path.parent for path in study.glob("runs/*/weights"))
    wanted = {row["image"]: row for row in rows_of(run / "scores.csv")}
    predict(run, [frames / "test"], tmp_path)
    got = {row["image"]: row for row in rows_of(tmp_path / "predictions.csv")}
    assert set(wanted) == set(got) and len(got) > 5
    for name, row in wanted.items():
        assert float(got[name]["polyp"]) == pytest.approx(float(row["polyp"]), abs=1e-6)
        assert (got[name]["lesion"] != "-1") == (row["label"] == "polyp")


def test_figures_on_new_frames_are_those_of_a_direct_evaluation(study, tmp_path):
    """Hits and lesions are counted here from boxes and masks."""
    new = write_videos(tmp_path / "new", 6, 2, seed=7, size=(120, 150))
    single, names = [], []
    for number, run in enumerate(sorted(p.parent for p in study.glob("runs/*/weights"))):
        predict(run, [new], tmp_path / str(number), overlays="none")
        rows = rows_of(tmp_path / str(number) / "predictions.csv")
        single.append([float(row["logit_polyp"]) for row in rows])
    predict(study, [new], tmp_path / "all")
    names = [row["frame"] for row in rows_of(tmp_path / "all" / "frames.csv")]
    masks = [np.asarray(Image.open(new / n.replace("/", "/masks/")).convert("L")) > 0 for n in
             (f"{name}.png" for name in names)]  # fmt: skip
    ill = np.flatnonzero([mask.any() for mask in masks])
    image = np.array([names.index(row["frame"]) for row in rows])
    inside = np.array(
        [
            masks[i][round(float(row["row"])), round(float(row["col"]))]
            for i, row in zip(image, rows, strict=True)
        ]
    )
    lesion = np.where(inside, np.searchsorted(ill, image), -1)
    runs = [Detections(len(names), ill, image, score, lesion) for score in single]
    direct = sensitivity_at(runs, PER_FRAME, [name.split("/")[0] for name in names])
    written = rows_of(tmp_path / "all" / "metrics.csv")
    assert [row["figure"] for row in written] == [f"sensitivity_at_{rate:g}" for rate in PER_FRAME]
    for row, found in zip(written, direct, strict=True):
        assert row["estimate"] == f"{found.estimate:.6g}" and row["why"] == found.why


def test_marks_keep_to_the_false_positives_of_the_test_set(study, frames, tmp_path):
    for rate in (0.5, 1.0):
        out = tmp_path / f"{rate}"
        predict(study, [frames / "test"], out, false_positives=rate)
        rows = rows_of(out / "predictions.csv")
        false = sum(row["marked"] == "1" and row["lesion"] == "-1" for row in rows)
        assert false == rate * len(read_truth(study).images)
        marked = {row["frame"] for row in rows if row["marked"] == "1"}
        assert len(list((out / "overlays").iterdir())) == len(marked)


def test_a_threshold_needs_every_run_and_a_rate(study, frames, tmp_path):
    other = tmp_path / "study"
    shutil.copytree(study, other)
    with pytest.raises(UserError, match="false_positives is -1"):
        predict(other, [frames / "test"], tmp_path / "out", false_positives=-1.0)
    run = next(path.parent for path in other.glob("runs/*/weights"))
    (run / "scores.csv").unlink()
    with pytest.raises(UserError, match=f"the result of {run.name} is damaged or gone"):
        predict(other, [frames / "test"], tmp_path / "out")


def test_frames_without_masks_and_larger_ones_are_scored_too(study, tmp_path):
    new = write_videos(tmp_path / "new", 2, 1, seed=3)
    image = Image.open(new / "v01" / "0.png")
    image.resize((1200, 960)).save(tmp_path / "large.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    image.convert("L").save(tmp_path / "gray.png")
    paths = [tmp_path / name for name in ("large.png", "broken.png", "gray.png")]
    found = predict(study, paths, tmp_path / "out", overlays="all")
    assert "1 of 3 could not be used" in found.unreadable
    assert "1 of 2 frames is gray, and the study's are in colour" in found.summary
    rows = rows_of(tmp_path / "out" / "predictions.csv")
    assert rows and "lesion" not in rows[0] and not (tmp_path / "out" / "metrics.csv").exists()
    assert max(float(row["col"]) for row in rows) > 512  # pixels of the frame as it was given


def test_a_video_is_written_again_with_its_marks(study, tmp_path):
    """Where nothing is marked a frame is as it was, but larger; a mark's box is drawn in the frame's own place."""
    new = write_videos(tmp_path / "new", 2, 1, seed=3, size=(121, 150))
    frames = [np.asarray(Image.open(new / video / "0.png")) for video in ("v00", "v01")] * 2
    videos.write(tmp_path / "film.mp4", frames, 5.0)
    run = next(path.parent for path in study.glob("runs/*/weights"))
    predict(run, [tmp_path / "film.mp4"], tmp_path / "out", false_positives=0.5)
    rows = rows_of(tmp_path / "out" / "frames.csv")
    given, drawn = (list(videos.frames(path)) for path in
                    (tmp_path / "film.mp4", tmp_path / "out" / "overlays" / "film.mp4"))  # fmt: skip
    assert [seconds for seconds, _ in drawn] == pytest.approx([0, 0.2, 0.4, 0.6])
    assert {row["marked"] != "0" for row in rows} == {True, False}
    for row, (_, before), (_, after) in zip(rows, given, drawn, strict=True):
        assert before.shape == (120, 150, 3) and after.shape == (480, 600, 3)
        small = np.asarray(Image.fromarray(after).resize((150, 120), Image.Resampling.BOX))
        changed = np.abs(small.astype(int) - before).max()
        assert changed > 100 if row["marked"] != "0" else changed < 60
    predict(run, [tmp_path / "film.mp4"], tmp_path / "none", overlays="none")
    assert not (tmp_path / "none" / "overlays").exists()
    image = FrameFile("v01", "0", new / "v01" / "0.png")
    assert write_films([image], {}, tmp_path / "image") == []


def test_a_page_says_at_start_that_a_study_kept_no_detector(study, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(study, other)
    assert Served(other).takes == "a colonoscopy frame or video"
    (other / "application" / "detector.npz").unlink()
    with pytest.raises(UserError, match=r"detector\.npz is missing: run the same sweep again"):
        Served(other)


def test_inputs_of_another_kind_are_refused(study, tmp_path):
    (tmp_path / "scan.nrrd").write_bytes(b"")
    with pytest.raises(UserError, match=r"scan\.nrrd is neither a video nor an image"):
        predict(study, [tmp_path / "scan.nrrd"], tmp_path / "out")
    with pytest.raises(UserError, match="overlays is 'some'"):
        predict(study, [tmp_path / "scan.nrrd"], tmp_path / "out", overlays="some")
    assert load_all([study]).application.name == "polyps"
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty holds neither a video nor an image, which"):
        predict(study, [tmp_path / "empty"], tmp_path / "out")


@pytest.mark.slow
def test_explain_draws_the_marked_candidates_of_a_frame(study, frames, tmp_path):
    predict(study, [frames / "test"], tmp_path, explain=True, false_positives=5.0)
    marked = {r["frame"]: int(r["marked"]) for r in rows_of(tmp_path / "frames.csv")}
    drawn = list((tmp_path / "maps").iterdir())
    assert len(drawn) == sum(number > 0 for number in marked.values()) > 0
    side = load_all([study]).size
    side *= max(1, 160 // side)
    assert all(Image.open(path).size[0] % (2 * side + 3) == 0 for path in drawn)
