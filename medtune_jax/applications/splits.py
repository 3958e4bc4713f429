"""Splits that no patient crosses: test set, nested training subsets, validation."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from medtune_jax import balance as balances
from medtune_jax.applications.protocol import Dataset
from medtune_jax.errors import UserError
from medtune_jax.evaluation.labels import kinds, several, sides, strata
from medtune_jax.words import Words, count

_DRAWS = 20  # shuffles tried for a test set with every class
_SHARE = 0.05  # a test share further than this from the asked one is said


def test_split(labels: np.ndarray, groups: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """bool [N]: about `fraction` of the patches, whole groups, classes in proportion, every class on both sides.

    Of the shuffles that the seed starts, the first that leaves each class a group on the test side and two on the
    other; where none does, groups are moved until the test side has each class that has groups for both (see
    `share_note`).
    """
    if not 0 < fraction <= 0.5:
        raise UserError(f"data.test_fraction is {fraction}: give a number above 0 and at most 0.5")
    folds, taken = _folds(labels, groups, fraction)
    drawn = [_drawn(labels, groups, folds, taken, seed)]
    draws = (_drawn(labels, groups, folds, taken, seed + draw) for draw in range(1, _DRAWS))
    for test in itertools.chain(drawn, draws):
        if all(inside >= 1 and outside >= 2 for inside, outside in _counts(labels, groups, test)):
            return test
    return _with_every_class(labels, groups, drawn[0], np.random.default_rng(seed))


def share_note(labels: np.ndarray, groups: np.ndarray, test: np.ndarray, asked: float) -> list[str]:
    """What to tell where the test set has another share of the patients, and of the images, than was asked for."""
    of_groups = len(np.unique(groups[test])) / len(np.unique(groups))
    off = min(abs(of_groups - asked), abs(test.mean() - asked))
    if off <= _SHARE:
        return []
    fewest = min(len(np.unique(groups[kind])) for kind in kinds(labels))
    return [
        f"the test set has {of_groups:.0%} of the patients and {test.mean():.0%} of the images, not the {asked:.0%} "
        f"asked for: patients stay whole, each class is on both sides, and one has {fewest} patients only"
    ]


def _folds(labels: np.ndarray, groups: np.ndarray, fraction: float) -> tuple[int, int]:
    """(folds, how many of them are the test set): the fewest whose share is the fraction, to 0.01."""
    near = ((n, round(n * fraction)) for n in range(2, 21))
    folds, taken = next(
        ((n, k) for n, k in near if k and abs(k / n - fraction) < 0.01), (round(1 / fraction), 1)
    )
    most = max(2, min(len(np.unique(groups)), int(np.bincount(strata(labels)).max())))
    return (folds, taken) if folds <= most else (most, max(1, round(most * fraction)))


def _drawn(labels: np.ndarray, groups: np.ndarray, folds: int, taken: int, seed: int) -> np.ndarray:
    kept = strata(labels)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with (
        warnings.catch_warnings()
    ):  # of classes smaller than the folds, which are looked after here
        warnings.simplefilter("ignore", UserWarning)
        parts = itertools.islice(splitter.split(kept, kept, groups), taken)
        test = np.zeros(len(labels), bool)
        for _, index in parts:
            test[index] = True
    return test


def _counts(labels: np.ndarray, groups: np.ndarray, side: np.ndarray) -> list[tuple[int, int]]:
    """Of each class, its groups on a side and on the other."""
    return [
        (
            len(np.unique(groups[kind & side])),
            len(np.unique(groups[kind & ~side])),
        )
        for kind in kinds(labels)
    ]


def _with_every_class(
    labels: np.ndarray, groups: np.ndarray, side: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """A side (bool [N], whole groups) with each class that has groups for both sides: groups change the side, those
    that take no class from where they are, small ones first."""
    side, needed = side.copy(), kinds(labels)
    for kind in needed:
        for lacking in (True, False):  # on the side, then on the other
            if kind[side == lacking].any():
                continue
            there = np.unique(groups[kind])
            sizes = [int((groups == group).sum()) for group in there]
            for place in sorted(rng.permutation(len(there)), key=lambda p: sizes[p]):
                moved = np.where(groups == there[place], lacking, side)
                if all(
                    other[moved != lacking].any()
                    for other in needed
                    if other[side != lacking].any()
                ):
                    side = moved
                    break
    return side


def check_groups(
    labels: np.ndarray,
    groups: np.ndarray,
    classes: Sequence[str],
    where: str,
    noun: str = "patient",
) -> None:
    """UserError unless every class has groups for both sides of a split."""
    for index, name in enumerate(classes):
        count = len(np.unique(groups[labels == index]))
        if count < 2:
            raise UserError(
                f"{where}: class '{name}' has {count} {noun}(s), too few for a training and a test set: it needs two "
                "or more"
            )


def check_split(dataset: Dataset, words: Words) -> None:
    """UserError, with all counts, unless each class has groups to test on and two to train and validate on.

    Of several findings an image: with and without each.
    """
    findings = several(dataset.labels)
    table = by_class(dataset) | (_by_side(dataset, "no {}", 1) if findings else {})
    wrong = [name for name, part in table.items() if part["train"][0] < 2 or not part["test"][0]]
    if not wrong:
        return
    rows = (
        f"\n  {name}: {count(part['train'][0], words.groups)} to train and validate on, {part['test'][0]} to test"
        for name, part in table.items()
    )
    said = "".join(f"\n  {note}" for note in dataset.notes)
    noun = "finding" if findings else "class"
    raise UserError(
        f"{noun} '{wrong[0]}' needs one {words.group} in the test set and two in the training set, one of them to "
        f"validate on: add some, leave the {noun} out, or split otherwise (data.split_seed, data.test_fraction, or a "
        f"given split):{''.join(rows)}{said}"
    )


def by_class(dataset: Dataset) -> dict[str, dict[str, tuple[int, int]]]:
    """class -> side (train: training and validation, test: what is judged) -> (groups, patches)."""
    return _by_side(dataset, "{}", 0)


def _by_side(dataset: Dataset, name: str, side: int) -> dict[str, dict[str, tuple[int, int]]]:
    """`by_class` of the images with each class (side 0) or without (side 1), by `name` of the class."""
    parts = {"train": ~dataset.test, "test": dataset.test & dataset.is_judged}

    def counted(index: np.ndarray) -> tuple[int, int]:
        return len(np.unique(dataset.groups[index])), int(index.sum())

    return {
        name.format(known): {
            part: counted(sides(dataset.labels, (c,))[side] & here) for part, here in parts.items()
        }
        for c, known in enumerate(dataset.classes)
    }


@dataclass(frozen=True)
class Subset:
    """Indices of patches to train on and to validate on; class weights of the former, where it is they that balance."""

    train: np.ndarray
    valid: np.ndarray
    weights: np.ndarray | None = None


def training_subset(
    dataset: Dataset,
    fraction: float,
    seed: int,
    valid_fraction: float,
    balance: str | bool = balances.DOWNSAMPLE.name,
) -> Subset:
    """The training data of one (fraction, seed): whole units, nested over fractions, split by group, balanced.

    valid_fraction: the share of the groups to validate on. balance: a config's training.balance. A unit (by default
    the patient) is dropped whole (docs/paper.md, "Data size"); for one seed the units of a smaller fraction are among
    those of a larger one, in training and in validation alike.
    Raises UserError when a class has nothing left to train or to validate on, and for an unknown balance.
    """
    how = balances.chosen(balance)
    if several(dataset.labels) and how == balances.DOWNSAMPLE:
        raise UserError(
            "training.balance is 'downsample', which thins out classes, but these images have several findings each: "
            "give weights or none"
        )
    rng = np.random.default_rng([seed, 20160505])
    labels, groups, candidates = dataset.labels, dataset.groups, np.flatnonzero(~dataset.test)
    validating = _validation_groups(labels, groups, candidates, valid_fraction, rng)
    held = np.isin(groups, validating)
    kept = [
        _first_units(labels, dataset.units, side, fraction, rng, fewest)
        # Small training sets keep someone to validate on; a training set is never more than was asked for.
        for fewest, side in enumerate((candidates[~held[candidates]], candidates[held[candidates]]))
    ]
    for side, index in zip(("train", "validate"), kept, strict=True):
        if lacking := _lacking(dataset, index):
            raise UserError(
                f"fraction {fraction} leaves no patch {lacking} to {side} on (seed {seed}): use a larger fraction or "
                "more data"
            )
    train = _balanced(labels, kept[0], rng) if how == balances.DOWNSAMPLE else kept[0]
    weights = None
    if how == balances.WEIGHTS:
        weights = dataset.objective.weights(labels[train], len(dataset.classes))
    return Subset(np.sort(train), np.sort(kept[1]), weights)


def _lacking(dataset: Dataset, index: np.ndarray) -> str:
    """The first class that some patches have no patch of, or finding that all or none of them have; '' for none."""
    for c, name in enumerate(dataset.classes):
        there, not_there = sides(dataset.labels[index], (c,))
        if not there.any():
            return f"{'with finding' if several(dataset.labels) else 'of class'} '{name}'"
        if several(dataset.labels) and not not_there.any():
            return f"without finding '{name}'"
    return ""


def whole_subset(dataset: Dataset, seed: int, balance: bool = True) -> np.ndarray:
    """All patches that are not of the test set, int [n], balanced: what is trained on once all choices are made."""
    rng = np.random.default_rng([seed, 20160505])
    index = np.flatnonzero(~dataset.test)
    return np.sort(_balanced(dataset.labels, index, rng) if balance else index)


def _shuffled_strata(
    labels: np.ndarray, members: np.ndarray, index: np.ndarray, rng: np.random.Generator
) -> list[np.ndarray]:
    """The members of each set of classes: patients with two kinds of image are a stratum of their own."""
    classes: dict[str, set[int]] = {}
    for member, label in zip(members[index], strata(labels)[index], strict=True):
        classes.setdefault(member, set()).add(int(label))
    alike: dict[tuple[int, ...], list[str]] = {}
    for member in sorted(classes):
        alike.setdefault(tuple(sorted(classes[member])), []).append(member)
    return [rng.permutation(alike[kind]) for kind in sorted(alike)]


def _validation_groups(
    labels: np.ndarray,
    groups: np.ndarray,
    candidates: np.ndarray,
    fraction: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Groups for validation: the same share of every stratum, at least one where there are two."""
    chosen = []
    for members in _shuffled_strata(labels, groups, candidates, rng):
        count = round(fraction * len(members))
        chosen.append(members[: max(count, 1) if len(members) > 1 else 0])
    side = np.isin(groups[candidates], np.concatenate(chosen))
    # Strata of one patient leave nobody to validate on: a class that lacks one gets one where it has two.
    side = _with_every_class(labels[candidates], groups[candidates], side, rng)
    return np.unique(groups[candidates][side])


def _first_units(
    labels: np.ndarray,
    units: np.ndarray,
    index: np.ndarray,
    fraction: float,
    rng: np.random.Generator,
    fewest: int,
) -> np.ndarray:
    """The patches of the first `fraction` of the units of every stratum (at least `fewest`), in an order that only
    the seed decides."""
    chosen = [
        members[: max(round(fraction * len(members)), fewest)]
        for members in _shuffled_strata(labels, units, index, rng)
    ]
    names = np.concatenate(chosen) if chosen else np.array([], units.dtype)
    return index[np.isin(units[index], names)]


def _balanced(labels: np.ndarray, index: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Every class down-sampled at random to the smallest one (docs/paper.md, "Class balance")."""
    counts = np.bincount(labels[index])
    fewest = counts[counts > 0].min()
    parts = [
        rng.permutation(index[labels[index] == label])[:fewest] for label in np.flatnonzero(counts)
    ]
    return np.concatenate(parts)
