"""The polyp study: from frames to patches with their truth, and from test scores to the FROC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from medtune_jax.applications.polyps.candidates import Candidate
from medtune_jax.applications.polyps.cases import Cases, mask_of, read_cases
from medtune_jax.applications.polyps.detections import find_candidates
from medtune_jax.applications.polyps.patches import (
    Variants,
    candidate_affines,
    every_patch,
    hits,
    lesions,
    spread,
    stratified_sample,
    variants,
)
from medtune_jax.applications.polyps.pictures import picture_files
from medtune_jax.applications.polyps.truth import Truth
from medtune_jax.applications.protocol import Application, Dataset, Words
from medtune_jax.errors import UserError
from medtune_jax.evaluation.froc import PER_FRAME, sensitivities
from medtune_jax.patches import Crops, padded

CLASSES = ("no polyp", "polyp")


@dataclass(frozen=True)
class Marks:
    """All M candidates: frame int [M], boxes [M, 4], score [M], lesion int [M] (hit within its frame, or -1)."""

    frame: np.ndarray
    boxes: np.ndarray
    score: np.ndarray
    lesion: np.ndarray

    @classmethod
    def of(cls, found: Sequence[Sequence[Candidate]], cases: Cases, minimum_area: int) -> Marks:
        table = np.array([c for row in found for c in row], float).reshape(-1, 5)
        lesion = [
            hits(row, lesions(mask_of(frame), minimum_area)[0])
            for row, frame in zip(found, cases.frames, strict=True)
        ]
        frame = np.repeat(np.arange(len(found)), [len(row) for row in found])
        return cls(frame, table[:, :4], table[:, 4], np.concatenate(lesion))


def load(config: ConfigDict, size: int) -> Dataset:
    """Candidates of every frame, as patches of the network's input size.

    Training: data.train_patches patches, half of them positive, spread evenly over the videos.
    Test: data.test_variants patches of every candidate. Groups and units are videos, names are
    candidates. Fields of config.data: see configs/polyps.py. Raises UserError for data that cannot
    make a study (`read_cases`), or where no candidate, or every one, hits a lesion.
    """
    data = config.data
    cases = read_cases(data)
    marks = Marks.of(find_candidates(cases, data), cases, data.smallest_lesion)
    kinds = variants()
    training = _training_patches(cases, marks, kinds, data)
    testing = _test_patches(cases, marks, kinds, data.test_variants)
    candidate, variant = np.concatenate([training, testing], 1)
    affines = candidate_affines(marks.boxes[candidate], kinds, variant, size, data.square)
    sources, shapes = padded([frame.image for frame in cases.frames])
    frame = marks.frame[candidate]
    dataset = Dataset(
        patches=Crops(sources, shapes, frame.astype(np.int32), affines, size),
        labels=(marks.lesion[candidate] >= 0).astype(np.int32),
        classes=CLASSES,
        groups=cases.videos[frame],
        names=_names(cases, marks)[candidate],
        test=np.arange(len(candidate)) >= training.shape[1],
        units=cases.videos[frame],
        groups_known=cases.groups_known,
        also={"frames": (int((~cases.test).sum()), int(cases.test.sum()))},
        extra={"truth": _truth(cases, marks, data.smallest_lesion)},
    )
    dataset.files.update(_files(dataset, cases, marks))
    return dataset


def evaluate(dataset: Dataset, scores: np.ndarray) -> dict[str, Any]:
    """Sensitivity at the paper's false positives per frame."""
    truth: Truth = dataset.extra["truth"]
    marks = truth.detections(truth.in_order(dataset.test_set[0].names, scores[:, 1]))
    found = sensitivities([marks], PER_FRAME)
    return {f"sensitivity_at_{rate:g}": float(s) for rate, s in zip(PER_FRAME, found, strict=True)}


def sections() -> Sequence[Any]:
    """What the report adds: FROC, networks against the hand-crafted score, detections and patches to look at."""
    from medtune_jax.applications.polyps.report import SECTIONS

    return SECTIONS


def _training_patches(cases: Cases, marks: Marks, kinds: Variants, data: ConfigDict) -> np.ndarray:
    """(candidate, variant) [2, N]: stratified by class and video (docs/paper.md, 1)."""
    training = np.flatnonzero(~cases.test[marks.frame])
    candidate, variant = stratified_sample(
        marks.lesion[training] >= 0,
        cases.videos[marks.frame[training]],
        len(kinds),
        data.train_patches,
        np.random.default_rng(data.patch_seed),
    )
    return np.stack([training[candidate], variant])


def _test_patches(cases: Cases, marks: Marks, kinds: Variants, count: int) -> np.ndarray:
    """(candidate, variant) [2, N] of every test candidate, with `count` variants spread over all."""
    testing = np.flatnonzero(cases.test[marks.frame])
    positive = marks.lesion[testing] >= 0
    if positive.all() or not positive.any():
        kind = "negative" if positive.any() else "positive"
        raise UserError(
            f"none of the {len(testing)} test candidates is {kind}: add test frames or check the masks."
        )
    return np.stack(every_patch(testing, spread(kinds, count)))


def _names(cases: Cases, marks: Marks) -> np.ndarray:
    """FRAME#NUMBER of each candidate, the best-scored of a frame first."""
    frames = _frame_names(cases)
    number = np.arange(len(marks.frame)) - np.searchsorted(marks.frame, marks.frame)
    return np.array([f"{frames[f]}#{n}" for f, n in zip(marks.frame, number, strict=True)])


def _frame_names(cases: Cases) -> np.ndarray:
    """VIDEO/FRAME; the frame's own name where it is its own video."""
    return np.array([f.name if f.video == f.name else f"{f.video}/{f.name}" for f in cases.frames])


def _truth(cases: Cases, marks: Marks, minimum_area: int) -> Truth:
    frames = np.flatnonzero(cases.test)
    mine = np.flatnonzero(cases.test[marks.frame])
    return Truth(
        frames=_frame_names(cases)[frames],
        videos=cases.videos[frames],
        lesions=np.array([lesions(mask_of(cases.frames[i]), minimum_area)[1] for i in frames]),
        names=_names(cases, marks)[mine],
        frame=np.searchsorted(frames, marks.frame[mine]),
        lesion=marks.lesion[mine],
        boxes=marks.boxes[mine],
        hand_crafted=marks.score[mine],
    )


def _files(dataset: Dataset, cases: Cases, marks: Marks) -> dict[str, bytes]:
    truth: Truth = dataset.extra["truth"]
    return {**truth.files(), **picture_files(dataset, cases)}


POLYPS = Application("polyps", load, evaluate, sections, words=Words("video", "candidate"))
