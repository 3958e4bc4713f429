"""Paired tests of per-image errors, with the subject as the unit and the training run as a source of chance.

Several regions of one subject are not independent: the Wilcoxon test sees one mean per subject, the mean's interval
leaves out subjects whole (`readers`).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import wilcoxon

from medtune_jax.errors import UserError
from medtune_jax.evaluation import readers
from medtune_jax.evaluation.boundary import mean_by_run, too_few
from medtune_jax.evaluation.intervals import holm
from medtune_jax.evaluation.readers import Estimate


class PairedTest(NamedTuple):
    """first - second: mean difference with interval, and p-values of two tests.

    `mean.p` belongs to the mean difference, `wilcoxon_p` to the ranks; each `*_holm` is corrected for all comparisons
    made together (equal to the raw p for a single one). None where the difference has no p: `mean.why` says why.
    """

    mean: Estimate
    wilcoxon_p: float | None
    mean_holm: float | None
    wilcoxon_holm: float | None


def signed_rank(
    first: np.ndarray, second: np.ndarray, subjects: Sequence[str] | np.ndarray
) -> float:
    """Two-sided p of Wilcoxon's signed-rank test on the subjects' mean differences; values [N], or [S, N] of S runs.

    Zero differences share their ranks between both signs (Pratt's zsplit), so that equal methods give p = 1 rather than
    an error.
    """
    difference = _difference(first, second).mean(axis=0)
    _, subject = np.unique(np.asarray(subjects), return_inverse=True)
    means = np.bincount(subject, difference) / np.bincount(subject)
    if not means.any():
        return 1.0
    return float(wilcoxon(means, zero_method="zsplit").pvalue)


def mean_difference(
    first: np.ndarray,
    second: np.ndarray,
    subjects: Sequence[str] | np.ndarray,
    fixed: bool = False,
) -> Estimate:
    """Mean of first - second over images, with its interval over subjects and runs, and p.

    Args:
      first, second: [N], or [S, N] of S runs, paired by seed. subjects: [N]. fixed: as in `intervals.difference`.
    """
    read = readers.read(mean_by_run(_difference(first, second)), subjects)
    why = too_few(subjects)
    return Estimate(read.mean, why=why) if why else readers.of_contrast([(1, read)], fixed)


def compare_with(
    reference: np.ndarray,
    others: Mapping[str, np.ndarray],
    subjects: Sequence[str] | np.ndarray,
    fixed: bool = False,
) -> dict[str, PairedTest]:
    """Compares each method with a reference, Holm-corrected over the methods; arguments as of `mean_difference`."""
    means = [mean_difference(values, reference, subjects, fixed) for values in others.values()]
    ranks = [
        None if mean.p is None else signed_rank(values, reference, subjects)
        for mean, values in zip(means, others.values(), strict=True)
    ]
    rows = zip(means, ranks, holm([mean.p for mean in means]), holm(ranks), strict=True)
    return {name: PairedTest(*row) for name, row in zip(others, rows, strict=True)}


def _difference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """[S, N]; one run goes with all of the other."""
    one, other = (np.atleast_2d(np.asarray(values, float)) for values in (first, second))
    runs = {len(one), len(other)} - {1}
    if one.shape[1:] != other.shape[1:] or one.ndim != 2 or not one.size or len(runs) > 1:
        raise UserError(
            f"Paired values of shapes {one.shape} and {other.shape}: give two lists of one length, of the same seeds."
        )
    difference = one - other
    if not np.isfinite(difference).all():
        row = int(np.argwhere(~np.isfinite(difference))[0][1])
        raise UserError(f"Row {row} of the paired values is not finite: leave the pair out.")
    return difference
