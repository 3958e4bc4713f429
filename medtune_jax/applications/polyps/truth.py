"""The test frames, their lesions and candidates: what scores are judged against.

Kept in the study's directory as two tables, so that the report can be made again without the data.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medtune_jax.errors import UserError
from medtune_jax.evaluation.froc import Detections

FRAMES, CANDIDATES = "frames.csv", "candidates.csv"
_FRAME = ("frame", "video", "lesions")
_CANDIDATE = ("candidate", "frame", "lesion", "row", "col", "height", "width", "hand_crafted")


@dataclass(frozen=True)
class Truth:
    """I test frames and M candidates on them.

    frames, videos: str [I]. lesions: int [I], lesions of each frame, found or not. names: str [M]. frame: int [M].
    lesion: int [M], the number of the lesion within its frame that the candidate hits, or -1.
    boxes: float [M, 4] row, col, height, width. hand_crafted: float [M], the detector's own score.
    """

    frames: np.ndarray
    videos: np.ndarray
    lesions: np.ndarray
    names: np.ndarray
    frame: np.ndarray
    lesion: np.ndarray
    boxes: np.ndarray
    hand_crafted: np.ndarray

    @property
    def positive(self) -> np.ndarray:
        """bool [M]: the candidate hits a lesion."""
        return self.lesion >= 0

    @property
    def groups(self) -> np.ndarray:
        """str [I]: what intervals draw, the video of each frame."""
        return self.videos

    @property
    def candidate_groups(self) -> np.ndarray:
        """str [M]: the video of each candidate."""
        return self.videos[self.frame]

    def detections(self, scores: np.ndarray) -> Detections:
        """The candidates with the scores [M] of one detector, for the FROC."""
        before = np.cumsum(self.lesions) - self.lesions
        lesion = np.where(self.positive, before[self.frame] + self.lesion, -1)
        lesion_image = np.repeat(np.arange(len(self.frames)), self.lesions)
        return Detections(len(self.frames), lesion_image, self.frame, scores, lesion)

    def in_order(self, names: Sequence[str] | np.ndarray, values: np.ndarray) -> np.ndarray:
        """Values [..., M] of candidates by name, in the order of `self.names`."""
        row = {name: number for number, name in enumerate(names)}
        return np.asarray(values)[..., [row[name] for name in self.names]]

    def files(self) -> dict[str, bytes]:
        """The two tables."""
        frames = zip(self.frames, self.videos, self.lesions, strict=True)
        boxes = (tuple(f"{value:.3f}" for value in box) for box in self.boxes)
        scores = (f"{score:.9g}" for score in self.hand_crafted)
        columns = (self.names, self.frames[self.frame], self.lesion, boxes, scores)
        rows = ((n, f, k, *b, s) for n, f, k, b, s in zip(*columns, strict=True))
        return {FRAMES: _table(_FRAME, frames), CANDIDATES: _table(_CANDIDATE, rows)}

    @classmethod
    def read(cls, folder: Path) -> Truth:
        """What `files` wrote; UserError when a table is missing or damaged."""
        frames, marks = _columns(folder / FRAMES, _FRAME), _columns(folder / CANDIDATES, _CANDIDATE)
        place = {name: index for index, name in enumerate(frames["frame"])}
        try:
            return cls(
                frames=np.array(frames["frame"]),
                videos=np.array(frames["video"]),
                lesions=np.array(frames["lesions"], int),
                names=np.array(marks["candidate"]),
                frame=np.array([place[name] for name in marks["frame"]], int),
                lesion=np.array(marks["lesion"], int),
                boxes=np.array([marks[name] for name in _CANDIDATE[3:7]], float).T,
                hand_crafted=np.array(marks["hand_crafted"], float),
            )
        except (KeyError, ValueError) as error:
            raise UserError(f"{folder} is damaged ({error}): run the sweep again.") from error


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([head, *rows])
    return stream.getvalue().encode()


def _columns(path: Path, names: Sequence[str]) -> dict[str, list[str]]:
    if not path.is_file():
        raise UserError(f"{path} is missing: run the sweep again.")
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return {name: [row[name] for row in rows] for name in names}
