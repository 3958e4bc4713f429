"""The patches of polyp candidates (Tajbakhsh et al. 2016, II-A; docs/paper.md, 1).

A candidate's box is enlarged by 1.0, 1.2 and 1.5; each size is also shifted by 10% of itself left,
right, up and down; each of these is seen in the 8 mirror and rotation variants of the square: 120
patches. A patch is a recipe, an affine map from the network's grid into the frame. A candidate is
positive when its centre lies in the lesion mask, and so are all its patches.
"""

from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Variants:
    """V ways to see a box: scale [V], shift [V, 2] in resized boxes, transform [V, 2, 2]."""

    scale: np.ndarray
    shift: np.ndarray
    transform: np.ndarray

    def __len__(self) -> int:
        return len(self.scale)


def variants(
    scales: Sequence[float] = SCALES,
    shift: float = SHIFT,
    positions: Sequence[tuple[int, int]] = CENTRE_AND_SIDES,
    dihedral: bool = True,
) -> Variants:
    """All combinations of scales, shifts and mirror/rotation variants, in this nesting order."""
    transforms = DIHEDRAL if dihedral else DIHEDRAL[:1]
    counts = len(scales), len(positions), len(transforms)
    scale, place, turn = np.indices(counts).reshape(3, -1)
    return Variants(
        np.asarray(scales, float)[scale],
        shift * np.asarray(positions, float)[place],
        transforms[turn],
    )


def candidate_affines(
    boxes: ArrayLike, kinds: Variants, variant: ArrayLike, size: int = 227, square: bool = False
) -> np.ndarray:
    """Recipes float32 [N, 2, 3] of boxes [N, 4] (row, col, height, width), one variant index each.

    square: a square with the longer side of the box, which keeps the aspect of the lesion, instead
    of a box that is stretched to the square grid [open in the paper].
    """
    boxes, variant = np.asarray(boxes, float).reshape(-1, 4), np.asarray(variant)
    extent = np.repeat(boxes[:, 2:].max(1, keepdims=True), 2, 1) if square else boxes[:, 2:]
    extent = extent * kinds.scale[variant][:, None]
    return crop_affines(
        boxes[:, :2] + kinds.shift[variant] * extent, extent, size, kinds.transform[variant]
    )


def spread(kinds: Variants, count: int) -> np.ndarray:
    """`count` of the variants: int [count], even steps through their nesting, so over all its axes.

    Raises UserError for a count that there is not.
    """
    if not 1 <= count <= len(kinds):
        raise UserError(f"{count} variants per candidate: give a number from 1 to {len(kinds)}.")
    return np.arange(count) * len(kinds) // count


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
