"""Candidates of all frames: found once, kept on disk, and known again by the data and the settings.

The detector learns from training videos only, so that no video of its forests is in the test set.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sklearn
from ml_collections import ConfigDict

from medtune_jax.applications.kept import keep, read_kept, study_file
from medtune_jax.applications.polyps import boundary, detector, forest, votes
from medtune_jax.applications.polyps.cases import Cases, lesions, mask_of
from medtune_jax.applications.polyps.detector import Candidate, CandidateDetector, fit
from medtune_jax.errors import UserError
from medtune_jax.paths import user_cache
from medtune_jax.progress import parallel, reported, say

DETECTOR = "detector.npz"


@dataclass(frozen=True)
class CandidateTable:
    """All M candidates, frame by frame.

    frame: int [M]. names: str [M], FRAME#NUMBER, the best-scored of a frame first. boxes: float [M, 4] row, col,
    height, width. score: float [M]. lesion: int [M], the lesion within its frame that each hits, or -1.
    """

    frame: np.ndarray
    names: np.ndarray
    boxes: np.ndarray
    score: np.ndarray
    lesion: np.ndarray

    @classmethod
    def of(
        cls, by_frame: Sequence[Sequence[Candidate]], cases: Cases, minimum_area: int
    ) -> CandidateTable:
        frame, table = _flat(by_frame)
        names = [
            f"{n}#{k}"
            for n, row in zip(cases.names, by_frame, strict=True)
            for k in range(len(row))
        ]
        lesion = [
            hits(row, lesions(mask_of(frame), minimum_area)[0])
            for row, frame in zip(by_frame, cases.frames, strict=True)
        ]
        return cls(frame, np.array(names, str), table[:, :4], table[:, 4], np.concatenate(lesion))


def find_candidates(cases: Cases, data: ConfigDict) -> list[list[Candidate]]:
    """At most data.candidates candidates of every frame, best first; some frames may have none."""
    path, kept = _paths(cases, data)
    by_frame = _read(path, len(cases.frames))
    if by_frame is not None and kept.is_file():
        say(f"candidates of {len(cases.frames)} frames from {path}")
        return by_frame
    fitted = _fit(cases, data)
    work = parallel(fitted.candidates, [(f.image, data.candidates) for f in cases.frames])
    by_frame = list(reported(work, len(cases.frames), "candidates: frames"))
    frame, table = _flat(by_frame)
    keep(path, frame=frame, table=table)
    keep(kept, **fitted.arrays())
    return by_frame


def detector_file(cases: Cases, data: ConfigDict) -> dict[str, bytes]:
    """The detector that `find_candidates` found them with, as the study keeps it to predict with; no pickle."""
    kept = _paths(cases, data)[1]
    return {DETECTOR: kept.read_bytes()} if kept.is_file() else {}


def read_detector(study: Path) -> CandidateDetector:
    """What `detector_file` made of a study's directory. Raises UserError where it is missing or damaged."""
    path = study_file(study, DETECTOR)
    arrays = read_kept(path)
    try:
        return CandidateDetector.read(arrays or {})
    except KeyError as error:
        raise UserError(f"{path} is damaged: run the sweep again, which writes it anew") from error


def _paths(cases: Cases, data: ConfigDict) -> tuple[Path, Path]:
    """Where candidates and their detector are kept."""
    folder, key = user_cache() / "polyps", _key(cases, data)
    return folder / f"candidates-{key}.npz", folder / f"detector-{key}.npz"


def hits(candidates: Sequence[Candidate], numbered: np.ndarray) -> np.ndarray:
    """The lesion each candidate's centre lies in, or -1: int [n]; `numbered` is from `lesions`."""
    centre = np.array([(c.row, c.col) for c in candidates], float).reshape(-1, 2)
    limit = np.array(numbered.shape) - 1
    row, col = np.clip(np.rint(centre), 0, limit).astype(np.intp).T
    return numbered[row, col]


def _key(cases: Cases, data: ConfigDict) -> str:
    """Digest of everything that decides the candidates, the detector's own code included."""
    digest = hashlib.sha256(cases.fingerprint().encode())
    settings = (data.candidates, data.detector_frames, data.detector_seed, sklearn.__version__)
    digest.update(json.dumps(settings).encode())
    for module in (boundary, votes, forest, detector):
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()[:24]


def _fit(cases: Cases, data: ConfigDict) -> CandidateDetector:
    """The detector, from data.detector_frames training frames taken evenly (0: all)."""
    training = np.flatnonzero(~cases.test)
    wanted = min(data.detector_frames or len(training), len(training))
    chosen = training[np.linspace(0, len(training) - 1, wanted).astype(int)]
    if not any(mask_of(cases.frames[i]).any() for i in chosen):
        chosen = training  # so few frames that none shows a lesion
    frames = (cases.frames[i] for i in chosen)
    return fit(((f.image, mask_of(f)) for f in frames), data.detector_seed, jobs=-1)


def _flat(by_frame: Sequence[Sequence[Candidate]]) -> tuple[np.ndarray, np.ndarray]:
    """The frame int [M] and the fields float [M, 5] of every candidate."""
    table = np.array([c for row in by_frame for c in row], float).reshape(
        -1, len(Candidate._fields)
    )
    return np.repeat(np.arange(len(by_frame)), [len(row) for row in by_frame]), table


def _read(path: Path, frames: int) -> list[list[Candidate]] | None:
    kept = read_kept(path)
    if kept is None:
        return None
    by_frame: list[list[Candidate]] = [[] for _ in range(frames)]
    for frame, values in zip(kept["frame"], kept["table"].tolist(), strict=True):
        by_frame[frame].append(Candidate(*values))
    return by_frame
