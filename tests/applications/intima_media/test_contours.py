"""Best rows, snakes and thickness on confidence maps whose truth is known."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medtune_jax.applications.intima_media.contours import (
    Snake,
    best_rows,
    bridge,
    dual_snake,
    extract_contours,
    parabola_peak,
    wall_thickness,
)
from medtune_jax.errors import UserError

HEIGHT, WIDTH = 60, 92
ROWS = np.arange(HEIGHT)[:, None]


def ridge(line, width=1.5, peak=0.9):
    return peak * np.exp(-((ROWS - line) ** 2) / (2 * width**2))


def wall(seed=0):
    """A curved wall with one bump: rows of LI and MA, [W]."""
    x = np.linspace(-1, 1, WIDTH)
    rng = np.random.default_rng(seed)
    ma = 38 + 3 * rng.normal() * x + 2 * x**2
    return ma - 10 - 3 * np.exp(-(((x - 0.2) / 0.35) ** 2)), ma


def noisy_maps(seed):
    """What a fair network gives: ridges that jitter by 0.8 px, fail in 8% of columns, and noise."""
    rng = np.random.default_rng(seed)
    maps = []
    for line in wall(seed):
        strength = np.where(rng.random(WIDTH) < 0.08, 0.2, 1.0)
        clean = strength * ridge(line + 0.8 * rng.standard_normal(WIDTH))
        maps.append(np.clip(clean + 0.15 * rng.standard_normal((HEIGHT, WIDTH)), 0, 1))
    return maps


def test_snakes_lower_the_error_of_the_step_lines_in_every_region():
    step, smooth = [], []
    for seed in range(30):
        truth, found = wall(seed), extract_contours(*noisy_maps(seed))
        for exact, rough, fine in zip(
            truth, (found.step_li, found.step_ma), (found.li, found.ma), strict=True
        ):
            step.append(np.abs(rough - exact).mean())
            smooth.append(np.abs(fine - exact).mean())
    assert (np.array(smooth) < step).all()
    assert np.mean(smooth) < 0.35 < 0.9 < np.mean(step)


def test_snakes_stay_on_clean_ridges_and_ends_are_free():
    li, ma = wall(4)
    found = extract_contours(ridge(li), ridge(ma))
    assert np.abs(found.step_li - li).max() < 0.1
    assert np.abs(found.li - li).max() < 0.35
    assert np.abs(found.ma - ma).max() < 0.35
    # A straight slope costs only alpha: its free ends do not sag to the horizontal.
    slope = np.linspace(20, 32, WIDTH)
    found = extract_contours(ridge(slope), ridge(slope + 12))
    assert np.abs(found.li - slope)[[0, -1]].max() < 0.3


def test_snake_minimises_its_stated_energy():
    """No small smooth change of the result lowers alpha|v'|^2/2 + beta|v''|^2/2 - confidence."""
    from scipy.ndimage import gaussian_filter1d

    li_map, ma_map = noisy_maps(2)
    snake = Snake(iterations=3000, tolerance=1e-7)
    maps = np.stack([li_map, ma_map])
    step_li, step_ma, _ = best_rows(*maps)
    rows = dual_snake(maps, np.stack([step_li, step_ma]), snake)
    blurred = gaussian_filter1d(maps, snake.blur, axis=1)
    force = np.gradient(blurred, axis=1)
    columns = np.arange(WIDTH)
    for line, pull in zip(rows, force, strict=True):
        pulls = np.array([np.interp(line[x], ROWS[:, 0], pull[:, x]) for x in columns])
        gradient = np.zeros(WIDTH)
        for order, weight in ((1, snake.alpha), (2, snake.beta)):
            difference = np.diff(np.eye(WIDTH), n=order, axis=0)
            gradient += weight * difference.T @ (difference @ line)
        assert np.abs(gradient - snake.force * pulls).max() < 1e-4


def test_best_rows_equal_an_exhaustive_search():
    rng = np.random.default_rng(0)
    li_map, ma_map = rng.random((2, 15, 40))
    li, ma, score = best_rows(li_map, ma_map, minimum_gap=3)
    for x in range(40):
        pairs = [(a, b) for a, b in itertools.product(range(15), repeat=2) if b - a >= 3]
        best = max(pairs, key=lambda pair: li_map[pair[0], x] + ma_map[pair[1], x])
        assert (
            round(li[x]),
            round(ma[x]),
        ) == best  # a vertex lies within half a row of its best one
        assert score[x] == min(li_map[best[0], x], ma_map[best[1], x])


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    gap=st.floats(0.5, 8),
    shape=st.tuples(st.integers(20, 40), st.integers(1, 30)),
)
def test_li_is_above_ma_whatever_the_maps(seed, gap, shape):
    rng = np.random.default_rng(seed)
    li_map, ma_map = rng.random((2, *shape)) ** 4
    found = extract_contours(li_map, ma_map, snake=Snake(minimum_gap=gap, force=5.0))
    assert (found.step_ma > found.step_li).all() or gap <= 1
    assert (found.ma - found.li >= gap - 1e-9).all()
    assert found.li.min() >= 0
    assert found.ma.max() <= shape[0] - 1


def test_swapped_maps_still_give_li_above_ma():
    li, ma = wall()
    found = extract_contours(ridge(ma), ridge(li))
    assert (found.ma > found.li).all()


def test_low_confidence_columns_are_flagged_and_bridged():
    li, ma = wall(1)
    li_map, ma_map = ridge(li), ridge(ma)
    li_map[:, 30:60] = ridge(np.full(30, 8.0), peak=0.4)  # an unsure answer far away
    found = extract_contours(li_map, ma_map)
    assert found.low_confidence[30:60].all()
    assert found.low_confidence.sum() == 30
    assert found.step_li[30:60] == pytest.approx(8)
    assert np.abs(found.li - li).max() < 2  # its thickest stretch is hidden
    told = extract_contours(ridge(li), ma_map, distrusted=np.arange(WIDTH) < 10)
    assert told.low_confidence.sum() == 10


def test_no_confidence_anywhere_still_answers_and_says_so():
    blank = np.full((HEIGHT, WIDTH), 0.01)
    found = extract_contours(blank, blank)
    assert found.low_confidence.all()
    assert np.isfinite(found.li).all()


def test_saturated_confidence_is_read_at_the_middle_of_its_plateau():
    li, ma = wall(3)
    plateaus = [(np.abs(ROWS - np.rint(line)) <= 3).astype(float) for line in (li, ma)]
    found = extract_contours(*plateaus)
    assert np.abs(found.step_li - li).max() <= 0.75
    assert np.abs(found.step_ma - ma).max() <= 0.75


def test_parabola_finds_the_top_between_pixels():
    exact = np.linspace(10, 20, WIDTH)
    values = 1 - (ROWS - exact) ** 2 / 100
    assert parabola_peak(values, np.rint(exact).astype(int)) == pytest.approx(exact, abs=1e-9)
    edge = parabola_peak(values[:, :2], np.array([0, HEIGHT - 1]))
    assert edge.tolist() == [0, HEIGHT - 1]


def test_bridge_is_linear_and_leaves_hopeless_lines_alone():
    rows = np.array([[0.0, 9, 9, 6], [10, 0, 0, 13]])
    filled = bridge(rows, np.array([True, False, False, True]))
    assert filled == pytest.approx(np.array([[0, 2, 4, 6], [10, 11, 12, 13]]))
    assert (bridge(rows, np.zeros(4, bool)) == rows).all()


def test_thickness_in_both_units():
    li, ma = np.array([1.0, 2, np.nan]), np.array([11.0, 14, 20])
    reading = wall_thickness(li, ma, 0.1)
    assert (reading.mean, reading.maximum) == pytest.approx((1.1, 1.2))
    assert reading.per_column[:2] == pytest.approx([1.0, 1.2])
    assert np.isnan(reading.per_column[2])
    assert wall_thickness(li, ma, None, unit="px").mean == pytest.approx(11)


def test_bad_input_is_refused():
    good = np.zeros((20, 5))
    with pytest.raises(UserError, match="calibration"):
        wall_thickness(np.zeros(3), np.ones(3), None)
    with pytest.raises(UserError, match="unit 'inch'"):
        wall_thickness(np.zeros(3), np.ones(3), 0.1, unit="inch")
    with pytest.raises(UserError, match="share no column"):
        wall_thickness([np.nan, 1], [1, np.nan], 0.1)
    with pytest.raises(UserError, match="same size"):
        extract_contours(good, good[:, 1:])
    with pytest.raises(UserError, match="finite"):
        extract_contours(good, np.full((20, 5), np.nan))
    with pytest.raises(UserError, match="2 px high"):
        extract_contours(good[:2], good[:2])
