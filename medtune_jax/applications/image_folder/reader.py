"""Image files of any common kind as square 8-bit RGB."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from medtune_jax import images
from medtune_jax.errors import UserError

_DICOM = (".dcm", ".dicom")
SUFFIXES = (*images.SUFFIXES, *_DICOM)
_SHOWN = 20


def read_images(paths: Sequence[Path], size: int) -> np.ndarray:
    """uint8 [N,size,size,3] RGB.

    Gray is repeated three times. Images of more than 8 bits are scaled from their darkest to their brightest value
    (DICOM: from its window where it has one). Bilinear, with an area filter when shrinking.
    Raises one UserError that lists every file that cannot be read.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(lambda path: _try_read(path, size), paths))
    bad = [result for result in results if isinstance(result, str)]
    if bad:
        listing = "\n  ".join(bad[:_SHOWN])
        more = f"\n  ... and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        raise UserError(
            f"{len(bad)} of {len(paths)} images cannot be read; mend or remove them from the list:\n  {listing}{more}"
        )
    return np.stack([result for result in results if not isinstance(result, str)])


def _try_read(path: Path, size: int) -> np.ndarray | str:
    try:
        return read_image(path, size)
    except UserError as error:
        return str(error)
    except Exception as error:  # whatever a codec throws at a broken file, the user wants its name
        return f"{path}: {str(error).splitlines()[0] if str(error) else type(error).__name__}"


def read_image(path: Path, size: int) -> np.ndarray:
    """One file as uint8 [size,size,3] RGB."""
    picture = _read_dicom(path) if _is_dicom(path) else _read(path)
    return np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR))


def beginning(path: Path) -> bytes:
    """The first 132 bytes of a file: a DICOM file's end in its mark."""
    with path.open("rb") as stream:
        return stream.read(132)


def _is_dicom(path: Path) -> bool:
    if path.suffix.lower() in SUFFIXES:
        return path.suffix.lower() in _DICOM
    return path.is_file() and beginning(path)[128:] == b"DICM"


def _read(path: Path) -> Image.Image:
    picture = images.opened(path)
    if picture.mode[0] in "IF":
        return _from_values(np.asarray(picture, np.float32))
    return picture.convert("RGB")


def _read_dicom(path: Path) -> Image.Image:
    import pydicom  # takes a moment, which a folder of PNG should not wait for
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    data = pydicom.dcmread(path)
    values = data.pixel_array
    if data.get("SamplesPerPixel", 1) == 3:
        return Image.fromarray(values.astype(np.uint8)).convert("RGB")
    if values.ndim != 2:
        raise ValueError(f"holds {values.shape[0]} frames: export single images")
    values = apply_voi_lut(apply_modality_lut(values, data), data).astype(np.float32)
    if data.get("PhotometricInterpretation") == "MONOCHROME1":
        values = -values
    return _from_values(values)


def _from_values(values: np.ndarray) -> Image.Image:
    low, high = float(values.min()), float(values.max())
    scaled = (values - low) * (255 / max(high - low, 1e-9))
    return Image.fromarray(np.rint(scaled).astype(np.uint8)).convert("RGB")
