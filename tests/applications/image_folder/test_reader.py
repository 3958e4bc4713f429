"""Images of every kind as 8-bit RGB."""

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian

from medtune_jax.applications.image_folder.reader import read_image, read_images
from medtune_jax.errors import UserError

# 40 x 30, red rising to the right, green downwards, no blue.
RED, GREEN = np.meshgrid(np.linspace(0, 255, 40), np.linspace(0, 255, 30))
COLOUR = np.stack([RED, GREEN, 0 * RED], -1).round().astype(np.uint8)
GRAY = RED.round().astype(np.uint8)


def dicom(path, values, **fields):
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    data.Rows, data.Columns = values.shape[-2:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 8 * values.itemsize
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, 0
    data.PixelData = values.tobytes()
    for name, value in fields.items():
        setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize(
    ("suffix", "tolerance"), [("png", 3), ("bmp", 3), ("tif", 3), ("TIFF", 3), ("jpg", 12)]
)
def test_colour(tmp_path, suffix, tolerance):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(COLOUR).save(path)
    got = read_image(path, 20)
    assert (got.shape, got.dtype) == ((20, 20, 3), np.uint8)
    want = np.asarray(Image.fromarray(COLOUR).resize((20, 20), Image.Resampling.BILINEAR))
    assert np.abs(got.astype(int) - want).max() <= tolerance
    assert (
        got[0, -1, 0] > 230 > 20 > got[-1, 0, 0]
    )  # the right is red: nothing is transposed or BGR


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_gray_is_repeated(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(GRAY).save(path)
    got = read_image(path, 40)
    assert (got[..., 0] == got[..., 1]).all()
    assert (got[..., 0] == got[..., 2]).all()
    np.testing.assert_allclose(got[0, :, 0], GRAY[0], atol=1)


def test_palette_and_alpha(tmp_path):
    Image.fromarray(COLOUR).quantize(64).save(tmp_path / "p.png")
    Image.fromarray(COLOUR).convert("RGBA").save(tmp_path / "a.png")
    for name in ("p.png", "a.png"):
        got = read_image(tmp_path / name, 20)
        assert got.shape == (20, 20, 3)
        assert got[0, -1, 0] > 180 > 80 > got[-1, 0, 0]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_scaled_from_darkest_to_brightest(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(1000 + 12 * GRAY.astype(np.uint16)).save(path)
    got = read_image(path, 40)
    assert got.min() <= 1
    assert got.max() >= 254
    np.testing.assert_allclose(got[0, :, 0].astype(int), GRAY[0], atol=2)


def test_float_tiff(tmp_path):
    Image.fromarray((GRAY / 255).astype(np.float32)).save(tmp_path / "a.tif")
    np.testing.assert_allclose(
        read_image(tmp_path / "a.tif", 40)[0, :, 0].astype(int), GRAY[0], atol=2
    )


def test_dicom(tmp_path):
    dicom(tmp_path / "a.dcm", 3 * GRAY.astype(np.uint16))
    np.testing.assert_allclose(
        read_image(tmp_path / "a.dcm", 40)[0, :, 0].astype(int), GRAY[0], atol=2
    )


def test_dicom_window(tmp_path):
    values = GRAY.astype(np.uint16)
    dicom(
        tmp_path / "a.dcm",
        values,
        WindowCenter=64,
        WindowWidth=128,
        RescaleSlope=1,
        RescaleIntercept=0,
    )
    row = read_image(tmp_path / "a.dcm", 40)[0, :, 0].astype(int)
    assert (row[25:] == 255).all()  # everything above the window is white
    np.testing.assert_allclose(row[:15], np.clip(2 * GRAY[0, :15].astype(int), 0, 255), atol=4)


def test_dicom_with_white_as_low_values_is_inverted(tmp_path):
    dicom(tmp_path / "a.dcm", GRAY, PhotometricInterpretation="MONOCHROME1")
    row = read_image(tmp_path / "a.dcm", 40)[0, :, 0].astype(int)
    np.testing.assert_allclose(row, 255 - GRAY[0].astype(int), atol=2)


def test_a_flat_image_is_black_not_nan(tmp_path):
    Image.fromarray(np.full((8, 8), 700, np.uint16)).save(tmp_path / "a.png")
    assert not read_image(tmp_path / "a.png", 8).any()


def test_every_unreadable_file_is_listed(tmp_path):
    Image.fromarray(COLOUR).save(tmp_path / "good.png")
    whole = (tmp_path / "good.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "text.dcm").write_text("not an image")
    dicom(tmp_path / "movie.dcm", np.zeros((3, 8, 8), np.uint8), NumberOfFrames=3)
    names = ["gone.png", "cut.png", "text.jpg", "text.dcm", "movie.dcm"]
    with pytest.raises(UserError) as error:
        read_images([tmp_path / name for name in ("good.png", *names)], 16)
    message = str(error.value)
    assert message.startswith("5 of 6 images cannot be read")
    assert all(f"{tmp_path / name}: " in message for name in names)
    assert "gone.png: no such file" in message
    assert "movie.dcm: holds 3 frames" in message
    assert "good.png" not in message


def test_a_long_list_is_cut_but_counted(tmp_path):
    with pytest.raises(UserError, match=r"30 of 30 images[\s\S]*and 10 more"):
        read_images([tmp_path / f"{n}.png" for n in range(30)], 16)


def test_the_order_of_the_list_is_kept(tmp_path):
    for level in range(12):
        Image.fromarray(np.full((8, 8), 20 * level, np.uint8)).save(tmp_path / f"{level}.png")
    got = read_images([tmp_path / f"{level}.png" for level in range(12)], 8)
    assert got.shape == (12, 8, 8, 3)
    np.testing.assert_array_equal(got[:, 0, 0, 0], 20 * np.arange(12))
