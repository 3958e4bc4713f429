import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medtune_jax.applications.polyps import boundary, cases
from medtune_jax.applications.polyps import detector as hand_crafted
from medtune_jax.applications.polyps.candidates import hits
from medtune_jax.errors import UserError
from tests.applications.polyps.blobs import blob_frame

SHARED = os.environ.get("MEDTUNE_SHARED", Path(__file__).resolve().parents[3].parent / "shared")
KVASIR = Path(SHARED) / "data" / "kvasir-seg"


@pytest.fixture(scope="module")
def detector():
    rng = np.random.default_rng(1)
    return hand_crafted.fit((blob_frame(rng, lesion=k % 4 > 0) for k in range(16)), seed=0)


@pytest.fixture(scope="module")
def frames():
    rng = np.random.default_rng(2)
    return [blob_frame(rng) for _ in range(25)]


@pytest.fixture(scope="module")
def found(detector, frames):
    return candidates(detector, frames)


def candidates(detector, frames):
    return [detector.candidates(image, 10) for image, _ in frames]


def sensitivity(found, frames):
    """(share of lesions hit, candidates a frame, share whose best-scored candidate hits)."""
    hit_lesions, first, total = 0, 0, 0
    for marks, (_, mask) in zip(found, frames, strict=True):
        numbered, lesions = cases.lesions(mask)
        hit = hits(marks, numbered)
        hit_lesions += len(set(hit[hit >= 0]))
        first += bool(len(hit) and hit[0] >= 0)
        total += lesions
    return hit_lesions / total, np.mean([len(marks) for marks in found]), first / len(frames)


def test_lesions_are_found_and_ranked_first(detector, frames, found):
    share, each, first = sensitivity(found, frames)
    assert share >= 0.95 and first >= 0.8 and each <= 10
    counts = [len(detector.candidates(image, 2)) for image, _ in frames[:3]]
    assert max(counts) <= 2 < max(map(len, found[:3]))


def test_the_forest_is_what_finds_them(detector, frames, found):
    """With the classes of the edges shuffled, the first candidate is seldom the lesion."""
    blind = hand_crafted.CandidateDetector(Blind(detector.classifier.forest), detector.judge)
    without = sensitivity(candidates(blind, frames), frames)[2]
    assert without <= sensitivity(found, frames)[2] - 0.2


class Blind(boundary.BoundaryClassifier):
    def probabilities(self, features):
        return np.random.default_rng(0).permutation(super().probabilities(features))


def test_boxes_fit_the_lesion(frames, found):
    overlaps = []
    for (_, mask), (best, *_) in zip(frames, found, strict=True):
        row, col = np.nonzero(mask)
        drawn = np.zeros_like(mask)
        top, left = best.row - best.height / 2, best.col - best.width / 2
        drawn[
            max(0, round(top)) : round(top + best.height),
            max(0, round(left)) : round(left + best.width),
        ] = True
        box = np.zeros_like(mask)
        box[row.min() : row.max() + 1, col.min() : col.max() + 1] = True
        overlaps.append((drawn & box).sum() / (drawn | box).sum())
    assert np.median(overlaps) > 0.6


def test_frames_without_lesion_score_lower(detector, found):
    rng = np.random.default_rng(4)
    without = [detector.candidates(blob_frame(rng, False)[0])[0].score for _ in range(12)]
    assert np.median([marks[0].score for marks in found]) > 1.3 * np.median(without)


def test_a_frame_of_any_size_gives_the_same_places(detector):
    image, _ = blob_frame(np.random.default_rng(5))
    large = np.asarray(Image.fromarray(image).resize((600, 480), Image.Resampling.BICUBIC))
    small, big = detector.candidates(image)[0], detector.candidates(large)[0]
    assert np.hypot(big.row / 3 - small.row, big.col / 3 - small.col) < 6
    assert abs(big.height / 3 - small.height) < 10


def test_scores_fall_and_boxes_lie_around_points_of_the_frame(detector):
    image, _ = blob_frame(np.random.default_rng(6))
    marks = detector.candidates(image)
    scores = [mark.score for mark in marks]
    assert scores == sorted(scores, reverse=True) and 0 <= min(scores) <= max(scores) <= 1
    assert all(0 <= m.row < 160 and 0 <= m.col < 200 for m in marks)
    assert all(m.height > 0 and m.width > 0 for m in marks)


@pytest.mark.parametrize("level", [0, 90, 255])
def test_an_empty_frame_has_no_candidates(detector, level):
    assert detector.candidates(np.full((160, 200, 3), level, np.uint8)) == []


def test_the_seed_decides_everything():
    image, _ = blob_frame(np.random.default_rng(7))
    few = [blob_frame(np.random.default_rng(k)) for k in range(2)]
    one, two, other = (hand_crafted.fit(few, seed).candidates(image) for seed in (3, 3, 4))
    assert one == two != other


def test_bad_training_frames():
    image, mask = blob_frame(np.random.default_rng(8))
    with pytest.raises(UserError, match="frame 1: its mask is 80 x 200 but the frame is 160 x 200"):
        hand_crafted.fit([(image, mask), (image, mask[:80])])
    with pytest.raises(UserError, match="none of the 1 training frames shows a lesion"):
        hand_crafted.fit([(image, np.zeros_like(mask))])
    with pytest.raises(UserError, match="none of the 0 training frames"):
        hand_crafted.fit([])


def test_a_fitting_box_is_centred_in_the_lesion_and_overlaps_it():
    mask = np.zeros((60, 80), bool)
    mask[20:40, 30:60] = True
    mask[50:55, 70:75] = True
    boxes = [
        (29.5, 44.5, 20, 30),  # the lesion's own box
        (29.5, 44.5, 10, 10),  # far too small: IoU 1/6
        (29.5, 44.5, 32, 48),  # large, IoU 0.39
        (12.0, 44.5, 20, 30),  # centred outside
        (52.0, 72.0, 5, 5),  # the other lesion's
    ]
    fits = hand_crafted._fits(np.array(boxes), mask)
    assert fits.tolist() == [True, False, True, False, True]


def test_repeated_candidates_are_dropped_but_a_polyp_in_a_fold_is_not():
    boxes = np.array([(50.0, 50, 40, 40), (52, 52, 38, 44), (50, 50, 8, 8), (90, 90, 40, 40)])
    assert hand_crafted._separate(boxes, np.array([0.9, 0.8, 0.7, 0.6]), 10) == [0, 2, 3]
    assert hand_crafted._separate(boxes, np.array([0.9, 0.8, 0.7, 0.6]), 2) == [0, 2]


def test_the_reservoir_is_a_uniform_sample():
    reservoir = hand_crafted._Reservoir(np.random.default_rng(0), maximum=100)
    for block in range(50):
        value = np.arange(block * 20, block * 20 + 20)
        reservoir.add(value[:, None], value)
        assert len(reservoir) <= 220
    features, label = reservoir.take()
    np.testing.assert_array_equal(features[:, 0], label)
    assert len(set(label.tolist())) == 100
    assert 400 < label.mean() < 600 and (label < 200).sum() in range(8, 34)


@pytest.mark.slow
@pytest.mark.skipif(not (KVASIR / "images").is_dir(), reason=f"{KVASIR} is absent")
def test_real_polyps():
    """Trained on 20 real frames, the detector finds most polyps of 30 others."""
    names = sorted(path.stem for path in (KVASIR / "images").iterdir())
    frames = [
        (
            np.asarray(Image.open(KVASIR / f"images/{name}.jpg").convert("RGB")),
            np.asarray(Image.open(KVASIR / f"masks/{name}.png").convert("L")) >= 128,
        )
        for name in names[:: len(names) // 50][:50]
    ]
    detector = hand_crafted.fit(frames[:20], seed=0)
    share, each, first = sensitivity(candidates(detector, frames[20:]), frames[20:])
    assert share >= 0.85 and first >= 0.5 and each <= 10
