"""The weighted bootstrap against resampling images one by one, and its coverage."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from medtune_jax.errors import UserError
from medtune_jax.evaluation import AUC, difference, interval, intervals
from medtune_jax.evaluation.intervals import group_bootstrap
from medtune_jax.evaluation.log_odds import two_sided


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(2, 30), st.integers(1, 5))
def test_weighted_auc_equals_repeated_images(seed, n, levels):
    rng = np.random.default_rng(seed)
    labels = np.append([0, 1], rng.integers(0, 2, n))
    scores = rng.integers(0, levels, labels.size)
    weights = rng.integers(0, 4, (5, labels.size))
    weights[:, :2] += 1
    found = AUC.statistic(labels, two_sided(scores))(weights.astype(float))
    for row, value in zip(weights, found, strict=True):
        expected = roc_auc_score(np.repeat(labels, row), np.repeat(scores, row))
        assert value == pytest.approx(expected)


def test_seeds_and_classes_are_averaged():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 90)
    scores = rng.random((2, 90, 3)) + np.eye(3)[labels]
    expected = np.mean(
        [roc_auc_score(labels == c, scores[s, :, c]) for s in range(2) for c in range(3)]
    )
    assert AUC.statistic(labels, scores)(np.ones((1, 90)))[0] == pytest.approx(expected)


def test_groups_are_drawn_whole_and_with_replacement():
    groups = np.array(["b", "a", "a", "c", "b"])
    _, weights = group_bootstrap(lambda w: w, groups, resamples=3000)
    assert (weights[:, 1] == weights[:, 2]).all() and (weights[:, 0] == weights[:, 4]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
    counts = np.bincount(weights[:, 3].astype(int), minlength=4) / 3000
    assert counts == pytest.approx(np.array([8, 12, 6, 1]) / 27, abs=0.03)


def test_resamples_without_a_class_are_drawn_again():
    labels = np.array([1, 0, 0, 0, 0])
    needed = [labels == 1, labels == 0]
    estimate, draws = group_bootstrap(lambda w: w @ labels, np.arange(5), needed)
    assert estimate == 1
    assert draws.min() >= 1 and draws.max() <= 4


def test_bootstrap_in_blocks_is_complete(monkeypatch):
    monkeypatch.setattr(intervals, "_BLOCK", 100)
    _, draws = group_bootstrap(lambda w: w.sum(axis=1), np.arange(30), resamples=50)
    assert (draws == 30).all() and draws.shape == (50,)


def test_auc_interval_matches_resampled_patients():
    rng = np.random.default_rng(3)
    groups = rng.integers(0, 30, 200)
    patient_effect = rng.normal(size=30)[groups]
    labels = rng.integers(0, 2, 200)
    scores = np.stack([labels + patient_effect + rng.normal(size=200) for _ in range(2)])
    members = [np.flatnonzero(groups == g) for g in range(30)]
    slow = []
    for _ in range(800):
        rows = np.concatenate([members[g] for g in rng.integers(0, 30, 30)])
        slow.append(np.mean([roc_auc_score(labels[rows], s[rows]) for s in scores]))
    fast = interval(AUC, labels, two_sided(scores), groups)
    assert [fast.low, fast.high] == pytest.approx(np.quantile(slow, [0.025, 0.975]), abs=0.02)
    assert fast.estimate == pytest.approx(np.mean([roc_auc_score(labels, s) for s in scores]))


def simulated(rng, patients=60, shift=1.0):
    """Groups, labels and the scores [N, 2] of two methods of equal merit on correlated images of patients."""
    groups = np.repeat(np.arange(patients), 3)
    labels = np.repeat(rng.permutation(np.arange(patients) % 2), 3)
    common = np.repeat(rng.normal(size=patients), 3) + shift * labels
    return groups, labels, *two_sided(common + 0.5 * rng.normal(size=(2, groups.size)))


def test_interval_covers_the_true_auc_and_null_p_is_not_too_small(monkeypatch):
    """120 patients. 300 trials leave a standard error of 0.014 on a share of 0.94: 3 of them."""
    monkeypatch.setattr(intervals, "group_bootstrap", partial(group_bootstrap, resamples=400))
    rng = np.random.default_rng(5)
    truth = norm.cdf(1 / np.sqrt(2 * 1.25))
    covered, rejected = [], []
    for _ in range(300):
        groups, labels, one, other = simulated(rng, patients=120)
        found = interval(AUC, labels, one, groups)
        covered.append(found.low <= truth <= found.high)
        test = difference(AUC, labels, one, other, groups)
        rejected.append(test.p < 0.05)
    assert 0.90 <= np.mean(covered) <= 0.985
    assert np.mean(rejected) <= 0.09


def test_a_real_difference_is_found():
    groups, labels, one, _ = simulated(np.random.default_rng(5))
    noise = two_sided(np.random.default_rng(6).normal(size=len(one)))
    found = difference(AUC, labels, one, noise, groups)
    assert found.low > 0 and found.p < 0.01
    mirrored = difference(AUC, labels, noise, one, groups)
    assert mirrored.estimate == pytest.approx(-found.estimate)
    assert mirrored.p == pytest.approx(found.p)


def test_identical_methods_do_not_differ():
    groups, labels, one, _ = simulated(np.random.default_rng(7))
    found = difference(AUC, labels, one, one, groups)
    assert found == (0, 0, 0, 1)


def test_holm_corrects_a_family():
    assert intervals.holm([0.01, 0.04, 0.03, 0.9]) == pytest.approx([0.04, 0.09, 0.09, 0.9])
    assert intervals.holm([]) == []


def test_bad_input_is_named():
    with pytest.raises(UserError, match="at least 2 groups"):
        group_bootstrap(lambda w: w, ["only"] * 4)
    with pytest.raises(UserError, match="none of it"):
        group_bootstrap(lambda w: w, np.arange(4), needed=[np.zeros(4, bool)])
    with pytest.raises(UserError, match="one label per image"):
        AUC.statistic(np.ones(3), np.ones((4, 2)))
    with pytest.raises(UserError, match="NaN"):
        AUC.statistic(np.array([0, 1]), np.array([[0.1, 0], [np.nan, 0]]))
