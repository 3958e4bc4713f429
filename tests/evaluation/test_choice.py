"""The depth by its chance to be the best: known distributions, ties, and tables with holes."""

import numpy as np
import pytest
from scipy.stats import chi2, norm

from medtune_jax.evaluation import readers
from medtune_jax.evaluation.choice import chances, choose, on_test
from medtune_jax.evaluation.readers import Readings

ORDER = ("head", "middle", "deep")


def table(rows):
    return {depth: dict(enumerate(row)) for depth, row in zip(ORDER, rows, strict=False)}


def within(gap, error, freedom, margin):
    """The chance that the first of two figures is within the margin of the second, by integration over a grid.

    The error's scale after its chi-square, the difference of the true figures normal with a width that is uniform.
    """
    widest = 4 * (gap**2 / 4 + error**2 / 2) ** 0.5
    width = 2**0.5 * widest * (np.arange(400) + 0.5)[:, None] / 400
    scale = error * (freedom / chi2.ppf((np.arange(400) + 0.5) / 400, freedom)) ** 0.5
    total = width**2 + scale**2
    likelihood = norm.pdf(gap, scale=total**0.5)
    centre, spread = gap * width**2 / total, width * scale / total**0.5
    chance = norm.cdf((margin - centre) / spread)
    return (likelihood * chance).sum() / likelihood.sum()


def test_two_depths_have_the_error_of_nadeau_and_bengio():
    """Variance of the mean difference: that of the seeds' differences, times 1 / S + validation / training patients."""
    first, second = np.array([0.80, 0.83, 0.79, 0.81]), np.array([0.84, 0.85, 0.83, 0.86])
    found = choose(ORDER, table([first, second]), margin=0.01, valid_fraction=0.2)
    gap = second - first
    error = (gap.var(ddof=1) * (1 / 4 + 0.2 / 0.8)) ** 0.5
    expected = within(gap.mean(), error, 3, 0.01)
    assert 0.02 < expected < 0.3
    assert found.chances["head"] == pytest.approx(expected, abs=0.01)
    assert found.means["middle"] - found.means["head"] == pytest.approx(gap.mean())
    assert found.best == "middle"


def test_seeds_that_are_hard_for_all_are_no_noise():
    """Validation patients differ by seed: what all depths share says nothing about the depth."""
    hard = np.array([0.0, -0.2, 0.1])
    found = choose(ORDER, table([0.7 + hard, 0.8 + hard, 0.75 + hard]))
    assert [found.chances[d] for d in ORDER] == pytest.approx([0, 1, 0]) and found.depth == "middle"


def test_ties_go_to_fewer_tuned_stages():
    wobble = 1e-4 * np.array([1, -1, 0])
    rows = [0.895 + wobble, 0.9 + wobble[::-1], 0.9 - wobble]
    assert choose(ORDER, table(rows)).depth == "head"
    assert choose(ORDER, table(rows), margin=0.001).depth == "middle"


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_have_no_chance_and_still_a_depth(seeds):
    found = choose(ORDER, table([[0.80] * seeds, [0.88] * seeds, [0.885] * seeds]))
    assert found.depth == "middle" and found.best == "deep"
    assert not found.chances and "three would do" in found.why


def test_a_failed_run_is_no_trouble():
    """The depth that failed at the hard seed is not the better for it."""
    rows = table([[0.80, 0.60, 0.79], [0.81, 0.61, 0.80], [0.70, 0.50, 0.69]])
    del rows["deep"][1]
    found = choose(ORDER, rows, margin=0.001)
    assert found.depth == "middle" and found.means["deep"] == pytest.approx(0.63, abs=0.002)
    assert found.chances["deep"] < 0.01


def test_depths_without_a_common_seed():
    found = choose(ORDER, {"head": {0: 0.7, 1: 0.7}, "middle": {2: 0.9}, "deep": {}})
    assert found.depth == "middle" and not found.chances and found.why
    assert choose(ORDER, {"head": {}}) is None


def test_chances_of_equal_depths_are_equal_and_the_margin_counts():
    found = chances(np.array([0.0, 0.0, 0.0, -40.0]), np.eye(4), float("inf"), margin=0.0)
    assert found[:3] == pytest.approx([1 / 3] * 3, abs=0.02) and found[3] < 1e-6
    assert chances(np.zeros(3), np.eye(3), 8.0, margin=100.0) == pytest.approx([1, 1, 1])


def test_what_all_depths_share_does_not_matter():
    """Patients who are hard for all: the covariance of all depths with each other."""
    means, own = np.array([0.80, 0.82, 0.81]), 1e-4 * np.eye(3)
    found = chances(means, own + 0.05, 10.0, 0.01)
    assert found == pytest.approx(chances(means, own, 10.0, 0.01), abs=0.03)


def test_chances_are_as_often_right_as_they_say():
    """60 sets of six depths: 180 of the less, 180 of the more probable ones, a standard error of 0.04 each."""
    rng = np.random.default_rng(0)
    truth = 0.85 + 0.01 * rng.normal(size=(60, 6))
    measured = truth + 0.01 * rng.normal(size=truth.shape)
    stated = np.stack([chances(row, 1e-4 * np.eye(6), 15.0, 0.01) for row in measured])
    right = truth >= truth.max(axis=1, keepdims=True) - 0.01
    likely = stated > np.median(stated)
    for half in (likely, ~likely):
        assert right[half].mean() == pytest.approx(stated[half].mean(), abs=0.12)


def readings(rng, depths, runs, patients, luck):
    """Two classes of patients, whose influence on a depth's runs is mostly shared."""
    stratum = np.arange(patients) % 2
    shared = rng.normal(size=(patients, 1))
    return {
        depth: Readings(
            mean + luck * rng.normal(size=runs),
            mean
            + (shared + rng.normal(size=(patients, 1)) + rng.normal(size=(patients, runs))) / 400,
            stratum,
        )
        for depth, mean in depths.items()
    }


def test_on_test_two_depths_have_the_error_of_their_difference():
    read = readings(np.random.default_rng(0), {"head": 0.85, "deep": 0.87}, 5, 60, 0.01)
    known = readers.of_contrast([(1, read["deep"]), (-1, read["head"])])
    found, why = on_test(read, {depth: range(5) for depth in read}, margin=0.01)
    expected = within(known.estimate, known.error, known.freedom, 0.01)
    assert not why and found["head"] == pytest.approx(expected, abs=0.03)


def test_on_test_few_seeds_say_why():
    read = readings(np.random.default_rng(0), {"head": 0.85, "deep": 0.87}, 2, 60, 0.01)
    found, why = on_test(read, {depth: range(2) for depth in read}, margin=0.01)
    assert not found and "2 seeds say too little" in why
