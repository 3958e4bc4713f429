"""Pixels out, maps back: labels, interpolation, the order of rows and columns."""

import numpy as np
import pytest

from medtune_jax.applications.intima_media.cases import phantom_regions
from medtune_jax.applications.intima_media.patches import BACKGROUND, LI, MA
from medtune_jax.applications.intima_media.scan import (
    confidence_maps,
    every_nth,
    patch_names,
    scan,
    traced,
)
from medtune_jax.datasets.carotid.roi import Roi
from medtune_jax.errors import UserError


def region(li, ma, height=20, name="roi"):
    li, ma = np.asarray(li, float), np.asarray(ma, float)
    return Roi(np.zeros((height, len(li)), np.uint8), li, ma, 0.07, "s", name)


def test_each_traced_column_has_one_pixel_of_each_interface():
    rois = phantom_regions(2, 1, 5)
    pixels = scan(rois, step=1)
    for index, roi in enumerate(rois):
        for label, truth in ((LI, roi.li), (MA, roi.ma)):
            mine = (pixels.roi == index) & (pixels.label == label)
            assert mine.sum() == 92
            assert np.abs(pixels.row[mine] - truth[pixels.column[mine]]).max() <= 0.5


def test_pixels_beside_an_interface_are_background_but_not_clear():
    pixels = scan([region([5.2], [12.0])], minimum_distance=3.0)
    assert (
        pixels.label.tolist()
        == [BACKGROUND] * 5 + [LI] + [BACKGROUND] * 6 + [MA] + [BACKGROUND] * 7
    )
    unclear = pixels.row[~pixels.clear].tolist()
    assert unclear == [3, 4, 6, 7, 8, 10, 11, 13, 14]


def test_untraced_columns_are_not_scored():
    nan = np.nan
    roi = region([nan, 5, 5, 5, nan], [nan, nan, 9, 9, 9])
    assert traced(roi).tolist() == [2, 3]
    assert set(scan([roi]).column.tolist()) == {2, 3}


def test_every_nth_column_and_the_last():
    assert every_nth(np.arange(3, 13), 4).tolist() == [3, 7, 11, 12]
    with pytest.raises(UserError, match="column_step is 0"):
        every_nth(np.arange(3), 0)


def test_maps_are_interpolated_between_scored_columns():
    height, scored = 4, np.array([2, 6, 7])
    rng = np.random.default_rng(0)
    values = rng.random((height, 3, 3))
    maps = confidence_maps(values.reshape(-1, 3), height, scored, np.arange(2, 8))
    assert maps.shape == (2, height, 6)
    np.testing.assert_allclose(maps[0][:, [0, 4, 5]], values[:, :, LI])
    np.testing.assert_allclose(maps[1][:, 1], 0.75 * values[:, 0, MA] + 0.25 * values[:, 1, MA])


def test_maps_of_a_single_column():
    maps = confidence_maps(np.eye(3), 3, np.array([4]), np.array([4]))
    np.testing.assert_array_equal(maps[..., 0], [[0, 1, 0], [0, 0, 1]])


def test_names_are_unique_for_pixels():
    pixels = scan([region([5.0] * 3, [12.0] * 3), region([5.0], [12.0], name="other")])
    names = patch_names(["roi", "other"], pixels.roi, pixels.centres)
    assert len(set(names)) == len(names) == 80
    assert names[0] == "roi row 0000.0 column 0000"
