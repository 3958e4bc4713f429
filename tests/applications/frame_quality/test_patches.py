import numpy as np
import pytest
import scipy.ndimage as ndi

from medtune_jax.applications.frame_quality.patches import random_crops
from medtune_jax.errors import UserError


def corners(affines, size):
    """Outer corners (top left, bottom right) of the windows in the frame: [n, 2, 2]."""
    ends = np.array([[-0.5, size - 0.5], [-0.5, size - 0.5], [1, 1]])
    return np.swapaxes(affines @ ends, 1, 2)


def test_windows_lie_in_the_frame_at_its_own_scale():
    frame, affines = random_crops([(350, 500), (240, 320)], np.random.default_rng(0), 300, 227)
    assert frame.tolist() == [0] * 300 + [1] * 300 and affines.dtype == np.float32
    window = corners(affines, 227)
    np.testing.assert_allclose(window[:, 1] - window[:, 0], 227, atol=1e-3)
    limit = np.array([(350, 500), (240, 320)])[frame] - 0.5
    assert (window[:, 0] >= -0.5 - 1e-3).all() and (window[:, 1] <= limit + 1e-3).all()
    first = window[frame == 0, 0]
    np.testing.assert_allclose(first.min(0), [-0.5, -0.5], atol=5)
    np.testing.assert_allclose(first.max(0), [122.5, 272.5], atol=5)


def test_a_crop_is_a_plain_slice():
    image = np.random.default_rng(0).random((40, 50))
    _, affines = random_crops([image.shape], np.random.default_rng(1), 5, 16)
    for affine in affines:
        grid = np.stack([*np.mgrid[:16, :16], np.ones((16, 16))]).reshape(3, -1)
        crop = ndi.map_coordinates(image, affine @ grid, order=1).reshape(16, 16)
        row, col = np.rint(affine[:, 2]).astype(int)
        np.testing.assert_allclose(crop, image[row : row + 16, col : col + 16], atol=1e-4)


def test_a_small_frame_is_scaled_up():
    _, affines = random_crops([(100, 150)], np.random.default_rng(0), 50, 227)
    window = corners(affines, 227)
    np.testing.assert_allclose(window[:, 1] - window[:, 0], 100, atol=1e-3)
    np.testing.assert_allclose(window[:, 0, 0], -0.5, atol=1e-3)
    assert window[:, 0, 1].min() >= -0.501 and window[:, 1, 1].max() <= 149.501
    assert np.ptp(window[:, 0, 1]) > 30


def test_the_seed_decides_and_numbers_are_checked():
    one, two = (random_crops([(300, 300)], np.random.default_rng(3), 4, 64) for _ in range(2))
    np.testing.assert_array_equal(one[1], two[1])
    with pytest.raises(UserError, match="0 crops of 1 frames"):
        random_crops([(300, 300)], np.random.default_rng(0), 0)
