"""What the head of an image file says of it, without its pixels: format, size, bits, colour."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from medtune_jax import images

_PNG_BITS = 24  # offset of the byte that says how many bits a channel has
_MODES = {
    "1": (1, "gray"),
    "L": (8, "gray"),
    "LA": (8, "gray with alpha"),
    "P": (8, "palette"),
    "PA": (8, "palette with alpha"),
    "RGBA": (8, "RGB with alpha"),
    "CMYK": (8, "CMYK"),
    "I": (32, "gray"),
    "F": (32, "gray"),
}
_PHOTOMETRIC = {0: "gray, white low", 1: "gray", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr"}


class Header(NamedTuple):
    """width, height: pixels as stored (before EXIF turns them). bits: of a channel. colour, format: in words."""

    width: int
    height: int
    bits: int
    colour: str
    format: str


def read_header(path: Path) -> Header:
    """Of an image or DICOM file. Raises what its reader raises for a file that it cannot read."""
    if images.is_dicom(path):
        return _of_dicom(path)
    if path.suffix.lower() in (".tif", ".tiff"):
        return _of_tiff(path)
    with Image.open(path) as image:
        bits, colour = _MODES.get(image.mode, (8, "RGB"))
        if image.mode.startswith("I;16"):
            bits, colour = 16, "gray"
        form = image.format or "image"
        width, height = image.size
    if form == "PNG":
        with path.open("rb") as stream:
            bits = stream.read(_PNG_BITS + 1)[_PNG_BITS]
    return Header(width, height, bits, colour, form)


def _of_tiff(path: Path) -> Header:
    import tifffile  # takes a moment, as pydicom does

    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        colour = _PHOTOMETRIC.get(int(page.photometric), "colour")
        return Header(page.imagewidth, page.imagelength, page.bitspersample, colour, "TIFF")


def _of_dicom(path: Path) -> Header:
    import pydicom

    with warnings.catch_warnings():  # of values that break the standard, which loading has told
        warnings.simplefilter("ignore")
        record = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        bits = record.get("BitsStored", record.get("BitsAllocated", 0))
        colour = str(record.get("PhotometricInterpretation", "unknown"))
        return Header(int(record.Columns), int(record.Rows), int(bits), colour, "DICOM")
