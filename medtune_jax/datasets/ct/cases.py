"""Find patients in a folder, in the layouts of the public sets or the user's own.

plain   DIR/PATIENT/volume.(nii.gz|nii|nrrd) or DIR/PATIENT/dicom/, with DIR/PATIENT/emboli.*, whose values number
        the emboli; where it has one value only, connected clots are numbered
CAD-PE  DIR/**/NNN.nrrd with NNNRefStd.nrrd, whose values number the clots
FUMPE   DIR/CT_scans/PATNNN/*.dcm with DIR/GroundTruth/PATNNN.mat, a binary volume
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import io

from medtune_jax.datasets.ct.dicom import sorted_slices
from medtune_jax.datasets.ct.files import FORMATS, format_of, read_mask, read_volume
from medtune_jax.datasets.ct.grid import Volume
from medtune_jax.errors import UserError
from medtune_jax.folders import entries, files_below
from medtune_jax.images import reason
from medtune_jax.masks import connected, is_binary

_MASK_NAMES = ("embol", "mask", "label", "seg", "clot", "gt", "ground")
_OTHER_FORMATS = (
    ".mha",
    ".mhd",
    ".hdr",
    ".img",
    ".nhdr",
    ".mgz",
    ".mat",
    ".npy",
    ".npz",
    ".seg",
    ".stl",
)
_TEXTS = (".txt", ".csv", ".json", ".md", ".pdf", ".xlsx", ".xml")


@dataclass(frozen=True)
class Case:
    """Where one patient's volume and emboli lie; `emboli` is None for a patient without any.

    numbered: the data set says that the mask's values number the emboli. problem: why the patient cannot be read,
    known from the folder alone; one such patient must not end the others.
    """

    patient: str
    volume: Path
    emboli: Path | None
    numbered: bool = False
    problem: str | None = None


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

    Raises UserError that names the patient, whatever is wrong with the files.
    """
    try:
        if case.problem:
            raise UserError(case.problem)
        volume = read_volume(case.volume, case.patient)
        if case.emboli is None:
            return volume, np.zeros(volume.hu.shape, np.uint16)
        if case.emboli.suffix == ".mat":
            return volume, _read_fumpe_mask(case.emboli, case.volume, volume)
        labels = read_mask(case.emboli, volume)
        return (volume, labels) if case.numbered else _clots(case.emboli, volume, labels)
    except UserError as error:
        raise UserError(f"Patient {case.patient}: {error}") from error
    except (
        Exception
    ) as error:  # whatever a library throws at a broken file, the user wants its name
        raise UserError(
            f"Patient {case.patient}: {case.volume} cannot be read ({type(error).__name__}: {reason(error)})."
        ) from error


def _clots(path: Path, volume: Volume, labels: np.ndarray) -> tuple[Volume, np.ndarray]:
    """A mask of a single value marks clots without numbering them: connected ones are numbered, and that is said."""
    if not is_binary(labels):
        return volume, labels
    clots = connected(labels, path)
    note = f"{path.name}: marks clots without numbering them; {clots.max()} connected clots count as emboli."
    return replace(volume, notes=(*volume.notes, note)), clots


def _files(folder: Path) -> dict[str, list[Path]]:
    """The volume files of a folder by their names in lower case without the suffix."""
    found: dict[str, list[Path]] = {}
    for path in entries(folder):
        if path.is_file() and (suffix := format_of(path)):
            found.setdefault(path.name[: -len(suffix)].lower(), []).append(path)
    return found


def _folders(directory: Path) -> list[Path]:
    """The folders that may be patients."""
    return [path for path in entries(directory) if path.is_dir()]


def _find_plain(directory: Path) -> list[Case]:
    """Folders with a volume; among those, folders whose files are called otherwise are patients with a problem."""
    cases, others = [], []
    for folder in _folders(directory):
        files = _files(folder)
        volumes, emboli = files.pop("volume", []), files.pop("emboli", [])
        dicom = [path for path in _folders(folder) if path.name.lower() == "dicom"]
        sources = [*dicom, *volumes]
        unknown = sorted(path.name for paths in files.values() for path in paths)
        unknown += [path.name for path in entries(folder) if _may_be_mask(path)]
        problem = None
        if len(sources) > 1 or len(emboli) > 1:
            one, other = (sources if len(sources) > 1 else emboli)[:2]
            problem = f"{folder} holds {one.name} and {other.name}: keep one."
        elif unknown:
            problem = (
                f"{folder} holds {unknown[0]}: call a volume volume{FORMATS[0]} and its mask emboli{FORMATS[0]}, or "
                "move the file elsewhere."
            )
        if sources:
            cases.append(Case(folder.name, sources[0], next(iter(emboli), None), problem=problem))
        elif unknown or emboli:
            lost = (
                problem
                or f"{folder} holds no volume beside {emboli[0].name}: copy the whole patient."
            )
            others.append(Case(folder.name, folder, None, problem=lost))
    return [*cases, *others] if cases else []


def _may_be_mask(path: Path) -> bool:
    """A file of a format that is not read, or a folder, that is called as masks are or holds a volume."""
    if path.is_file() and format_of(path):
        return False
    called = path.name.lower().startswith(_MASK_NAMES) and path.suffix.lower() not in _TEXTS
    return called or (path.is_file() and path.suffix.lower() in _OTHER_FORMATS)


def _find_cad_pe(directory: Path) -> list[Case]:
    files = [p for p in files_below(directory) if p.suffix == ".nrrd"]
    masks = {p.name.removesuffix("RefStd.nrrd"): p for p in files if p.stem.endswith("RefStd")}
    missing = "{} has no {}RefStd.nrrd: copy the whole CAD-PE set."
    return [
        Case(
            path.stem,
            path,
            masks.get(path.stem),
            numbered=True,
            problem=None if path.stem in masks else missing.format(path, path.stem),
        )
        for path in files
        if re.fullmatch(r"\d+", path.stem)
    ]


def _find_fumpe(directory: Path) -> list[Case]:
    scans, truth = directory / "CT_scans", directory / "GroundTruth"
    if not scans.is_dir():
        return []
    cases = []
    for folder in _folders(scans):
        mask = truth / f"{folder.name}.mat"
        lost = None if mask.is_file() else f"{folder} has no {mask}: copy the whole FUMPE set."
        cases.append(Case(folder.name, folder, mask, problem=lost))
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
    return connected(by_position, path)
