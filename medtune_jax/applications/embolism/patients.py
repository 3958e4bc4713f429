"""What a study keeps of one patient's volume: candidates, the voxels around them, hits and features.

A volume is read once, one at a time; its candidates and small blocks of voxels are kept on disk under a
key made of the files' content and all settings, so that neither another sweep nor another network reads it again.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from medtune_jax.applications.embolism.baseline import FEATURE_NAMES, candidate_features
from medtune_jax.applications.embolism.candidates import Candidate, CandidateConfig, find_candidates
from medtune_jax.applications.embolism.vessel import Frame, VesselConfig, vessel_frame
from medtune_jax.datasets.ct import Case, Volume, load_case
from medtune_jax.patches import padded

# A candidate this near to an embolus hits it (docs/paper.md, section 2).
HIT_MM = 5.0
_FORMAT = 1  # part of the key: to be raised when what is kept changes


@dataclass(frozen=True)
class Settings:
    """All that decides what is kept of a volume. reach_mm: half the width of the blocks."""

    candidates: CandidateConfig
    vessel: VesselConfig
    reach_mm: float


@dataclass(frozen=True)
class Patient:
    """Candidates [n] and emboli [L] of one volume.

    spacing: mm (z, y, x). labels: [L] values in the mask; embolus_mm3: [L] volumes. positions: [n, 3] voxels of the
    volume; scores: [n]; hits: bool [n, L]; features: [n, F] of the baseline. axes [n, 3, 3], found [n]: of the vessel
    frames. blocks: int16 [n, D, H, W] HU, shapes: [n, 3] (see `padded`), centres: [n, 3] candidates in blocks.
    """

    spacing: np.ndarray
    labels: np.ndarray
    embolus_mm3: np.ndarray
    positions: np.ndarray
    scores: np.ndarray
    hits: np.ndarray
    features: np.ndarray
    axes: np.ndarray
    found: np.ndarray
    blocks: np.ndarray
    shapes: np.ndarray
    centres: np.ndarray

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def true(self) -> np.ndarray:
        """bool [n]: the candidate hits an embolus."""
        return self.first_hit >= 0

    @property
    def first_hit(self) -> np.ndarray:
        """[n]: the first embolus (0..L-1) that each candidate hits, or -1."""
        none = np.full((len(self), 1), False)
        return np.concatenate([none, self.hits], 1).argmax(1) - 1

    def frame(self, k: int, representation: str) -> Frame:
        """The frame of candidate k in its block: the vessel's axes or, for orthogonal slices, the body's."""
        axes = self.axes[k] if representation == "vessel" else np.eye(3)
        return Frame(self.centres[k], axes, np.ones(3), 0.0, bool(self.found[k]))


def read_patient(case: Case, settings: Settings, cache: Path | None = None) -> Patient:
    """A patient from the cache, or from the files. Raises UserError that names the patient."""
    if cache is None:
        return examine(*load_case(case), settings)
    path = cache / f"{_key(case, settings)}.npz"
    kept = _load(path)
    if kept is None:
        kept = examine(*load_case(case), settings)
        _save(path, kept)
    return kept


def examine(volume: Volume, mask: np.ndarray, settings: Settings) -> Patient:
    """Find a volume's candidates, their vessels, hits and features, and cut out their blocks."""
    candidates = find_candidates(volume, settings.candidates)
    positions = np.array([c.position for c in candidates]).reshape(-1, 3)
    labels, sizes = np.unique(mask[mask > 0], return_counts=True)
    frames = [vessel_frame(volume, c, settings.vessel) for c in candidates]
    cut = [_block(volume, candidate, settings.reach_mm) for candidate in candidates]
    blocks, shapes = padded([b for b, _ in cut] or [np.zeros((1, 1, 1), np.int16)])
    return Patient(
        spacing=np.array(volume.spacing),
        labels=labels,
        embolus_mm3=sizes * float(np.prod(volume.spacing)),
        positions=positions,
        scores=np.array([c.score for c in candidates]),
        hits=hit_table(positions, mask, labels, np.array(volume.spacing)),
        features=candidate_features(volume, candidates, settings.vessel),
        axes=np.array([f.axes for f in frames]).reshape(-1, 3, 3),
        found=np.array([f.found for f in frames], bool),
        blocks=blocks[: len(cut)],
        shapes=shapes[: len(cut)],
        centres=np.array([c for _, c in cut]).reshape(-1, 3),
    )


def hit_table(
    positions: np.ndarray, mask: np.ndarray, labels: np.ndarray, spacing: np.ndarray
) -> np.ndarray:
    """bool [n, L]: whether a position (voxels) lies in an embolus or within 5 mm of it."""
    hits = np.zeros((len(positions), len(labels)), bool)
    if not hits.size:
        return hits
    voxels = np.argwhere(mask)
    owner = mask[tuple(voxels.T)]
    for column, label in enumerate(labels):
        tree = cKDTree(voxels[owner == label] * spacing)
        hits[:, column] = tree.query(positions * spacing)[0] <= HIT_MM
    return hits


def _block(volume: Volume, candidate: Candidate, reach_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """The voxels within reach of a candidate, and the candidate's place among them."""
    reach = np.ceil(reach_mm / np.array(volume.spacing)).astype(int) + 1
    middle = np.rint(candidate.position).astype(int)
    low = np.maximum(middle - reach, 0)
    high = np.minimum(middle + reach + 1, volume.hu.shape)
    block = volume.hu[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    return block.copy(), candidate.position - low


def _key(case: Case, settings: Settings) -> str:
    digest = hashlib.sha256(f"{_FORMAT} {FEATURE_NAMES} {HIT_MM} {settings}".encode())
    volume = sorted(case.volume.iterdir()) if case.volume.is_dir() else [case.volume]
    for path in [*volume, *([case.emboli] if case.emboli else [])]:
        if path.is_file():
            digest.update(path.name.encode())
            with path.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:32]


def _load(path: Path) -> Patient | None:
    if not path.is_file():
        return None
    try:
        with np.load(path) as kept:
            return Patient(**{f.name: kept[f.name] for f in fields(Patient)})
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None  # cut short by a full disk, say: make it again


def _save(path: Path, patient: Patient) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{os.getpid()}-{path.name}")
    np.savez(scratch, **{f.name: getattr(patient, f.name) for f in fields(Patient)})
    scratch.replace(path)
