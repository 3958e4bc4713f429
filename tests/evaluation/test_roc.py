"""Curves and sensitivities against their metrics and scikit-learn."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from medtune_jax.errors import UserError
from medtune_jax.evaluation import AUC, AUPRC, roc
from medtune_jax.evaluation.log_odds import two_sided


def labelled_scores(levels: int = 6):
    """Binary labels with both classes and coarse scores, so that ties abound."""
    item = st.tuples(st.booleans(), st.integers(0, levels))
    return (
        st.lists(item, min_size=2, max_size=40)
        .filter(lambda rows: 0 < sum(r[0] for r in rows) < len(rows))
        .map(lambda rows: tuple(np.array(column) for column in zip(*rows, strict=True)))
    )


def interface(classes):
    """One binary task of three classes: the last two against the first."""
    return [(1, 2)]


@pytest.mark.parametrize("tasks", [None, interface])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(
    ("metric", "curve"), [(AUC, roc.mean_roc), (AUPRC, roc.mean_precision)], ids=("roc", "pr")
)
def test_the_area_under_a_curve_is_its_metric(metric, curve, ties, tasks):
    """Whatever the binary tasks, over classes and seeds."""
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 3, 400)
    scores = rng.normal(size=(2, 400, 3)) + np.eye(3)[labels]
    scores = np.round(scores, 1) if ties else scores
    metric = replace(metric, tasks=tasks) if tasks else metric
    assert curve(metric, labels, scores).mean() == pytest.approx(metric(labels, scores), abs=2e-3)


def test_a_precision_recall_curve_is_made_of_thresholds():
    labels, scores = np.array([1, 0, 1, 0]), two_sided(np.array([3.0, 2.0, 1.0, 0.0]))
    height = roc.mean_precision(AUPRC, labels, scores)
    assert height[roc.GRID < 0.5] == pytest.approx(1) and height[roc.GRID > 0.5] == pytest.approx(
        2 / 3
    )


@settings(max_examples=50)
@given(labelled_scores())
def test_sensitivity_is_the_best_threshold_within_the_rate(data):
    labels, scores = data
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    expected = [tpr[fpr <= rate + 1e-12].max() for rate in roc.FALSE_POSITIVE_RATES]
    assert roc.sensitivities(AUC, labels, two_sided(scores)) == pytest.approx(expected)


def test_sensitivity_interval_matches_resampled_images():
    """One run of many patients: drawing them for real, one resample at a time, gives much the same interval."""
    rng = np.random.default_rng(2)
    groups = rng.integers(0, 100, 600)
    labels = groups % 2
    scores = np.round(labels + rng.normal(size=600), 1)
    members = [np.flatnonzero(groups == g) for g in range(100)]
    slow = []
    for _ in range(800):
        rows = np.concatenate([members[g] for g in rng.integers(0, 100, 100)])
        fpr, tpr, _ = roc_curve(labels[rows], scores[rows], drop_intermediate=False)
        slow.append(tpr[fpr <= 0.2 + 1e-12].max())
    fast = roc.sensitivity_at(AUC, labels, scores[None], groups)[2]
    assert [fast.low, fast.high] == pytest.approx(np.quantile(slow, [0.025, 0.975]), abs=0.03)


def test_sensitivities_of_seeds_are_averaged():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 80)
    scores = labels + rng.normal(size=(2, 80))

    each = [roc.sensitivities(AUC, labels, two_sided(s)) for s in scores]
    together = roc.sensitivity_at(AUC, labels, two_sided(scores), np.arange(80))
    assert [found.estimate for found in together] == pytest.approx(np.mean(each, axis=0))


def test_bad_input_is_named():
    for labels, scores, message in (
        (np.ones(4), np.arange(4.0), "no image"),
        (np.array([0, 1]), np.array([0.0, np.nan]), "NaN"),
    ):
        for found in roc.sensitivity_at(AUC, labels, scores[None], np.arange(len(labels))):
            assert found.estimate is None and message in found.why
    with pytest.raises(UserError, match="do not belong to 2 labels"):
        roc.sensitivity_at(AUC, np.array([0, 1]), np.ones((1, 3)), np.arange(2))
