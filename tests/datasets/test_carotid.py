"""Layouts in, regions out; and every kind of bad input with its own sentence."""

import copy

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian

from medtune_jax.datasets.carotid.files import read_cubs, read_dicom, read_plain
from medtune_jax.datasets.carotid.roi import (
    Picture,
    Roi,
    check_size,
    crop_around,
    untraced,
    with_contours,
)
from medtune_jax.errors import UserError
from medtune_jax.phantoms.ultrasound import draw_subject, render_roi
from tests.phantoms.subjects import write_subjects


def blank(width=92, height=60, mm_per_pixel=0.07):
    return untraced(Picture(np.zeros((height, width), np.uint8)), mm_per_pixel, "s", "roi")


def phantom_roi(seed):
    rng = np.random.default_rng(seed)
    return Roi(*render_roi(draw_subject(rng), rng), subject="s", name="roi")


LINE = np.array([[0, 20.0], [91, 20.0]])


@pytest.fixture
def study(tmp_path):
    return write_subjects(tmp_path / "study", subjects=2, rois=2, seed=1)


def test_plain_layout_round_trips_the_phantom(study):
    rois = read_plain(study)
    assert [r.name for r in rois] == [f"subject000{s}/roi{k}" for s in (0, 1) for k in (0, 1)]
    assert [r.subject for r in rois] == ["subject0000"] * 2 + ["subject0001"] * 2
    rng = np.random.default_rng([1, 0])
    phantom = render_roi(draw_subject(rng), rng)
    assert (rois[0].image == phantom.image).all()
    assert rois[0].li == pytest.approx(phantom.li, abs=1e-4)
    assert rois[0].ma == pytest.approx(phantom.ma, abs=1e-4)
    assert rois[0].mm_per_pixel == pytest.approx(1 / 15, abs=1e-5)


def test_plain_names_for_a_single_image_and_calibration_in_the_subject_folder(study):
    folder = study / "subject0001"
    for file in folder.glob("roi1*"):
        file.unlink()
    (folder / "roi0.LI.csv").rename(folder / "LI.csv")
    (folder / "roi0.MA.csv").rename(folder / "MA.csv")
    (folder / "calibration.csv").write_text("image,mm_per_pixel\nroi0.png,0.05\n")
    roi = read_plain(study)[-1]
    assert roi.mm_per_pixel == 0.05
    assert np.isfinite(roi.li).all()


def test_an_image_without_a_contour_is_named(study):
    (study / "subject0000" / "roi0.LI.csv").unlink()
    with pytest.raises(UserError, match=r"roi0\.png has no LI contour"):
        read_plain(study)


def test_images_of_one_folder_are_one_subject(study):
    rois = read_plain(study / "subject0000")
    assert {r.subject for r in rois} == {"subject0000"}
    assert rois[0].mm_per_pixel is None  # the table lies one folder above


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y\n0,20\n1,abc\n", r"LI\.csv, line 3: y is 'abc'"),
        ("x,y\n0,20\n1\n", r"line 3: y is ''"),
        ("x,y\n0,nan\n", r"line 2: y is 'nan'"),
        ("a,b\n0,20\n", "has no column 'x'"),
        ("x,y\n", "holds no point"),
        ("", "has no column"),
        ("x,y\n0,20\n500,20\n", r"\(500, 20\), outside the image of 92 x 60"),
        ("x,y\n0,59\n91,59\n", "MA lies on or above LI at column 0"),
    ],
)
def test_bad_contour_files_are_named(study, text, message):
    (study / "subject0000" / "roi0.LI.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        read_plain(study)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *(
            (
                f"image,mm_per_pixel\nsubject0000/roi0.png,{mm}\n",
                f"line 2: {mm} mm per pixel is not",
            )
            for mm in (66.7, 6.6, 0.66, 0.0066, 0.00066, -0.066, 0)
        ),
        ("image,mm_per_pixel\nsubject0000/roi0.png,\n", "line 2: mm_per_pixel is ''"),
        (
            "image,mm_per_pixel\nsubject0000/roi0.png,0.06\nsubject0000/roi0.png,0.07\n",
            r"line 3: subject0000/roi0\.png has 0\.07 and 0\.06 mm per pixel",
        ),
        ("image,mm\nsubject0000/roi0.png,0.06\n", "has no column 'mm_per_pixel'"),
    ],
)
def test_bad_calibration_is_named(study, text, message):
    (study / "calibration.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        read_plain(study)


def test_a_calibration_of_images_that_are_not_there_is_told_of(study, capsys):
    (study / "calibration.csv").write_text("image,mm_per_pixel\nsubject0000/roi0.PNG,0.06\n")
    assert [roi.mm_per_pixel for roi in read_plain(study)] == [None] * 4
    assert "names 1 image that are not there (roi0.PNG)" in capsys.readouterr().err


def test_bad_images_are_named(study, tmp_path):
    path = study / "subject0000" / "roi0.png"
    Image.fromarray(np.zeros((60, 92), np.uint16)).save(path)
    with pytest.raises(UserError, match=r"roi0\.png.*8 bits"):
        read_plain(study)
    path.write_bytes(b"not an image")
    with pytest.raises(UserError, match="not a readable image"):
        read_plain(study)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no image"):
        read_plain(tmp_path / "empty")
    with pytest.raises(UserError, match="not a folder"):
        read_plain(tmp_path / "nowhere")


def test_contours_are_interpolated_inside_and_nan_outside():
    roi = with_contours(blank(), np.array([[30, 22], [10.5, 20], [10.5, 20]]), [[8, 30], [60, 30]])
    assert np.isnan(roi.li[:11]).all()
    assert np.isnan(roi.li[31:]).all()
    assert roi.li[20] == pytest.approx(20 + 2 * 9.5 / 19.5)
    assert np.isfinite(roi.ma[8:61]).all()


def test_contours_that_cannot_be_are_refused():
    with pytest.raises(UserError, match="do not overlap in x"):
        with_contours(blank(), [[0, 20], [30, 20]], [[40, 30], [80, 30]])
    crossing = np.array([[0, 25], [49, 21], [49.9, 20.5], [50, 19], [91, 19]])
    with pytest.raises(UserError, match=r"column 50 \(42 columns"):
        with_contours(blank(), LINE, crossing)
    with pytest.raises(UserError, match="another size"):
        with_contours(blank(), LINE, LINE + np.array([0, 45]))


def test_region_smaller_than_a_patch_is_refused():
    roi = with_contours(blank(height=30), LINE, LINE + np.array([0, 5]))
    check_size(roi, patch=30)
    with pytest.raises(UserError, match="92 x 30 px, smaller than a patch of 32"):
        check_size(roi, patch=32)


def test_crop_keeps_contours_on_their_pixels():
    rng = np.random.default_rng(0)
    whole = blank(width=300, height=200)
    whole = Roi(
        rng.integers(0, 255, (200, 300)).astype(np.uint8),
        whole.li,
        whole.ma,
        0.06,
        "s",
        "roi",
    )
    traced = with_contours(whole, [[100, 80], [190, 90]], [[95, 95], [190, 105]])
    part = crop_around(traced, margin=20)
    assert part.image.shape == (106 + 20 - 60, 191 + 20 - 75)
    assert part.li[100 - 75] == pytest.approx(80 - 60)
    column, row = 150 - 75, int(traced.li[150]) - 60
    assert part.image[row, column] == traced.image[int(traced.li[150]), 150]
    with pytest.raises(UserError, match="no contour"):
        crop_around(whole, 20)


def write_cubs(root, experts=("Manual-A1",), two_lines=False):
    """The CUBS layout with two subjects, left and right, each a picture around a phantom."""
    for folder in ("IMAGES", "CF"):
        (root / folder).mkdir(parents=True)
    truth = {}
    for index, identity in enumerate(("clin_0001_L", "clin_0001_R", "clin_0002_L")):
        roi = phantom_roi(index)
        picture = np.full((200, 300), 10, np.uint8)
        picture[70:130, 100:192] = roi.image
        Image.fromarray(picture).save(root / "IMAGES" / f"{identity}.tiff")
        (root / "CF" / f"{identity}_CF.txt").write_text("0.0606\n")
        truth[identity] = roi
        for expert in experts:
            folder = root / "LIMA" / expert
            folder.mkdir(parents=True, exist_ok=True)
            for which, rows in (("LI", roi.li), ("MA", roi.ma)):
                points = np.column_stack([np.arange(92) + 100, rows + 70])
                table = points.T if two_lines else points
                np.savetxt(folder / f"{identity}-{which}.txt", table)
    return truth


@pytest.mark.parametrize("two_lines", [False, True])
def test_cubs_in_both_profile_forms(tmp_path, two_lines):
    truth = write_cubs(tmp_path, two_lines=two_lines)
    rois = read_cubs(tmp_path, margin=10)
    assert [r.subject for r in rois] == ["0001", "0001", "0002"]
    for roi in rois:
        exact = truth[roi.name]
        assert roi.mm_per_pixel == 0.0606
        traced = ~np.isnan(roi.li)
        assert np.flatnonzero(traced)[[0, -1]].tolist() == [10, 101]
        top = int((exact.li + 70).min()) - 10
        assert roi.li[traced] + top == pytest.approx(exact.li + 70)
        assert roi.image[10:20, 10].tolist() == (
            np.pad(exact.image, 70, constant_values=10)[top + 10 : top + 20, 70].tolist()
        )


def test_cubs_experts_and_gaps(tmp_path):
    write_cubs(tmp_path, experts=("Manual-A1", "Manual-A2"))
    with pytest.raises(UserError, match="Manual-A1, Manual-A2; name one"):
        read_cubs(tmp_path)
    with pytest.raises(UserError, match="name one"):
        read_cubs(tmp_path, expert="A9")
    (tmp_path / "LIMA" / "Manual-A2" / "clin_0002_L-MA.txt").unlink()
    (tmp_path / "CF" / "clin_0001_R_CF.txt").unlink()
    with pytest.warns(UserWarning, match="no contour in 1 images"):
        rois = read_cubs(tmp_path, expert="Manual-A2")
    assert [r.mm_per_pixel for r in rois] == [0.0606, None]
    (tmp_path / "LIMA" / "Manual-A2" / "clin_0001_L-LI.txt").write_text("a b\n")
    (tmp_path / "LIMA" / "Manual-A2" / "clin_0002_L-MA.txt").write_text("0 0\n")
    with pytest.raises(UserError, match=r"clin_0001_L-LI\.txt is not a table"):
        read_cubs(tmp_path, expert="Manual-A2")
    with pytest.raises(UserError, match="0 tiff images"):
        read_cubs(tmp_path / "CF")


def write_dicom(path, pixels, delta=0.006, units=3, photometric="MONOCHROME2"):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.6.1")
    meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    dataset = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    colour = pixels.ndim == 4 or (pixels.ndim == 3 and pixels.shape[-1] == 3)
    dataset.SamplesPerPixel = 3 if colour else 1
    dataset.PhotometricInterpretation = "RGB" if colour else photometric
    if colour:
        dataset.PlanarConfiguration = 0
    frames = pixels.ndim - (1 if colour else 0) == 3
    dataset.Rows, dataset.Columns = pixels.shape[frames : frames + 2]
    if frames:
        dataset.NumberOfFrames = len(pixels)
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.itemsize
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
    dataset.PixelData = pixels.tobytes()
    if delta is not None:
        region = pydicom.Dataset()
        region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = units
        region.PhysicalDeltaX, region.PhysicalDeltaY = delta, -delta
        dataset.SequenceOfUltrasoundRegions = Sequence([region])
    dataset.save_as(path, enforce_file_format=True)
    return path


def test_dicom_brings_its_calibration_and_fits_the_plain_layout(tmp_path):
    roi = phantom_roi(0)
    folder = tmp_path / "patient"
    folder.mkdir()
    write_dicom(folder / "scan.dcm", roi.image)
    for which, rows in (("LI", roi.li), ("MA", roi.ma)):
        lines = ["x,y", *(f"{x},{y}" for x, y in enumerate(rows))]
        (folder / f"{which}.csv").write_text("\n".join(lines))
    (read,) = read_plain(tmp_path)
    assert (read.image == roi.image).all()
    assert read.mm_per_pixel == pytest.approx(0.06)
    assert read.li == pytest.approx(roi.li)


def test_dicom_that_contradicts_itself_is_no_calibration_and_another_modality_is_refused(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", phantom_roi(0).image)
    dataset = pydicom.dcmread(path)
    (region,) = dataset.SequenceOfUltrasoundRegions
    for delta, scale, said in ((0.006, 0.06, []), (0.009, None, ["0.06 and 0.09 mm per pixel"])):
        other = copy.deepcopy(region)
        other.PhysicalDeltaY = delta
        dataset.SequenceOfUltrasoundRegions = Sequence([region, other])
        dataset.save_as(path)
        found = read_dicom(path)
        assert found.mm_per_pixel == scale
        assert all(text in note for text, note in zip(said, found.notes, strict=True))
    absurd = read_dicom(write_dicom(path, phantom_roi(0).image, delta=5.0))
    assert absurd.mm_per_pixel is None and "50 mm per pixel" in absurd.notes[0]
    dataset.Modality = "CT"
    dataset.save_as(path)
    with pytest.raises(UserError, match=r"a\.dcm: its DICOM Modality is CT, not US"):
        read_dicom(path)


def test_dicom_frames_colour_and_units(tmp_path):
    film = np.stack([phantom_roi(k).image for k in range(3)])
    path = write_dicom(tmp_path / "film.dcm", film)
    assert (read_dicom(path)[0] == film[0]).all()
    colour = write_dicom(tmp_path / "colour.dcm", np.repeat(film[..., None], 3, axis=-1))
    assert (read_dicom(colour)[0] == film[0]).all() and not read_dicom(colour).colour
    tinted = film[..., None] * np.array([1, 0.5, 0.4])
    assert read_dicom(write_dicom(tmp_path / "photo.dcm", tinted.astype(np.uint8))).colour
    inverse = write_dicom(tmp_path / "inv.dcm", film[0], photometric="MONOCHROME1")
    assert (read_dicom(inverse)[0] == 255 - film[0]).all()
    (note,) = read_dicom(path).notes
    assert "first of its 3 frames" in note
    # A Doppler trace is scaled in seconds, not centimetres: that is no calibration.
    assert read_dicom(write_dicom(tmp_path / "time.dcm", film[0], units=4))[1] is None
    assert read_dicom(write_dicom(tmp_path / "none.dcm", film[0], delta=None))[1] is None
    with pytest.raises(UserError, match="16-bit"):
        read_dicom(write_dicom(tmp_path / "deep.dcm", film[0].astype(np.uint16)))
    (tmp_path / "bad.dcm").write_text("no")
    with pytest.raises(UserError, match=r"bad\.dcm"):
        read_dicom(tmp_path / "bad.dcm")
