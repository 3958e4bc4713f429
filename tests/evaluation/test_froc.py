"""FROC against two implementations that share no code or idea with it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medtune_jax.errors import UserError
from medtune_jax.evaluation import froc
from medtune_jax.evaluation.froc import Detections


def per_threshold(images, lesion_image, rows):
    """Brute force: for every threshold, walk over the candidates and keep books."""
    points = [(0.0, 0.0)]
    for threshold in sorted({score for _, score, _ in rows}, reverse=True):
        false, found = 0, [False] * len(lesion_image)
        for _, score, lesion in rows:
            if score < threshold:
                continue
            if lesion == -1:
                false += 1
            else:
                found[lesion] = True
        points.append((false / images, sum(found) / len(lesion_image)))
    return points


def by_sets(images, lesion_image, rows):
    """Sets: lesions and false marks enter as the marks are revealed, one score level at a time."""
    levels = {}
    for index, (_, score, lesion) in enumerate(rows):
        levels.setdefault(score, []).append((index, lesion))
    seen, false, points = set(), set(), [(0.0, 0.0)]
    for score in sorted(levels, reverse=True):
        seen |= {lesion for _, lesion in levels[score] if lesion >= 0}
        false |= {index for index, lesion in levels[score] if lesion < 0}
        points.append((len(false) / images, len(seen) / len(lesion_image)))
    return points


@st.composite
def marked_images(draw):
    """Few score levels (ties), images without lesion, lesions hit often or never."""
    images = draw(st.integers(1, 8))
    lesion_image = draw(st.lists(st.integers(0, images - 1), min_size=1, max_size=6))
    rows = []
    for _ in range(draw(st.integers(0, 30))):
        score = draw(st.integers(0, 5)) / 5
        lesion = draw(st.integers(-1, len(lesion_image) - 1))
        image = lesion_image[lesion] if lesion >= 0 else draw(st.integers(0, images - 1))
        rows.append((image, score, lesion))
    return images, lesion_image, rows


def detections(images, lesion_image, rows):
    image, score, lesion = zip(*rows, strict=True) if rows else ((), (), ())
    return Detections(images, lesion_image, image, score, lesion)


@settings(max_examples=200)
@given(marked_images())
def test_curve_agrees_with_two_other_implementations(data):
    points = per_threshold(*data)
    assert by_sets(*data) == points
    rates = sorted({rate for rate, _ in points})
    best = [max(s for f, s in points if f <= rate + 1e-12) for rate in rates]
    assert froc.sensitivities([detections(*data)], rates) == pytest.approx(best)


@settings(max_examples=60)
@given(marked_images(), st.sampled_from([0.0, 0.125, 0.5, 1.0, 3.0]), st.integers(0, 1000))
def test_weighted_sensitivity_equals_repeated_images(data, rate, seed):
    """An image drawn three times is three images, each with its own lesions and candidates."""
    images, lesion_image, rows = data
    weights = np.random.default_rng(seed).integers(0, 4, images)
    weights[lesion_image[0]] += 1
    copies = [(image, k) for image in range(images) for k in range(weights[image])]
    number = {copy: i for i, copy in enumerate(copies)}
    lesions = [(lesion, k) for lesion, i in enumerate(lesion_image) for k in range(weights[i])]
    lesion_number = {copy: i for i, copy in enumerate(lesions)}
    repeated = [
        (number[image, k], score, lesion_number[lesion, k] if lesion >= 0 else -1)
        for image, score, lesion in rows
        for k in range(weights[image])
    ]
    points = per_threshold(len(copies), [number[lesion_image[j], k] for j, k in lesions], repeated)
    expected = max(s for f, s in points if f <= rate + 1e-12)
    statistic = froc.froc_statistic(detections(*data), [rate])
    assert statistic(weights[None].astype(float))[0, 0] == pytest.approx(expected)


def test_the_hit_rule_on_a_case_done_by_hand():
    """4 images, 3 lesions: one found twice, one found late, one never."""
    found = Detections(
        images=4,
        lesion_image=[0, 0, 2],
        image=[0, 0, 0, 1, 0, 3],
        score=[0.9, 0.9, 0.8, 0.8, 0.3, 0.1],
        lesion=[0, 0, -1, -1, 1, -1],
    )
    rates = [0, 0.49, 0.5, 0.75]
    assert froc.sensitivities([found], rates) == pytest.approx(np.array([1, 1, 2, 2]) / 3)


def random_test_set(rng, images=300, skill=1.5):
    lesion_image = np.flatnonzero(rng.random(images) < 0.4)
    raised = np.flatnonzero(rng.random(lesion_image.size) < 0.9)
    false = rng.integers(0, images, 2 * images)
    return Detections(
        images,
        lesion_image,
        np.append(lesion_image[raised], false),
        np.append(skill + rng.normal(size=raised.size), rng.normal(size=false.size)),
        np.append(raised, np.full(false.size, -1)),
    )


def test_interval_by_video_is_wider_when_videos_differ():
    rng = np.random.default_rng(0)
    videos = np.repeat(np.arange(15), 20)
    test = random_test_set(rng)
    easy = 2 * rng.normal(size=15)[videos]
    score = test.score + np.where(test.lesion >= 0, easy[test.image], 0)
    test = Detections(300, test.lesion_image, test.image, score, test.lesion)
    by_frame = froc.sensitivity_at([test], [0.1], np.arange(300))[0]
    by_video = froc.sensitivity_at([test], [0.1], videos)[0]
    assert by_frame.estimate == by_video.estimate
    assert by_video.high - by_video.low > 1.2 * (by_frame.high - by_frame.low)
    assert by_video.low < by_video.estimate < by_video.high


def test_paired_comparison():
    good, bad = (random_test_set(np.random.default_rng(1), skill=s) for s in (2.5, 1.0))
    videos = np.repeat(np.arange(30), 10)
    better = froc.sensitivity_difference([good], [bad], [0.1], videos, fixed=True)
    assert better.low > 0 and better.p < 0.01
    same = froc.sensitivity_difference([good], [good], [0.1], videos)
    assert same.estimate == 0 and same.p is None and "same" in same.why
    other = random_test_set(np.random.default_rng(2))
    with pytest.raises(UserError, match="same images"):
        froc.sensitivity_difference([good], [other], [0.1], videos)


def test_rates_and_seeds_are_averaged():
    seeds = [random_test_set(np.random.default_rng(3), skill=s) for s in (1.0, 2.0)]
    videos, rates = np.repeat(np.arange(30), 10), [0.1, 1.0]
    each = [froc.sensitivities([seed], rates) for seed in seeds]
    assert froc.sensitivities(seeds, rates) == pytest.approx(np.mean(each, axis=0))
    found = froc.sensitivity_difference(seeds, seeds[:1], rates, videos)
    assert found.estimate == pytest.approx(np.mean(each) - np.mean(each[0]))


def test_no_candidate_at_all_is_all_misses():
    empty = Detections(5, [0, 3], [], [], [])
    for found in froc.sensitivity_at([empty], [0.1, 5], np.arange(5)):
        assert found.estimate == 0 and found.low is None
        assert "2 lesions of 2 patients" in found.why


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": [0, 7]}, "image, row 1: 7"),
        ({"lesion": [0, 4]}, "lesion, row 1: 4"),
        ({"image": [1, 1]}, "Candidate 0 lies in image 1"),
        ({"score": [0.1, np.nan]}, "Candidate 1 has the score nan"),
        ({"score": [0.1]}, "one score"),
        ({"lesion_image": []}, "no lesion"),
    ],
)
def test_bad_input_is_named(change, message):
    fields = {
        "images": 3,
        "lesion_image": [0],
        "image": [0, 1],
        "score": [0.5, 0.2],
        "lesion": [0, -1],
    }
    with pytest.raises(UserError, match=message):
        Detections(**{**fields, **change})
