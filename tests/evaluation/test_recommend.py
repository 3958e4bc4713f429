"""The depth rule on cases decided by hand, and its properties on random ones."""

from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtune_jax.evaluation.recommend import recommend, regret

ORDER = ("conv10", "fire9", "fire8", "fire7", "fire6", "fire5")


def steady(*means: float) -> dict[str, dict[int, float]]:
    """Three seeds that differ from depth to depth by exactly the same amount (no noise)."""
    return {d: {s: m + s / 100 for s in range(3)} for d, m in zip(ORDER, means, strict=False)}


def chosen(validation, **options):
    return recommend(ORDER, validation, **options).depth


def test_goes_deeper_while_it_pays():
    assert chosen(steady(0.70, 0.75, 0.80, 0.85, 0.85, 0.85)) == "fire7"
    assert chosen(steady(0.90, 0.85, 0.80, 0.75, 0.70, 0.65)) == "conv10"
    assert chosen(steady(0.70, 0.71, 0.72, 0.73, 0.74, 0.75)) == "fire5"


def test_patience_decides_whether_a_dip_is_crossed():
    dip = steady(0.80, 0.79, 0.78, 0.90)
    assert chosen(dip, patience=2) == "conv10"
    assert chosen(dip, patience=3) == "fire7"


def test_stops_looking_after_its_patience():
    found = recommend(ORDER, steady(0.8, 0.7, 0.7, 0.7, 0.95, 0.95), patience=3)
    assert found.depth == "conv10" and found.stopped_early
    assert [step.depth for step in found.steps] == list(ORDER[:4])


def test_a_gain_must_exceed_the_noise_of_the_seeds():
    noisy = {"conv10": {0: 0.80, 1: 0.80, 2: 0.80}, "fire9": {0: 0.90, 1: 0.75, 2: 0.78}}
    assert fmean(noisy["fire9"].values()) > 0.80
    assert chosen(noisy) == "conv10"
    assert chosen(noisy, tolerance=0.0) == "fire9"


def test_small_steady_gains_add_up():
    """Each depth is compared with the depth to beat, not with its neighbour."""
    creeping = steady(0.8, 0.8015, 0.803, 0.8045)
    assert chosen(creeping) == "fire8"


def test_seeds_are_paired_and_may_be_missing():
    validation = {"conv10": {0: 0.9, 1: 0.6}, "fire9": {1: 0.7}}
    assert chosen(validation) == "fire9"
    assert recommend(ORDER, validation).steps[1].gain == pytest.approx(0.1)


def test_depths_without_results_cost_no_patience():
    validation = steady(0.8, 0.7, 0.7, 0.7, 0.95)
    for depth in ("fire9", "fire8"):
        validation[depth] = {}
    assert chosen(validation, patience=2) == "fire6"
    assert recommend(ORDER, {}) is None


def test_regret_against_the_exhaustive_sweep():
    validation = steady(0.80, 0.7, 0.7, 0.7, 0.95)
    test = steady(0.78, 0.7, 0.7, 0.7, 0.75)
    found = recommend(ORDER, validation, patience=3)
    lost = regret(found, ORDER, validation, test)
    assert lost.best == "fire6"
    assert lost.validation == pytest.approx(0.15) and lost.test == pytest.approx(-0.03)
    assert regret(found, ORDER, validation).test is None


performances = st.lists(st.lists(st.floats(0.5, 1), min_size=2, max_size=2), min_size=1, max_size=6)


@given(performances, st.integers(1, 6))
def test_validation_regret_is_never_negative(values, patience):
    validation = {d: dict(enumerate(v)) for d, v in zip(ORDER, values, strict=False)}
    found = recommend(ORDER, validation, patience=patience)
    assert regret(found, ORDER, validation).validation >= 0
    assert found.depth in {step.depth for step in found.steps if step.won}


@given(performances)
def test_unbounded_patience_and_no_threshold_find_the_best_depth(values):
    validation = {d: dict(enumerate(v)) for d, v in zip(ORDER, values, strict=False)}
    found = recommend(ORDER, validation, patience=99, tolerance=0, minimum_gain=0)
    assert regret(found, ORDER, validation).validation == pytest.approx(0, abs=1e-12)
