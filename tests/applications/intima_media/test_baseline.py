"""The two methods without learning, on phantoms and on edges with a known place."""

import itertools

import numpy as np
import pytest

from medtune_jax.applications.intima_media.baseline import (
    best_paths,
    calibrate,
    dynamic_programming,
    hough_dual_snake,
)
from medtune_jax.datasets.carotid.roi import Roi
from medtune_jax.errors import UserError
from medtune_jax.phantoms.ultrasound import draw_subject, render_roi

METHODS = (hough_dual_snake, dynamic_programming)


@pytest.fixture(scope="module")
def rois():
    found = []
    for index in range(16):
        rng = np.random.default_rng([7, index])
        phantom = render_roi(draw_subject(rng), rng)
        found.append(Roi(*phantom, subject=str(index), name=str(index)))
    return found


def mean_error(method, rois):
    errors = []
    for roi in rois:
        li, ma = method(roi.image)
        assert li.shape == ma.shape == (roi.image.shape[1],)
        assert (ma - li >= 3).all()
        errors.append([np.abs(li - roi.li).mean(), np.abs(ma - roi.ma).mean()])
    return np.mean(errors, axis=0)


@pytest.mark.parametrize("method", METHODS)
def test_baselines_find_the_wall(method, rois):
    assert (mean_error(method, rois) < 2.5).all()


@pytest.mark.parametrize("method", METHODS)
def test_calibration_takes_away_the_constant_part_on_other_subjects(method, rois):
    raw = mean_error(method, rois[8:])
    calibrated = mean_error(calibrate(method, rois[:8]), rois[8:])
    assert (calibrated < 0.6 * raw).all()


@pytest.mark.parametrize("method", METHODS)
def test_answers_follow_the_picture(method):
    """Two clean edges on a slope: found where they are, and moved when they move."""
    rows = np.mgrid[:60, :92][0]
    for slope, top in ((0.0, 25.0), (0.08, 22.0), (-0.06, 30.0)):
        li = top + slope * np.arange(92)
        ma = li + 11
        picture = 20 + 110 * (rows > li) - 70 * (rows > li + 4) + 150 * (rows > ma)
        noise = np.random.default_rng(0).normal(0, 8, picture.shape)
        found = method(np.clip(picture + noise, 0, 255).astype(np.uint8))
        assert np.abs(found[0] - li).mean() < 1.0
        assert np.abs(found[1] - ma).mean() < 1.0


def test_reverberation_in_the_lumen_is_not_taken_for_the_wall():
    rows = np.mgrid[:60, :92][0]
    picture = 10 + 90 * np.isin(rows, (14, 15, 16)) + 100 * (rows > 30) - 60 * (rows > 34)
    picture = picture + 160 * (rows > 42)
    for method in METHODS:
        li, ma = method(picture.astype(np.uint8))
        assert abs(np.median(li) - 30.5) < 1.5
        assert abs(np.median(ma) - 42.5) < 1.5


@pytest.mark.parametrize("seed", range(5))
def test_best_paths_equal_an_exhaustive_search(seed):
    gain, smoothness = np.random.default_rng(seed).random((3, 4, 4)), 0.3
    states = list(itertools.product(range(3), range(4)))

    def worth(path):
        row, gap = np.array(path).T
        if max(np.abs(np.diff(row)).max(), np.abs(np.diff(gap)).max()) > 1:
            return -np.inf
        toll = (np.diff(row) ** 2 + np.diff(row + gap) ** 2).sum()
        return gain[row, gap, range(4)].sum() - smoothness * toll

    best = max(worth(path) for path in itertools.product(states, repeat=4))
    found = list(zip(*best_paths(gain, smoothness), strict=True))
    assert worth(found) == pytest.approx(best)


def test_bad_input_is_refused(rois):
    with pytest.raises(UserError, match="8 x 8"):
        hough_dual_snake(np.zeros((4, 50), np.uint8))
    with pytest.raises(UserError, match="empty"):
        hough_dual_snake(np.zeros((60, 92), np.uint8))
    with pytest.raises(UserError, match="px high"):
        dynamic_programming(np.zeros((10, 20), np.uint8), thickness=(12, 20))
    with pytest.raises(UserError, match="at least one"):
        calibrate(dynamic_programming, [])
