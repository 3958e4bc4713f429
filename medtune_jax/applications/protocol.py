"""What an application hands to a study, and what it does with the scores that come back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from medtune_jax.evaluation.metric import AUC, Metric
from medtune_jax.evaluation.scores import TestSet
from medtune_jax.patches import PatchSet
from medtune_jax.training.objectives import SOFTMAX, Objective
from medtune_jax.words import PATIENTS_AND_IMAGES, Words

if TYPE_CHECKING:  # a report imports Matplotlib, weights Orbax
    from PIL import Image

    from medtune_jax.report.evidence import Evidence
    from medtune_jax.report.merit import Merit
    from medtune_jax.report.section import SectionMaker
    from medtune_jax.weights import Checkpoint


OF_RUNS = "explained."
"""How files below application/ begin that a finished study made of its runs, not of its data."""


class Copies(NamedTuple):
    """How many pairs of images there are, and the names of some."""

    pairs: int
    examples: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Dataset:
    """All patches of a study, training and test.

    labels: int32 [N], positions in `classes`, or [N, C] of several findings an image (`evaluation.labels`).
    groups: str [N], what never crosses a split (patient, video, subject).
    names: str [N], the image (frame, candidate) a patch belongs to. test: bool [N], the fixed test set.
    units: str [N], what is dropped whole when the training set shrinks (by default the group).
    groups_known: False where the data name no patients, so that every image is its own group.
    notes: sentences that tell the user how the data were understood. passed_over: what of data.dir is not used,
    number by kind. copies: how alike (identical, near) -> pictures that two groups share; a kind that was not looked
    for is absent.
    also: noun -> (number in training and validation, number in the test set) of things between groups and names,
    for the report. judged: bool [N], False for test patches that belong to no class without doubt: they count in no
    metric.
    extra: what `evaluate` needs beside the labels (the truth by lesion, say). files: name -> content, what the report
    needs of the data (truth, baseline scores, montages), kept in the study's directory under application/.
    objective: what a network learns of the labels.
    """

    patches: PatchSet
    labels: np.ndarray
    classes: tuple[str, ...]
    groups: np.ndarray
    names: np.ndarray
    test: np.ndarray
    units: np.ndarray
    groups_known: bool = True
    notes: Sequence[str] = ()
    passed_over: Mapping[str, int] = field(default_factory=dict)
    copies: Mapping[str, Copies] = field(default_factory=dict)
    judged: np.ndarray | None = None
    also: dict[str, tuple[int, int]] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    objective: Objective = SOFTMAX

    @cached_property
    def test_set(self) -> tuple[TestSet, np.ndarray]:
        """What is judged on the test side, and the row of each of its patches int [P]."""
        return self.judged_by(np.flatnonzero(self.test))

    def judged_by(self, patches: np.ndarray) -> tuple[TestSet, np.ndarray]:
        """What some patches, int [P], are patches of, and the row of each of them int [P]."""
        columns = (self.names, self.groups, self.labels, self.is_judged)
        return TestSet.of_patches(*(column[patches] for column in columns))

    @property
    def is_judged(self) -> np.ndarray:
        """bool [N]: `judged`, all True where nothing is in doubt."""
        return np.ones(len(self.labels), bool) if self.judged is None else self.judged

    def contents(self, words: Words) -> dict[str, tuple[int, int]]:
        """noun -> (number in training and validation, number in the test set): groups first, patches last."""
        sides = (~self.test, self.test)

        def distinct(column: np.ndarray) -> tuple[int, int]:
            train, test = (len(np.unique(column[side])) for side in sides)
            return train, test

        patches = int(sides[0].sum()), int(sides[1].sum())
        cases = distinct(self.names)
        return {
            **({words.groups: distinct(self.groups)} if self.groups_known else {}),
            **self.also,
            words.cases: cases,
            **({"patches": patches} if patches != cases else {}),
        }

    def fingerprint(self) -> str:
        """sha256 of pixels, labels, groups and split: two studies with one fingerprint saw the same data."""
        digest = hashlib.sha256(self.patches.fingerprint().encode())
        digest.update(self.labels.astype(np.int32).tobytes())
        digest.update(self.test.astype(np.uint8).tobytes())
        for column in (self.classes, self.groups, self.names, self.units):
            digest.update("\n".join(map(str, column)).encode())
        return digest.hexdigest()


class Option(NamedTuple):
    """A setting of an application's `predict`: a flag of `medtune predict`, a keyword in Python."""

    name: str
    default: str | float | bool | None
    help: str
    kind: type[str] | type[float] | type[bool] = str


class Trained(NamedTuple):
    """A network that a study trained, the study's config, and the run's folder, where it lies in one."""

    checkpoint: Checkpoint
    config: Mapping[str, Any]
    run: Path | None = None

    @property
    def size(self) -> int:
        """The side of the network's input in pixels."""
        return self.config["image_size"] or self.checkpoint.preprocessing.size


class Predicted(NamedTuple):
    """What to tell the user of a prediction, and of the inputs that could not be read ('': all could)."""

    summary: str
    unreadable: str = ""


class Prediction(NamedTuple):
    """How trained networks are used on new cases (see `applications.predict`).

    run: (Ensemble, files and folders that exist, output directory, **options) -> Predicted. takes, shows: for a page,
    what a person gives it, and what its pictures show. check: (Ensemble, **options) -> anything; raises UserError where
    its study lacks what `run` takes from it, and for options that no input could be predicted with.
    """

    run: Callable[..., Predicted]
    options: tuple[Option, ...] = ()
    takes: str = "an image"
    shows: str = ""
    check: Callable[..., object] = lambda ensemble, **options: None


def sections_of(package: str) -> Callable[[], Sequence[SectionMaker]]:
    """SECTIONS of an application's `report`, imported only when a report is written: it imports Matplotlib."""
    return lambda: import_module(f"{package}.report").SECTIONS


def merit_of(package: str) -> Callable[[Evidence], Merit]:
    """`merit` of an application's `report`, imported only when it is used, as `sections_of`."""
    return lambda evidence: import_module(f"{package}.report").merit(evidence)


def points_of(package: str) -> Callable[[Evidence], Sequence[Merit]]:
    """The same of its `points`."""
    return lambda evidence: import_module(f"{package}.report").points(evidence)


@dataclass(frozen=True, kw_only=True)
class Application:
    """One clinical task: an object in the `task.py` of its folder, found by its name in `applications.APPLICATIONS`.

    defaults: the fields of `config.data` that the task adds to the shared ones, or gives another default.
    load: config, side of the network's input -> Dataset.
    metric: picks the snapshot, scores the test set and carries the report's intervals.
    evaluate: dataset, log-odds [N, C] of its test set's rows -> the application's own figures, beside the metric; each
    number is a column of results.csv.
    augments: whether depths that reach the pixels are augmented unless the config says otherwise (config.augment):
    tasks whose recipes hold variants of each patch are not.
    words: for the report.
    sections: makes what the task adds to the report (called only when a report is written; makers read the study's
    directory, see `medtune_jax.report`).
    merit: the figure that the report's answer is given in, where that is not the metric.
    points: the figures at which all pairs of depths are compared beside that of the answer, where they are not the
    sensitivities at the paper's false positive rates (`report.points`).
    show: folder -> a picture of the data in it, or None for a folder of another kind.
    predict: None while the task has no way to use a trained network on new cases.
    explain: dataset, directory of a finished study that kept weights -> files for its application/, of where the
    networks' evidence lies; {} where nothing is new.
    """

    name: str
    defaults: Mapping[str, Any]
    load: Callable[[ConfigDict, int], Dataset]
    metric: Metric = AUC
    evaluate: Callable[[Dataset, np.ndarray], dict[str, Any]] = lambda dataset, scores: {}
    augments: bool = False
    words: Words = PATIENTS_AND_IMAGES
    sections: Callable[[], Sequence[SectionMaker]] = tuple
    merit: Callable[[Evidence], Merit] | None = None
    points: Callable[[Evidence], Sequence[Merit]] | None = None
    show: Callable[[Path], Image.Image | None] = lambda directory: None
    predict: Prediction | None = None
    explain: Callable[[Dataset, Path], dict[str, bytes]] = lambda dataset, study: {}
