"""Candidates of all frames: found once, kept on disk, and known again by the data and the settings.

The detector learns from training videos only, so that no video of its forests is in the test set.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import sklearn
from ml_collections import ConfigDict

from medtune_jax.applications.polyps import boundary, candidates, votes
from medtune_jax.applications.polyps.candidates import Candidate, CandidateDetector, fit
from medtune_jax.applications.polyps.cases import Cases, cache_home, mask_of
from medtune_jax.applications.polyps.progress import parallel, reported, said

_FIELDS = len(Candidate._fields)


def find_candidates(cases: Cases, data: ConfigDict) -> list[list[Candidate]]:
    """At most data.candidates candidates of every frame, best first; some frames may have none."""
    path = cache_home() / f"candidates-{_key(cases, data)}.npz"
    if path.is_file():
        said(f"candidates of {len(cases.frames)} frames from {path}")
        return _load(path, len(cases.frames))
    detector = _fit(cases, data)
    work = parallel(detector.candidates, [(f.image, data.candidates) for f in cases.frames])
    found = list(reported(work, len(cases.frames), "candidates: frames"))
    path.parent.mkdir(parents=True, exist_ok=True)
    _save(path, found)
    return found


def _key(cases: Cases, data: ConfigDict) -> str:
    """Digest of everything that decides the candidates, the detector's own code included."""
    digest = hashlib.sha256(cases.fingerprint().encode())
    settings = (data.candidates, data.detector_frames, data.detector_seed, sklearn.__version__)
    digest.update(json.dumps(settings).encode())
    for module in (boundary, votes, candidates):
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


def _save(path: Path, found: Sequence[Sequence[Candidate]]) -> None:
    counts = np.array([len(row) for row in found])
    table = np.array([c for row in found for c in row], float).reshape(-1, _FIELDS)
    scratch = path.with_name(f".{path.name}-{os.getpid()}.npz")
    np.savez(scratch, counts=counts, table=table)
    scratch.replace(path)


def _load(path: Path, frames: int) -> list[list[Candidate]]:
    with np.load(path) as stored:
        rows = np.split(stored["table"], np.cumsum(stored["counts"])[:-1])
    assert len(rows) == frames
    return [[Candidate(*values) for values in row.tolist()] for row in rows]
