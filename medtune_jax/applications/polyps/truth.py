"""The test frames, their lesions and candidates: what scores are judged against.

Kept in the study's directory as two tables, so that the report can be made again without the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medtune_jax.applications.kept import study_rows
from medtune_jax.applications.polyps.candidates import CandidateTable
from medtune_jax.applications.polyps.cases import Cases, lesions, mask_of
from medtune_jax.applications.truth import Truth
from medtune_jax.errors import UserError
from medtune_jax.paths import csv_bytes

FRAMES, CANDIDATES = "frames.csv", "candidates.csv"
_FRAME = ("frame", "video", "lesions")
_CANDIDATE = ("candidate", "frame", "lesion", "row", "col", "height", "width", "hand_crafted")


@dataclass(frozen=True, kw_only=True)
class FrameTruth(Truth):
    """Images are frames, groups are videos. boxes: float [M, 4] row, col, height, width of the candidates."""

    boxes: np.ndarray

    @classmethod
    def of(
        cls,
        frames: np.ndarray,
        videos: np.ndarray,
        lesions: np.ndarray,
        candidates: np.ndarray,
        frame: np.ndarray,
        lesion: np.ndarray,
        boxes: np.ndarray,
        hand_crafted: np.ndarray,
    ) -> FrameTruth:
        """lesions: int [I], how many each frame has. lesion: int [M], the one within its frame that is hit, or -1."""
        hit = np.flatnonzero(lesion >= 0)
        first = np.cumsum(lesions) - lesions
        return cls(
            images=frames,
            groups=videos,
            lesion_image=np.repeat(np.arange(len(frames)), lesions),
            candidates=candidates,
            candidate_image=frame,
            hits=np.stack([hit, first[frame[hit]] + lesion[hit]], 1),
            hand_crafted=hand_crafted,
            boxes=boxes,
        )

    @property
    def lesions(self) -> np.ndarray:
        """int [I]: how many lesions each frame has, found or not."""
        return np.bincount(self.lesion_image, minlength=len(self.images))


def truth_of(cases: Cases, table: CandidateTable, minimum_area: int) -> FrameTruth:
    """The truth of the test frames."""
    frames, mine = np.flatnonzero(cases.test), np.flatnonzero(cases.test[table.frame])
    return FrameTruth.of(
        frames=cases.names[frames],
        videos=cases.videos[frames],
        lesions=np.array([lesions(mask_of(cases.frames[i]), minimum_area)[1] for i in frames]),
        candidates=table.names[mine],
        frame=np.searchsorted(frames, table.frame[mine]),
        lesion=table.lesion[mine],
        boxes=table.boxes[mine],
        hand_crafted=table.score[mine],
    )


def truth_files(truth: FrameTruth) -> dict[str, bytes]:
    """The two tables."""
    first = np.cumsum(truth.lesions) - truth.lesions
    lesion = np.full(len(truth.candidates), -1)
    candidate, number = truth.hits.T
    lesion[candidate] = number - first[truth.candidate_image[candidate]]
    boxes = (tuple(f"{value:.3f}" for value in box) for box in truth.boxes)
    scores = (f"{score:.9g}" for score in truth.hand_crafted)
    columns = (truth.candidates, truth.images[truth.candidate_image], lesion, boxes, scores)
    rows = ((n, f, k, *b, s) for n, f, k, b, s in zip(*columns, strict=True))
    frames = zip(truth.images, truth.groups, truth.lesions, strict=True)
    return {FRAMES: csv_bytes([_FRAME, *frames]), CANDIDATES: csv_bytes([_CANDIDATE, *rows])}


def read_truth(study: Path) -> FrameTruth:
    """What `truth_files` wrote into a study's directory; UserError where a table is missing or damaged."""
    try:
        frames, marks = (
            {field: [row[field] for row in study_rows(study, name)] for field in fields}
            for name, fields in ((FRAMES, _FRAME), (CANDIDATES, _CANDIDATE))
        )
        place = {name: index for index, name in enumerate(frames["frame"])}
        return FrameTruth.of(
            frames=np.array(frames["frame"]),
            videos=np.array(frames["video"]),
            lesions=np.array(frames["lesions"], int),
            candidates=np.array(marks["candidate"]),
            frame=np.array([place[name] for name in marks["frame"]], int),
            lesion=np.array(marks["lesion"], int),
            boxes=np.array([marks[name] for name in _CANDIDATE[3:7]], float).T,
            hand_crafted=np.array(marks["hand_crafted"], float),
        )
    except (KeyError, ValueError) as error:
        table = study / "application" / CANDIDATES
        raise UserError(f"{table} is damaged ({error}): run the sweep again.") from error
