"""Where patches are centred, which class they have, and how they map to pixels."""

import numpy as np
import pytest

from medtune_jax.applications.intima_media.patches import (
    BACKGROUND,
    LI,
    MA,
    patch_affines,
    sample_centres,
)
from medtune_jax.datasets.carotid.roi import Roi
from medtune_jax.errors import UserError


def roi(offset=0.0, untraced=0):
    x = np.arange(92)
    li = 25 + offset + 2 * np.sin(x / 20)
    ma = li + 12
    li[:untraced] = np.nan
    return Roi(np.zeros((60, 92), np.uint8), li, ma, 0.07, "s", f"r{offset}")


ROIS = [roi(), roi(3.25), roi(-4.5, untraced=10)]


def test_every_interface_point_is_taken_once_and_classes_are_equal():
    patches = sample_centres(ROIS, seed=0)
    assert np.bincount(patches.label).tolist() == [92 * 3 - 10] * 3
    assert len(patches) == 3 * (92 * 3 - 10)
    points = np.column_stack([patches.roi, patches.centre])[patches.label == LI]
    assert len(np.unique(points, axis=0)) == len(points)


def test_positives_lie_exactly_on_their_contour():
    patches = sample_centres(ROIS, seed=1)
    for name, label in (("li", LI), ("ma", MA)):
        chosen = patches.label == label
        for index, centre in zip(patches.roi[chosen], patches.centre[chosen], strict=True):
            contour = getattr(ROIS[index], name)
            assert centre[0] == pytest.approx(contour[int(centre[1])], abs=1e-4)


@pytest.mark.parametrize("distance", [3.0, 5.0, 9.0])
def test_background_is_far_from_both_and_never_in_untraced_columns(distance):
    patches = sample_centres(ROIS, seed=2, minimum_distance=distance)
    nearest = []
    for index, (row, column) in zip(patches.roi, patches.centre, strict=True):
        contours = [ROIS[index].li, ROIS[index].ma]
        x = np.arange(92)
        nearest.append(min(np.nanmin(np.hypot(line - row, x - column)) for line in contours))
    background = patches.label == BACKGROUND
    assert np.array(nearest)[background].min() >= distance - 0.75  # contours are drawn on pixels
    assert np.array(nearest)[~background].max() < 1e-3
    columns = patches.centre[background & (patches.roi == 2), 1]
    assert columns.min() >= 10


def test_total_is_shared_by_classes_and_repeats_evenly():
    small = sample_centres(ROIS, seed=0, total=30)
    assert np.bincount(small.label).tolist() == [10, 10, 10]
    large = sample_centres(ROIS[:1], seed=0, total=3 * 92 * 2)
    points = large.centre[large.label == LI]
    counts = np.unique(points, axis=0, return_counts=True)[1]
    assert counts.tolist() == [2] * 92


def test_seed_decides_everything():
    one, same, other = (sample_centres(ROIS, seed=s) for s in (3, 3, 4))
    assert (one.centre == same.centre).all()
    assert (one.label == same.label).all()
    assert not (one.centre == other.centre).all()
    assert np.abs(np.diff(one.label)).sum() > 100  # shuffled, not class after class


def test_affine_maps_the_grid_to_the_window():
    centre = np.array([[20.0, 40.0], [31.5, 7.25]])
    affines = patch_affines(centre, patch=32, size=227)
    middle = affines @ np.array([113.0, 113.0, 1.0])
    assert middle == pytest.approx(centre, abs=1e-4)
    # The window is 32 pixels wide from edge to edge of its outermost cells.
    corner = affines @ np.array([-0.5, -0.5, 1.0])
    assert corner == pytest.approx(centre - 16, abs=1e-4)
    step = affines @ np.array([1.0, 0, 0])
    assert step == pytest.approx(np.array([[32 / 227, 0]] * 2))


def test_affine_of_equal_sizes_copies_pixels():
    """A patch of 33 on a grid of 33 reads whole pixels: the sampler then changes nothing."""
    grid = np.stack(np.meshgrid(np.arange(33), np.arange(33), indexing="ij"), -1).reshape(-1, 2)
    source = np.column_stack([grid, np.ones(len(grid))]) @ patch_affines([30, 50], 33, 33)[0].T
    assert source == pytest.approx(grid + np.array([30, 50]) - 16)


def test_bad_input_is_refused():
    with pytest.raises(UserError, match="none was given"):
        sample_centres([], seed=0)
    with pytest.raises(UserError, match="background"):
        sample_centres(ROIS, seed=0, minimum_distance=200)
    with pytest.raises(UserError, match="total=2"):
        sample_centres(ROIS, seed=0, total=2)
    untraced = np.full(92, np.nan)
    blank = Roi(np.zeros((60, 92), np.uint8), untraced, untraced, 0.07, "s", "r")
    with pytest.raises(UserError, match="patch in 1 regions"):
        sample_centres([blank], seed=0)
