"""The same picture under two patients: found by its pixels, and kept on one side of every split."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from medtune_jax.applications.protocol import Copies
from medtune_jax.errors import UserError
from medtune_jax.evaluation.labels import several
from medtune_jax.patches import Records
from medtune_jax.words import count

NONE, IDENTICAL, NEAR = "none", "identical", "near"
_SIDE = 16  # of the thumbnails that are compared
_ALIKE = 0.99  # their correlation: copies reach 0.9998, other patients 0.976 (docs/data.md)
_FILTER = 20  # principal components by which pairs are found that may be alike
_BLOCK = 2048
_PART = 100_000  # pairs that are correlated at a time
_EXAMPLES = 3
Pairs = NDArray[np.intp]


@dataclass(frozen=True)
class Together:
    """groups: str [N], joined where they share a picture. kept: bool [N], False for training images that are left out
    because the given test set has them. notes: what to tell of it. copies: pairs of images of two groups, by how alike
    they are; {} where they were not looked for."""

    groups: np.ndarray
    kept: np.ndarray
    notes: tuple[str, ...]
    copies: Mapping[str, Pairs] = field(default_factory=dict)

    def counted(self, names: np.ndarray) -> dict[str, Copies]:
        """`copies` as numbers, and the first of them by the names str [N] of the images."""
        return {
            how: Copies(len(pairs), tuple(map(tuple, names[pairs[:_EXAMPLES]].tolist())))
            for how, pairs in self.copies.items()
        }


def keep_together(
    pixels: np.ndarray | Records,
    labels: np.ndarray,
    groups: np.ndarray,
    test: np.ndarray | None,
    how: str,
    known: bool,
) -> Together:
    """Join the groups that share a picture, so that it cannot be in training and in the test set.

    pixels: uint8 [N, S, S, 3]. groups: str [N]. test: bool [N] where the user gave the test set, which stays as it is:
    training images of a group that it shares a picture with are left out. how: "identical" joins by identical pixels
    and reports near-duplicates, "near" joins by both, "none" joins nothing. known: whether groups are patients that
    the data name. Raises UserError for another `how`.
    """
    if how not in (NONE, IDENTICAL, NEAR):
        raise UserError(f"data.duplicates is '{how}': give {IDENTICAL}, {NEAR} or {NONE}")
    everyone, what = np.ones(len(groups), bool), "patients" if known else "images"
    if how == NONE:
        note = f"copies of a picture under two {what} are not looked for (--config.data.duplicates)"
        return Together(groups, everyone, (note,))
    same, near = _across(identical(pixels), groups), nearly(pixels, groups)
    notes = []
    each = labels.reshape(len(labels), -1)
    contradictory = len({*same[(each[same[:, 0]] != each[same[:, 1]]).any(axis=1)].flat})
    if contradictory:
        what_two = "different findings" if several(labels) else "two classes"
        notes.append(f"{count(contradictory, 'images')} with identical pixels have {what_two}")
    pairs = same if how == IDENTICAL else np.concatenate([same, near])
    joined = _joined(groups, pairs)
    if len(pairs):
        merged = len(np.unique(groups[np.isin(joined, joined[pairs[:, 0]])]))
        kind = "identical" if how == IDENTICAL else "identical or nearly identical"
        notes.append(
            f"{count(len({*pairs.flat}), 'images')} have {kind} pixels under two {what}: these {merged:,} {what} "
            f"count as {len(np.unique(joined[pairs[:, 0]])):,} and stay on one side (--config.data.duplicates)"
        )
    if how == IDENTICAL and (others := {*near.flat} - {*same.flat}):
        notes.append(
            f"{count(len(others), 'images')} look nearly the same under two {what}: --config.data.duplicates=near "
            "keeps such on one side"
        )
    kept = everyone
    if test is not None:
        kept = test | ~np.isin(joined, joined[test])
        if not kept.all():
            notes.append(
                f"{count(int((~kept).sum()), 'images')} of the given training set are left out: their {what} share "
                "pictures with the test set"
            )
    alike = {IDENTICAL: same, NEAR: _without(near, same)}
    return Together(joined, kept, tuple(notes), alike)


def identical(pixels: np.ndarray | Records) -> Pairs:
    """Pairs (first of its kind, another) [P, 2] of images with the same pixels; blank ones are no copies."""
    first: dict[bytes, int] = {}
    pairs = []
    for number, image in enumerate(pixels):
        if image.min() == image.max():
            continue
        digest = hashlib.sha256(image.tobytes()).digest()
        before = first.setdefault(digest, number)
        if before != number:
            pairs.append((before, number))
    return _as_pairs(pairs)


def nearly(pixels: np.ndarray | Records, groups: np.ndarray) -> Pairs:
    """Pairs [P, 2] of images of two groups that look the same: gray thumbnails of 16 x 16 pixels correlate at 0.99.

    Two of length 1 that correlate at r are sqrt(2 - 2 r) apart, and no projection moves them further apart: a k-d tree
    of a few principal components finds all pairs that may be alike, and only those are correlated.
    """
    thumbnails = np.stack([_thumbnail(image) for image in pixels])
    numbers = np.flatnonzero(thumbnails.any(axis=1))  # blank ones are no copies
    thumbnails = thumbnails[numbers]
    low = thumbnails @ np.linalg.eigh(thumbnails.T @ thumbnails)[1][:, -_FILTER:]
    tree, radius = cKDTree(low), float(np.sqrt(2 - 2 * _ALIKE)) * (1 + 1e-3)
    pairs = [np.empty((0, 2), np.intp)]
    for start in range(0, len(low), _BLOCK):
        near = tree.query_ball_point(
            low[start : start + _BLOCK], radius, workers=-1, return_sorted=True
        )
        first = np.repeat(np.arange(start, start + len(near)), [len(found) for found in near])
        found = np.stack([first, np.concatenate(near).astype(np.intp)], 1)
        found = found[found[:, 0] < found[:, 1]]
        found = found[groups[numbers[found[:, 0]]] != groups[numbers[found[:, 1]]]]
        for part in np.array_split(found, 1 + len(found) // _PART):
            alike = np.einsum("ij,ij->i", thumbnails[part[:, 0]], thumbnails[part[:, 1]]) >= _ALIKE
            pairs.append(numbers[part[alike]])
    return np.concatenate(pairs)


def _thumbnail(image: np.ndarray) -> np.ndarray:
    """float32 [256] of mean 0 and length 1, so that a product of two is their correlation; 0 for a blank image."""
    gray = Image.fromarray(image.mean(-1, dtype=np.float32))
    small = np.asarray(gray.resize((_SIDE, _SIDE), Image.Resampling.BOX)).ravel()
    deviation = small - small.mean()
    length = float(np.linalg.norm(deviation))
    return deviation / length if length > _SIDE else np.zeros_like(deviation)


def _across(pairs: Pairs, groups: np.ndarray) -> Pairs:
    """The pairs of two groups."""
    return pairs[groups[pairs[:, 0]] != groups[pairs[:, 1]]]


def _without(pairs: Pairs, others: Pairs) -> Pairs:
    """The pairs that are not among others."""
    width = 1 + max(pairs.max(initial=0), others.max(initial=0))
    return pairs[~np.isin(pairs @ (width, 1), others @ (width, 1))]


def _joined(groups: np.ndarray, pairs: Pairs) -> np.ndarray:
    """Groups of which a pair's two are one, called 'p1 + p2', or 'p1 + p2 + 3 more'."""
    if not len(pairs):
        return groups
    names, group = np.unique(groups, return_inverse=True)
    edges = coo_array(
        (np.ones(len(pairs)), (group[pairs[:, 0]], group[pairs[:, 1]])), (len(names),) * 2
    )
    _, union = connected_components(edges, directed=False)
    members: dict[int, list[str]] = {}
    for name, number in zip(names, union, strict=True):
        members.setdefault(int(number), []).append(str(name))
    called = [_called(members[number]) for number in range(len(members))]
    return np.array(called)[union][group]


def _called(members: Sequence[str]) -> str:
    more = f" + {len(members) - 2} more" if len(members) > 2 else ""
    return " + ".join(members[:2]) + more


def _as_pairs(pairs: Iterable[tuple[int, int]]) -> Pairs:
    return np.array(list(pairs), np.intp).reshape(-1, 2)
