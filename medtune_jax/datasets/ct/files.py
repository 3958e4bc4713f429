"""Read volumes and masks in any of the three formats, each onto the canonical grid."""

import gzip
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK

from medtune_jax.datasets.ct.dicom import read_dicom_series
from medtune_jax.datasets.ct.grid import Triple, Volume, canonical, to_int16
from medtune_jax.errors import UserError
from medtune_jax.images import reason
from medtune_jax.masks import numbered

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
FORMATS = (".nii.gz", ".nii", ".nrrd")
# Grids agree when corners and spacings do, within this share of a voxel.
GRID_TOLERANCE = 0.1
_NO_AIR = -300  # HU; around a patient and in the lungs it is less
_GZIP = b"\x1f\x8b"
_NRRD_HEADER = 2**16
_SPACED = re.compile(rb"^space directions:|^spacings:(?!.*nan)", re.IGNORECASE | re.MULTILINE)
_NIFTI_2 = ((540).to_bytes(4, "little"), (540).to_bytes(4, "big"))  # the size of its header


def read_volume(path: Path, patient: str | None = None) -> Volume:
    """Read a CT volume: a folder is a DICOM series, a file is NIfTI or NRRD, by its suffix.

    `patient` defaults to the DICOM PatientID or the file's stem. Raises UserError for unreadable
    files, other formats, and geometry that is oblique or unknown.
    """
    path = Path(path)
    if path.is_dir():
        return read_dicom_series(path, patient)
    array, spacing, origin, notes = _read_grid(path)
    hu = to_int16(array, str(path))
    if hu.min() > _NO_AIR:
        notes += (
            f"{path.name}: its values go from {hu.min()} to {hu.max()} and none is air: are they Hounsfield units?",
        )
    return Volume(hu, spacing, origin, patient or path.name.split(".")[0], notes)


def read_mask(path: Path, volume: Volume) -> np.ndarray:
    """Integer labels uint16 [z, y, x] on the grid of `volume`, 0 for background.

    Raises UserError where shape, spacing or origin differ, or values are not labels.
    """
    array, spacing, origin, _ = _read_grid(Path(path))
    require_same_grid(path, array.shape, spacing, origin, volume)
    return numbered(array, path)


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


def _show(triple: Triple) -> str:
    return "(" + ", ".join(f"{v:.3f}" for v in triple) + ")"


_Grid = tuple[np.ndarray, Triple, Triple, tuple[str, ...]]


def _read_grid(path: Path) -> _Grid:
    """Array, spacing, origin, and what is to be said of the file."""
    if not path.is_file():
        raise UserError(f"{path} does not exist.")
    suffix = format_of(path)
    if suffix == ".nrrd":
        return _read_nrrd(path)
    if suffix:
        return _read_nifti(path)
    raise UserError(f"{path} is none of the formats read here: {', '.join(FORMATS)} or DICOM.")


def format_of(path: Path) -> str:
    """Which of FORMATS a file has by its suffix, in any case; '' for none."""
    return next((known for known in FORMATS if path.name.lower().endswith(known)), "")


def _read_nifti(path: Path) -> _Grid:
    """NIfTI-1 or NIfTI-2, compressed or not, by its content and not by its name."""
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if content.startswith(_GZIP) else content
        second = content[:4] in _NIFTI_2
        image = (nib.Nifti2Image if second else nib.Nifti1Image).from_bytes(content)
        array = np.asanyarray(image.dataobj)
    except Exception as error:  # nibabel passes on whatever a damaged header leads to
        raise UserError(
            f"{path} cannot be read as NIfTI: {reason(error)}; copy or export it again."
        ) from error
    header = image.header
    while array.ndim > 3 and array.shape[-1] == 1:  # a series of one time
        array = array[..., 0]
    if array.ndim != 3 or array.dtype.kind not in "iuf":
        raise UserError(
            f"{path} has {array.ndim} dimensions of {array.dtype}: a volume has three, of numbers."
        )
    if header["sform_code"] == 0 and header["qform_code"] == 0:
        raise UserError(f"{path} states no orientation (sform and qform codes are 0).")
    unit = header.get_xyzt_units()[0]
    if unit not in ("mm", "unknown"):
        raise UserError(f"{path} states its spacing in '{unit}': rewrite it in mm.")
    notes = _contradiction(header, array.shape, path)
    return *canonical(array, RAS_TO_LPS @ image.affine, str(path)), notes


def _contradiction(header: nib.Nifti1Header, shape: tuple[int, ...], path: Path) -> tuple[str, ...]:
    """What is to be said where sform and qform place the same voxel apart: nibabel takes the sform."""
    if header["sform_code"] == 0 or header["qform_code"] == 0:
        return ()
    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], float)
    corners[:, :3] *= np.array(shape) - 1
    sform, qform = header.get_sform(), header.get_qform()
    apart = float(np.linalg.norm((corners @ (sform - qform).T)[:, :3], axis=1).max())
    if apart <= GRID_TOLERANCE * np.linalg.norm(sform[:3, :3], axis=0).min():
        return ()
    return (
        f"{path.name}: its sform and qform disagree by up to {apart:.1f} mm, "
        f"axes {''.join(nib.aff2axcodes(sform))} against {''.join(nib.aff2axcodes(qform))}; the sform is used.",
    )


def _read_nrrd(path: Path) -> _Grid:
    try:
        image = SimpleITK.ReadImage(str(path))
    except RuntimeError as error:
        raise UserError(f"{path} cannot be read as NRRD: {reason(error)}") from error
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        image = image[:, :, :, 0]
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise UserError(f"{path} is not a three-dimensional image of single values.")
    if not _SPACED.search(path.read_bytes()[:_NRRD_HEADER].partition(b"\n\n")[0]):
        raise UserError(
            f"{path} states no spacing of its voxels on each of three axes: rewrite it."
        )
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    array = SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0)
    return *canonical(array, affine, str(path)), ()
