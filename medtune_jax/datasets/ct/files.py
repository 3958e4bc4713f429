"""Read volumes and masks in any of the three formats, each onto the canonical grid."""

from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK

from medtune_jax.datasets.ct.dicom import read_dicom_series
from medtune_jax.datasets.ct.grid import Triple, Volume, canonical, to_int16
from medtune_jax.errors import UserError

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
FORMATS = (".nii.gz", ".nii", ".nrrd")
# Grids agree when corners and spacings do, within this share of a voxel.
GRID_TOLERANCE = 0.1


def read_volume(path: Path, patient: str | None = None) -> Volume:
    """Read a CT volume: a folder is a DICOM series, a file is NIfTI or NRRD, by its suffix.

    `patient` defaults to the DICOM PatientID or the file's stem. Raises UserError for unreadable
    files, other formats, and geometry that is oblique or unknown.
    """
    path = Path(path)
    if path.is_dir():
        return read_dicom_series(path, patient)
    array, spacing, origin = _read_grid(path)
    return Volume(to_int16(array, str(path)), spacing, origin, patient or path.name.split(".")[0])


def read_mask(path: Path, volume: Volume) -> np.ndarray:
    """Integer labels uint16 [z, y, x] on the grid of `volume`, 0 for background.

    Raises UserError where shape, spacing or origin differ, or values are not labels.
    """
    array, spacing, origin = _read_grid(Path(path))
    require_same_grid(path, array.shape, spacing, origin, volume)
    return as_labels(array, path)


def require_same_grid(
    path: Path, shape: tuple[int, ...], spacing: Triple, origin: Triple, volume: Volume
) -> None:
    """UserError unless a mask's grid is the volume's, to a tenth of a voxel at every corner."""
    if shape != volume.hu.shape:
        raise UserError(
            f"The mask {path} has {shape} voxels (z, y, x) but its volume has {volume.hu.shape}."
        )
    voxel = np.array(volume.spacing)
    near = np.array(origin) - volume.origin
    far = near + (np.array(shape) - 1) * (np.array(spacing) - voxel)
    if (np.abs([near, far]) > GRID_TOLERANCE * voxel).any():
        raise UserError(
            f"The mask {path} lies on another grid than its volume: spacing {_show(spacing)} and "
            f"origin {_show(origin)} mm against {_show(volume.spacing)} and "
            f"{_show(volume.origin)} (z, y, x); resample it."
        )


def as_labels(array: np.ndarray, path: Path) -> np.ndarray:
    """Whole numbers from 0 to 65535 as uint16, else UserError."""
    low, high = array.min(), array.max()
    whole = np.issubdtype(array.dtype, np.integer) or bool((array == np.rint(array)).all())
    if not whole or low < 0 or high > 65535:
        raise UserError(
            f"The mask {path} holds values from {low:g} to {high:g}: it must hold whole labels, "
            "0 for background and 1, 2, ... for the emboli."
        )
    return array.astype(np.uint16)


def _show(triple: Triple) -> str:
    return "(" + ", ".join(f"{v:.3f}" for v in triple) + ")"


def _read_grid(path: Path) -> tuple[np.ndarray, Triple, Triple]:
    if not path.is_file():
        raise UserError(f"{path} does not exist.")
    if path.name.endswith((".nii", ".nii.gz")):
        return _read_nifti(path)
    if path.suffix == ".nrrd":
        return _read_nrrd(path)
    raise UserError(f"{path} is none of the formats read here: {', '.join(FORMATS)} or DICOM.")


def _read_nifti(path: Path) -> tuple[np.ndarray, Triple, Triple]:
    try:
        image = nib.Nifti1Image.from_filename(path)
        array = np.asanyarray(image.dataobj)
    except (nib.filebasedimages.ImageFileError, OSError, EOFError, ValueError) as error:
        raise UserError(f"{path} cannot be read as NIfTI: {error}.") from error
    header = image.header
    if array.ndim != 3:
        raise UserError(f"{path} has {array.ndim} dimensions: a volume has three.")
    if header["sform_code"] == 0 and header["qform_code"] == 0:
        raise UserError(f"{path} states no orientation (sform and qform codes are 0).")
    unit = header.get_xyzt_units()[0]
    if unit not in ("mm", "unknown"):
        raise UserError(f"{path} states its spacing in '{unit}': rewrite it in mm.")
    return canonical(array, RAS_TO_LPS @ image.affine, str(path))


def _read_nrrd(path: Path) -> tuple[np.ndarray, Triple, Triple]:
    try:
        image = SimpleITK.ReadImage(str(path))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise UserError(f"{path} cannot be read as NRRD: {reason}.") from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise UserError(f"{path} is not a three-dimensional image of single values.")
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    array = SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0)
    return canonical(array, affine, str(path))
