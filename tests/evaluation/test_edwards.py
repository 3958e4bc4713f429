"""The maximum-likelihood FROC model: gradient, recovery, coverage, agreement with the data."""

import numpy as np
import pytest
from scipy.stats import norm

from medtune_jax.errors import UserError
from medtune_jax.evaluation import edwards
from medtune_jax.evaluation.edwards import fit_froc
from medtune_jax.evaluation.froc import Detections, sensitivities

TRUTH = {"rate": 3.0, "detection": 0.85, "a": 1.6, "b": 0.8}
RATES = (0.25, 1.0, 2.0, 5.0)


def simulate(rng, images=100, lesions=150, rate=3.0, detection=0.85, a=1.6, b=0.8):
    lesion_image = rng.integers(0, images, lesions)
    raised = np.flatnonzero(rng.random(lesions) < detection)
    false_image = np.repeat(np.arange(images), rng.poisson(rate, images))
    true_scores = a / b + rng.normal(size=raised.size) / b
    return Detections(
        images,
        lesion_image,
        np.append(lesion_image[raised], false_image),
        np.append(true_scores, rng.normal(size=false_image.size)),
        np.append(raised, np.full(false_image.size, -1)),
    )


def true_sensitivity(rates):
    share = np.minimum(np.array(rates) / TRUTH["rate"], 1)
    return TRUTH["detection"] * norm.cdf(TRUTH["a"] + TRUTH["b"] * norm.ppf(share))


def test_parameters_are_recovered():
    rng = np.random.default_rng(0)
    model = fit_froc(simulate(rng, images=4000, lesions=6000), bins=20)
    found = {name: getattr(model, name) for name in TRUTH}
    assert found == pytest.approx(TRUTH, rel=0.05)
    assert model.sensitivity(RATES) == pytest.approx(true_sensitivity(RATES), abs=0.015)


def test_intervals_cover_the_truth():
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(250):
        intervals = fit_froc(simulate(rng)).sensitivity_at(RATES)
        covered.append(
            [i.low <= s <= i.high for i, s in zip(intervals, true_sensitivity(RATES), strict=True)]
        )
    share = np.mean(covered, axis=0)
    assert (share >= 0.91).all() and (share <= 0.99).all()


def test_model_follows_the_empirical_curve():
    test = simulate(np.random.default_rng(2), images=1000, lesions=1500)
    rates = np.linspace(0.02, 2.9, 200)
    gap = np.abs(fit_froc(test).sensitivity(rates) - sensitivities([test], rates)).max()
    # Kolmogorov-Smirnov: the largest gap that 1500 lesions alone leave in 99 of 100 test sets.
    assert gap < 1.63 / np.sqrt(1500)


def test_only_the_order_of_scores_matters():
    test = simulate(np.random.default_rng(3))
    squashed = Detections(
        test.images, test.lesion_image, test.image, norm.cdf(2 * test.score - 1), test.lesion
    )
    one, other = fit_froc(test), fit_froc(squashed)
    assert (one.a, one.b) == pytest.approx((other.a, other.b))


def test_duplicate_hits_change_nothing():
    test = simulate(np.random.default_rng(4))
    hit = int(np.flatnonzero(test.lesion >= 0)[0])
    again = Detections(
        test.images,
        test.lesion_image,
        np.append(test.image, test.image[hit]),
        np.append(test.score, test.score[hit] - 0.1),
        np.append(test.lesion, test.lesion[hit]),
    )
    assert fit_froc(again).sensitivity(RATES) == pytest.approx(fit_froc(test).sensitivity(RATES))


def test_derivatives_of_the_bin_probabilities():
    cuts = np.array([-1.0, 0.2, 0.9, 1.7])
    x = np.concatenate([[1.2, 0.7], cuts])

    def probabilities(x):
        return np.concatenate(edwards._cells(x[0], x[1], x[2:])[:2])

    p, _, dp, dq = edwards._cells(x[0], x[1], cuts)
    assert p.sum() == pytest.approx(1)
    step = 1e-6 * np.eye(x.size)
    numeric = np.stack([(probabilities(x + s) - probabilities(x - s)) / 2e-6 for s in step], axis=1)
    assert np.concatenate([dp, dq]) == pytest.approx(numeric, abs=1e-7)


def test_every_lesion_raised_still_has_an_interval():
    test = simulate(np.random.default_rng(5), detection=1.0)
    found = fit_froc(test).sensitivity_at([100.0])[0]
    assert found.estimate == 1 and found.low < 1 <= found.high


def test_undetermined_fits_are_refused():
    with pytest.raises(UserError, match="true and false candidates"):
        fit_froc(Detections(3, [0], [1], [0.5], [-1]))
    apart = Detections(4, [0, 1], [0, 1, 2, 3], [0.9, 0.8, 0.2, 0.1], [0, 1, -1, -1])
    with pytest.raises(UserError, match="do not overlap"):
        fit_froc(apart)
    two_levels = Detections(4, [0, 1], [0, 1, 2, 3], [1, 0, 0, 1], [0, 1, -1, -1])
    with pytest.raises(UserError, match="levels"):
        fit_froc(two_levels)
