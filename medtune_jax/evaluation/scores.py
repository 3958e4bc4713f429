"""What a run says of the test set: one row an image (frame, candidate, pixel), on the scale of log-odds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medtune_jax.evaluation import log_odds
from medtune_jax.evaluation.labels import UNKNOWN, several


@dataclass(frozen=True)
class TestSet:
    """The N things that are judged, in the order of scores.csv.

    names: str [N], unique. groups: str [N], patient (video, subject). labels: int [N], positions among the classes, or
    [N, C] of several findings (`evaluation.labels`).
    judged: bool [N], False for what belongs to no class without doubt and counts in no metric (a pixel beside an
    interface).
    """

    __test__ = False  # not a test case, whatever its name

    names: np.ndarray
    groups: np.ndarray
    labels: np.ndarray
    judged: np.ndarray

    @classmethod
    def of_patches(
        cls, names: np.ndarray, groups: np.ndarray, labels: np.ndarray, judged: np.ndarray
    ) -> tuple[TestSet, np.ndarray]:
        """From columns with a row a patch, in the order of first appearance -> (test set, member int [P])."""
        _, first, member = np.unique(names, return_index=True, return_inverse=True)
        order = np.argsort(first)
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        rows = first[order]
        return cls(names[rows], groups[rows], labels[rows], judged[rows]), rank[member]

    def scores(self, of_patches: np.ndarray, member: np.ndarray) -> np.ndarray:
        """Log-odds float32 [N, C] of the mean probability over each row's patches, from theirs [P, C].

        float32, as scores.csv keeps them: whoever reads them back ranks the very same numbers.
        """
        means = log_odds.mean_by(of_patches, member, len(self.names))
        return means.astype(np.float32)


TEST_COLUMNS = ("image", "patient", "label")
JUDGED, UNCERTAIN = "judged", "uncertain"
BETWEEN = "|"  # two findings of an image


def score_columns(classes: Sequence[str]) -> tuple[list[str], list[str]]:
    """The columns of scores.csv for (probabilities, log-odds): CLASS and logit_CLASS.

    A class that is called as another column, "patient" say, has probability_CLASS: no two columns share a name.
    """
    logits = [f"logit_{name}" for name in classes]
    taken = {*TEST_COLUMNS, JUDGED, *logits}
    names: list[str] = []
    for name in classes:
        while name in taken:
            name = f"probability_{name}"
        taken.add(name)
        names.append(name)
    return names, logits


def score_rows(test: TestSet, classes: Sequence[str], scores: np.ndarray) -> list[tuple[Any, ...]]:
    """The rows of scores.csv, the first the header; see docs/outputs.md.

    scores: log-odds float32 [N, C]. Nine digits keep a float32 exactly: scores that differ must not become ties.
    """
    doubtful = (JUDGED,) if not test.judged.all() else ()
    uncertain = (UNCERTAIN,) if several(test.labels) else ()
    probabilities, logits = score_columns(classes)
    rows: list[tuple[Any, ...]] = [(*TEST_COLUMNS, *probabilities, *logits, *doubtful, *uncertain)]
    known = zip(test.names, test.groups, test.labels, test.judged, scores, strict=True)
    for name, group, label, judged, row in known:
        numbers = (f"{x:.9g}" for x in (*log_odds.probabilities(row), *row))
        word, *doubts = label_words(label, classes) if uncertain else (classes[label],)
        rows.append((name, group, word, *numbers, *([int(judged)] if doubtful else []), *doubts))
    return rows


def label_words(label: np.ndarray, classes: Sequence[str]) -> tuple[str, str]:
    """The findings of an image [C] that are there, and those of which it is not known."""
    there, unknown = (
        BETWEEN.join(name for name, v in zip(classes, label, strict=True) if v == value)
        for value in (1, UNKNOWN)
    )
    return there, unknown


def label_of(row: Mapping[str, str], classes: Sequence[str]) -> int | list[int]:
    """The label that a row of scores.csv states; KeyError for a class that is none of these."""
    place = {name: c for c, name in enumerate(classes)}
    if UNCERTAIN not in row or UNCERTAIN in classes:  # no finding is called so, but a class may be
        return place[row["label"]]
    label = [0] * len(classes)
    for column, value in (("label", 1), (UNCERTAIN, UNKNOWN)):
        for name in filter(None, row[column].split(BETWEEN)):
            label[place[name]] = value
    return label
