"""Log-odds: the scale on which scores are kept, averaged and ranked.

A probability in float32 is exactly 1 from log-odds of 17 on, and one in float64 from 37 on: images
that a network tells apart become ties, and an AUC made of ties is another AUC. The log-odds
ln(p / (1 - p)) of the same score never saturate, so every ranking is made of them; probabilities
are for people and for thresholds.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit, log_expit, logsumexp


def of_logits(logits: np.ndarray) -> np.ndarray:
    """Log-odds [..., C], float64, of each class against all others, from logits [..., C].

    z_c - ln(sum of exp(z_k) over the other classes k): with two classes the difference of both
    logits. Raises ValueError for fewer than two classes.
    """
    z = np.asarray(logits, float)
    if z.shape[-1] < 2:
        raise ValueError(f"{z.shape[-1]} class has no log-odds: logits of two or more are needed")
    others = [logsumexp(np.delete(z, c, axis=-1), axis=-1) for c in range(z.shape[-1])]
    return z - np.stack(others, axis=-1)


def of_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """Log-odds [..., C] of probabilities [..., C] whose rows sum to one, the infinite ones at +-745.

    ln(p_c) - ln(sum of the others): beside a 1 the small others still tell images apart, where they were kept. Only
    images with nothing but exact zeros beside a 1 are tied.
    """
    p = np.asarray(probabilities, float)
    others = np.stack([np.delete(p, c, axis=-1).sum(axis=-1) for c in range(p.shape[-1])], axis=-1)
    with np.errstate(divide="ignore"):
        return np.clip(np.log(p) - np.log(others), -745, 745)


def probabilities(log_odds: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), float64."""
    return expit(np.asarray(log_odds, float))


def two_sided(positive: np.ndarray) -> np.ndarray:
    """Log-odds [..., 2] of two classes from those of the second [...], or from any score of it."""
    return np.stack([-positive, positive], axis=-1)


def mean_by(log_odds: np.ndarray, member: np.ndarray, count: int) -> np.ndarray:
    """Log-odds [count, C] of the mean probability of each member's rows.

    The mean over a candidate's patches that the paper asks for, without leaving the scale.

    Args:
      log_odds: [N, C]. member: int [N], 0..count-1, each at least once.
    """
    order = np.argsort(member, kind="stable")
    sizes = np.bincount(member, minlength=count)
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    rows = np.asarray(log_odds, float)[order]
    yes, no = (np.logaddexp.reduceat(log_expit(side), first, axis=0) for side in (rows, -rows))
    # A single row keeps its score to the last bit.
    return np.where((sizes == 1)[:, None], rows[first], yes - no)
