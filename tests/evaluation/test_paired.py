"""Paired tests: subjects are the unit, families of comparisons are corrected."""

import numpy as np
import pytest
from scipy.stats import t as student
from scipy.stats import ttest_rel, wilcoxon
from statsmodels.stats.multitest import multipletests

from medtune_jax.errors import UserError
from medtune_jax.evaluation.paired import compare_with, mean_difference, signed_rank


def test_signed_rank_uses_subject_means():
    rng = np.random.default_rng(0)
    subjects = np.repeat(np.arange(12), 3)
    first, second = rng.normal(0.4, 1, 36), rng.normal(size=36)
    means = [(first - second)[subjects == s].mean() for s in range(12)]
    assert signed_rank(first, second, subjects) == pytest.approx(wilcoxon(means).pvalue)


def test_equal_methods():
    values = np.arange(6.0)
    assert signed_rank(values, values, np.arange(6)) == 1
    found = mean_difference(values, values, np.arange(6))
    assert found.estimate == 0 and found.p is None and "same" in found.why


def test_mean_difference_interval_is_that_of_independent_subjects():
    rng = np.random.default_rng(1)
    first, second = rng.normal(1, 1, 400), rng.normal(0, 1, 400)
    found = mean_difference(first, second, np.arange(400), fixed=True)
    error = np.std(first - second, ddof=1) / 20
    assert found.estimate == pytest.approx(np.mean(first - second))
    assert found.high - found.low == pytest.approx(2 * student.ppf(0.975, 399) * error, rel=0.01)
    assert found.p == pytest.approx(ttest_rel(first, second).pvalue, rel=0.1)


def test_family_is_holm_corrected():
    rng = np.random.default_rng(2)
    reference = rng.normal(size=40)
    shifts = {"a": 0.0, "b": 0.4, "c": 1.0}
    others = {name: reference + rng.normal(shift, 1, 40) for name, shift in shifts.items()}
    found = compare_with(reference, others, np.arange(40), fixed=True)
    raw = [t.wilcoxon_p for t in found.values()]
    corrected = [t.wilcoxon_holm for t in found.values()]
    assert corrected == pytest.approx(multipletests(raw, method="holm")[1])
    assert found["c"].mean.low > 0 and found["c"].mean_holm < 0.05
    assert found["a"].mean_holm >= found["a"].mean.p


def test_few_subjects_or_one_training_run_give_a_sentence():
    rng = np.random.default_rng(4)
    few = mean_difference(rng.normal(size=4), rng.normal(size=4), np.arange(4), fixed=True)
    assert few.low is None and "at least 5" in few.why
    (found,) = compare_with(rng.normal(size=20), {"a": rng.normal(size=20)}, np.arange(20)).values()
    assert found.mean.low is not None and "three seeds" in found.mean.why
    assert found.mean_holm is found.wilcoxon_p is found.wilcoxon_holm is None


def test_bad_input_is_named():
    with pytest.raises(UserError, match="one length"):
        signed_rank(np.ones(3), np.ones(4), np.arange(3))
    with pytest.raises(UserError, match="Row 1"):
        mean_difference(np.array([1, np.nan]), np.ones(2), np.arange(2))
