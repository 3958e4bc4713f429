"""DICOM against the references: pydicom's own functions and SimpleITK, on pydicom's own test files."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
import tifffile
from PIL import Image
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, get_decoder
from pydicom.uid import (
    MPEG2MPML,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from medtune_jax import dicom, images
from medtune_jax.applications.image_folder.reader import read_image
from medtune_jax.errors import UserError

FILES = Path(pydicom.__file__).parent / "data" / "test_files"
RAMP = np.tile(np.linspace(0, 255, 32).round().astype(np.uint8), (32, 1))


def write(path, values, **fields):
    """A secondary capture; a field of None is written empty."""
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = SecondaryCaptureImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.Rows, data.Columns = values.shape[:2]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 8 * values.itemsize
    data.PixelRepresentation = int(values.dtype.kind == "i")
    for name, value in fields.items():
        setattr(data, name, value)
    data.HighBit = data.BitsStored - 1
    data.PixelData = values.tobytes()
    data.save_as(path, enforce_file_format=True)
    return path


def itk(path):
    """What SimpleITK reads: rescaled values, colours converted."""
    array = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    return array[0] if array.shape[0] == 1 else array


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "JPEG-lossy.dcm",
        "JPGExtended.dcm",
        "JPEGLSNearLossless_16.dcm",
    ],
)
def test_without_a_window_the_values_are_stretched(name):
    data = pydicom.dcmread(FILES / name)
    assert not data.get("WindowWidth")
    got = dicom.picture(FILES / name).astype(int)
    assert np.abs(got - images.stretched(itk(FILES / name))).max() <= 1


@pytest.mark.parametrize(
    "name",
    [
        "MR_small.dcm",
        "MR_small_RLE.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_implicit.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "MR_small_padded.dcm",
    ],
)
def test_a_stated_window_is_not_stretched_again(name):
    # pydicom's own window, whose output is the range of the stored type.
    data = pydicom.dcmread(FILES / "MR_small.dcm")
    windowed = apply_voi_lut(apply_modality_lut(data.pixel_array, data), data).astype(float)
    assert data.PixelRepresentation == 1 and data.BitsStored == 16
    got = dicom.picture(FILES / name)
    np.testing.assert_allclose(got, (windowed + 32768) * 255 / 65535, atol=0.51)
    assert got.min() > 40  # its darkest pixel is not black in this window


@pytest.mark.parametrize(
    "name", ["693_J2KI.dcm", "J2K_pixelrep_mismatch.dcm", "examples_overlay.dcm"]
)
def test_a_stated_window_by_the_formula_of_the_standard(name):
    data = pydicom.dcmread(FILES / name)  # PS3.3, C.11.2.1.2.1, on what SimpleITK reads
    centre, width = (np.ravel(data[tag].value)[0] for tag in ("WindowCenter", "WindowWidth"))
    share = (itk(FILES / name) - (float(centre) - 0.5)) / (float(width) - 1) + 0.5
    np.testing.assert_allclose(dicom.picture(FILES / name), np.clip(share, 0, 1) * 255, atol=0.51)


@pytest.mark.parametrize(
    "name",
    [
        "SC_rgb_dcmtk_+eb+cr.dcm",
        "SC_rgb_dcmtk_+eb+cy+np.dcm",
        "SC_rgb_jls_lossy_line.dcm",
        "SC_rgb_jpeg_gdcm.dcm",
        "SC_rgb_rle.dcm",
        "SC_rgb_small_odd_big_endian.dcm",
        "SC_ybr_full_422_uncompressed.dcm",
        "GDCMJ2K_TextGBR.dcm",
        "examples_jpeg2k.dcm",
        "ExplVR_BigEnd.dcm",
    ],
)
def test_colour_is_what_itk_shows(name):
    difference = dicom.picture(FILES / name).astype(int) - itk(FILES / name)
    assert np.abs(difference).max() <= 3  # two decoders of lossy JPEG, two roundings of YCbCr


def test_palette_colour():
    path = FILES / "examples_palette.dcm"
    data = pydicom.dcmread(path)
    colour = apply_color_lut(data.pixel_array, data)
    want = colour >> 8 if colour.dtype == np.uint16 else colour
    np.testing.assert_array_equal(dicom.picture(path), want)
    np.testing.assert_array_equal(dicom.picture(path), itk(path))


def test_deep_colour_is_stretched():
    # SimpleITK 2.5 mixes the byte segments of this file; its 8-bit twin says what it shows.
    got = dicom.picture(FILES / "SC_rgb_rle_16bit.dcm")
    np.testing.assert_array_equal(got, dicom.picture(FILES / "SC_rgb_rle.dcm"))


def test_float_pixels_are_stretched_though_their_bits_say_eight(tmp_path):
    path = write(tmp_path / "f.dcm", RAMP)
    data = pydicom.dcmread(path)
    del data.PixelData
    data.FloatPixelData, data.BitsAllocated = (RAMP / 255).astype(np.float32).tobytes(), 32
    data.save_as(path)
    np.testing.assert_array_equal(dicom.picture(path), RAMP)


def test_values_in_the_upper_bits_are_refused(tmp_path):
    path = write(tmp_path / "u.dcm", RAMP.astype(np.uint16) * 256, BitsStored=12)
    data = pydicom.dcmread(path)
    data.HighBit = 15
    data.save_as(path)
    with pytest.raises(UserError, match=r"u\.dcm: states 12 bits a pixel with HighBit 15"):
        dicom.picture(path)


def test_one_bit_is_black_and_white():
    np.testing.assert_array_equal(
        dicom.picture(FILES / "liver_1frame.dcm"), itk(FILES / "liver_1frame.dcm")
    )


@pytest.mark.parametrize(
    "name",
    [
        "SC_rgb_rle_2frame.dcm", "examples_ybr_color.dcm", "rtdose.dcm", "MR_truncated.dcm",
        "badVR.dcm", "rtplan.dcm", "test-SR.dcm", "no_meta.dcm", "README.txt",
    ],
)  # fmt: skip
def test_what_holds_no_single_image_is_refused_by_name(name):
    with pytest.raises(UserError, match=name):
        dicom.picture(FILES / name)


def test_every_test_file_of_pydicom_is_read_or_refused():
    read = 0
    for path in sorted(FILES.glob("*.dcm")):
        try:
            picture = dicom.picture(path)
            read += 1
            assert picture.dtype == np.uint8 and picture.max() > picture.min(), path
        except UserError as error:
            assert str(error).startswith(f"{path}: ")
    assert read > 45


@pytest.mark.filterwarnings("ignore")
def test_a_compression_that_only_itk_reads(tmp_path):
    path = tmp_path / "lossless.dcm"
    writer = SimpleITK.ImageFileWriter()
    writer.SetUseCompression(True)
    writer.SetCompressor("JPEG")
    writer.SetFileName(str(path))
    writer.Execute(SimpleITK.GetImageFromArray(RAMP.astype(np.uint16) * 8))
    np.testing.assert_array_equal(dicom.picture(path), RAMP)
    data = pydicom.dcmread(path)
    data.RescaleSlope, data.RescaleIntercept = 2, -100
    data.WindowCenter, data.WindowWidth = 924, 2048  # of rescaled values: 0 to 1023 as stored
    data.save_as(path)
    want = np.clip(RAMP * 8.0 / 1024 * 255, 0, 255)
    np.testing.assert_allclose(dicom.picture(path), want, atol=1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm"])
def test_the_extra_is_named_where_it_would_bring_a_codec(tmp_path, name):
    data = pydicom.dcmread(FILES / name)
    data.PixelData = data.PixelData[:16] + bytes(len(data.PixelData) - 16)  # damaged
    data.save_as(tmp_path / "a.dcm")
    with pytest.raises(
        UserError, match=r"a\.dcm: .* which no installed codec reads here; "
    ) as error:
        dicom.picture(tmp_path / "a.dcm")
    lacks = not get_decoder(data.file_meta.TransferSyntaxUID).is_available
    assert ("pip install 'medtune-jax[dicom]'" in str(error.value)) == lacks
    data.file_meta.TransferSyntaxUID = MPEG2MPML  # of which pydicom has no codec with it either
    data.save_as(tmp_path / "a.dcm")
    with pytest.raises(UserError, match=r"reads here; decompress it\."):
        dicom.picture(tmp_path / "a.dcm")


@pytest.mark.filterwarnings("ignore")
def test_high_throughput_jpeg_2000(tmp_path):
    data = pydicom.dcmread(FILES / "MR_small_jp2klossless.dcm")
    data.file_meta.TransferSyntaxUID = HTJ2KLossless  # its codecs read the older stream too
    data.save_as(tmp_path / "ht.dcm")
    want = dicom.picture(FILES / "MR_small.dcm")
    np.testing.assert_array_equal(dicom.picture(tmp_path / "ht.dcm"), want)


class TestWindowAndRescale:
    def test_window_of_width_zero_is_none(self, tmp_path):
        path = write(tmp_path / "a.dcm", RAMP, WindowCenter=128, WindowWidth=0)
        np.testing.assert_array_equal(dicom.picture(path), RAMP)

    @pytest.mark.parametrize("empty", [{"WindowCenter": 90}, {"WindowWidth": 90}])
    def test_half_a_window_is_none(self, tmp_path, empty):
        fields = {"WindowCenter": None, "WindowWidth": None} | empty
        np.testing.assert_array_equal(
            dicom.picture(write(tmp_path / "a.dcm", RAMP, **fields)), RAMP
        )

    def test_a_window_narrower_than_one(self, tmp_path):
        window = {"WindowCenter": 0.25, "WindowWidth": 0.5}
        fields = {"RescaleSlope": 1 / 255, "RescaleIntercept": 0, **window}
        got = dicom.picture(write(tmp_path / "a.dcm", RAMP, **fields))
        np.testing.assert_allclose(got, np.clip(2.0 * RAMP, 0, 255), atol=1)

    def test_the_first_of_several_windows(self, tmp_path):
        fields = {"WindowCenter": [64, 500], "WindowWidth": [128, 9]}
        got = dicom.picture(write(tmp_path / "a.dcm", RAMP, **fields))
        np.testing.assert_allclose(got, np.clip(2.0 * RAMP, 0, 255), atol=2)

    @pytest.mark.parametrize("kind", ["LINEAR_EXACT", "SIGMOID"])
    def test_the_window_has_the_function_that_is_stated(self, tmp_path, kind):
        values = RAMP.astype(np.uint16) * 100
        fields = {"WindowCenter": 9000, "WindowWidth": 6000, "VOILUTFunction": kind}
        path = write(tmp_path / "a.dcm", values, **fields)
        data = pydicom.dcmread(path)
        want = apply_voi_lut(data.pixel_array, data).astype(float) * 255 / 65535
        np.testing.assert_allclose(dicom.picture(path), want, atol=0.51)

    @pytest.mark.parametrize(
        ("slope", "intercept"), [(None, None), (0, 0), (1, None), (None, 0), (0, None)]
    )
    def test_an_empty_rescale_is_none(self, tmp_path, slope, intercept):
        fields = {"RescaleSlope": slope, "RescaleIntercept": intercept}
        window = {"WindowCenter": 64, "WindowWidth": 128}
        got = dicom.picture(write(tmp_path / "a.dcm", RAMP, **fields, **window))
        np.testing.assert_allclose(got, np.clip(2.0 * RAMP, 0, 255), atol=2)
        got = dicom.picture(write(tmp_path / "a.dcm", RAMP, **fields))
        np.testing.assert_array_equal(got, RAMP)

    def test_a_table_in_place_of_a_window(self, tmp_path):
        item = pydicom.Dataset()
        item.LUTDescriptor = [256, 0, 12]
        item.LUTData = (16 * (255 - np.arange(256))).astype("<u2").tobytes()
        table = {"VOILUTSequence": [item], "RescaleSlope": 1, "RescaleIntercept": 0}
        path = write(tmp_path / "a.dcm", RAMP.astype(np.uint16), **table)
        np.testing.assert_allclose(dicom.picture(path), 255 - RAMP.astype(int), atol=1)

    @pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16])
    @pytest.mark.parametrize("window", [{}, {"WindowCenter": 127.5, "WindowWidth": 256}])
    def test_white_as_the_low_values(self, tmp_path, kind, window):
        values = RAMP.astype(kind)
        dark = dicom.picture(write(tmp_path / "a.dcm", values, **window)).astype(int)
        fields = {"PhotometricInterpretation": "MONOCHROME1", **window}
        np.testing.assert_array_equal(
            dicom.picture(write(tmp_path / "b.dcm", values, **fields)), 255 - dark
        )
        np.testing.assert_allclose(dark, RAMP, atol=1)

    def test_white_stated_twice_must_agree(self, tmp_path):
        low = {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}
        inverse = dicom.picture(write(tmp_path / "a.dcm", RAMP, **low))
        np.testing.assert_array_equal(inverse, 255 - RAMP)
        high = write(tmp_path / "b.dcm", RAMP, PresentationLUTShape="IDENTITY")
        np.testing.assert_array_equal(dicom.picture(high), RAMP)
        both = write(tmp_path / "c.dcm", RAMP, PresentationLUTShape="INVERSE")
        with pytest.raises(UserError, match=r"c\.dcm: says .* white \(MONOCHROME2\) .* black"):
            dicom.picture(both)

    def test_eight_bits_keep_their_brightness(self, tmp_path):
        dim = RAMP // 4 + 20
        np.testing.assert_array_equal(dicom.picture(write(tmp_path / "a.dcm", dim)), dim)


class TestPadding:
    """A disc of a ramp from 1000 to 1310 in a square of padding."""

    INSIDE = np.hypot(*np.mgrid[-15.5:16, -15.5:16]) < 12
    RAMP = np.tile(np.arange(32, dtype=np.uint16) * 10 + 1000, (32, 1))
    LOW, HIGH = RAMP[INSIDE].min(), RAMP[INSIDE].max()

    def padded(self, path, fill, kind=np.uint16, **fields):
        values = np.where(self.INSIDE, self.RAMP, fill).astype(kind)
        return dicom.picture(write(path, values, **fields)).astype(int)

    def share(self):
        return (self.RAMP.astype(float) - self.LOW) / (self.HIGH - self.LOW)

    @pytest.mark.parametrize("fill", [0, 65535])
    def test_it_is_black_and_does_not_stretch(self, tmp_path, fill):
        got = self.padded(tmp_path / "a.dcm", fill, PixelPaddingValue=fill)
        assert (got[~self.INSIDE] == 0).all()
        np.testing.assert_allclose(got[self.INSIDE], 255 * self.share()[self.INSIDE], atol=0.51)

    @pytest.mark.parametrize("fill", [0, 65535])
    def test_white_as_the_low_values(self, tmp_path, fill):
        fields = {"PhotometricInterpretation": "MONOCHROME1", "PixelPaddingValue": fill}
        got = self.padded(tmp_path / "a.dcm", fill, **fields)
        assert (got[~self.INSIDE] == 0).all()
        want = 255 * (1 - self.share())
        np.testing.assert_allclose(got[self.INSIDE], want[self.INSIDE], atol=0.51)

    @pytest.mark.parametrize("ends", [(0, 900), (900, 0)])
    def test_a_range_in_either_order_holds_both_ends(self, tmp_path, ends):
        fill = np.linspace(0, 900, 1024).round().reshape(32, 32)
        fields = dict(zip(("PixelPaddingValue", "PixelPaddingRangeLimit"), ends, strict=True))
        got = self.padded(tmp_path / "a.dcm", fill, **fields)
        assert (got[~self.INSIDE] == 0).all()
        np.testing.assert_allclose(got[self.INSIDE], 255 * self.share()[self.INSIDE], atol=0.51)

    def test_a_window_shows_the_same_inside(self, tmp_path):
        window = {
            "WindowCenter": 1150,
            "WindowWidth": 200,
            "RescaleSlope": 1,
            "RescaleIntercept": 0,
        }
        plain = self.padded(tmp_path / "a.dcm", 4000, **window)
        got = self.padded(tmp_path / "b.dcm", 4000, PixelPaddingValue=4000, **window)
        assert (plain[~self.INSIDE] == 255).all() and (got[~self.INSIDE] == 0).all()
        np.testing.assert_array_equal(got[self.INSIDE], plain[self.INSIDE])

    def test_eight_bits_keep_their_brightness(self, tmp_path):
        values = np.where(self.INSIDE, self.RAMP // 10, 255).astype(np.uint8)
        got = dicom.picture(write(tmp_path / "a.dcm", values, PixelPaddingValue=255))
        np.testing.assert_array_equal(got, np.where(self.INSIDE, values, 0))

    def test_a_value_whose_sign_was_lost(self, tmp_path):
        path = tmp_path / "a.dcm"
        self.padded(path, -2000, np.int16)
        data = pydicom.dcmread(path)
        data.add_new("PixelPaddingValue", "US", 63536)
        data.save_as(path)
        got = dicom.picture(path).astype(int)
        np.testing.assert_allclose(got[self.INSIDE], 255 * self.share()[self.INSIDE], atol=0.51)

    def test_nothing_but_padding_is_refused(self, tmp_path):
        path = write(tmp_path / "a.dcm", np.full((8, 8), 7, np.uint16), PixelPaddingValue=7)
        with pytest.raises(UserError, match=r"a\.dcm: every pixel is padding"):
            dicom.picture(path)


class TestNamesAndForms:
    def test_no_suffix_and_any_suffix(self, tmp_path):
        for name in ("IM000001", "1.2.840.113619", "a.ima", "a.jpg"):
            path = write(tmp_path / name, RAMP)
            np.testing.assert_array_equal(read_image(path, 32)[..., 1], RAMP)

    @pytest.mark.parametrize("implicit", [True, False])
    @pytest.mark.parametrize("name", ["a.dcm", "IM1"])
    def test_no_preamble(self, tmp_path, implicit, name):
        whole = pydicom.dcmread(write(tmp_path / "whole.dcm", RAMP))
        bare = pydicom.Dataset({e.tag: e for e in whole})
        pydicom.dcmwrite(tmp_path / name, bare, implicit_vr=implicit, little_endian=True)
        assert (tmp_path / name).read_bytes()[128:132] != b"DICM"
        np.testing.assert_array_equal(read_image(tmp_path / name, 32)[..., 0], RAMP)

    def test_a_film_is_counted_right(self, tmp_path):
        film = np.zeros((3, 32, 32, 3), np.uint8)
        fields = {
            "SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0,
            "NumberOfFrames": 3, "Rows": 32, "Columns": 32,
        }  # fmt: skip
        with pytest.raises(UserError, match=r"film\.dcm: holds 3 frames"):
            dicom.picture(write(tmp_path / "film.dcm", film, **fields))

    def test_all_that_the_decoders_said_is_kept(self):
        name = "JPEG2000-embedded-sequence-delimiter.dcm"
        with pytest.raises(UserError, match=rf"{name}: compressed as 'JPEG 2000") as error:
            dicom.picture(FILES / name)
        assert "pillow: " in str(error.value) and "SimpleITK: " in str(error.value)
        assert "\n" not in str(error.value)


def test_dicom_png_and_tiff_of_one_picture_are_one_picture(tmp_path):
    deep = (np.random.default_rng(0).random((40, 50)) * 4000 + 50).astype(np.uint16)
    write(tmp_path / "a.dcm", deep, BitsStored=12)
    Image.fromarray(deep).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", deep)
    Image.fromarray(images.stretched(deep)).save(tmp_path / "eight.png")
    first, *others = (read_image(path, 24) for path in sorted(tmp_path.iterdir()))
    for other in others:
        np.testing.assert_array_equal(first, other)
