"""Recipes against scipy's interpolation, and against plain slicing."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from medtune_jax.patches import Crops, Images, Planes, crop_affines, padded


def _expected(source, affine, size):
    rows, columns = np.mgrid[:size, :size]
    pixels = np.stack([rows, columns, np.ones_like(rows)]).reshape(3, -1)
    points = affine.astype(np.float64) @ pixels
    values = ndimage.map_coordinates(source.astype(float), points, order=1, mode="nearest")
    return values.reshape(size, size)


def _random_affines(rng, n, dims, planes=()):
    linear = rng.normal(size=(n, *planes, dims, 2))
    offset = rng.uniform(-3, 20, (n, *planes, dims, 1))  # some points fall outside
    return np.concatenate([linear, offset], -1).astype(np.float32)


def test_crops_equal_scipy_on_sources_of_different_sizes():
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*shape, 3)).astype(np.uint8) for shape in ((20, 31), (27, 16))]
    stack, shapes = padded(images)
    source = rng.integers(0, 2, 12)
    crops = Crops(stack, shapes, source, _random_affines(rng, 12, 2), 9)
    index = np.array([3, 0, 11, 7])
    pixels = jax.jit(crops.take)(crops.arrays(), index)
    for patch, i in zip(np.asarray(pixels), index, strict=True):
        for channel in range(3):
            image = images[source[i]][..., channel]
            expected = _expected(image, crops.affines[i], 9)
            np.testing.assert_allclose(patch[..., channel], expected, atol=2e-3)


def test_planes_equal_scipy_and_fill_three_channels():
    rng = np.random.default_rng(1)
    blocks = [
        rng.integers(-1000, 1000, shape).astype(np.int16) for shape in ((9, 20, 14), (12, 8, 21))
    ]
    stack, shapes = padded(blocks)
    source = rng.integers(0, 2, 8)
    affines = _random_affines(rng, 8, 3, (2,))
    planes = Planes(stack, shapes, source, affines, 7, (-200.0, 500.0))
    pixels = np.asarray(jax.jit(planes.take)(planes.arrays(), np.arange(8)))
    for i in range(8):
        for channel, plane in enumerate((0, 1, 1)):
            hu = _expected(blocks[source[i]], affines[i, plane], 7)
            expected = 255 * np.clip((hu + 200) / 700, 0, 1)
            np.testing.assert_allclose(pixels[i, ..., channel], expected, atol=1e-2)


def test_a_crop_at_the_images_own_scale_is_a_slice():
    image = np.random.default_rng(2).integers(0, 256, (12, 15)).astype(np.uint8)
    affines = crop_affines([[5, 7]], [[5, 5]], 5)
    crops = Crops(image[None], np.array([[12, 15]], np.int32), np.zeros(1, int), affines, 5)
    pixels = np.asarray(crops.take(crops.arrays(), np.array([0])))
    np.testing.assert_allclose(pixels[0], np.repeat(image[3:8, 5:10, None], 3, -1), atol=1e-3)


def test_fingerprint_changes_with_a_recipe():
    image = np.zeros((1, 8, 8), np.uint8)
    shapes, source = np.array([[8, 8]], np.int32), np.zeros(1, int)
    one = Crops(image, shapes, source, crop_affines([[3, 3]], [[4, 4]], 4), 4)
    other = Crops(image, shapes, source, crop_affines([[3, 4]], [[4, 4]], 4), 4)
    assert one.fingerprint() != other.fingerprint()


def test_a_part_gives_the_pixels_of_the_whole():
    """What is streamed to a device that has no room for all sources; patches may repeat and share sources."""
    rng = np.random.default_rng(4)
    images, image_shapes = padded([draw(rng, 0, 255, (9, 8, 3), np.uint8) for _ in range(3)])
    blocks, block_shapes = padded([draw(rng, -500, 500, (7, 8, 9), np.int16) for _ in range(3)])
    source = np.array([0, 2, 2, 1, 0])
    planes = _random_affines(rng, 5, 3, (2,))
    sets = (
        Crops(images, image_shapes, source, _random_affines(rng, 5, 2), 4),
        Planes(blocks, block_shapes, source, planes, 4, (-200.0, 500.0)),
        Images(draw(rng, 0, 255, (5, 4, 4, 3), np.uint8)),
    )
    index = np.array([4, 1, 1, 2])
    for patches in sets:
        part = patches.subset(index)
        assert {len(array) for array in part.values()} == {4}
        np.testing.assert_array_equal(
            patches.take(jax.tree.map(jnp.asarray, part), jnp.arange(4)),
            patches.take(jax.tree.map(jnp.asarray, patches.arrays()), jnp.asarray(index)),
        )


def draw(rng, low, high, shape, dtype):
    return rng.integers(low, high, shape).astype(dtype)
