"""The same picture under two patients: found by its pixels, and kept on one side of every split."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from medtune_jax.applications.protocol import Copies
from medtune_jax.errors import UserError
from medtune_jax.evaluation.labels import several
from medtune_jax.patches import Records
from medtune_jax.words import count

NONE, IDENTICAL, NEAR = "none", "identical", "near"
_SIDE = 16  # of the thumbnails that are compared
_ALIKE = 0.99  # their correlation: copies reach 0.9998, other patients 0.976 (docs/data.md)
_TILE = 1024  # thumbnails that are correlated with as many others at a time
_PENDING = 2**20  # pairs that are kept until their images are made one component
_EXAMPLES = 3
Pairs = NDArray[np.intp]


@dataclass(frozen=True)
class Alike:
    """Pairs of images of two groups: their number, the first of them [3, 2], bool [N] of the images that are in one,
    and so many pairs [fewer than N, 2] as join the same images. Of N frames of one scene N * N / 2 are pairs."""

    number: int
    first: Pairs
    images: NDArray[np.bool_]
    links: Pairs

    @classmethod
    def of(cls, pairs: Pairs, number: int) -> Alike:
        """Of so few pairs that they can be kept, among so many images."""
        images = np.zeros(number, bool)
        images[pairs] = True
        return cls(len(pairs), pairs[:_EXAMPLES], images, pairs)


@dataclass(frozen=True)
class Together:
    """groups: str [N], joined where they share a picture. kept: bool [N], False for training images that are left out
    because the given test set has them. notes: what to tell of it. copies: images of two groups, by how alike they are;
    {} where they were not looked for."""

    groups: np.ndarray
    kept: np.ndarray
    notes: tuple[str, ...]
    copies: Mapping[str, Alike] = field(default_factory=dict)

    def counted(self, names: np.ndarray) -> dict[str, Copies]:
        """`copies` as numbers, and the first of them by the names str [N] of the images."""
        return {
            how: Copies(alike.number, tuple(map(tuple, names[alike.first].tolist())))
            for how, alike in self.copies.items()
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
    pairs = identical(pixels)
    kinds = np.arange(len(groups))
    kinds[pairs[:, 1]] = pairs[:, 0]
    same, near = Alike.of(_across(pairs, groups), len(groups)), nearly(pixels, groups, kinds)
    notes = []
    each = labels.reshape(len(labels), -1)
    one, other = same.links.T
    contradictory = len({*same.links[(each[one] != each[other]).any(axis=1)].flat})
    if contradictory:
        what_two = "different findings" if several(labels) else "two classes"
        notes.append(f"{count(contradictory, 'images')} with identical pixels have {what_two}")
    links, shared, kind = same.links, same.images, "identical"
    if how == NEAR:
        links, shared = np.concatenate([links, near.links]), shared | near.images
        kind = "identical or nearly identical"
    joined = _joined(groups, links)
    if len(links):
        merged = len(np.unique(groups[np.isin(joined, joined[links[:, 0]])]))
        notes.append(
            f"{count(int(shared.sum()), 'images')} have {kind} pixels under two {what}: these {merged:,} {what} "
            f"count as {len(np.unique(joined[links[:, 0]])):,} and stay on one side (--config.data.duplicates)"
        )
    if others := int((near.images & ~shared).sum()):
        notes.append(
            f"{count(others, 'images')} look nearly the same under two {what}: --config.data.duplicates=near "
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
    return Together(joined, kept, tuple(notes), {IDENTICAL: same, NEAR: near})


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


def nearly(pixels: np.ndarray | Records, groups: np.ndarray, kinds: np.ndarray) -> Alike:
    """Images of two groups that look the same: gray thumbnails of 16 x 16 pixels correlate at 0.99.

    kinds: int [N], equal for images of identical pixels, which are no such pairs. Every image is compared with every
    other, a tile at a time, and of the pairs no more is kept than `Alike` holds.
    """
    apart = np.unique(groups, return_inverse=True)[1], kinds
    number, first, found = 0, _NO_PAIRS, np.zeros(len(groups), bool)
    component, joining = np.arange(len(groups)), [_NO_PAIRS]
    for rows, columns, alike in _alike_tiles(_thumbnails(pixels)):
        for of in apart:
            alike &= of[rows, None] != of[columns]
        number += int(alike.sum())
        found[rows] |= alike.any(axis=1)
        found[columns] |= alike.any(axis=0)
        if len(first) < _EXAMPLES:
            first = np.concatenate([first, _placed(alike, rows, columns)])[:_EXAMPLES]
        alike &= component[rows, None] != component[columns]
        joining.append(_placed(alike, rows, columns))
        if sum(map(len, joining)) > _PENDING:
            component, joining = _components(component, joining), [_NO_PAIRS]
    component = _components(component, joining)
    links = np.stack(
        [np.unique(component, return_index=True)[1][component], np.arange(len(found))], 1
    )
    return Alike(number, first, found, links[links[:, 0] < links[:, 1]])


_NO_PAIRS: Pairs = np.empty((0, 2), np.intp)


def _alike_tiles(thumbnails: np.ndarray) -> Iterator[tuple[slice, slice, NDArray[np.bool_]]]:
    """Rows, columns after them, and which of these thumbnails are alike, where any are."""
    starts = range(0, len(thumbnails), _TILE)
    for rows, columns in combinations_with_replacement([slice(n, n + _TILE) for n in starts], 2):
        alike = thumbnails[rows] @ thumbnails[columns].T >= _ALIKE
        if rows == columns:
            alike = np.triu(alike, 1)
        if alike.any():
            yield rows, columns, alike


def _placed(alike: NDArray[np.bool_], rows: slice, columns: slice) -> Pairs:
    return np.argwhere(alike) + np.array([rows.start, columns.start])


def _components(component: np.ndarray, joining: Sequence[Pairs]) -> np.ndarray:
    """The components int [N] of images, made one where a pair joins them."""
    pairs = component[np.concatenate(joining)]
    graph = coo_array((np.ones(len(pairs)), tuple(pairs.T)), (len(component),) * 2)
    joined: np.ndarray = connected_components(graph, directed=False)[1]
    return joined[component]


def _thumbnails(pixels: np.ndarray | Records) -> np.ndarray:
    small = np.empty((len(pixels), _SIDE * _SIDE), np.float32)
    for number, image in enumerate(pixels):
        small[number] = _thumbnail(image)
    return small


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
