"""Splits that no patient crosses: test set, nested training subsets, validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ml_collections import ConfigDict
from sklearn.model_selection import StratifiedGroupKFold

from medtune_jax.applications.protocol import Dataset
from medtune_jax.errors import UserError


def test_split(labels: np.ndarray, groups: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """bool [N]: about `fraction` of the patches, whole groups, classes in proportion."""
    if not 0 < fraction <= 0.5:
        raise UserError(f"data.test_fraction is {fraction}: give a number above 0 and at most 0.5")
    folds = round(1 / fraction)
    few = min(len(np.unique(groups[labels == label])) for label in np.unique(labels))
    splitter = StratifiedGroupKFold(min(folds, few), shuffle=True, random_state=seed)
    _, index = next(splitter.split(labels, labels, groups))
    test = np.zeros(len(labels), bool)
    test[index] = True
    return test


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


@dataclass(frozen=True)
class Subset:
    """Indices of patches to train on (balanced) and to validate on."""

    train: np.ndarray
    valid: np.ndarray


def planned_subset(config: ConfigDict, dataset: Dataset, fraction: float, seed: int) -> Subset:
    """The patches that a study's runs of this fraction and seed train and validate on."""
    return training_subset(
        dataset.labels,
        dataset.groups,
        dataset.units,
        np.flatnonzero(~dataset.test),
        fraction,
        config.training.valid_fraction,
        seed,
        dataset.classes,
        config.training.balance,
    )


def training_subset(
    labels: np.ndarray,
    groups: np.ndarray,
    units: np.ndarray,
    candidates: np.ndarray,
    fraction: float,
    valid_fraction: float,
    seed: int,
    classes: Sequence[str],
    balance: bool = True,
) -> Subset:
    """The training data of one (fraction, seed): whole units, nested over fractions, split by group, balanced.

    labels, groups, units: [N] of all patches. candidates: indices that may be used (the training set).
    A unit (by default the patient) is dropped whole (docs/paper.md, "Data size"); for one seed the units of a
    smaller fraction are among those of a larger one, in training and in validation alike.
    Raises UserError when a class has nothing left to train or to validate on.
    """
    rng = np.random.default_rng([seed, 20160505])
    validating = _validation_groups(labels, groups, candidates, valid_fraction, rng)
    held = np.isin(groups, validating)
    kept = [
        _first_units(labels, units, side, fraction, rng, fewest)
        # Small training sets keep someone to validate on; a training set is never more than was asked for.
        for fewest, side in enumerate((candidates[~held[candidates]], candidates[held[candidates]]))
    ]
    for side, index in zip(("train", "validate"), kept, strict=True):
        lacking = np.setdiff1d(np.arange(len(classes)), labels[index])
        if lacking.size:
            raise UserError(
                f"fraction {fraction} leaves no patch of class '{classes[lacking[0]]}' to {side} on (seed {seed}): "
                f"use a larger fraction or more data"
            )
    train = _balanced(labels, kept[0], rng) if balance else kept[0]
    return Subset(np.sort(train), np.sort(kept[1]))


def _strata(
    labels: np.ndarray, members: np.ndarray, index: np.ndarray
) -> dict[str, tuple[int, ...]]:
    """member -> the sorted classes it has: patients with two kinds of image are a stratum of their own."""
    classes: dict[str, set[int]] = {}
    for member, label in zip(members[index], labels[index], strict=True):
        classes.setdefault(member, set()).add(int(label))
    return {member: tuple(sorted(kinds)) for member, kinds in classes.items()}


def _shuffled_strata(
    labels: np.ndarray, members: np.ndarray, index: np.ndarray, rng: np.random.Generator
) -> list[np.ndarray]:
    strata = _strata(labels, members, index)
    kinds = sorted(set(strata.values()))
    return [
        rng.permutation(sorted(member for member, kind in strata.items() if kind == wanted))
        for wanted in kinds
    ]


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
    return np.concatenate(chosen)


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
