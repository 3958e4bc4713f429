"""Which files of a folder are which patient's volume and mask; a folder in doubt makes nobody healthy."""

import numpy as np
import pytest
from scipy import io

from medtune_jax.datasets.ct.cases import find_cases, load_case
from medtune_jax.errors import UserError
from medtune_jax.phantoms.ctpa.files import write_dicom_series, write_dicom_study, write_nifti
from tests.datasets.volumes import ORIGIN, SPACING, assert_same, write_nrrd


def test_study_on_disk_reads_back_voxel_for_voxel(tmp_path):
    shape, spacing = (40, 80, 80), (3.6, 2.4, 2.4)
    phantoms = write_dicom_study(tmp_path, 2, 5, shape, spacing, emboli=2, healthy=1)
    cases = find_cases(tmp_path)
    assert [c.patient for c in cases] == ["p000", "p001"]
    for case, phantom in zip(cases, phantoms, strict=True):
        volume, labels = load_case(case)
        np.testing.assert_array_equal(volume.hu, phantom.hu)
        np.testing.assert_array_equal(labels, phantom.labels)
    assert phantoms[0].emboli and not phantoms[1].emboli
    (tmp_path / "p001" / "emboli.nii.gz").unlink()
    assert not load_case(find_cases(tmp_path)[1])[1].any()
    write_nifti(tmp_path / "p000" / "emboli.nii.gz", np.zeros((2, 2, 2), np.uint8), spacing)
    with pytest.raises(UserError, match="Patient p000: The mask"):
        load_case(cases[0])


def test_cad_pe_layout(tmp_path, hu):
    write_nrrd(tmp_path / "007.nrrd", hu, SPACING, ORIGIN)
    with pytest.raises(UserError, match=r"Patient 007: .*no 007RefStd\.nrrd"):
        load_case(find_cases(tmp_path)[0])
    labels = (hu > 3000).astype(np.uint8) * 3
    write_nrrd(tmp_path / "007RefStd.nrrd", labels, SPACING, ORIGIN)
    (case,) = find_cases(tmp_path)
    np.testing.assert_array_equal(load_case(case)[1], labels)


def test_fumpe_mask_follows_file_names(tmp_path, hu):
    mask = np.zeros(hu.shape, np.uint8)
    mask[1, 2:4, 2:4] = mask[4, 6:8, 8:10] = 1
    files = write_dicom_series(tmp_path / "CT_scans" / "PAT001", hu, SPACING, "PAT001")
    by_name = mask[np.argsort([p.name for p in files])]
    (tmp_path / "GroundTruth").mkdir()
    path = tmp_path / "GroundTruth" / "PAT001.mat"
    io.savemat(path, {"Mask": by_name.transpose(1, 2, 0)})
    _, labels = load_case(find_cases(tmp_path)[0])
    np.testing.assert_array_equal(labels > 0, mask > 0)
    assert labels.max() == 2


def plain_patient(folder, hu, mask):
    write_nifti(folder / "volume.nii.gz", hu, SPACING)
    write_nifti(folder / "emboli.nii.gz", mask, SPACING)


@pytest.mark.parametrize("value", [1, 255])
def test_a_mask_of_one_value_is_numbered_by_connected_clots(tmp_path, hu, value):
    mask = np.zeros(hu.shape, np.uint8)
    mask[1, 2:4, 2:4] = mask[2, 4, 4] = mask[4, 6:8, 8:10] = (
        value  # the first two touch by a corner
    )
    plain_patient(tmp_path / "p", hu, mask)
    volume, labels = load_case(find_cases(tmp_path)[0])
    np.testing.assert_array_equal(labels > 0, mask > 0)
    assert labels[1, 2, 2] == labels[2, 4, 4] != labels[4, 6, 8] and labels.max() == 2
    assert "2 connected clots count as emboli" in volume.notes[0]


def test_a_mask_of_several_values_keeps_its_numbers(tmp_path, hu):
    mask = np.zeros(hu.shape, np.uint8)
    mask[1, 2:4, 2:4] = mask[4, 6:8, 8:10] = 3  # one embolus in two pieces
    mask[5, 0, 0] = 7
    plain_patient(tmp_path / "p", hu, mask)
    volume, labels = load_case(find_cases(tmp_path)[0])
    np.testing.assert_array_equal(labels, mask)
    assert volume.notes == ()


def test_a_folder_that_contradicts_itself_is_one_bad_patient(tmp_path, hu):
    mask = np.zeros(hu.shape, np.uint8)
    plain_patient(tmp_path / "a", hu, mask)
    plain_patient(tmp_path / "b", hu, mask)
    write_nrrd(tmp_path / "b" / "volume.nrrd", hu, SPACING, ORIGIN)
    (tmp_path / "__MACOSX" / "dicom").mkdir(parents=True)
    good, bad = find_cases(tmp_path)
    np.testing.assert_array_equal(load_case(good)[0].hu, hu)
    with pytest.raises(UserError, match=r"Patient b: .*volume\.nii\.gz and volume\.nrrd: keep one"):
        load_case(bad)


@pytest.mark.parametrize(
    ("renamed", "said"),
    [
        (("emboli.nii.gz", "Emboli.NII.gz"), ""),
        (("volume.nii.gz", "VOLUME.nii.GZ"), ""),
        (("emboli.nii.gz", "mask.nii.gz"), "holds mask.nii.gz: call a volume"),
        (("volume.nii.gz", "ct.nii.gz"), "holds ct.nii.gz: call a volume"),
        (("volume.nii.gz", ""), "no volume beside emboli.nii.gz"),
    ],
)
def test_a_file_under_another_name_never_makes_a_patient_healthy_or_vanish(
    tmp_path, hu, renamed, said
):
    mask = np.zeros(hu.shape, np.uint8)
    mask[1, 2, 2] = 1
    plain_patient(tmp_path / "a", hu, mask)
    plain_patient(tmp_path / "b", hu, mask)
    before, after = renamed
    path = tmp_path / "b" / before
    path.rename(path.with_name(after)) if after else path.unlink()
    _, case = find_cases(tmp_path)
    if said:
        with pytest.raises(UserError, match=f"Patient b: .*{said}"):
            load_case(case)
    else:
        assert load_case(case)[1].max() == 1


@pytest.mark.parametrize(
    "name",
    ["emboli.mha", "emboli.seg.nrrd.zip", "Mask.dcm", "clots.mat", "scan.mhd", "emboli/1.nii.gz"],
)
def test_a_mask_of_a_format_that_is_not_read_never_makes_a_patient_healthy(tmp_path, hu, name):
    write_nifti(tmp_path / "p" / "volume.nii.gz", hu, SPACING)
    for path in (tmp_path / "p" / name, tmp_path / "p" / "report.txt"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"?")
    with pytest.raises(
        UserError, match=rf"Patient p: .* holds {name.split('/')[0]}: call a volume"
    ):
        load_case(find_cases(tmp_path)[0])


def test_slices_in_a_folder_called_dicom_in_any_case(tmp_path, hu):
    write_dicom_series(tmp_path / "p" / "DICOM", hu, SPACING, "p", ORIGIN)
    assert_same(load_case(find_cases(tmp_path)[0])[0], hu)


@pytest.mark.parametrize("ground", [1, 3])
def test_an_inverted_mask_is_not_one_large_embolus(tmp_path, hu, ground):
    mask = np.full(hu.shape, ground, np.uint16)
    mask[2:4, 3:5, 3:5] = ground - 1
    plain_patient(tmp_path / "p", hu, mask)
    with pytest.raises(UserError, match=r"marks 100% of the outermost voxels.*is it inverted"):
        load_case(find_cases(tmp_path)[0])


def test_no_patients(tmp_path):
    with pytest.raises(UserError, match="holds no patients"):
        find_cases(tmp_path)
