"""Paired tests of per-image errors, with the subject as the unit.

Several regions of one subject are not independent: the Wilcoxon test sees one mean per subject,
the bootstrap draws subjects.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import wilcoxon

from medtune_jax.errors import UserError
from medtune_jax.evaluation.intervals import Difference, group_bootstrap, holm, tested


class PairedTest(NamedTuple):
    """first - second: mean difference with interval, and p-values of two tests.

    `bootstrap.p` belongs to the mean difference, `wilcoxon_p` to the ranks; each `*_holm` is
    corrected for all comparisons made together (equal to the raw p for a single one).
    """

    bootstrap: Difference
    wilcoxon_p: float
    bootstrap_holm: float
    wilcoxon_holm: float


def signed_rank(
    first: np.ndarray, second: np.ndarray, subjects: Sequence[str] | np.ndarray
) -> float:
    """Two-sided p of Wilcoxon's signed-rank test on the subjects' mean differences.

    Zero differences share their ranks between both signs (Pratt's zsplit), so that equal methods
    give p = 1 rather than an error.
    """
    difference = _difference(first, second)
    _, subject = np.unique(np.asarray(subjects), return_inverse=True)
    means = np.bincount(subject, difference) / np.bincount(subject)
    if not means.any():
        return 1.0
    return float(wilcoxon(means, zero_method="zsplit").pvalue)


def mean_difference(
    first: np.ndarray, second: np.ndarray, subjects: Sequence[str] | np.ndarray
) -> Difference:
    """Mean of first - second over images [N] with a subject-level bootstrap interval and p."""
    difference = _difference(first, second)
    return tested(*group_bootstrap(lambda w: w @ difference / w.sum(axis=1), subjects))


def compare_with(
    reference: np.ndarray,
    others: Mapping[str, np.ndarray],
    subjects: Sequence[str] | np.ndarray,
) -> dict[str, PairedTest]:
    """Compares each method with a reference, Holm-corrected over the methods."""
    means = [mean_difference(values, reference, subjects) for values in others.values()]
    ranks = [signed_rank(values, reference, subjects) for values in others.values()]
    rows = zip(means, ranks, holm([mean.p for mean in means]), holm(ranks), strict=True)
    return {name: PairedTest(*row) for name, row in zip(others, rows, strict=True)}


def _difference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    one, other = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if one.shape != other.shape or one.ndim != 1 or not one.size:
        raise UserError(
            f"Paired values of shapes {one.shape} and {other.shape}: give two lists of one length."
        )
    difference = one - other
    if not np.isfinite(difference).all():
        row = int(np.flatnonzero(~np.isfinite(difference))[0])
        raise UserError(f"Row {row} of the paired values is not finite: leave the pair out.")
    return difference
