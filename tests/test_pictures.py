"""A mosaic puts every tile in its cell."""

import io

import numpy as np
from PIL import Image

from medtune_jax.pictures import mosaic, png


def test_tiles_run_along_rows_with_gaps():
    tiles = [np.full((4, 6, 3), 10 * number, np.uint8) for number in range(1, 6)]
    sheet = np.asarray(mosaic(tiles, columns=3, gap=2, background=200))
    assert sheet.shape == (2 * 6, 3 * 8, 3)
    for number in range(5):
        top, left = 6 * (number // 3), 8 * (number % 3)
        assert (sheet[top : top + 4, left : left + 6] == 10 * (number + 1)).all()
        assert (sheet[top + 4 : top + 6, left : left + 8] == 200).all()
        assert (sheet[top : top + 6, left + 6 : left + 8] == 200).all()
    assert (sheet[6:, 16:] == 200).all()


def test_a_cell_is_as_large_as_the_largest_tile_or_as_told():
    tiles = [np.full((4, 6), 255, np.uint8), Image.new("RGB", (3, 8), (255, 0, 0))]
    assert mosaic(tiles, columns=2).size == (12, 8)
    sheet = np.asarray(mosaic(tiles, columns=1, background=0, cell=(7, 9)))
    assert sheet.shape == (18, 7, 3)
    assert (sheet[:4, :6] == 255).all() and not sheet[4:9].any()
    assert (sheet[9:17, :3] == (255, 0, 0)).all()


def test_png_keeps_every_pixel():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png(pixels)))), pixels)
    mask = pixels[..., 0] > 100
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png(mask)))), mask)
