"""HU, spacing and orientation survive every format; bad geometry is refused by name."""

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1

from medtune_jax.datasets.ct.dicom import read_dicom_series
from medtune_jax.datasets.ct.files import read_mask, read_volume
from medtune_jax.errors import UserError
from medtune_jax.phantoms.ctpa.files import write_dicom_series, write_nifti
from tests.datasets.volumes import ORIGIN, SPACING, assert_same, edit, write_nrrd


@pytest.mark.parametrize(("slope", "intercept"), [(1, -1024), (0.5, -2000), (1, -1500)])
def test_dicom_round_trip_with_rescale(tmp_path, hu, slope, intercept):
    write_dicom_series(tmp_path / "d", hu, SPACING, "pat", ORIGIN, slope, intercept)
    volume = read_dicom_series(tmp_path / "d")
    assert_same(volume, hu)
    assert volume.patient == "pat"


@pytest.mark.parametrize(
    ("intercept", "stored", "want"),
    [(-1024, 5000, -1024), (-1024, -2000, -1024), (-3024, 0, -3024)],
)
def test_padding_of_slices_is_never_brighter_than_air(tmp_path, hu, intercept, stored, want):
    padded = hu.astype(np.int32)
    padded[:, :2] = stored + intercept  # -2000 is written as 63536, which alone is no CT value
    write_dicom_series(tmp_path / "d", padded, SPACING, "pat", ORIGIN, 1, intercept)
    for path in (tmp_path / "d").iterdir():
        ds = pydicom.dcmread(path)
        ds.add_new("PixelPaddingValue", "SS", stored)
        ds.save_as(path)
    padded[:, :2] = want
    assert_same(read_dicom_series(tmp_path / "d"), padded)


def test_nifti_and_nrrd_round_trip(tmp_path, hu):
    write_nifti(tmp_path / "v.nii.gz", hu, SPACING, ORIGIN)
    write_nrrd(tmp_path / "v.nrrd", hu, SPACING, ORIGIN)
    for name in ("v.nii.gz", "v.nrrd"):
        assert_same(read_volume(tmp_path / name), hu)


def test_scaled_float_nifti_is_rounded(tmp_path, hu):
    image = nib.Nifti1Image(hu.transpose(2, 1, 0), np.diag([-0.7, -0.8, 2.5, 1]))
    image.header.set_slope_inter(0.25, 10)
    nib.save(image, tmp_path / "v.nii")
    stored = nib.load(tmp_path / "v.nii").get_fdata()
    np.testing.assert_array_equal(
        read_volume(tmp_path / "v.nii").hu, np.rint(stored).transpose(2, 1, 0)
    )


@pytest.mark.parametrize(
    "direction",
    [(-1, 0, 0, 0, 1, 0, 0, 0, -1), (0, 1, 0, 1, 0, 0, 0, 0, -1), (0, 0, 1, 1, 0, 0, 0, 1, 0)],
)
def test_flipped_and_permuted_axes_come_back_canonical(tmp_path, hu, direction):
    # SimpleITK's own resampling to the patient's axes is the oracle.
    write_nrrd(tmp_path / "v.nrrd", hu, SPACING, ORIGIN, direction)
    oracle = SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(tmp_path / "v.nrrd")), "LPS")
    volume = read_volume(tmp_path / "v.nrrd")
    np.testing.assert_array_equal(volume.hu, SimpleITK.GetArrayFromImage(oracle))
    np.testing.assert_allclose(volume.spacing, oracle.GetSpacing()[::-1])
    np.testing.assert_allclose(volume.origin, oracle.GetOrigin()[::-1], atol=1e-6)


def test_oblique_grid_is_refused(tmp_path, hu):
    c, s = np.cos(0.2), np.sin(0.2)
    write_nrrd(tmp_path / "v.nrrd", hu, SPACING, ORIGIN, (c, -s, 0, s, c, 0, 0, 0, 1))
    with pytest.raises(UserError, match=r"v\.nrrd is oblique.*11\.5 degrees"):
        read_volume(tmp_path / "v.nrrd")


class TestBadSeries:
    @pytest.fixture
    def files(self, tmp_path, hu):
        return write_dicom_series(tmp_path / "d", hu, SPACING, "pat", ORIGIN)

    def refused(self, files, match):
        with pytest.raises(UserError, match=match):
            read_dicom_series(files[0].parent)

    def test_missing_slice(self, files):
        files[2].unlink()
        self.refused(files, f"1 slice.*missing between {files[1].name} and {files[3].name}")

    def test_mixed_series(self, files):
        edit(files[2], SeriesInstanceUID="1.2.3")
        self.refused(files, f"mixes 2 series.*{files[2].name}")

    def test_uneven_spacing(self, files):
        edit(files[-1], ImagePositionPatient=[5, 11, -30 + 5 * 2.5 + 0.7])
        self.refused(files, "spacing .* is uneven")

    def test_doubled_position(self, files):
        edit(files[3], ImagePositionPatient=pydicom.dcmread(files[2]).ImagePositionPatient)
        self.refused(files, "lie at one position")

    def test_other_pixel_spacing(self, files):
        edit(files[3], PixelSpacing=[0.9, 0.7])
        self.refused(files, "another pixel spacing")

    def test_other_shape(self, files):
        edit(files[3], Rows=8)
        self.refused(files, "another size")

    def test_gantry_tilt_by_geometry(self, files):
        for k, path in enumerate(files):
            edit(path, ImagePositionPatient=[5, 11 + 0.5 * k, -30 + 2.5 * k])
        self.refused(files, r"gantry tilt of 11\.3 degrees")

    def test_gantry_tilt_by_tag(self, files):
        for path in files:
            edit(path, GantryDetectorTilt=-15)
        self.refused(files, r"gantry tilt of 15\.0 degrees")

    def test_no_rescale(self, files):
        ds = pydicom.dcmread(files[0])
        del ds.RescaleSlope
        ds.save_as(files[0])
        self.refused(files, f"{files[0].name} has no RescaleSlope")

    def test_compressed_without_codec(self, files):
        for path in files:
            ds = pydicom.dcmread(path)
            ds.file_meta.TransferSyntaxUID = JPEG2000Lossless
            ds.PixelData = pydicom.encaps.encapsulate([b"\0" * 16])
            ds["PixelData"].is_undefined_length = True
            ds.save_as(path)
        self.refused(files, "compressed as 'JPEG 2000.*Lossless.*decompress")

    def test_not_dicom(self, files):
        files[0].write_text("no")
        self.refused(files, f"{files[0].name}: not a DICOM file")

    def test_empty(self, tmp_path):
        with pytest.raises(UserError, match="holds 0 DICOM slices"):
            read_dicom_series(tmp_path)


class TestOrdinarySeries:
    """Series that other readers open."""

    @pytest.mark.parametrize("gap", [0.3, 0.625, 0.75, 1.25])
    def test_positions_with_one_decimal(self, tmp_path, hu, gap):
        files = write_dicom_series(tmp_path / "d", hu, (gap, 0.8, 0.7), "pat", ORIGIN)
        for k, path in enumerate(files):
            edit(path, ImagePositionPatient=[5, 11, round(-30 + gap * k, 1)])
        volume = read_dicom_series(tmp_path / "d")
        np.testing.assert_array_equal(volume.hu, hu)
        assert abs(volume.spacing[0] - gap) <= 0.1 / (len(hu) - 1)

    @pytest.mark.parametrize("gap", [0.625, 0.75])
    def test_a_missing_slice_is_still_seen(self, tmp_path, gap):
        hu = np.zeros((12, 9, 11), np.int16)
        files = write_dicom_series(tmp_path / "d", hu, (gap, 0.8, 0.7), "pat", ORIGIN)
        for k, path in enumerate(files):
            edit(path, ImagePositionPatient=[5, 11, round(-30 + gap * k, 1)])
        files[5].unlink()
        with pytest.raises(UserError, match=rf"missing between {files[4].name}"):
            read_dicom_series(tmp_path / "d")

    def test_debris(self, tmp_path, hu):
        files = write_dicom_series(tmp_path / "d", hu, SPACING, "pat", ORIGIN)
        (tmp_path / "d" / f"._{files[0].name}").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X        ")
        for name in ("Thumbs.db", ".DS_Store", "DICOMDIR", "readme.txt"):
            (tmp_path / "d" / name).write_bytes(b"nothing")
        assert_same(read_dicom_series(tmp_path / "d"), hu)

    def test_no_preamble_and_no_file_meta(self, tmp_path, hu):
        for path in write_dicom_series(tmp_path / "d", hu, SPACING, "pat", ORIGIN):
            bare = pydicom.Dataset({e.tag: e for e in pydicom.dcmread(path)})
            pydicom.dcmwrite(path, bare, implicit_vr=True, little_endian=True)
        assert_same(read_dicom_series(tmp_path / "d"), hu)

    def test_a_compression_that_only_itk_reads(self, tmp_path, hu):
        stored = (hu.astype(int) + 1024).astype(np.uint16)
        files = write_dicom_series(tmp_path / "d", hu, SPACING, "pat", ORIGIN)
        for path, slice_ in zip(files, stored, strict=True):
            jpeg_lossless(path, slice_)
        assert pydicom.dcmread(files[0]).file_meta.TransferSyntaxUID == JPEGLosslessSV1
        assert_same(read_dicom_series(tmp_path / "d"), hu)

    def test_another_modality_is_refused(self, tmp_path, hu):
        files = write_dicom_series(tmp_path / "d", hu, SPACING, "pat", ORIGIN)
        edit(files[1], Modality="MR")
        with pytest.raises(UserError, match=f"{files[1].name} is a MR image, not CT"):
            read_dicom_series(tmp_path / "d")

    def test_a_slope_of_zero_is_refused(self, tmp_path, hu):
        files = write_dicom_series(tmp_path / "d", hu, SPACING, "pat", ORIGIN)
        edit(files[1], RescaleSlope=0)
        with pytest.raises(UserError, match=f"{files[1].name} has a RescaleSlope of 0"):
            read_dicom_series(tmp_path / "d")


def jpeg_lossless(path, stored):
    """Replaces a file's pixels by `stored`, compressed as JPEG Lossless by ITK."""
    writer = SimpleITK.ImageFileWriter()
    writer.SetUseCompression(True)
    writer.SetCompressor("JPEG")
    writer.SetFileName(str(path.with_suffix(".itk.dcm")))
    writer.Execute(SimpleITK.GetImageFromArray(stored))
    packed = pydicom.dcmread(writer.GetFileName())
    ds = pydicom.dcmread(path)
    ds.PixelData, ds.file_meta.TransferSyntaxUID = (
        packed.PixelData,
        packed.file_meta.TransferSyntaxUID,
    )
    ds["PixelData"].is_undefined_length = True
    ds.BitsStored, ds.HighBit, ds.BitsAllocated = (
        packed.BitsStored,
        packed.HighBit,
        packed.BitsAllocated,
    )
    ds.save_as(path)
    path.with_suffix(".itk.dcm").unlink()


class TestNifti:
    AFFINE = np.diag([-0.7, -0.8, 2.5, 1.0])

    def image(self, array, kind=nib.Nifti1Image):
        affine = self.AFFINE.copy()
        affine[:3, 3] = [-5, -11, -30]
        image = kind(array, affine)
        image.header.set_xyzt_units("mm")
        return image

    def test_second_version_last_axes_and_any_name(self, tmp_path, hu):
        x = hu.transpose(2, 1, 0)
        nib.save(self.image(x, nib.Nifti2Image), tmp_path / "two.nii.gz")
        nib.save(self.image(x[..., None]), tmp_path / "four.nii.gz")
        nib.save(self.image(x[..., None, None]), tmp_path / "five.nii")
        (tmp_path / "packed.nii").write_bytes((tmp_path / "four.nii.gz").read_bytes())
        (tmp_path / "plain.nii.gz").write_bytes((tmp_path / "five.nii").read_bytes())
        for name in ("two.nii.gz", "four.nii.gz", "five.nii", "packed.nii", "plain.nii.gz"):
            assert_same(read_volume(tmp_path / name), hu)

    def test_sform_against_qform_is_said(self, tmp_path, hu):
        image = self.image(hu.transpose(2, 1, 0))
        image.set_qform(image.affine, 1)
        nib.save(image, tmp_path / "agree.nii.gz")
        assert read_volume(tmp_path / "agree.nii.gz").notes == ()
        swapped = image.affine * [[-1], [1], [1], [1]]
        image.set_sform(swapped, 1)
        nib.save(image, tmp_path / "v.nii.gz")
        volume = read_volume(tmp_path / "v.nii.gz")
        np.testing.assert_array_equal(volume.hu, hu[..., ::-1])  # by its sform
        assert "sform and qform disagree by up to" in volume.notes[0]
        assert "RPS against LPS" in volume.notes[0]

    @pytest.mark.parametrize("keep", [0, 3, 200, -20])
    def test_a_damaged_file_is_named(self, tmp_path, hu, keep):
        nib.save(self.image(hu.transpose(2, 1, 0)), tmp_path / "v.nii.gz")
        whole = (tmp_path / "v.nii.gz").read_bytes()
        (tmp_path / "v.nii.gz").write_bytes(whole[:keep])
        with pytest.raises(UserError, match=r"v\.nii\.gz cannot be read as NIfTI"):
            read_volume(tmp_path / "v.nii.gz")


class TestMasks:
    @pytest.fixture
    def volume(self, tmp_path, hu):
        write_nifti(tmp_path / "v.nii.gz", hu, SPACING, ORIGIN)
        return read_volume(tmp_path / "v.nii.gz")

    def test_labels_survive_another_orientation(self, tmp_path, volume, hu):
        number = np.arange(hu.size).reshape(hu.shape)
        labels = np.where(number % 3, 0, number % 5).astype(np.uint8)
        far = (np.array(ORIGIN) + (np.array(hu.shape) - 1) * SPACING) * (1, 0, 1)
        origin = tuple(far + np.array(ORIGIN) * (0, 1, 0))
        flipped = np.ascontiguousarray(labels[::-1, :, ::-1])
        direction = (-1, 0, 0, 0, 1, 0, 0, 0, -1)
        write_nrrd(tmp_path / "m.nrrd", flipped, SPACING, origin, direction)
        np.testing.assert_array_equal(read_mask(tmp_path / "m.nrrd", volume), labels)

    @pytest.mark.parametrize(
        ("shape", "spacing", "origin", "match"),
        [
            ((6, 9, 10), SPACING, ORIGIN, "voxels"),
            ((6, 9, 11), (2.5, 0.8, 0.8), ORIGIN, "another grid"),
            ((6, 9, 11), SPACING, (-30.0, 11.0, 9.0), "another grid"),
        ],
    )
    def test_another_geometry(self, tmp_path, volume, shape, spacing, origin, match):
        write_nifti(tmp_path / "m.nii.gz", np.zeros(shape, np.uint8), spacing, origin)
        with pytest.raises(UserError, match=match):
            read_mask(tmp_path / "m.nii.gz", volume)

    @pytest.mark.parametrize("value", [0.5, -1])
    def test_not_labels(self, tmp_path, volume, hu, value):
        write_nifti(tmp_path / "m.nii.gz", np.full(hu.shape, value, np.float32), SPACING, ORIGIN)
        with pytest.raises(UserError, match="whole labels"):
            read_mask(tmp_path / "m.nii.gz", volume)


def test_values_and_spacings_that_say_too_little(tmp_path, hu):
    write_nifti(tmp_path / "a.nii", hu // 2 + 1024, SPACING)
    assert "none is air" in read_volume(tmp_path / "a.nii").notes[0]
    head = "NRRD0004\ntype: short\ndimension: 3\nsizes: 11 9 6\nencoding: raw\nendian: little\n"
    for spacings in ("", "spacings: 0.7 0.8 nan\n"):
        (tmp_path / "b.nrrd").write_bytes((head + spacings + "\n").encode() + hu.tobytes())
        with pytest.raises(UserError, match=r"b\.nrrd states no spacing"):
            read_volume(tmp_path / "b.nrrd")


@pytest.mark.parametrize(
    ("spacing", "said"),
    [
        ((1.0, 0.001, 0.001), r"1 x 0\.001 x 0\.001 mm"),
        ((1.0, 50, 50), "1 x 50 x 50 mm"),
        ((0.125, 0.07, 0.07), r"0\.125 x 0\.07 x 0\.07 mm"),  # centimetres
        ((250, 0.7, 0.7), r"250 x 0\.7 x 0\.7 mm"),
        ((2e-3, 7e-4, 7e-4), r"0\.002 x 0\.0007 x 0\.0007 mm"),  # metres
    ],
)
def test_voxels_that_no_scanner_makes_are_refused(tmp_path, hu, spacing, said):
    write_nifti(tmp_path / "v.nii.gz", hu, spacing, ORIGIN)
    write_nrrd(tmp_path / "v.nrrd", hu, spacing, ORIGIN)
    write_dicom_series(tmp_path / "d", hu, spacing, "p", ORIGIN)
    for name in ("v.nii.gz", "v.nrrd", "d"):
        with pytest.raises(UserError, match=f"{name} states voxels of {said}.*is its unit mm"):
            read_volume(tmp_path / name)


@pytest.mark.parametrize(
    ("tag", "value", "said"),
    [
        ("PixelSpacing", [-0.7, 0.7], r"\[-0\.7, 0\.7\] mm: both must be above 0"),
        ("PixelSpacing", [0, 0.7], "both must be above 0"),
        ("PixelSpacing", 0.7, "it must be 2 numbers"),
        ("ImagePositionPatient", [0, 1], "it must be 3 numbers"),
        ("ImageOrientationPatient", [1, 0, 0], "it must be 6 numbers"),
    ],
)
def test_geometry_of_dicom_that_is_none(tmp_path, hu, tag, value, said):
    write_dicom_series(tmp_path / "d", hu, SPACING, "p", ORIGIN)
    path = sorted((tmp_path / "d").iterdir())[2]
    edit(path, **{tag: value})
    with pytest.raises(UserError, match=f"{path.name} has a {tag} of .*{said}"):
        read_volume(tmp_path / "d")
