"""What files say of themselves before their pixels are read."""

from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
import pytest
import tifffile
from PIL import Image

from medtune_jax.headers import Header, read_header


@pytest.mark.parametrize(
    ("name", "mode", "bits", "colour", "form"),
    [
        ("a.png", "L", 8, "gray", "PNG"),
        ("a.png", "1", 1, "gray", "PNG"),
        ("a.png", "I;16", 16, "gray", "PNG"),
        ("a.png", "P", 1, "palette", "PNG"),
        ("a.jpg", "RGB", 8, "RGB", "JPEG"),
        ("a.webp", "RGBA", 8, "RGB with alpha", "WEBP"),
    ],
)
def test_of_a_picture(tmp_path, name, mode, bits, colour, form):
    Image.new(mode, (7, 5)).save(tmp_path / name)
    assert read_header(tmp_path / name) == Header(7, 5, bits, colour, form)


def test_of_deep_colour(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, 7, 3), np.uint16), photometric="rgb")
    assert read_header(tmp_path / "a.tif") == Header(7, 5, 16, "RGB", "TIFF")


def test_of_a_dicom_file():
    path = Path(pydicom.data.get_testdata_file("CT_small.dcm"))
    assert read_header(path) == Header(128, 128, 16, "MONOCHROME2", "DICOM")
