"""AUC, ROC and sensitivities against scikit-learn and loops over pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from medtune_jax.errors import UserError
from medtune_jax.evaluation import roc


def labelled_scores(levels: int = 6):
    """Binary labels with both classes and coarse scores, so that ties abound."""
    item = st.tuples(st.booleans(), st.integers(0, levels))
    return (
        st.lists(item, min_size=2, max_size=40)
        .filter(lambda rows: 0 < sum(r[0] for r in rows) < len(rows))
        .map(lambda rows: tuple(np.array(column) for column in zip(*rows, strict=True)))
    )


def pairs_auc(labels, scores):
    wins = [(p > n) + 0.5 * (p == n) for p in scores[labels == 1] for n in scores[labels == 0]]
    return np.mean(wins)


@given(labelled_scores())
def test_auc_counts_pairs(data):
    labels, scores = data
    assert roc.auc(labels, scores) == pytest.approx(pairs_auc(labels, scores))


def test_one_vs_rest_is_the_macro_mean():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 300)
    probabilities = rng.dirichlet(np.ones(4), 300) + 0.3 * np.eye(4)[labels]
    expected = roc_auc_score(
        labels,
        probabilities / probabilities.sum(axis=1, keepdims=True),
        multi_class="ovr",
        average="macro",
    )
    scaled = probabilities / probabilities.sum(axis=1, keepdims=True)
    assert roc.one_vs_rest_auc(labels, scaled) == pytest.approx(expected)


def test_two_classes_use_the_positive_column():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 50)
    positive = rng.random(50) + 0.2 * labels
    both = np.stack([1 - positive, positive], axis=1)
    assert roc.one_vs_rest_auc(labels, both) == pytest.approx(roc_auc_score(labels, positive))


@settings(max_examples=50)
@given(labelled_scores(), st.sampled_from([0.0, 0.1, 0.15, 0.2, 0.5, 1.0]))
def test_sensitivity_is_the_best_threshold_within_the_rate(data, rate):
    labels, scores = data
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    expected = tpr[fpr <= rate + 1e-12].max()
    groups = np.arange(labels.size)
    found = roc.sensitivity_at(labels, scores, groups, [rate], resamples=20)[0]
    assert found.estimate == pytest.approx(expected)


def test_sensitivity_interval_matches_resampled_images():
    """Drawing the images for real, one resample at a time, gives the same interval."""
    rng = np.random.default_rng(2)
    groups = rng.integers(0, 25, 150)
    labels = rng.integers(0, 2, 150)
    scores = np.round(labels + rng.normal(size=150), 1)
    members = [np.flatnonzero(groups == g) for g in range(25)]
    slow = []
    for _ in range(1500):
        rows = np.concatenate([members[g] for g in rng.integers(0, 25, 25)])
        fpr, tpr, _ = roc_curve(labels[rows], scores[rows], drop_intermediate=False)
        slow.append(tpr[fpr <= 0.2 + 1e-12].max())
    fast = roc.sensitivity_at(labels, scores, groups, [0.2], resamples=4000)[0]
    assert [fast.low, fast.high] == pytest.approx(np.quantile(slow, [0.025, 0.975]), abs=0.03)


def test_sensitivities_of_seeds_are_averaged():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 80)
    scores = labels + rng.normal(size=(2, 80))

    def estimate(s):
        return roc.sensitivity_at(labels, s, np.arange(80), [0.1], resamples=10)[0].estimate

    assert estimate(scores) == pytest.approx((estimate(scores[0]) + estimate(scores[1])) / 2)


def test_bad_input_is_named():
    with pytest.raises(UserError, match="same class"):
        roc.auc(np.ones(4), np.arange(4))
    with pytest.raises(UserError, match="NaN"):
        roc.auc(np.array([0, 1]), np.array([0.0, np.nan]))
    with pytest.raises(UserError, match="one length"):
        roc.roc_points(np.array([0, 1]), np.arange(3))
    with pytest.raises(UserError, match="Class 2"):
        roc.one_vs_rest_auc(np.array([0, 1, 1]), np.ones((3, 3)))
