"""Figures beside the AUC against scikit-learn, their intervals against the definition, and data that bear none."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    confusion_matrix,
    precision_score,
    recall_score,
    roc_auc_score,
)

from medtune_jax.errors import UserError
from medtune_jax.evaluation import AUC, AUPRC, figures, interval, log_odds
from medtune_jax.evaluation.classification import TITLES, Classification
from medtune_jax.evaluation.metric import Metric
from medtune_jax.evaluation.sweep import area_under

THRESHOLDS = np.array([0.2, 0.6, -0.3])


def two_classes(patients=40, images=3, runs=3, seed=0):
    """labels [N], log-odds [S, N], patients [N]; every fourth patient is positive."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(patients), images)
    labels = (groups % 4 == 0).astype(int)
    return labels, 2.0 * labels - 1 + rng.normal(size=(runs, labels.size)), groups


def three_classes(seed=0):
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(60), 2)
    labels = groups % 3
    logits = 1.5 * np.eye(3)[labels] + rng.normal(size=(3, labels.size, 3))
    return labels, log_odds.of_logits(logits), groups


def over_runs(figure, scores, *more):
    return np.mean([figure(*given) for given in zip(scores, *more, strict=True)])


def test_figures_of_two_classes_are_scikit_learns():
    labels, scores, groups = two_classes()
    found = figures(labels, scores, groups, THRESHOLDS)
    called = scores >= THRESHOLDS[:, None]
    probability = log_odds.probabilities(scores)
    wanted = {
        "auc": over_runs(lambda s: roc_auc_score(labels, s), scores),
        "auprc": over_runs(lambda s: average_precision_score(labels, s), scores),
        "sensitivity": over_runs(lambda c: recall_score(labels, c), called),
        "specificity": over_runs(lambda c: recall_score(labels, c, pos_label=0), called),
        "balanced_accuracy": over_runs(lambda c: balanced_accuracy_score(labels, c), called),
        "brier": over_runs(lambda p: brier_score_loss(labels, p), probability),
    }
    for name, value in wanted.items():
        assert found[name].estimate == pytest.approx(value, abs=1e-12), name
        assert found[name].low < value < found[name].high
    assert list(found) == list(TITLES)


def test_calibration_error_and_curve_are_those_of_scikit_learns_bins():
    labels, scores, groups = two_classes(runs=1)
    made = Classification(labels, log_odds.two_sided(scores), groups)
    share, probability = calibration_curve(labels, log_odds.probabilities(scores[0]), n_bins=10)
    bins = [b for b in made.reliability(0) if b.images]
    assert [b.share.estimate for b in bins] == pytest.approx(share.tolist())
    assert [b.probability for b in bins] == pytest.approx(probability.tolist())
    weights = np.array([b.images for b in bins]) / labels.size
    wanted = weights @ np.abs(share - probability)
    assert made.mean()["calibration_error"].estimate.estimate == pytest.approx(wanted)


def test_a_calibration_error_by_hand():
    """Two bins: 0.25 said and half of 20 true, 0.75 said and all of 20 true: both are off by 0.25."""
    probability = np.repeat([0.25, 0.75], 20)
    labels = np.array([0, 1] * 10 + [1] * 20)
    found = figures(
        labels,
        log_odds.of_probabilities(np.stack([1 - probability, probability], -1))[None],
        np.arange(40),
    )
    assert found["calibration_error"].estimate == pytest.approx(0.25)
    assert found["brier"].estimate == pytest.approx((10 * 0.0625 + 10 * 0.5625 + 20 * 0.0625) / 40)


def test_the_interval_is_the_one_mechanisms():
    """AUC and AUPRC as `interval` gives them; sensitivity as a metric of one threshold by the textbook's formula."""
    labels, scores, groups = two_classes()
    found = figures(labels, scores, groups, THRESHOLDS)
    for metric in (AUC, AUPRC):
        wanted = interval(metric, labels, scores, groups)
        assert found[metric.name][:3] == pytest.approx(wanted[:3])
    # At one threshold the AUC of a yes or no is the balanced accuracy: the same figure by another way.
    yes = np.where(scores >= THRESHOLDS[:, None], 1.0, -1.0)
    other = interval(Metric("auc", "AUC", area_under), labels, yes, groups)
    balanced = found["balanced_accuracy"]
    assert (balanced.low, balanced.high) == pytest.approx((other.low, other.high))


def test_several_classes():
    labels, scores, groups = three_classes()
    thresholds = np.array([[0.1, 0.0, -0.2]] * 3)
    made = Classification(labels, scores, groups, thresholds=thresholds)
    found = made.mean()
    called = scores.argmax(-1)
    assert found["balanced_accuracy"].estimate.estimate == pytest.approx(
        over_runs(lambda c: balanced_accuracy_score(labels, c), called)
    )
    each = [made.of_task(c) for c in range(3)]
    for c, of_class in enumerate(each):
        truth = labels == c
        wanted = over_runs(lambda s, y=truth, c=c: average_precision_score(y, s[:, c]), scores)
        assert of_class["auprc"].estimate.estimate == pytest.approx(wanted)
        wanted = over_runs(
            lambda s, y=truth, c=c: recall_score(y, s[:, c] >= thresholds[0, c]), scores
        )
        assert of_class["sensitivity"].estimate.estimate == pytest.approx(wanted)
    for name in ("auprc", "brier", "specificity"):
        mean = np.mean([of_class[name].estimate.estimate for of_class in each])
        assert found[name].estimate.estimate == pytest.approx(mean)
    decided, matrix = made.decided(), made.confusion()
    assert (matrix == [confusion_matrix(labels, run) for run in called]).all()
    for c in range(3):
        for kind, score in (("recall", recall_score), ("precision", precision_score)):
            wanted = over_runs(lambda d, s=score, c=c: s(labels == c, d == c), called)
            found_one = decided[f"{kind}_{c}"].estimate
            assert (
                found_one.estimate == pytest.approx(wanted)
                and found_one.low < wanted < found_one.high
            )


def test_the_confusion_matrix_of_two_classes_is_at_the_threshold():
    labels, scores, groups = two_classes()
    made = Classification(
        labels, log_odds.two_sided(scores), groups, thresholds=THRESHOLDS[:, None]
    )
    wanted = [confusion_matrix(labels, s >= t) for s, t in zip(scores, THRESHOLDS, strict=True)]
    assert (made.confusion() == wanted).all()
    assert Classification(labels, log_odds.two_sided(scores), groups).confusion() is None


def test_without_thresholds_only_what_takes_none_is_given():
    labels, scores, groups = two_classes()
    found = figures(labels, scores, groups)
    none = [name for name, value in found.items() if value.estimate is None]
    assert none == ["sensitivity", "specificity", "balanced_accuracy"]
    assert all("no threshold" in found[name].why for name in none)


def test_a_sub_group_is_judged_at_the_thresholds_of_the_whole():
    labels, scores, groups = two_classes()
    rows = groups % 3 == 0
    whole = Classification(
        labels, log_odds.two_sided(scores), groups, thresholds=THRESHOLDS[:, None]
    )
    called = scores[:, rows] >= THRESHOLDS[:, None]
    found = whole.of(rows).mean()["sensitivity"].estimate.estimate
    assert found == pytest.approx(over_runs(lambda c: recall_score(labels[rows], c), called))


def sound(found):
    """No NaN anywhere, and a reason wherever something is not given."""
    for value in found.values():
        numbers = [x for x in value[:3] if x is not None]
        assert np.isfinite(numbers).all()
        assert value.low is not None or value.why
    return {name: value.estimate for name, value in found.items()}


@pytest.mark.filterwarnings("error")
def test_bad_input_gives_a_sentence_and_no_number():
    labels, scores, groups = two_classes()
    one_class = labels == 0
    found = figures(labels[one_class], scores[:, one_class], groups[one_class], 0.0)
    assert set(sound(found).values()) == {None}
    assert "a class has no image here" in found["auc"].why
    broken = scores.copy()
    broken[1, 3] = np.nan
    found = figures(labels, broken, groups, 0.0)
    assert set(sound(found).values()) == {None}
    assert "run 2 of 3 hold NaN" in found["brier"].why
    one_patient = np.where(labels == 1, 0, groups)
    found = figures(labels, scores, one_patient, 0.0)
    sound(found)
    assert all(value.low is None for name, value in found.items() if name != "specificity")
    assert "of 1 patient in" in found["auc"].why
    found = figures(labels, np.zeros_like(scores), groups, 0.0)
    sound(found)
    assert all(value.low is None for value in found.values())
    with pytest.raises(UserError, match="a threshold is no number"):
        figures(labels, scores, groups, np.nan)
    with pytest.raises(UserError, match="do not belong to 3 runs of 1 binary tasks"):
        figures(labels, scores, groups, np.zeros(2))


@pytest.mark.filterwarnings("error")
def test_a_class_that_is_never_called_has_no_precision():
    labels, scores, groups = three_classes()
    never = scores.copy()
    never[..., 2] = -50
    decided = Classification(labels, never, groups).decided()
    sound({name: figure.estimate for name, figure in decided.items()})
    assert decided["precision_2"].estimate.estimate is None
    assert decided["recall_2"].estimate.estimate == 0


@pytest.mark.filterwarnings("error")
def test_a_class_of_one_patient_among_three():
    labels, scores, groups = three_classes()
    lone = np.where(labels == 2, 0, groups)
    made = Classification(labels, scores, lone, thresholds=np.zeros((3, 3)))
    sound({name: figure.estimate for name, figure in {**made.mean(), **made.decided()}.items()})
    for task in range(3):
        sound({name: figure.estimate for name, figure in made.of_task(task).items()})
        assert all(np.isfinite(b.share.estimate) for b in made.reliability(task) if b.images)
