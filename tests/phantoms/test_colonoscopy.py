"""Colonoscopy phantoms: reproducible, exact masks, graded defects, and layouts written once."""

import csv
import itertools
from itertools import starmap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from medtune_jax.datasets.colonoscopy import plain
from medtune_jax.errors import UserError
from medtune_jax.phantoms.colonoscopy import layouts, video, write_image_folder, write_videos
from medtune_jax.phantoms.colonoscopy.defects import DEFECTS
from medtune_jax.phantoms.colonoscopy.polyp import KINDS, make_polyp
from medtune_jax.phantoms.colonoscopy.texture import bilinear, periodic_noise
from medtune_jax.phantoms.colonoscopy.wall import make_wall

SIZE = (96, 128)


@pytest.fixture(scope="module")
def graded() -> list:
    """Frames of several videos, half of them bad."""
    return [frame for seed in range(8) for frame in video(seed, 20, SIZE, defect_rate=0.5)]


def _sharpness(image: np.ndarray) -> float:
    return float(np.log(ndimage.laplace(image.mean(-1)).var() + 1e-6))


def _at(directory: Path, name: str) -> np.ndarray:
    return np.asarray(Image.open(directory / name))


def test_same_seed_same_video_and_other_seed_another():
    one, again, other = (list(video(s, 3, SIZE, 1, 0.5)) for s in (3, 3, 4))
    for a, b in zip(one, again, strict=True):
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.lesions, b.lesions)
        assert (a.quality, a.defect) == (b.quality, b.defect)
    assert not np.array_equal(one[0].image, other[0].image)


def test_frame_fields():
    for frame in video(0, 6, SIZE, 2, 0.5):
        assert frame.image.shape == (*SIZE, 3) and frame.image.dtype == np.uint8
        assert frame.mask.shape == SIZE and frame.mask.dtype == bool
        np.testing.assert_array_equal(frame.mask, frame.lesions > 0)
        assert (frame.quality == "informative") == (frame.defect is None)


def test_frames_of_a_video_belong_together():
    frames = [np.float32(frame.image) for frame in video(5, 60, SIZE)]
    stranger = [np.float32(frame.image) for frame in video(6, 60, SIZE)]
    neighbours = np.mean([np.abs(a - b).mean() for a, b in itertools.pairwise(frames)])
    others = np.mean([np.abs(a - b).mean() for a, b in zip(frames, stranger, strict=True)])
    assert neighbours < 0.8 * others


def test_a_polyp_changes_pixels_at_its_mask_and_nowhere_else():
    """The difference to the same video without polyps is at the mask (and its soft foot)."""
    inside, outside = [], []
    for seed in range(6):
        pairs = zip(video(seed, 10, SIZE, 1), video(seed, 10, SIZE, 0), strict=True)
        for sick, sound in pairs:
            assert not sound.mask.any()
            if not sick.mask.any():
                continue
            difference = np.abs(sick.image.astype(int) - sound.image).max(-1) > 12
            near = ndimage.binary_dilation(sick.mask, iterations=10)
            inside.append(difference[sick.mask].mean())
            outside.append(difference[~near].mean())
    assert len(inside) >= 10 and np.median(inside) > 0.4
    assert max(outside) < 0.01


def test_mask_is_the_projection_of_the_polyp():
    """Lesion pixels differ from the lesion-free view far more often than the rest of the frame."""
    inside, outside = [], []
    for seed in range(6):
        for sick, sound in zip(video(seed, 8, SIZE, 2), video(seed, 8, SIZE), strict=True):
            if sick.mask.any():
                change = np.abs(sick.image.astype(int) - sound.image).mean(-1)
                inside.append(change[sick.mask].mean())
                outside.append(change[~sick.mask].mean())
    assert np.mean(inside) > 10 * np.mean(outside)


def test_positive_videos_show_and_lose_their_polyp():
    shown = [[bool(f.mask.any()) for f in video(seed, 20, (64, 80), 1)] for seed in range(12)]
    share = np.mean(shown, axis=1)
    assert np.mean(share > 0) >= 0.9 and 0.15 < share.mean() < 0.85


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.5, 1.0])
def test_defect_rate_is_met_exactly(rate: float):
    bad = [f.quality == "non_informative" for f in video(1, 12, (48, 64), defect_rate=rate)]
    assert sum(bad) == round(rate * 12)


def test_every_defect_occurs(graded: list):
    rest = {"wall_contact", *DEFECTS} - {frame.defect for frame in graded}
    assert len(rest) <= 2  # rare ones may miss 160 frames, most may not


def test_blurred_frames_are_less_sharp(graded: list):
    sharp = [_sharpness(f.image) for f in graded if f.defect is None]
    blurred = [_sharpness(f.image) for f in graded if f.defect in ("defocus", "motion_blur")]
    assert np.mean(blurred) < np.mean(sharp) - 1


def test_quality_is_not_given_away_by_brightness(graded: list):
    bad = [frame.quality == "non_informative" for frame in graded]
    brightness = np.array([frame.image.mean() for frame in graded])
    extreme = np.abs(brightness - np.median(brightness))
    for cue in (brightness, extreme):
        assert abs(roc_auc_score(bad, cue) - 0.5) < 0.3


@pytest.mark.parametrize("kind", DEFECTS)
def test_defects_grow_with_strength(kind: str):
    """A stronger defect leaves less of the picture; light stays finite and not negative."""
    light = np.random.default_rng(0).random((*SIZE, 3), np.float32) * 0.4
    change = []
    for strength in (0.05, 0.5, 1.0):
        spoiled, opacity = DEFECTS[kind](light, strength, np.random.default_rng(1))
        assert spoiled.shape == light.shape and opacity.shape == SIZE
        assert np.isfinite(spoiled).all() and spoiled.min() >= 0
        assert opacity.min() >= 0 and opacity.max() <= 1
        change.append(np.abs(spoiled - light).mean())
    assert change[0] < change[1] < change[2]


def test_polyps_of_every_kind_rise_from_the_wall():
    rng = np.random.default_rng(0)
    wall = make_wall(rng, 512)
    polyps = [make_polyp(rng, wall, 1.0 + 0.1 * k, 0.3 * k) for k in range(24)]
    assert {polyp.kind for polyp in polyps} == set(KINDS)
    for polyp in polyps:
        top = polyp.base + 0.5 * polyp.axes.T @ (polyp.stalk + polyp.radii * np.float32([0, 0, 1]))
        inside = polyp.distance(top[:, None], wall.clearance(top[:, None]))
        assert inside[0] < 0.02
        np.testing.assert_allclose(polyp.axes @ polyp.axes.T, np.eye(3), atol=1e-5)
        distant = polyp.base + 2 * polyp.reach * polyp.axes[2]
        assert polyp.distance(distant[:, None], wall.clearance(distant[:, None]))[0] > 0


def test_textures_wrap_and_interpolate():
    noise = periodic_noise(np.random.default_rng(0), (64, 32), 4)
    assert abs(noise.mean()) < 1e-5 and noise.std() == pytest.approx(1, abs=1e-5)
    assert np.abs(noise[0] - noise[-1]).max() < 3 * np.abs(np.diff(noise, axis=0)).max()
    v, u = np.float32([3, 63.5, -1]), np.float32([5, 2, 33])
    expected = [noise[3, 5], (noise[63, 2] + noise[0, 2]) / 2, noise[63, 1]]
    np.testing.assert_allclose(bilinear(noise, u, v), expected, atol=1e-6)


def test_image_folder_layout_and_reuse(tmp_path: Path):
    folder = write_image_folder(tmp_path / "set", videos=3, frames=6, size=(48, 64), seed=1)
    rows = list(csv.DictReader((folder / "labels.csv").open()))
    assert list(rows[0]) == ["image", "label", "patient"] and len(rows) == 18
    assert [row["label"] for row in rows].count("informative") == 9
    assert len({row["patient"] for row in rows}) == 3
    assert all(_at(folder, row["image"]).shape == (48, 64, 3) for row in rows)
    mark = folder / rows[0]["image"]
    before = mark.stat().st_mtime_ns
    assert write_image_folder(folder, videos=3, frames=6, size=(48, 64), seed=1) == folder
    assert mark.stat().st_mtime_ns == before
    with pytest.raises(UserError, match="other files"):
        write_image_folder(folder, videos=3, frames=6, size=(48, 64), seed=2)


def test_video_layout(tmp_path: Path):
    folder = write_videos(tmp_path / "set", 2, 1, frames=8, size=(48, 64), defect_rate=0.25)
    rows = list(csv.DictReader((folder / "quality.csv").open()))
    assert list(rows[0]) == ["video", "frame", "quality"] and len(rows) == 24
    assert sorted(row["quality"] for row in rows) == ["0"] * 6 + ["1"] * 18
    assert len(plain.read(folder)) == 24  # the reader of users' own videos takes it as it is
    for row in rows:
        image = _at(folder, f"{row['video']}/{row['frame']}.png")
        mask = _at(folder, f"{row['video']}/masks/{row['frame']}.png")
        assert image.shape == (*mask.shape, 3) and set(np.unique(mask)) <= {0, 255}
        assert not (row["video"].startswith("negative") and mask.any())


def test_interrupted_write_is_redone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    arguments = {"positives": 1, "negatives": 1, "frames": 2, "size": (48, 64)}
    with monkeypatch.context() as patch:

        def interrupted(write, tasks, batch):
            yield write(*tasks[0])
            raise InterruptedError

        patch.setattr(layouts, "parallel", interrupted)
        with pytest.raises(InterruptedError):
            write_videos(tmp_path, **arguments)
    assert not (tmp_path / "quality.csv").exists()
    write_videos(tmp_path, **arguments)
    assert len(list(tmp_path.glob("*/masks/*.png"))) == 4
    assert len((tmp_path / "quality.csv").read_text().splitlines()) == 5


def test_parallel_and_serial_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    arguments = {"videos": 2, "frames": 2, "size": (48, 64)}
    many = write_image_folder(tmp_path / "many", **arguments)
    monkeypatch.setattr(layouts, "parallel", lambda write, tasks, batch: starmap(write, tasks))
    one = write_image_folder(tmp_path / "one", **arguments)
    for file in sorted(many.rglob("*.png")):
        assert file.read_bytes() == (one / file.relative_to(many)).read_bytes()


def test_foreign_directory_is_not_touched(tmp_path: Path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="other files"):
        write_videos(tmp_path, 1, 0, frames=1, size=(48, 64))
    assert (tmp_path / "mine.txt").read_text() == "keep"


@pytest.mark.parametrize(
    "arguments",
    [
        {"frames": 0},
        {"frames": 1, "size": (8, 8)},
        {"frames": 1, "polyps": 9},
        {"frames": 1, "defect_rate": 1.5},
    ],
)
def test_bad_arguments(arguments: dict):
    with pytest.raises(UserError):
        next(iter(video(0, **arguments)))
