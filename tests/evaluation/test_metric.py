"""Metrics against scikit-learn, and scores that saturate."""

import numpy as np
import pytest
from scipy.special import expit, log_softmax, softmax
from sklearn.metrics import average_precision_score, roc_auc_score

from medtune_jax.errors import UserError
from medtune_jax.evaluation import log_odds
from medtune_jax.evaluation.metric import AUC, AUPRC, chosen
from medtune_jax.evaluation.scores import TestSet

RNG = np.random.default_rng(0)


def drawn(classes, count=300, ties=False):
    labels = RNG.integers(0, classes, count)
    logits = RNG.normal(size=(count, classes)) + 1.5 * np.eye(classes)[labels]
    return labels, log_odds.of_logits(np.round(logits, 1) if ties else logits)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(
    ("metric", "oracle"), [(AUC, roc_auc_score), (AUPRC, average_precision_score)]
)
def test_two_classes_equal_scikit_learn(metric, oracle, ties):
    labels, scores = drawn(2, ties=ties)
    assert metric(labels, scores) == pytest.approx(oracle(labels, scores[:, 1]), abs=1e-12)


@pytest.mark.parametrize(
    ("metric", "oracle"), [(AUC, roc_auc_score), (AUPRC, average_precision_score)]
)
def test_several_classes_are_the_mean_of_one_against_the_rest(metric, oracle):
    labels, scores = drawn(4)
    each = [oracle(labels == c, scores[:, c]) for c in range(4)]
    assert metric(labels, scores) == pytest.approx(np.mean(each), abs=1e-12)


@pytest.mark.parametrize(
    ("metric", "oracle"), [(AUC, roc_auc_score), (AUPRC, average_precision_score)]
)
def test_integer_weights_count_images_several_times(metric, oracle):
    labels, scores = drawn(2, 60)
    weights = RNG.integers(0, 4, 60)
    repeated = np.repeat(np.arange(60), weights)
    found = metric.statistic(labels, scores)(weights[None].astype(float))[0]
    assert found == pytest.approx(oracle(labels[repeated], scores[repeated, 1]), abs=1e-12)


def test_log_odds_are_those_of_the_softmax():
    logits = RNG.normal(size=(50, 3)) * 3
    p = softmax(logits, axis=-1)
    assert log_odds.of_logits(logits) == pytest.approx(np.log(p / (1 - p)), abs=1e-9)
    assert log_odds.probabilities(log_odds.of_logits(logits)) == pytest.approx(p, abs=1e-12)


def test_probabilities_beside_a_one_still_tell_images_apart():
    """Only what was exactly 0 is tied."""
    p = np.array([[1e-30, 1.0, 1e-12], [1e-25, 1.0, 1e-20], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    found = log_odds.of_probabilities(p)
    assert found[0, 1] < found[1, 1] < found[2, 1] == found[3, 1]
    assert np.isfinite(found).all()
    p = softmax(RNG.normal(size=(50, 3)) * 3, axis=-1)
    assert log_odds.of_probabilities(p) == pytest.approx(np.log(p / (1 - p)), abs=1e-9)


def test_saturated_scores_keep_their_order():
    """float32 probabilities of all of these are exactly 1, float64 ones of most."""
    logits = np.float32(np.stack([np.zeros(40), np.linspace(20, 60, 40)], 1))
    labels = (np.arange(40) >= 20).astype(int)
    p = np.exp(log_softmax(logits, axis=-1)).astype(np.float32)
    assert len(np.unique(p[:, 1])) == 1
    assert AUC(labels, log_odds.of_logits(logits)) == 1.0


def test_the_mean_over_patches_is_that_of_probabilities_and_does_not_saturate():
    scores, member = RNG.normal(size=(30, 2)) * 4, RNG.permutation(np.repeat(np.arange(6), 5))
    p = np.stack([expit(scores)[member == k].mean(0) for k in range(6)])
    assert log_odds.mean_by(scores, member, 6) == pytest.approx(np.log(p / (1 - p)), abs=1e-9)
    high = np.array([[50.0], [51.0], [60.0], [60.0]])
    first, second = log_odds.mean_by(high, np.array([0, 0, 1, 1]), 2)[:, 0]
    assert 50 < first < 51 < second == pytest.approx(60)


def test_a_single_patch_keeps_its_score_exactly():
    scores = RNG.normal(size=(7, 2)).astype(np.float32)
    assert np.array_equal(log_odds.mean_by(scores, np.arange(7), 7), scores)


def test_rows_keep_the_order_of_first_appearance():
    names = np.array(["b", "a", "b", "c", "a"])
    groups, labels = np.array(["y", "x", "y", "z", "x"]), np.array([1, 0, 1, 1, 0])
    test, member = TestSet.of_patches(names, groups, labels, np.ones(5, bool))
    assert test.names.tolist() == ["b", "a", "c"]
    assert test.groups.tolist() == ["y", "x", "z"]
    assert member.tolist() == [0, 1, 0, 2, 1]


def test_an_unknown_metric_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'auprc'"):
        chosen("aucpr", AUC)
    assert chosen("", AUC) is AUC
    assert chosen("auprc", AUC).name == "auprc"


def test_a_class_without_images_is_refused():
    with pytest.raises(UserError, match="no image"):
        AUC(np.zeros(4, int), np.zeros((4, 2)))
