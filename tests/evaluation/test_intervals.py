"""A metric's figures by weight, the intervals' coverage, and what is said where none can be given."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from medtune_jax.errors import UserError
from medtune_jax.evaluation import AUC, AUPRC, difference, interval, intervals
from medtune_jax.evaluation.log_odds import two_sided
from medtune_jax.evaluation.readers import Readings, of_difference, of_mean
from medtune_jax.evaluation.roc import sensitivity_at


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(2, 30), st.integers(1, 5))
def test_weighted_auc_equals_repeated_images(seed, n, levels):
    rng = np.random.default_rng(seed)
    labels = np.append([0, 1], rng.integers(0, 2, n))
    scores = rng.integers(0, levels, labels.size)
    weights = rng.integers(0, 4, (5, labels.size))
    weights[:, :2] += 1
    found = AUC.statistic(labels, two_sided(scores))(weights.astype(float))
    for row, (value,) in zip(weights, found, strict=True):
        expected = roc_auc_score(np.repeat(labels, row), np.repeat(scores, row))
        assert value == pytest.approx(expected)


def test_runs_stay_apart_and_classes_are_averaged():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 90)
    scores = rng.random((2, 90, 3)) + np.eye(3)[labels]
    expected = [
        np.mean([roc_auc_score(labels == c, run[:, c]) for c in range(3)]) for run in scores
    ]
    assert AUC.statistic(labels, scores)(np.ones((1, 90)))[0] == pytest.approx(expected)


def simulated(rng, patients=40, runs=3, images=3, between=0.02, auc=0.85):
    """Groups, labels and the scores [2, S, N] of two equally good depths; the AUC of a run varies by `between`."""
    groups = np.repeat(np.arange(patients), images)
    labels = groups % 2

    def noise(*shape):
        of_patients = np.repeat(rng.normal(size=(*shape, patients)), images, axis=-1)
        return (of_patients + rng.normal(size=(*shape, groups.size))) * 0.5**0.5

    merits = norm.ppf(rng.normal(auc, between, (2, runs, 1))) * 2**0.5
    parts = 0.6**0.5 * noise() + 0.15**0.5 * noise(2, 1) + 0.25**0.5 * noise(2, runs)
    return groups, labels, parts + merits * labels


@pytest.mark.parametrize(
    ("patients", "runs", "between"), [(12, 3, 0.01), (40, 2, 0.02), (80, 5, 0.03)]
)
def test_intervals_cover_and_equal_depths_do_not_differ(patients, runs, between):
    """300 studies leave a standard error of 0.013 on 0.95: bounds at 3 of them, and more where runs are two."""
    rng = np.random.default_rng(5)
    covered, rejected = [], []
    for _ in range(300):
        groups, labels, (one, other) = simulated(rng, patients, runs, 4, between)
        found = interval(AUC, labels, one, groups)
        covered.append(found.low is not None and found.low <= 0.85 <= found.high)
        p = difference(AUC, labels, one, other, groups).p
        rejected.append(p is not None and p < 0.05)
    assert 0.91 <= np.mean(covered) <= 0.99
    assert np.mean(rejected) <= 0.09


def test_a_real_difference_is_found():
    groups, labels, (one, _) = simulated(np.random.default_rng(5))
    noise = np.random.default_rng(6).normal(size=one.shape)
    found = difference(AUC, labels, one, noise, groups)
    assert found.low > 0 and found.p < 0.01
    mirrored = difference(AUC, labels, noise, one, groups)
    assert mirrored.estimate == pytest.approx(-found.estimate)
    assert mirrored.p == pytest.approx(found.p)


@pytest.mark.parametrize("metric", [AUC, AUPRC])
def test_several_classes(metric):
    rng = np.random.default_rng(3)
    labels = np.repeat(np.arange(30) % 3, 5)
    scores = rng.normal(size=(2, 150, 3)) + 1.5 * np.eye(3)[labels]
    found = interval(metric, labels, scores, np.repeat(np.arange(30), 5))
    assert found.low < found.estimate < found.high < 1


def nothing_given(found, *words):
    assert found.low is found.high is found.p is None
    assert all(word in found.why for word in words)


def test_an_interval_that_would_leave_no_value_out_is_none():
    patients = np.arange(12)
    wild = Readings(np.array([0.01, 0.5, 0.99]), np.full((12, 3), 0.5), patients % 2)
    calm = wild._replace(figures=np.full(3, 0.5))
    for found in (of_mean(wild), of_difference(wild, calm)):
        nothing_given(found, "would leave no value out")
    tamer = wild._replace(figures=np.array([0.2, 0.5, 0.8]))
    assert of_mean(tamer).low > 0 and of_difference(tamer, calm).high < 1


def test_too_few_patients_give_a_sentence():
    groups, labels, (one, other) = simulated(np.random.default_rng(1), patients=8, images=10)
    for found in (interval(AUC, labels, one, groups), difference(AUC, labels, one, other, groups)):
        nothing_given(found, "40 images of 4 patients", "at least 20 images of 5 patients")
        assert abs(found.estimate) <= 1
    nothing_given(sensitivity_at(AUC, labels, two_sided(one), groups)[0], "5 patients")
    nothing_given(interval(AUC, labels, one, np.zeros(80)), "of 1 patient in")


def test_figures_without_spread_give_a_sentence():
    groups, labels, (one, _) = simulated(np.random.default_rng(2))
    perfect = labels + np.zeros((3, 1))
    nothing_given(interval(AUC, labels, perfect, groups), "harder or more test images")
    nothing_given(interval(AUC, labels, np.zeros((3, 120)), groups), "same")
    nothing_given(difference(AUC, labels, one, one, groups), "same")
    nothing_given(difference(AUC, labels, one, perfect, groups), "end")


def test_a_diverged_run_and_a_missing_class_give_a_sentence():
    groups, labels, (one, other) = simulated(np.random.default_rng(2))
    broken = one.copy()
    broken[1, 7] = np.nan
    nothing_given(interval(AUC, labels, broken, groups), "run 2 of 3", "diverged")
    nothing_given(difference(AUC, labels, other, broken, groups), "run 2 of 3")
    found = interval(AUC, np.zeros_like(labels), one, groups)
    nothing_given(found, "no image")
    assert found.estimate is None


def test_holm_corrects_a_family():
    assert intervals.holm([0.01, 0.04, 0.03, 0.9]) == pytest.approx([0.04, 0.09, 0.09, 0.9])
    assert intervals.holm([]) == []
    assert intervals.holm([0.02, None, 0.5]) == [0.04, None, 0.5]


def test_bad_input_is_named():
    with pytest.raises(UserError, match="one label per image"):
        AUC.statistic(np.ones(3), np.ones((4, 2)))
    with pytest.raises(UserError, match="NaN"):
        AUC.statistic(np.array([0, 1]), np.array([[0.1, 0], [np.nan, 0]]))
    with pytest.raises(UserError, match="do not belong to 3 labels"):
        interval(AUC, np.ones(3, int), np.ones((2, 4)), np.arange(3))
    with pytest.raises(UserError, match="paired"):
        difference(AUC, np.ones(4, int), np.ones((2, 4)), np.ones((3, 4)), np.arange(4))
