"""Thresholds from validation scores: rules by hand and against scikit-learn's curve, and what has no threshold."""

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from medtune_jax.errors import UserError
from medtune_jax.evaluation import log_odds
from medtune_jax.evaluation.metric import one_vs_rest
from medtune_jax.evaluation.operating import Rule

POSITIVE = np.array([0, 0, 1, 0, 1, 1], bool)
SCORE = np.array([-3.0, -1, 0, 1, 2, 4])


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        (
            "youden",
            -0.5,
        ),  # as good as 1.5, and finds more
        ("sensitivity=1", -0.5),
        ("sensitivity=0.6", 1.5),
        ("sensitivity=0.3", 1.5),  # 3 has the same specificity and finds less
        ("specificity=1", 1.5),
        ("specificity=0.5", -0.5),
        ("specificity = 0.2", -2),
    ],
)
def test_rules_by_hand(rule, wanted):
    assert Rule.parse(rule).threshold(POSITIVE, SCORE) == wanted


def test_all_are_called_where_the_lowest_score_is_positive():
    threshold = Rule.parse("sensitivity=1").threshold(np.array([1, 0, 1], bool), SCORE[:3])
    assert (SCORE[:3] >= threshold).all()


def test_youden_is_the_best_point_of_scikit_learns_curve():
    rng = np.random.default_rng(0)
    positive = rng.random(300) < 0.3
    score = np.round(positive + rng.normal(size=300), 1)  # with ties
    called = score >= Rule().threshold(positive, score)
    false, true, _ = roc_curve(positive, score, drop_intermediate=False)
    assert called[positive].mean() - called[~positive].mean() == pytest.approx((true - false).max())


def test_other_numbers_of_a_class_leave_the_threshold():
    twice = np.concatenate([SCORE, SCORE[~POSITIVE]]), np.concatenate([POSITIVE, np.zeros(3, bool)])
    for rule in ("youden", "sensitivity=0.6", "specificity=1"):
        parsed = Rule.parse(rule)
        assert parsed.threshold(twice[1], twice[0]) == parsed.threshold(POSITIVE, SCORE)


def test_a_threshold_of_each_class_against_the_rest():
    labels = np.arange(30) % 3
    scores = log_odds.of_logits(
        4 * np.eye(3)[labels] + np.random.default_rng(0).normal(size=(30, 3))
    )
    found = Rule().thresholds(labels, scores, one_vs_rest(3))
    assert found.tolist() == [Rule().threshold(labels == c, scores[:, c]) for c in range(3)]


@pytest.mark.parametrize(
    ("positive", "score", "why"),
    [
        (POSITIVE, np.zeros(6), "all validation scores are equal"),
        (POSITIVE, np.full(6, np.nan), "no number, since training diverged"),
        (np.ones(6, bool), SCORE, "all of one class"),
        (np.zeros(6, bool), SCORE, "all of one class"),
    ],
)
def test_what_has_no_threshold_says_why(positive, score, why):
    with pytest.raises(UserError, match=why):
        Rule().threshold(positive, score)


def test_a_specificity_that_no_threshold_has():
    with pytest.raises(UserError, match="no threshold has a specificity of 1 on"):
        Rule.parse("specificity=1").threshold(~POSITIVE, SCORE)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("youdn", "did you mean 'youden'"),
        ("sensitivty=0.9", "did you mean 'sensitivity'"),
        ("sensitivity", "write sensitivity=0.95"),
        ("youden=1", "write youden"),
        ("sensitivity=95%", "above 0 and at most 1"),
        ("specificity=1.2", "above 0 and at most 1"),
        ("sensitivity=nan", "above 0 and at most 1"),
        ("", "did you mean"),
    ],
)
def test_a_rule_that_is_none_is_refused(text, said):
    with pytest.raises(UserError, match=said):
        Rule.parse(text)
