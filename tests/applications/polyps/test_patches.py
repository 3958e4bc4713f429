import numpy as np
import pytest
import scipy.ndimage as ndi
from hypothesis import given, settings
from hypothesis import strategies as st

from medtune_jax.applications.polyps import patches
from medtune_jax.errors import UserError


def sample(image, affine, size):
    """The reference sampler: bilinear, output pixel (row, col, 1) -> source (row, col)."""
    grid = np.stack([*np.mgrid[:size, :size], np.ones((size, size))]).reshape(3, -1)
    return ndi.map_coordinates(image, affine @ grid, order=1, mode="nearest").reshape(size, size)


def test_120_different_patches_a_candidate():
    affines = patches.candidate_affines(np.tile([50.0, 60, 20, 30], (120, 1)), np.arange(120))
    assert patches.NUMBER == 120 and affines.shape == (120, 2, 3) and affines.dtype == np.float32
    assert len(np.unique(affines.round(4), axis=0)) == 120


def test_dihedral_variants_are_what_numpy_flips_and_turns_give():
    image = np.random.default_rng(0).random((16, 16))
    affines = patches.candidate_affines(np.tile([7.5, 7.5, 16, 16], (8, 1)), range(8), 16)
    got = [sample(image, affine, 16) for affine in affines]
    expected = [np.rot90(m, k) for m in (image, image.T) for k in range(4)]
    np.testing.assert_allclose(got[0], image, atol=1e-5)
    for picture in expected:
        assert sum(np.allclose(picture, other, atol=1e-4) for other in got) == 1


def test_the_grid_covers_the_resized_and_shifted_box():
    counts = len(patches.SCALES), len(patches.CENTRE_AND_SIDES), len(patches.DIHEDRAL)
    places = [patches.CENTRE_AND_SIDES.index(place) for place in ((0, 0), (-1, 0), (0, 1))]
    kinds = [np.ravel_multi_index((s, p, 0), counts) for s in (0, 2) for p in places]
    affines = patches.candidate_affines(np.tile([50.0, 60, 20, 40], (6, 1)), kinds, 100)
    # the outer corners of the first and last output pixel are the corners of the box
    corners = np.array([[-0.5, 99.5], [-0.5, 99.5], [1, 1]])
    top_left, bottom_right = np.moveaxis(affines @ corners, -1, 0)
    np.testing.assert_allclose(bottom_right - top_left, [[20, 40]] * 3 + [[30, 60]] * 3, atol=1e-3)
    middle = (top_left + bottom_right) / 2
    expected = [[50, 60], [48, 60], [50, 64], [50, 60], [47, 60], [50, 66]]
    np.testing.assert_allclose(middle, expected, atol=1e-3)


def test_a_square_patch_keeps_the_aspect():
    flat = [[50.0, 60, 20, 40]]
    square = patches.candidate_affines(np.repeat(flat, 8, 0), range(8), 80, square=True)
    np.testing.assert_allclose(np.abs(np.linalg.det(square[:, :, :2])), 0.25, atol=1e-6)
    stretched = patches.candidate_affines(np.repeat(flat, 8, 0), range(8), 80)
    np.testing.assert_allclose(np.abs(stretched[:, :, :2]).sum(2), [[0.25, 0.5]] * 8, atol=1e-6)


def test_a_few_variants_are_spread_over_scales_shifts_and_turns():
    kinds = patches.VARIANTS
    np.testing.assert_array_equal(patches.spread(120), np.arange(120))
    three = patches.spread(3)
    np.testing.assert_array_equal(kinds.scale[three], [1.0, 1.2, 1.5])
    assert not kinds.shift[three].any()
    many = patches.spread(24)
    assert len(np.unique(many)) == 24
    for axis in kinds.scale, kinds.shift, kinds.transform:
        assert len(np.unique(axis[many], axis=0)) == len(np.unique(axis, axis=0))
    for count in (0, 121):
        with pytest.raises(UserError, match="from 1 to 120"):
            patches.spread(count)


def test_sampling_balances_classes_and_strata():
    rng = np.random.default_rng(0)
    # video a: 100 negatives, b: 10, c: 2 negatives and all 3 positives
    stratum = np.array(["a"] * 100 + ["b"] * 10 + ["c"] * 5)
    positive = np.arange(115) >= 112
    candidate, variant = patches.stratified_sample(positive, stratum, 120, 600, rng)
    assert len(candidate) == 600 and positive[candidate].sum() == 300
    negatives = stratum[candidate[~positive[candidate]]]
    assert {name: (negatives == name).sum() for name in "abc"} == {"a": 100, "b": 100, "c": 100}
    assert len(set(zip(candidate.tolist(), variant.tolist(), strict=True))) == 600
    assert variant.min() >= 0 and variant.max() == 119
    # the rarer class bounds the sample: 3 positives have 360 patches
    candidate, _ = patches.stratified_sample(positive, stratum, 120, 100_000, rng)
    assert positive[candidate].sum() == 360 and len(candidate) == 720
    exhausted = stratum[candidate[~positive[candidate]]]
    assert (exhausted == "c").sum() == 120  # of 240 possible: 360 / 3 each


def test_sampling_is_decided_by_the_seed():
    arguments = np.arange(40) % 3 == 0, np.arange(40) // 10, 8, 60
    one, two = (
        patches.stratified_sample(*arguments, rng=np.random.default_rng(5)) for _ in range(2)
    )
    np.testing.assert_array_equal(one, two)


def test_one_class_empty():
    for value, absent in ((True, "negative"), (False, "positive")):
        with pytest.raises(UserError, match=f"none of the 4 training candidates is {absent}"):
            patches.stratified_sample([value] * 4, [0] * 4, 8, 10, np.random.default_rng(0))


@settings(max_examples=100)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=8), st.integers(0, 100))
def test_quotas_are_level(capacity, wanted):
    capacity = np.array(capacity)
    total = min(wanted, capacity.sum())
    quota = patches._even_quotas(capacity, total)
    assert quota.sum() == total and (quota <= capacity).all() and (quota >= 0).all()
    short = quota < capacity
    if short.any():  # only exhausted strata give less than the others
        assert quota.max() - quota[short].min() <= 1
