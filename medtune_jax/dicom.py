"""DICOM files as viewers show them: any transfer syntax that a decoder here knows, window, palette, inversion.

pydicom reads, and its `apply_*` functions say what a value means. Where none of its plug-ins decodes a transfer syntax
(the extra `medtune-jax[dicom]` installs more), SimpleITK does.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.pixels import (
    apply_color_lut,
    apply_modality_lut,
    apply_voi,
    apply_windowing,
    get_decoder,
    pixel_array,
)
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medtune_jax.errors import UserError
from medtune_jax.images import reason, stretched

_LINEAR = ("LINEAR", "")


def read(path: Path, pixels: bool = True) -> pydicom.Dataset:
    """A DICOM file, also one without preamble or file meta, as old exports write. pixels=False: the header only.

    Raises UserError where it is missing or no DICOM file.
    """
    try:
        try:
            data: pydicom.Dataset = pydicom.dcmread(path, stop_before_pixels=not pixels)
        except InvalidDicomError:
            data = pydicom.dcmread(path, stop_before_pixels=not pixels, force=True)
        known = "SOPClassUID" in data or "Rows" in data  # reads the values, which may be damaged
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except Exception as error:  # pydicom passes on whatever a damaged file leads to
        raise UserError(
            f"{path}: cannot be read as DICOM ({reason(error)}); copy it again."
        ) from error
    if not known:
        raise UserError(f"{path}: not a DICOM file; copy it again.")
    _state_transfer_syntax(data)
    return data


def modality(data: pydicom.Dataset) -> str:
    """What a file says that it is of, as CT (PS3.3, C.7.3.1.1.1); '' where it says nothing, or other (OT)."""
    stated = str(data.get("Modality") or "").strip().upper()
    return "" if stated == "OT" else stated


def stored(data: pydicom.Dataset, path: Path, first: bool = False) -> np.ndarray:
    """The decoded pixels, before any rescale: [H, W] or [H, W, 3] (RGB; YCbCr is converted), of one frame.

    first: the first frame of a film. Raises UserError for several frames otherwise, and for pixels that no decoder
    reads, with what each said.
    """
    try:
        frames = int(data.get("NumberOfFrames") or 1)
    except ValueError as error:
        raise UserError(f"{path}: {reason(error)}; export it again.") from None
    if frames > 1 and not first:
        raise UserError(f"{path}: holds {frames} frames: export single images.")
    _require_low_bits(data, path)
    try:
        return pixel_array(data, index=0)
    except Exception as error:  # of as many kinds as there are decoders
        return _by_itk(data, path, frames, reason(error))


def _require_low_bits(data: pydicom.Dataset, path: Path) -> None:
    """UserError where values lie in the upper bits of their words: decoders cut those off."""
    kept, high = data.get("BitsStored"), data.get("HighBit")
    if kept and high is not None and high != kept - 1:
        raise UserError(
            f"{path}: states {kept} bits a pixel with HighBit {high}, so that they do not lie where the standard "
            "wants them (HighBit is one less): export it again."
        )


def picture(path: Path) -> np.ndarray:
    """A file's image as uint8 [H, W], or [H, W, 3] RGB, as a viewer shows it (see `shown`)."""
    return shown(read(path), path)


def shown(data: pydicom.Dataset, path: Path, first: bool = False) -> np.ndarray:
    """The image of a data set (first: of a film, its first frame) as uint8 [H, W], or [H, W, 3] RGB.

    A window or VOI table that the file states is applied and not stretched again; without one, up to 8 bits keep their
    range and more are stretched from the darkest to the brightest value. White is high in the result, and padding is
    black and takes no part in the range. Raises UserError as `stored`, where all is padding, and where
    the file contradicts itself on what is white.
    """
    values = stored(data, path, first)
    try:
        if data.get("PhotometricInterpretation") == "PALETTE COLOR":
            return _eight_bits(apply_color_lut(values, data))
        if values.ndim == 3:
            return _as_they_are(values, data) if _few_bits(data) else stretched(values)
        outside = padding(values, data)
        if outside.all():
            raise UserError(f"{path}: every pixel is padding (PixelPaddingValue): export it again.")
        gray = _gray(values, data, outside)
    except (ValueError, NotImplementedError, KeyError, AttributeError, TypeError) as error:
        raise UserError(
            f"{path}: its pixels cannot be shown ({reason(error)}); export it again."
        ) from error
    kind = data.get("PhotometricInterpretation")
    if kind == "MONOCHROME2" and data.get("PresentationLUTShape") == "INVERSE":
        raise UserError(
            f"{path}: says that its high values are white (MONOCHROME2) and that they are black (PresentationLUTShape "
            "INVERSE), which the standard forbids: look at it, and export it again."
        )
    if kind == "MONOCHROME1":
        gray = 255 - gray
    gray[outside] = (
        0  # also of MONOCHROME1, whose padding is its highest value (PS3.3, C.7.5.1.1.2)
    )
    return gray


def padding(values: np.ndarray, data: pydicom.Dataset) -> np.ndarray:
    """bool [H, W]: where stored gray values say that nothing was acquired (PS3.3, C.7.5.1.1.2).

    The padding value, or all from it to its range limit. A signed value in an unsigned field, or the reverse, is
    taken as its writer meant it.
    """
    value, limit = (
        _first(data.get(tag)) for tag in ("PixelPaddingValue", "PixelPaddingRangeLimit")
    )
    if value is None or values.dtype.kind not in "iu":
        return np.zeros(values.shape, bool)
    ends = [_of_type(int(end), values.dtype) for end in (value, value if limit is None else limit)]
    return (values >= min(ends)) & (values <= max(ends))


def _of_type(number: int, kind: np.dtype) -> int:
    """A number whose sign was lost, or added, in as many bits as a type has."""
    bits = 8 * kind.itemsize
    for meant in (number, number - 2**bits, number + 2**bits):
        if np.iinfo(kind).min <= meant <= np.iinfo(kind).max:
            return meant
    return number


def _few_bits(data: pydicom.Dataset) -> bool:
    return int(data.get("BitsStored") or 16) <= 8 and not data.get("PixelRepresentation")


def _as_they_are(values: np.ndarray, data: pydicom.Dataset) -> np.ndarray:
    """Up to 8 bits as 0 to 255: all ones are white."""
    return _spread(values.astype(np.float64), 0.0, float(2 ** int(data.BitsStored) - 1))


def _gray(values: np.ndarray, data: pydicom.Dataset, outside: np.ndarray) -> np.ndarray:
    """uint8 [H, W] of stored gray values, before white and black are told apart. outside: where they are padding."""
    _mend_rescale(data)
    units = apply_modality_lut(values, data)
    if data.get("VOILUTSequence"):
        length, start = (int(n) for n in data.VOILUTSequence[0].LUTDescriptor[:2])
        entries = apply_voi(np.arange(length or 65536) + start, data)
        looked_up = apply_voi(np.rint(units).astype(np.int64), data)
        return _spread(looked_up, 0.0, float(entries.max()))
    if _mend_window(data):
        # Two values far outside the window show where its output begins and ends.
        ends = np.array([-1e9, 1e9])
        with np.errstate(over="ignore"):  # of a sigmoid's far end
            low, high = apply_windowing(ends, data)
        return _spread(apply_windowing(units.astype(np.float64), data), float(low), float(high))
    if _few_bits(data) and values.dtype.kind != "f" and np.array_equal(units, values):
        return _as_they_are(values, data)
    return stretched(np.where(outside, np.nan, units))


def _spread(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.rint(np.clip((values - low) / ((high - low) or 1.0), 0, 1) * 255).astype(np.uint8)


def _eight_bits(colour: np.ndarray) -> np.ndarray:
    """Palette entries as uint8; of 16-bit entries the high byte, as viewers take it."""
    return (colour >> 8 if colour.max() > 255 else colour).astype(np.uint8)


def _mend_rescale(data: pydicom.Dataset) -> None:
    """An empty rescale is none, a slope of 0 (which would make every image flat) is 1, half a rescale is completed."""
    if "ModalityLUTSequence" in data and not data.ModalityLUTSequence:
        del data.ModalityLUTSequence
    slope, intercept = (data.get(tag) for tag in ("RescaleSlope", "RescaleIntercept"))
    for tag in ("RescaleSlope", "RescaleIntercept"):
        if tag in data:
            del data[tag]
    if slope is not None or intercept is not None:
        data.RescaleSlope, data.RescaleIntercept = slope or 1, intercept or 0


def _mend_window(data: pydicom.Dataset) -> bool:
    """Whether a usable window is stated; one narrower than 1 is taken as the exact one that it must be."""
    centre, width = (_first(data.get(tag)) for tag in ("WindowCenter", "WindowWidth"))
    if centre is None or width is None or width <= 0:
        return False
    data.WindowCenter, data.WindowWidth = centre, width
    if width < 1 and str(data.get("VOILUTFunction") or "") in _LINEAR:
        data.VOILUTFunction = "LINEAR_EXACT"
    elif not data.get("VOILUTFunction"):
        data.VOILUTFunction = "LINEAR"
    return True


def _first(value: Any) -> float | None:
    """The first of one or several numbers of a tag; None where it is empty or not finite."""
    if isinstance(value, (list, pydicom.multival.MultiValue)):
        value = value[0] if len(value) else None
    if value is None or value == "" or not np.isfinite(float(value)):
        return None
    return float(value)


def _state_transfer_syntax(data: pydicom.Dataset) -> None:
    """Writes into the file meta how the file was read, where it does not say so itself."""
    meta = getattr(data, "file_meta", None) or FileMetaDataset()
    if "TransferSyntaxUID" not in meta:
        implicit, little = data.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    data.file_meta = meta


def _by_itk(data: pydicom.Dataset, path: Path, frames: int, pydicom_said: str) -> np.ndarray:
    """Pixels of the first frame, of a transfer syntax that only SimpleITK decodes.

    SimpleITK rescales what it reads, so it is given a copy without rescale.
    """
    syntax = data.file_meta.TransferSyntaxUID
    if not syntax.is_compressed:
        raise UserError(f"{path}: its pixels cannot be read ({pydicom_said}).")
    import SimpleITK

    bare = pydicom.Dataset({e.tag: e for e in data if e.keyword not in _RESCALE})
    bare.file_meta = data.file_meta
    try:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "copy.dcm"
            pydicom.dcmwrite(copy, bare, enforce_file_format=True)
            array = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(copy)))
    except Exception as error:
        raise UserError(
            f"{path}: compressed as '{syntax.name}', which no installed codec reads here; {_advice(syntax)}. "
            f"pydicom: {pydicom_said} SimpleITK: {reason(error)}"
        ) from error
    return array[0] if frames > 1 or array.shape[0] == 1 else array


def _advice(syntax: UID) -> str:
    """What to do about a compression that cannot be read: the extra where pydicom has no codec of it without."""
    try:
        with_extra = not get_decoder(syntax).is_available
    except NotImplementedError:  # video, and private compressions
        with_extra = False
    extra = "pip install 'medtune-jax[dicom]' (pylibjpeg, gdcm), or " if with_extra else ""
    return f"{extra}decompress it"


_RESCALE = ("RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence")
