"""Read one CT series from a folder of DICOM files, refusing every geometry we cannot trust."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pydicom
from pydicom.multival import MultiValue

from medtune_jax import dicom, images
from medtune_jax.datasets.ct.grid import Volume, canonical, to_int16
from medtune_jax.errors import UserError
from medtune_jax.folders import entries

# Positions are rounded in many archives: gaps may differ by this share of the usual gap,
GAP_TOLERANCE = 0.05
# and where all positions are written with one decimal, by that (mm).
ROUNDING = 0.1
TILT_DEGREES = 1.0
_AIR = -1024  # HU, which padding has at most


def read_dicom_series(directory: Path, patient: str | None = None) -> Volume:
    """Read the single CT series of a folder as a canonical volume.

    Slices are ordered by their position along the slice normal, never by name or number.

    Raises UserError, naming files, for: no DICOM file, several series or patients, slices of
    different size, spacing or orientation, a missing or doubled slice, gantry tilt, an oblique
    grid, no rescale to Hounsfield units, and pixel data that cannot be decoded.
    """
    paths, headers = sorted_slices(directory)
    first = headers[0]
    rows, columns = _vector(first, "ImageOrientationPatient").reshape(2, 3)
    positions = np.array([_vector(h, "ImagePositionPatient") for h in headers])
    row_mm, column_mm = _vector(first, "PixelSpacing")
    step = (positions[-1] - positions[0]) / (len(headers) - 1)

    hu = np.empty((len(paths), int(first.Rows), int(first.Columns)), np.int16)
    for k, path in enumerate(paths):
        hu[k] = _read_slice(path)
    affine = np.eye(4)
    # Array axes: slice, row index (runs along the column direction), column index.
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = step, columns * row_mm, rows * column_mm
    affine[:3, 3] = positions[0]
    array, spacing, origin = canonical(hu, affine, f"The DICOM series in {directory}")
    return Volume(array, spacing, origin, patient or str(first.get("PatientID", directory.name)))


def sorted_slices(directory: Path) -> tuple[list[Path], list[pydicom.Dataset]]:
    """Files and headers (without pixels) of one checked series, by position along the normal."""
    paths, headers = _read_headers(Path(directory))
    _require_one_series(directory, paths, headers)
    for path, header in zip(paths, headers, strict=True):
        _require_ct_slice(path, header)
    _require_same(paths, headers)
    rows, columns = _vector(headers[0], "ImageOrientationPatient").reshape(2, 3)
    normal = np.cross(rows, columns)
    positions = np.array([_vector(h, "ImagePositionPatient") for h in headers])
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    paths, headers = [paths[i] for i in order], [headers[i] for i in order]
    _require_even_gaps(paths, along[order])
    _require_no_tilt(directory, headers[0], positions[order], normal)
    return paths, headers


def _read_headers(directory: Path) -> tuple[list[Path], list[pydicom.Dataset]]:
    if not directory.is_dir():
        raise UserError(f"{directory} is not a folder of DICOM files.")
    paths: list[Path] = []
    headers: list[pydicom.Dataset] = []
    for path in (p for p in entries(directory) if _may_be_slice(p)):
        try:
            headers.append(dicom.read(path, pixels=False))
            paths.append(path)
        except UserError:
            if path.suffix.lower() in images.DICOM_SUFFIXES:
                raise
    if len(paths) < 2:
        raise UserError(f"{directory} holds {len(paths)} DICOM slices: a volume needs two or more.")
    return paths, headers


def _may_be_slice(path: Path) -> bool:
    """Hidden files (macOS writes ._NAME.dcm beside NAME.dcm) and indices are none."""
    return path.is_file() and path.name != "DICOMDIR"


def _require_one_series(directory: Path, paths: list[Path], headers: list[pydicom.Dataset]) -> None:
    series: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path, header in zip(paths, headers, strict=True):
        series[(str(header.get("PatientID")), str(header.get("SeriesInstanceUID")))].append(
            path.name
        )
    if len(series) > 1:
        examples = ", ".join(f"{n[0]} ({len(n)} files)" for n in list(series.values())[:3])
        raise UserError(
            f"{directory} mixes {len(series)} series, for example {examples}: "
            "keep one series a folder."
        )


def _require_ct_slice(path: Path, header: pydicom.Dataset) -> None:
    if header.get("Modality", "CT") != "CT":
        raise UserError(f"{path} is a {header.Modality} image, not CT: remove it.")
    if int(header.get("NumberOfFrames", 1)) > 1:
        raise UserError(f"{path} is a multi-frame image: export it as one file a slice.")
    needed = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns")
    for tag in (*needed, "RescaleSlope", "RescaleIntercept"):
        if header.get(tag) is None:
            raise UserError(f"{path} has no {tag}: its geometry or Hounsfield units are unknown.")
    for tag, number in (
        ("ImagePositionPatient", 3),
        ("ImageOrientationPatient", 6),
        ("PixelSpacing", 2),
    ):
        stated = header[tag].value
        if not isinstance(stated, MultiValue) or len(stated) != number:
            raise UserError(f"{path} has a {tag} of {stated!r}: it must be {number} numbers.")
    if min(_vector(header, "PixelSpacing")) <= 0:
        raise UserError(
            f"{path} has a PixelSpacing of {_vector(header, 'PixelSpacing').tolist()} mm: both must be above 0."
        )
    if float(header.RescaleSlope) == 0:
        raise UserError(f"{path} has a RescaleSlope of 0: its Hounsfield units are unknown.")


def _require_same(paths: list[Path], headers: list[pydicom.Dataset]) -> None:
    def geometry(h: pydicom.Dataset) -> dict[str, np.ndarray]:
        return {
            "size": np.array([h.Rows, h.Columns], float),
            "pixel spacing": _vector(h, "PixelSpacing"),
            "orientation": _vector(h, "ImageOrientationPatient"),
        }

    reference = geometry(headers[0])
    for path, header in zip(paths[1:], headers[1:], strict=True):
        for what, value in geometry(header).items():
            if not np.allclose(value, reference[what], atol=1e-3):
                raise UserError(
                    f"{path.name} has another {what} ({value.tolist()}) than {paths[0].name} "
                    f"({reference[what].tolist()}) in {path.parent}: they are not one volume."
                )


def _require_even_gaps(paths: list[Path], along: np.ndarray) -> None:
    gaps = np.diff(along)
    usual = float(np.median(gaps))
    folder = paths[0].parent
    doubled = np.flatnonzero(gaps < 1e-3)
    if len(doubled):
        a, b = paths[doubled[0]].name, paths[doubled[0] + 1].name
        raise UserError(f"{a} and {b} in {folder} lie at one position: keep one acquisition.")
    rounded = np.allclose(along, np.round(along, 1), atol=1e-4)
    tolerance = max(GAP_TOLERANCE * usual, 1.001 * ROUNDING if rounded else 0.0)
    odd = np.flatnonzero(np.abs(gaps - usual) > tolerance)
    if not len(odd):
        return
    a, b, ratio = paths[odd[0]].name, paths[odd[0] + 1].name, float(gaps[odd[0]] / usual)
    if ratio > 1.5 and abs(ratio - round(ratio)) < 2 * tolerance / usual:
        raise UserError(
            f"{round(ratio) - 1} slice(s) are missing between {a} and {b} in {folder}: "
            "copy the whole series."
        )
    raise UserError(
        f"The slice spacing of {folder} is uneven: {gaps[odd[0]]:.3f} mm between {a} and {b}, "
        f"{usual:.3f} mm elsewhere."
    )


def _require_no_tilt(
    directory: Path, header: pydicom.Dataset, positions: np.ndarray, normal: np.ndarray
) -> None:
    shift = positions[-1] - positions[0]
    cosine = abs(shift @ normal) / np.linalg.norm(shift)
    measured = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    stated = abs(float(header.get("GantryDetectorTilt") or 0))
    if max(measured, stated) > TILT_DEGREES:
        raise UserError(
            f"The series in {directory} has a gantry tilt of {max(measured, stated):.1f} degrees: "
            "resample it to an axial grid first."
        )


def _vector(header: pydicom.Dataset, tag: str) -> np.ndarray:
    return np.array([float(v) for v in header[tag].value])


def _read_slice(path: Path) -> np.ndarray:
    data = dicom.read(path)
    slope, intercept = float(data.RescaleSlope), float(data.RescaleIntercept)
    values = dicom.stored(data, path)
    units = values.astype(np.float32) * slope + intercept
    outside = dicom.padding(values, data)
    return to_int16(np.where(outside, np.minimum(units, _AIR), units), str(path))
