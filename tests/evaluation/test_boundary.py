"""Boundary error, thickness and agreement, in micrometres."""

import numpy as np
import pytest

from medtune_jax.errors import UserError
from medtune_jax.evaluation.boundary import bland_altman, boundary_error, thickness


def test_error_and_thickness_against_loops():
    rng = np.random.default_rng(0)
    expert = 20 + rng.normal(size=(4, 30))
    predicted = expert + rng.normal(size=(4, 30))
    spacing = np.array([0.05, 0.06, 0.07, 0.08])
    for i, error in enumerate(boundary_error(predicted, expert, spacing)):
        pixels = sum(abs(predicted[i, c] - expert[i, c]) for c in range(30)) / 30
        assert error == pytest.approx(pixels * spacing[i] * 1000)
    measured = thickness(expert, expert + 8 + np.arange(30) / 10, spacing)
    assert measured.mean == pytest.approx((8 + 1.45) * spacing * 1000)
    assert measured.maximum == pytest.approx((8 + 2.9) * spacing * 1000)


def test_one_pixel_is_its_height():
    assert boundary_error(np.full(7, 11.0), np.full(7, 10.0), 0.0583) == pytest.approx(58.3)


def test_crossing_interfaces_are_not_hidden():
    crossed = thickness(np.array([2.0, 2.0]), np.array([1.0, 3.0]), 1.0)
    assert crossed.mean == 0 and crossed.maximum == 1000


def test_bland_altman_limits_cover_the_truth():
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(100):
        truth = rng.normal(600, 100, 60)
        first = truth + 10 + rng.normal(0, 30, 60)
        found = bland_altman(first, truth, np.arange(60))
        limits = [10, 10 - 1.96 * 30, 10 + 1.96 * 30]
        covered.append([i.low <= v <= i.high for i, v in zip(found[:3], limits, strict=True)])
    assert (np.mean(covered, axis=0) >= 0.85).all()
    assert (np.mean(covered, axis=0)[:1] <= 0.995).all()


def test_bland_altman_numbers():
    first, second = np.array([1.0, 2, 3, 4]), np.array([0.0, 2, 4, 2])
    found = bland_altman(first, second, np.arange(4))
    assert found.bias.estimate == pytest.approx(0.5)
    assert found.deviation == pytest.approx(np.std([1, 0, -1, 2], ddof=1))
    assert found.upper.estimate == pytest.approx(0.5 + 1.959964 * found.deviation)


def test_regions_of_one_subject_widen_the_interval():
    rng = np.random.default_rng(2)
    subjects = np.repeat(np.arange(20), 10)
    difference = np.repeat(rng.normal(size=20), 10) + 0.1 * rng.normal(size=200)
    naive = bland_altman(difference, np.zeros(200), np.arange(200)).bias
    grouped = bland_altman(difference, np.zeros(200), subjects).bias
    assert grouped.high - grouped.low > 2 * (naive.high - naive.low)


def test_bad_input_is_named():
    with pytest.raises(UserError, match=r"index \(1,\)"):
        boundary_error(np.array([1, np.nan]), np.ones(2), 0.1)
    with pytest.raises(UserError, match="shapes"):
        boundary_error(np.ones(2), np.ones(3), 0.1)
    with pytest.raises(UserError, match="mm_per_pixel"):
        boundary_error(np.ones(2), np.ones(2), 0.0)
    with pytest.raises(UserError, match="at least 2"):
        bland_altman(np.ones(1), np.ones(1), np.arange(1))
