"""Find patients in a folder, in the layouts of the public sets or the user's own.

plain   DIR/PATIENT/volume.(nii.gz|nii|nrrd) or DIR/PATIENT/dicom/, with DIR/PATIENT/emboli.*
CAD-PE  DIR/**/NNN.nrrd with NNNRefStd.nrrd, whose values number the clots
FUMPE   DIR/CT_scans/PATNNN/*.dcm with DIR/GroundTruth/PATNNN.mat, a binary volume
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import io, ndimage

from medtune_jax.datasets.ct.dicom import sorted_slices
from medtune_jax.datasets.ct.files import (
    FORMATS,
    as_labels,
    read_mask,
    read_volume,
)
from medtune_jax.datasets.ct.grid import Volume
from medtune_jax.errors import UserError
from medtune_jax.folders import entries, files_below


@dataclass(frozen=True)
class Case:
    """Where one patient's volume and emboli lie; `emboli` is None for a patient without any."""

    patient: str
    volume: Path
    emboli: Path | None


def find_cases(directory: Path) -> list[Case]:
    """The patients of a folder, sorted by name; UserError where there are none."""
    directory = Path(directory)
    if not directory.is_dir():
        raise UserError(f"{directory} is not a folder of patients.")
    cases = _found(directory)
    if not cases:
        raise UserError(
            f"{directory} holds no patients: expected PATIENT/dicom/ or PATIENT/volume.nii.gz, "
            "NNN.nrrd (CAD-PE), or CT_scans/PATNNN/ (FUMPE)."
        )
    return sorted(cases, key=lambda c: c.patient)


def holds_cases(directory: Path) -> bool:
    """Whether a folder is laid out as volumes of patients."""
    return directory.is_dir() and bool(_found(directory))


def _found(directory: Path) -> list[Case]:
    return _find_fumpe(directory) or _find_plain(directory) or _find_cad_pe(directory)


def load_case(case: Case) -> tuple[Volume, np.ndarray]:
    """The volume of a case and its labels, uint16 [z, y, x]; all zero for a patient without.

    Raises UserError that names the patient.
    """
    try:
        volume = read_volume(case.volume, case.patient)
        if case.emboli is None:
            return volume, np.zeros(volume.hu.shape, np.uint16)
        if case.emboli.suffix == ".mat":
            return volume, _read_fumpe_mask(case.emboli, case.volume, volume)
        return volume, read_mask(case.emboli, volume)
    except UserError as error:
        raise UserError(f"Patient {case.patient}: {error}") from error


def _first_file(folder: Path, stem: str) -> Path | None:
    files = [folder / (stem + suffix) for suffix in FORMATS if (folder / (stem + suffix)).is_file()]
    if len(files) > 1:
        raise UserError(f"{folder} holds {files[0].name} and {files[1].name}: keep one.")
    return files[0] if files else None


def _find_plain(directory: Path) -> list[Case]:
    cases = []
    for folder in (p for p in entries(directory) if p.is_dir()):
        volume = _first_file(folder, "volume")
        dicom = folder / "dicom"
        if volume is not None and dicom.is_dir():
            raise UserError(f"{folder} holds both {volume.name} and dicom/: keep one.")
        source = dicom if dicom.is_dir() else volume
        if source is not None:
            cases.append(Case(folder.name, source, _first_file(folder, "emboli")))
    return cases


def _find_cad_pe(directory: Path) -> list[Case]:
    files, end = files_below(directory), "RefStd.nrrd"
    masks = {p.name.removesuffix(end): p for p in files if p.name.endswith(end)}
    volumes = [p for p in files if re.fullmatch(r"\d+\.nrrd", p.name)]
    for path in volumes:
        if path.stem not in masks:
            raise UserError(f"{path} has no {path.stem}RefStd.nrrd: copy the whole CAD-PE set.")
    return [Case(p.stem, p, masks[p.stem]) for p in volumes]


def _find_fumpe(directory: Path) -> list[Case]:
    scans, truth = directory / "CT_scans", directory / "GroundTruth"
    if not scans.is_dir():
        return []
    cases = []
    for folder in (p for p in entries(scans) if p.is_dir()):
        mask = truth / f"{folder.name}.mat"
        if not mask.is_file():
            raise UserError(f"{folder} has no {mask}: copy the whole FUMPE set.")
        cases.append(Case(folder.name, folder, mask))
    return cases


def _read_fumpe_mask(path: Path, series: Path, volume: Volume) -> np.ndarray:
    """Label the connected clots of a FUMPE mask [row, column, slice].

    Its slices follow the names of the DICOM files, which need not follow their positions.
    """
    try:
        content = io.loadmat(path)
    except (NotImplementedError, ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read as a MATLAB file: {error}.") from error
    arrays = [v for v in content.values() if isinstance(v, np.ndarray) and v.ndim == 3]
    if len(arrays) != 1:
        raise UserError(f"{path} holds {len(arrays)} three-dimensional arrays: expected one mask.")
    mask = arrays[0].transpose(2, 0, 1)
    if mask.shape != volume.hu.shape:
        raise UserError(
            f"The mask {path} has {mask.shape} voxels (z, y, x) but its volume has "
            f"{volume.hu.shape}."
        )
    files, headers = sorted_slices(series)
    if not np.allclose(headers[0].ImageOrientationPatient, [1, 0, 0, 0, 1, 0], atol=0.02):
        raise UserError(f"{series} is not head-first supine, so {path} cannot be laid over it.")
    names = [p.name for p in files]
    by_position = mask[np.argsort(np.argsort(names))]
    labels, _ = ndimage.label(by_position > 0, structure=np.ones((3, 3, 3)))
    return as_labels(labels, path)
