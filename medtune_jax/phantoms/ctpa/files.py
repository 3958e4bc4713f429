"""Write phantoms as a scanner and an archive would: DICOM series and NIfTI masks."""

from pathlib import Path

import nibabel as nib
import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from medtune_jax.phantoms.ctpa.phantom import Phantom, ctpa_phantom
from medtune_jax.progress import reported


def write_dicom_series(
    directory: Path,
    hu: np.ndarray,
    spacing: tuple[float, float, float],
    patient: str = "phantom",
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
    slope: float = 1.0,
    intercept: float = -1024.0,
) -> list[Path]:
    """Write an axial CT series, one uncompressed file per slice, file names in no spatial order.

    Args:
      directory: made where absent.
      hu: int16 [z, y, x], Hounsfield units; stored as uint16 (hu - intercept) / slope.
      spacing, origin: mm (z, y, x), LPS.

    Returns the files, in the order of the slices.
    """
    directory.mkdir(parents=True, exist_ok=True)
    stored = np.rint((hu.astype(np.float64) - intercept) / slope).astype(np.uint16)
    seed = [patient, str(hu.shape), str(float(hu.mean()))]
    study, series = generate_uid(entropy_srcs=[*seed, "study"]), generate_uid(entropy_srcs=seed)
    # A scanner that moves the table inwards numbers the slices from the head down.
    files = [directory / f"slice{len(hu) - k:04d}.dcm" for k in range(len(hu))]
    for k, path in enumerate(files):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[*seed, str(k)])
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        ds.StudyInstanceUID, ds.SeriesInstanceUID = study, series
        ds.PatientID, ds.PatientName, ds.Modality = patient, patient, "CT"
        ds.InstanceNumber = len(hu) - k
        ds.Rows, ds.Columns = hu.shape[1:]
        ds.PixelSpacing = [float(spacing[1]), float(spacing[2])]
        ds.SliceThickness = float(spacing[0])
        position = [origin[2], origin[1], origin[0] + k * spacing[0]]
        ds.ImagePositionPatient = [round(float(p), 6) for p in position]
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.RescaleSlope, ds.RescaleIntercept = slope, intercept
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
        ds.PixelRepresentation = 0
        ds.PixelData = stored[k].tobytes()
        ds.save_as(path, enforce_file_format=True)
    return files


def write_nifti(
    path: Path,
    array: np.ndarray,
    spacing: tuple[float, float, float],
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> None:
    """Write an array [z, y, x] on the LPS grid of `spacing` and `origin` (mm, z, y, x)."""
    affine = np.diag([*spacing[::-1], 1.0])
    affine[:3, 3] = origin[::-1]
    # LPS counts x to the left and y to the back; NIfTI counts x right and y forward.
    affine[:2] = 0 - affine[:2]
    image = nib.Nifti1Image(np.ascontiguousarray(array.transpose(2, 1, 0)), affine)
    image.header.set_xyzt_units("mm")
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)


def write_dicom_study(
    directory: Path,
    patients: int,
    seed: int = 0,
    shape: tuple[int, int, int] = (96, 160, 160),
    spacing: tuple[float, float, float] = (1.5, 1.2, 1.2),
    emboli: int = 4,
    healthy: int = 0,
) -> list[Phantom]:
    """Write `patients` phantoms in the plain layout, the last `healthy` of them without emboli.

    Each is DIR/pNNN/dicom/*.dcm and DIR/pNNN/emboli.nii.gz (integer labels). Patient k has the
    seed `seed + k`, and between 2 and `2 * emboli - 2` emboli, `emboli` on average.
    Returns the phantoms with their truth.
    """
    counts = np.random.default_rng(seed).integers(
        2, max(2 * emboli - 2, 2), patients, endpoint=True
    )
    counts[patients - healthy :] = 0
    phantoms = []
    for k, count in enumerate(reported(counts, patients, "phantoms: patients")):
        phantom = ctpa_phantom(seed + k, shape, spacing, int(count))
        folder = Path(directory) / f"p{k:03d}"
        write_dicom_series(folder / "dicom", phantom.hu, spacing, patient=folder.name)
        write_nifti(folder / "emboli.nii.gz", phantom.labels, spacing)
        phantoms.append(phantom)
    return phantoms
