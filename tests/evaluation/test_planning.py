"""The planner: components add up, more is never worse, and what cannot be planned is said."""

from itertools import combinations

import numpy as np
import pytest

from medtune_jax.errors import UserError
from medtune_jax.evaluation import readers
from medtune_jax.evaluation.planning import (
    Components,
    components,
    needed_patients,
    needed_seeds,
    sizes,
)
from medtune_jax.evaluation.readers import Readings

KNOWN = Components(
    runs=0.01, own=1.0, shared=4.0, patients=60, freedom=50.0, figure=0.85, scale="logit"
)


def readings(rng, depths=4, runs=6, patients=60, luck=0.01, mean=0.85):
    """Of each depth: what patients do to all of its runs, what to one run alone, and the runs' luck."""
    of_depth = rng.normal(size=(depths, patients, 1))
    of_run = 0.5 * rng.normal(size=(depths, patients, runs))
    change = (of_depth + of_run) / (10 * patients)
    figures = mean + change.sum(axis=1) + luck * rng.normal(size=(depths, runs))
    pairs = zip(figures, change, strict=True)
    return [Readings(f, f - c, np.arange(patients) % 2) for f, c in pairs]


def test_components_add_up_to_the_error_of_the_difference():
    """At the pilot's own size; each variance is the mean of what it may be, f / (f - 2) times its estimate."""
    one, other = readings(np.random.default_rng(0), depths=2)
    found = components([(one, other)], "identity")
    difference = one.plus(other.times(-1))
    strata = [difference.without[difference.stratum == s] for s in (0, 1)]
    shared = sum(readers.shared(s).variance for s in strata)
    between = difference.figures.var(ddof=1) * 5 / 3
    expected = between / 6 + shared * found.freedom / (found.freedom - 2)
    assert found.error(60, 6) ** 2 == pytest.approx(expected)


def test_components_find_what_was_put_in():
    rng = np.random.default_rng(1)
    many = [
        components(list(combinations(readings(rng, runs=20, patients=400), 2)), "identity")
        for _ in range(20)
    ]
    runs, own, shared = np.mean([(f.runs, f.own, f.shared) for f in many], axis=0)
    assert runs == pytest.approx(2 * 0.01**2, rel=0.15)
    assert own == pytest.approx(2 * 0.25 / 100, rel=0.15)
    assert shared == pytest.approx(2 / 100, rel=0.15)


def test_power_grows_with_all_that_is_spent():
    at = [
        KNOWN.power(0.04, patients, seeds) for patients in (50, 200, 1000) for seeds in (3, 5, 20)
    ]
    grid = np.reshape(at, (3, 3))
    assert (np.diff(grid, axis=0) > 0).all() and (np.diff(grid, axis=1) > 0).all()
    assert KNOWN.power(1e-9, 200, 5) == pytest.approx(0.025, abs=0.002)  # one of two sides


def test_needed_is_the_least_that_does():
    patients = needed_patients(KNOWN, 5, 0.06)
    assert KNOWN.power(0.06, patients, 5) >= 0.8 > KNOWN.power(0.06, patients - 1, 5)
    seeds = needed_seeds(KNOWN, 400, 0.06, power=0.9)
    assert KNOWN.power(0.06, 400, seeds) >= 0.9 and (
        seeds == 5 or KNOWN.power(0.06, 400, seeds - 1) < 0.9
    )
    table = sizes(KNOWN, 0.06)
    assert [row.patients for row in table] == sorted((row.patients for row in table), reverse=True)


def test_where_runs_differ_too_much_no_number_of_patients_does():
    noisy = KNOWN._replace(runs=1.0)
    assert needed_patients(noisy, 5, 0.02) is None
    assert needed_seeds(KNOWN._replace(shared=40.0), 20, 0.01) is None


@pytest.mark.parametrize(
    ("detect", "power", "message"),
    [
        (0.0, 0.8, "above 0"),
        (-0.1, 0.8, "above 0"),
        (float("nan"), 0.8, "above 0"),
        (0.5, 0.8, r"up to 0\.3"),
        (0.02, 1.0, "between 0.05 and 1"),
        (0.02, 0.01, "between 0.05 and 1"),
    ],
)
def test_impossible_questions_are_refused(detect, power, message):
    with pytest.raises(UserError, match=message):
        sizes(KNOWN, detect, power)


@pytest.mark.parametrize(
    ("depths", "runs", "message"),
    [
        (1, 5, "two depths"),
        (3, 1, "one training run"),
        (2, 3, "run 5 seeds"),
        (3, 2, "run 3 seeds"),
    ],
)
def test_a_study_that_cannot_bear_a_plan(depths, runs, message):
    pairs = list(combinations(readings(np.random.default_rng(0), depths, runs), 2))
    with pytest.raises(UserError, match=message):
        components(pairs)


def test_figures_at_their_end_or_without_any_spread():
    for figure, message in ((1.0, "at its end"), (0.8, "do not vary")):
        flat = Readings(np.full(5, figure), np.full((20, 5), figure), np.arange(20) % 2)
        with pytest.raises(UserError, match=message):
            components([(flat, flat)])
