"""Labels of either kind, and the only place that tells them apart.

One class an image: int [N]. Several findings an image: int [N, F] of 1 (there), 0 (not there) and -1 (not known), and
then an image counts in no figure of a finding of which it is not known.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

UNKNOWN = -1


def several(labels: np.ndarray) -> bool:
    """Whether an image may have several findings."""
    return np.ndim(labels) == 2


def sides(labels: np.ndarray, positive: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """(positive, negative), bool [N] each, of the binary task with these positive classes; a finding is its own."""
    if several(labels):
        column = labels[:, positive[0]]
        return column == 1, column == 0
    inside = np.isin(labels, positive)
    return inside, ~inside


def kinds(labels: np.ndarray) -> list[np.ndarray]:
    """What every side of a split needs, bool [N] each: images of each class there is; with and without each finding."""
    if several(labels):
        return [side for f in range(labels.shape[1]) for side in sides(labels, (f,))]
    return [labels == label for label in np.unique(labels)]


def strata(labels: np.ndarray) -> np.ndarray:
    """int [N], what a split keeps in proportion: the class; of findings the rarest that an image has, or F for none."""
    if not several(labels):
        return labels
    there = labels == 1
    count = there.sum(axis=0)
    rarest = np.where(there, count, len(labels) + 1).argmin(axis=1)
    return np.where(there.any(axis=1), rarest, labels.shape[1])
