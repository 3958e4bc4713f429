"""The patients of a study: their candidates, the voxels around them, hits and features.

They come from the user's folder, or are phantoms written to disk as DICOM first. A volume is read once, one at a time;
its candidates and small blocks of voxels are kept on disk under a key made of the files' content and all settings, so
that neither another sweep nor another network reads it again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from scipy.spatial import cKDTree

from medtune_jax.applications.embolism.baseline import FEATURE_NAMES, candidate_features
from medtune_jax.applications.embolism.candidates import Candidate, CandidateConfig, find_candidates
from medtune_jax.applications.embolism.vessel import Frame, VesselConfig, around, vessel_frame
from medtune_jax.applications.kept import keep, read_kept
from medtune_jax.datasets.ct.cases import Case, find_cases, load_case
from medtune_jax.datasets.ct.grid import Volume
from medtune_jax.errors import UserError
from medtune_jax.folders import entries
from medtune_jax.images import reason
from medtune_jax.patches import padded
from medtune_jax.paths import scratch_beside, user_cache
from medtune_jax.phantoms.ctpa.files import write_dicom_study
from medtune_jax.progress import reported, say

# A candidate this near to an embolus hits it (docs/paper.md, 2).
HIT_MM = 5.0
_FORMAT = 5  # part of the key: to be raised when what is kept changes


@dataclass(frozen=True)
class Settings:
    """All that decides what is kept of a volume. reach_mm: half the width of the blocks."""

    candidates: CandidateConfig
    vessel: VesselConfig
    reach_mm: float

    @classmethod
    def of(cls, data: ConfigDict, reach_mm: float) -> Settings:
        """By the fields of config.data."""
        return cls(CandidateConfig(**data.candidates), VesselConfig(**data.vessel), reach_mm)


@dataclass(frozen=True)
class Patient:
    """Candidates [n] and emboli [L] of one volume.

    spacing: mm (z, y, x). labels: [L] values in the mask. positions: [n, 3] voxels of the volume; hits: bool [n, L];
    features: [n, F] of the baseline. axes [n, 3, 3], found [n]: of the vessel frames. blocks: int16 [n, D, H, W] HU,
    shapes: [n, 3] (see `padded`), centres: [n, 3] candidates in blocks. notes: str [m], how its files were read, by
    their names alone: other copies of them share what is kept.
    """

    spacing: np.ndarray
    labels: np.ndarray
    positions: np.ndarray
    hits: np.ndarray
    features: np.ndarray
    axes: np.ndarray
    found: np.ndarray
    blocks: np.ndarray
    shapes: np.ndarray
    centres: np.ndarray
    notes: np.ndarray

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


@dataclass(frozen=True)
class Cohort:
    """Patients by name, and why others were left out."""

    patients: dict[str, Patient]
    left_out: dict[str, str]

    @property
    def notes(self) -> dict[str, list[str]]:
        """What a person should know of how the files of a patient were read, by patient, where there is anything."""
        return {name: p.notes.tolist() for name, p in self.patients.items() if len(p.notes)}


def read_cohort(directory: Path, settings: Settings, max_left_out: float = 0.2) -> Cohort:
    """Every patient of a folder, one volume in memory at a time.

    A patient whose files cannot be trusted is left out with a warning that names it: what the others show does not
    depend on it. Raises UserError when more than `max_left_out` of the patients are bad (then the folder is wrong, not
    a file), when no mask is given at all, and when no embolus is left.
    """
    cases = find_cases(directory)
    if all(case.emboli is None and not case.problem for case in cases):
        raise UserError(
            f"{directory} holds no mask of emboli (emboli.nii.gz beside the volume): there is nothing to learn from"
        )
    patients: dict[str, Patient] = {}
    left_out: dict[str, str] = {}
    for case in reported(cases, len(cases), "candidates: patients"):
        try:
            patients[case.patient] = read_patient(case, settings, user_cache() / "embolism")
        except UserError as error:
            left_out[case.patient] = str(error)
        except Exception as error:  # a volume that nobody foresaw must not end the others
            left_out[case.patient] = (
                f"Patient {case.patient}: {type(error).__name__}: {reason(error)}"
            )
    listing = "\n  ".join(left_out.values())
    if len(left_out) > max_left_out * len(cases):
        raise UserError(
            f"{len(left_out)} of {len(cases)} patients in {directory} cannot be used; mend or remove them:\n  {listing}"
        )
    if left_out:
        say(f"warning: {len(left_out)} of {len(cases)} patients are left out:\n  {listing}")
    if not any(patient.hits.any() for patient in patients.values()):
        raise UserError(f"no candidate in {directory} hits an embolus: check the masks")
    cohort = Cohort(patients, left_out)
    for patient, notes in cohort.notes.items():
        say(f"note: patient {patient}: " + "\n  ".join(notes))
    return cohort


def phantoms_on_disk(settings: ConfigDict) -> Path:
    """The folder of generated DICOM patients with these settings, written if it is not there yet."""
    key = hashlib.sha256(str(sorted(settings.items())).encode()).hexdigest()[:16]
    folder = user_cache() / "embolism" / f"phantoms-{key}"
    if not folder.is_dir():
        with scratch_beside(folder) as scratch:
            write_dicom_study(scratch, **settings)
            scratch.replace(folder)
    return folder


def read_patient(case: Case, settings: Settings, cache: Path) -> Patient:
    """A patient from the cache, or from the files. Raises UserError that names the patient."""
    path = cache / f"{_key(case, settings)}.npz"
    kept = read_kept(path)
    if kept is not None:
        return Patient(**kept)
    patient = examine(*load_case(case), settings)
    keep(path, **{field.name: getattr(patient, field.name) for field in fields(Patient)})
    return patient


def examine(volume: Volume, mask: np.ndarray, settings: Settings) -> Patient:
    """Find a volume's candidates, their vessels, hits and features, and cut out their blocks."""
    candidates = find_candidates(volume, settings.candidates)
    positions = np.array([c.position for c in candidates]).reshape(-1, 3)
    labels = np.unique(mask[mask > 0])
    frames = [vessel_frame(volume, c, settings.vessel) for c in candidates]
    cut = [_block(volume, candidate, settings.reach_mm) for candidate in candidates]
    blocks, shapes = padded([b for b, _ in cut] or [np.zeros((1, 1, 1), np.int16)])
    return Patient(
        spacing=np.array(volume.spacing),
        labels=labels,
        positions=positions,
        hits=hit_table(positions, mask, labels, np.array(volume.spacing)),
        features=candidate_features(volume, candidates, frames),
        axes=np.array([f.axes for f in frames]).reshape(-1, 3, 3),
        found=np.array([f.found for f in frames], bool),
        blocks=blocks[: len(cut)],
        shapes=shapes[: len(cut)],
        centres=np.array([c for _, c in cut]).reshape(-1, 3),
        notes=np.array(volume.notes, str),
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
    low, block = around(
        volume.hu, candidate.position, reach_mm / np.array(volume.spacing), margin=1
    )
    return block.copy(), candidate.position - low


def _key(case: Case, settings: Settings) -> str:
    known = f"{_FORMAT} {FEATURE_NAMES} {HIT_MM} {settings} {case.numbered} {case.problem}"
    digest = hashlib.sha256(known.encode())
    volume = entries(case.volume) if case.volume.is_dir() else [case.volume]
    for path in [*volume, *([case.emboli] if case.emboli else [])]:
        if path.is_file() and not path.name.startswith("."):
            digest.update(path.name.encode())
            with path.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:32]
