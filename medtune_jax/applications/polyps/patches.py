"""The patches of polyp candidates (Tajbakhsh et al. 2016, II-A; docs/paper.md, 1).

A candidate's box is enlarged by 1.0, 1.2 and 1.5; each size is also shifted by 10% of itself left,
right, up and down; each of these is seen in the 8 mirror and rotation variants of the square: 120
patches. A patch is a recipe, an affine map from the network's grid into the frame. A candidate is
positive when its centre lies in the lesion mask, and so are all its patches.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from medtune_jax.errors import UserError
from medtune_jax.patches import crop_affines

SCALES = (1.0, 1.2, 1.5)
SHIFT = 0.1
CENTRE_AND_SIDES = ((0, 0), (0, -1), (0, 1), (-1, 0), (1, 0))

# The dihedral group: identity, mirrors and quarter turns, as signed permutations of (row, col).
_FLIPS = [np.diag(signs) for signs in ((1, 1), (1, -1), (-1, 1), (-1, -1))]
DIHEDRAL = np.stack([flip @ swap for swap in (np.eye(2), np.eye(2)[::-1]) for flip in _FLIPS])


class Variants(NamedTuple):
    """V ways to see a box: scale [V], shift [V, 2] in resized boxes, transform [V, 2, 2]."""

    scale: np.ndarray
    shift: np.ndarray
    transform: np.ndarray


def _variants() -> Variants:
    """All combinations of scales, shifts and mirror/rotation variants, in this nesting order."""
    counts = len(SCALES), len(CENTRE_AND_SIDES), len(DIHEDRAL)
    scale, place, turn = np.indices(counts).reshape(3, -1)
    shift = SHIFT * np.asarray(CENTRE_AND_SIDES, float)
    return Variants(np.asarray(SCALES)[scale], shift[place], DIHEDRAL[turn])


VARIANTS = _variants()
NUMBER = len(VARIANTS.scale)


def candidate_affines(
    boxes: ArrayLike, variant: ArrayLike, size: int = 227, square: bool = False
) -> np.ndarray:
    """Recipes float32 [N, 2, 3] of boxes [N, 4] (row, col, height, width), one index of `VARIANTS` each.

    square: a square with the longer side of the box, which keeps the aspect of the lesion, instead
    of a box that is stretched to the square grid [open in the paper].
    """
    boxes, variant = np.asarray(boxes, float).reshape(-1, 4), np.asarray(variant)
    extent = np.repeat(boxes[:, 2:].max(1, keepdims=True), 2, 1) if square else boxes[:, 2:]
    scale, shift, transform = (values[variant] for values in VARIANTS)
    extent = extent * scale[:, None]
    return crop_affines(boxes[:, :2] + shift * extent, extent, size, transform)


def spread(count: int) -> np.ndarray:
    """`count` of the variants: int [count], even steps through their nesting, so over all its axes.

    Raises UserError for a count that there is not.
    """
    if not 1 <= count <= NUMBER:
        raise UserError(f"{count} variants per candidate: give a number from 1 to {NUMBER}.")
    return np.arange(count) * NUMBER // count


def stratified_sample(
    positive: ArrayLike,
    stratum: ArrayLike,
    patches_each: int,
    maximum: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """At most `maximum` different training patches, half of them positive, spread over the strata.

    positive: bool [n] and stratum [n] (the video, say), one per candidate; patches_each: the number
    of its patches. Each class gets maximum / 2 patches, or as many as the rarer class has; within
    a class every stratum gives the same number until it is exhausted, so that a long video does
    not drown the others. Returns (candidate index, variant index), shuffled.
    """
    positive = np.asarray(positive, bool)
    _, stratum = np.unique(np.asarray(stratum), return_inverse=True)
    rarer = min(positive.sum(), (~positive).sum()) * patches_each
    if not rarer:
        absent = "negative" if positive.any() else "positive"
        raise UserError(
            f"none of the {len(positive)} training candidates is {absent}; "
            "training needs both: add frames or check the masks."
        )
    wanted = min(maximum // 2, int(rarer))
    chosen = []
    for members in (positive, ~positive):
        candidates = [np.flatnonzero(members & (stratum == s)) for s in range(stratum.max() + 1)]
        quota = _even_quotas(np.array([len(c) for c in candidates]) * patches_each, wanted)
        for index, count in zip(candidates, quota, strict=True):
            patch = rng.choice(len(index) * patches_each, count, replace=False)
            chosen.append(np.stack([index[patch // patches_each], patch % patches_each]))
    candidate, variant = rng.permutation(np.concatenate(chosen, 1), axis=1)
    return candidate, variant


def _even_quotas(capacity: np.ndarray, total: int) -> np.ndarray:
    """Shares of `total` as equal as the capacities allow: the level to which water would rise."""
    order = np.argsort(capacity, kind="stable")
    quota = np.zeros(len(capacity), int)
    for done, index in enumerate(order):
        quota[index] = min(capacity[index], -(-total // (len(order) - done)))
        total -= quota[index]
    return quota
