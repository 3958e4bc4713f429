"""Runs as readers and patients as cases: against a published study, and against pseudo-values."""

import csv

import numpy as np
import pytest
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score

from medtune_jax.evaluation import AUC, difference, interval, readers


def van_dyke(shared):
    """(truth [114], ratings [treatment, reader, case])."""
    with (shared / "mrmc/vandyke.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    truth, ratings = np.zeros(114, int), np.zeros((2, 5, 114))
    for row in rows:
        case = int(row["case"]) - 1
        truth[case] = int(row["truth"])
        ratings[int(row["treatment"]) - 1, int(row["reader"]) - 1, case] = float(row["rating"])
    return truth, ratings


def test_a_published_observer_study_is_reproduced(shared):
    """Van Dyke 1993; the numbers are those of MRMCaov with jackknife covariances, in the data's README."""
    truth, (one, two) = van_dyke(shared)
    cases = np.arange(114)
    found = [interval(AUC, truth, ratings, cases, scale="identity") for ratings in (one, two)]
    assert [(x.estimate, x.low, x.high, x.freedom) for x in found] == [
        pytest.approx((0.8970370370, 0.8252235975, 0.9688504765, 12.74464760), abs=1e-6),
        pytest.approx((0.9408373591, 0.8941378312, 0.9875368870, 12.71018964), abs=1e-6),
    ]
    gain = difference(AUC, truth, one, two, cases, scale="identity")
    assert (gain.estimate, gain.error, gain.freedom) == pytest.approx(
        (-0.04380032206, 0.02074861838, 15.25967459), abs=1e-6
    )
    assert (gain.low, gain.high, gain.p) == pytest.approx(
        (-0.0879594985666, 0.0003588544442, 0.05166568582), abs=1e-6
    )


def pseudo_values(truth, ratings):
    """[treatment, reader, case] of Dorfman, Berbaum and Metz: n AUC - (n - 1) AUC without the case."""
    cases = np.arange(truth.size)

    def without(one, case):
        rest = cases != case
        return roc_auc_score(truth[rest], one[rest])

    return np.array(
        [
            [
                [
                    truth.size * roc_auc_score(truth, one) - (truth.size - 1) * without(one, case)
                    for case in cases
                ]
                for one in treatment
            ]
            for treatment in ratings
        ]
    )


def mean_squares(y):
    """{effects: mean square} of a full factorial design without replicates, by treatment, reader and case."""
    found = {}
    for effects in [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]:
        effect = y - y.mean()
        for axis in range(3):
            mean = effect.mean(axis=axis, keepdims=True)
            effect = effect - mean if axis in effects else np.broadcast_to(mean, effect.shape)
        freedom = np.prod([y.shape[axis] - 1 for axis in effects])
        found["".join("TRC"[axis] for axis in effects)] = (effect**2).sum() / freedom
    return found


def drawn(runs=4, cases=30, seed=0, shift=1.2):
    rng = np.random.default_rng(seed)
    truth = (np.arange(cases) % 3 == 0).astype(int)
    base = rng.normal(size=cases) + shift * truth
    return truth, base + rng.normal(0, 0.6, (2, 1, cases)) + rng.normal(0, 0.5, (2, runs, cases))


def test_components_are_those_of_pseudo_values():
    """The F test of DBM with Hillis' degrees of freedom, from an analysis of variance that knows no covariances."""
    truth, ratings = drawn()
    y = pseudo_values(truth, ratings)
    runs, cases = y.shape[1:]
    ms = mean_squares(y)
    error = ms["TR"] + max(ms["TC"] - ms["TRC"], 0)
    freedom = error**2 / (ms["TR"] ** 2 / (runs - 1))
    step = y[0].mean() - y[1].mean()
    deviation = np.sqrt(2 * error / (runs * cases))
    found = difference(AUC, truth, *ratings, np.arange(cases), scale="identity")
    assert found.error == pytest.approx(deviation, abs=1e-9)
    assert found.freedom == pytest.approx(freedom, abs=1e-6)
    assert found.p == pytest.approx(2 * student.sf(abs(step) / deviation, freedom), abs=1e-9)
    assert ms["T"] / error == pytest.approx((found.estimate / found.error) ** 2, abs=0.2)


def test_one_depth_is_an_analysis_of_runs_by_cases():
    truth, (ratings, _) = drawn(seed=1)
    y = pseudo_values(truth, ratings[None])[0]
    runs, cases = y.shape
    residual = y - y.mean(1, keepdims=True) - y.mean(0, keepdims=True) + y.mean()
    of_runs, of_cases = cases * y.mean(1).var(ddof=1), runs * y.mean(0).var(ddof=1)
    error = of_runs + max(of_cases - (residual**2).sum() / ((runs - 1) * (cases - 1)), 0)
    freedom = error**2 / (of_runs**2 / (runs - 1))
    reach = student.ppf(0.975, freedom) * np.sqrt(error / (runs * cases))
    found = interval(AUC, truth, ratings, np.arange(cases), scale="identity")
    assert (found.low, found.high) == pytest.approx(
        (found.estimate - reach, found.estimate + reach), abs=1e-9
    )


def test_images_of_a_patient_are_left_out_together():
    groups = np.array(["b", "a", "a", "c", "b"])
    seen = []
    readers.read(lambda w: (seen.append(w), w[:, :1])[1], groups)
    as_is, without = seen
    assert (as_is == 1).all()
    assert without.tolist() == [[1, 0, 0, 1, 1], [0, 1, 1, 1, 0], [1, 1, 1, 0, 1]]


def test_reading_in_blocks_is_complete(monkeypatch):
    monkeypatch.setattr(readers, "_BLOCK", 100)
    read = readers.read(lambda w: w.sum(axis=1, keepdims=True), np.arange(30))
    assert read.without[:, 0].tolist() == [29] * 30


def test_a_mean_read_in_steps_is_the_jackknife():
    """The derivative of a mean is the same over any step, but for what the step moves the mean itself."""
    values = np.random.default_rng(0).normal(size=400)

    def mean(weights):
        return (weights @ values / weights.sum(axis=1))[:, None]

    exact, stepped = (readers.read(mean, np.arange(400), in_steps=s) for s in (False, True))
    np.testing.assert_allclose(stepped.without, exact.without, rtol=0.06, atol=1e-4)


def test_a_hand_crafted_method_is_one_run_that_all_are_compared_with():
    truth, (ratings, other) = drawn(cases=90)
    groups = np.arange(90)
    found = difference(AUC, truth, ratings, other[:1], groups)
    assert found == difference(AUC, truth, ratings, np.repeat(other[:1], 4, axis=0), groups)


def test_one_seed_speaks_of_its_own_run_alone():
    truth, ratings = drawn(runs=1, cases=120)
    groups = np.arange(120)
    found = interval(AUC, truth, ratings[0], groups)
    assert found.low < found.estimate < found.high and "one training run" in found.why
    gain = difference(AUC, truth, *ratings, groups)
    assert gain.low < gain.estimate < gain.high
    assert gain.p is None and "three seeds" in gain.why
    assert difference(AUC, truth, *ratings, groups, fixed=True).p is not None


def test_the_interval_of_a_difference_holds_0_just_where_p_says_so():
    for seed in range(40):
        truth, ratings = drawn(cases=60, seed=seed, shift=0.8)
        found = difference(AUC, truth, *ratings, np.arange(60))
        assert (found.low <= 0 <= found.high) == (found.p >= 0.05)
