"""Augmented pictures: how far they are changed, and by what."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medtune_jax.errors import UserError
from medtune_jax.patches import Augment, Images, Views

SIDE = 21
KEYS = jax.random.split(jax.random.key(3), 64)
RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (5, SIDE, SIDE, 3), np.uint8)
MILD = Augment("both", 10.0, 0.1, 0.05, 0.1, 0.1)


def many(augment, picture):
    """One picture [S, S] changed by every key: [64, S, S]."""
    pixels = np.repeat(picture[None, ..., None].astype(np.float32), 3, -1)
    return np.asarray(augment(jnp.asarray(np.repeat(pixels, 64, 0)), KEYS))[..., 0]


def slopes(augment):
    """Of a ramp that rises by 4 a column and one a row: its slopes (row, col) after a change, away from the border."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    found = many(augment, 40 + 4.0 * columns + rows)[:, 7:14, 7:14]
    return np.diff(found, axis=1).mean((1, 2)), np.diff(found, axis=2).mean((1, 2)), found


def test_nothing_changes_nothing():
    np.testing.assert_array_equal(Augment()(jnp.asarray(NOISE), KEYS[:5]), NOISE)


@pytest.mark.parametrize(
    ("flip", "expected"),
    [
        ("horizontal", [NOISE[0], NOISE[0][:, ::-1]]),
        ("vertical", [NOISE[0], NOISE[0][::-1]]),
        ("both", [NOISE[0], NOISE[0][:, ::-1], NOISE[0][::-1], NOISE[0][::-1, ::-1]]),
    ],
)
def test_flips_are_exact_and_equally_frequent(flip, expected):
    found = many(Augment(flip), NOISE[0, ..., 0])
    hits = [(found == picture[..., 0]).all((1, 2)).sum() for picture in expected]
    assert sum(hits) == 64 and min(hits) > 64 / len(expected) / 2


def test_a_shift_moves_by_a_share_of_the_side():
    down, right, found = slopes(Augment(shift=0.1))
    np.testing.assert_allclose(down, 1, atol=1e-3)
    np.testing.assert_allclose(right, 4, atol=1e-3)
    moved = found[:, 3, 3] - (40 + 4 * 10 + 10)
    most = 0.1 * SIDE * 5  # both directions, along the ramp
    assert np.abs(moved).max() <= most and moved.std() > most / 5


def test_a_rotation_turns_the_ramp_and_keeps_its_steepness():
    down, right, found = slopes(Augment(rotation=20))
    np.testing.assert_allclose(np.hypot(down, right), np.hypot(1, 4), rtol=1e-3)
    angle = np.rad2deg(np.arctan2(down, right) - np.arctan2(1, 4))
    assert np.abs(angle).max() <= 20 and angle.min() < -10 and angle.max() > 10
    np.testing.assert_allclose(found[:, 3, 3], 90, atol=1e-2)  # about the middle


def test_a_scale_is_as_often_larger_as_smaller():
    down, right, _ = slopes(Augment(scale=0.25))
    np.testing.assert_allclose(right, 4 * down, rtol=1e-2)
    assert 0.8 <= down.min() < 0.9 and 1.1 < down.max() <= 1.25


def test_brightness_and_contrast():
    gray = np.linspace(100, 150, SIDE * SIDE).reshape(SIDE, SIDE)
    added = many(Augment(brightness=0.1), gray) - gray
    np.testing.assert_allclose(added, added[:, :1, :1].repeat(SIDE, 1).repeat(SIDE, 2), atol=1e-3)
    assert 15 < np.abs(added).max() <= 25.5
    found = many(Augment(contrast=0.2), gray)
    np.testing.assert_allclose(found.mean((1, 2)), gray.mean(), rtol=1e-4)
    ratio = found.std((1, 2)) / gray.std()
    assert 1 / 1.2 <= ratio.min() < 0.9 and 1.1 < ratio.max() <= 1.2


def test_values_stay_those_of_pixels():
    found = many(Augment(brightness=1.0, contrast=2.0), NOISE[0, ..., 0])
    assert found.min() == 0 and found.max() == 255


def test_a_patch_does_not_depend_on_its_neighbours():
    """Same key, same bytes, wherever it stands in a batch; of another size, another program rounds."""
    whole = np.asarray(MILD(jnp.asarray(NOISE), KEYS[:5]))
    order = np.array([3, 0, 4, 2, 1])
    np.testing.assert_array_equal(MILD(jnp.asarray(NOISE[order]), KEYS[order]), whole[order])
    np.testing.assert_allclose(MILD(jnp.asarray(NOISE[:2]), KEYS[:2]), whole[:2], atol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flip": "left"}, "augment.flip is 'left': give one of none, horizontal, vertical, both"),
        ({"rotation": 200.0}, "augment.rotation is 200: give 0 to 180"),
        ({"shift": -0.1}, "augment.shift is -0.1: give 0 to 1"),
        ({"contrast": float("nan")}, "augment.contrast is nan"),
    ],
)
def test_what_is_out_of_range_is_refused(change, message):
    with pytest.raises(UserError, match=message):
        Augment(**change)


def test_views_are_the_patches_and_then_changed_ones():
    views = Views(Images(NOISE), MILD, 3)
    assert len(views) == 15
    arrays = views.arrays()
    found = np.asarray(views.take(arrays, jnp.arange(15)))
    np.testing.assert_array_equal(found[:5], NOISE)
    assert len({picture.tobytes() for picture in found}) == 15
    for view in (1, 2):  # of the same patch, though not the same
        for number in range(5):
            change = np.abs(found[5 * view + number] - NOISE[number]).mean()
            assert 1 < change < 120


def test_views_that_are_streamed_are_the_same():
    views = Views(Images(NOISE), MILD, 3)
    whole = np.asarray(views.take(views.arrays(), jnp.arange(15)))
    index = np.array([14, 2, 7, 7])
    part = views.take(views.subset(index), jnp.arange(4))
    np.testing.assert_array_equal(part, whole[index])


def test_the_fingerprint_tells_views_apart():
    made = [
        Images(NOISE),
        Views(Images(NOISE), MILD, 3),
        Views(Images(NOISE), MILD, 4),
        Views(Images(NOISE), Augment(), 3),
        Views(Images(NOISE[::-1]), MILD, 3),
    ]
    assert len({views.fingerprint() for views in made}) == 5
