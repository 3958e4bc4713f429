"""What an application hands to a study, and what it does with the scores that come back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from medtune_jax.evaluation.roc import one_vs_rest_auc
from medtune_jax.patches import PatchSet


@dataclass(frozen=True)
class Dataset:
    """All patches of a study, training and test.

    labels: int32 [N], positions in `classes`. groups: str [N], what never crosses a split (patient, video, subject).
    names: str [N], the image (frame, candidate) a patch belongs to. test: bool [N], the fixed test set.
    units: str [N], what is dropped whole when the training set shrinks (by default the group).
    groups_known: False where the data name no patients, so that every image is its own group.
    extra: what `evaluate` needs beside the labels (the truth by lesion, say). files: name -> content, what the report
    needs of the data (truth, baseline scores, montages), kept in the study's directory under application/.
    """

    patches: PatchSet
    labels: np.ndarray
    classes: tuple[str, ...]
    groups: np.ndarray
    names: np.ndarray
    test: np.ndarray
    units: np.ndarray
    groups_known: bool = True
    extra: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)

    def fingerprint(self) -> str:
        """sha256 of pixels, labels, groups and split: two studies with one fingerprint saw the same data."""
        digest = hashlib.sha256(self.patches.fingerprint().encode())
        digest.update(self.labels.astype(np.int32).tobytes())
        digest.update(self.test.astype(np.uint8).tobytes())
        for column in (self.classes, self.groups, self.names, self.units):
            digest.update("\n".join(map(str, column)).encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class Application:
    """One clinical task.

    load: config, side of the network's input -> Dataset. evaluate: dataset, probabilities of the test patches [n, C] ->
    figures of the result, at least {"test_auc": float}. monitor: labels, probabilities of the validation patches -> the
    AUC that picks the snapshot. sections: makes what the task adds to the report (called only
    when a report is written; makers read the study's directory, see `medtune_jax.report`).
    """

    name: str
    load: Callable[[ConfigDict, int], Dataset]
    evaluate: Callable[[Dataset, np.ndarray], dict[str, Any]]
    sections: Callable[[], Sequence[Any]] = tuple
    monitor: Callable[[np.ndarray, np.ndarray], float] = one_vs_rest_auc
