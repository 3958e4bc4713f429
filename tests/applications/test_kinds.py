"""What a study keeps of the kinds of its pictures, and what is refused or said of new ones."""

import json

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from medtune_jax.applications.image_folder.task import load
from medtune_jax.applications.kinds import (
    Kinds,
    differences,
    modality_of,
    read_kinds,
    require_alike,
)
from medtune_jax.errors import UserError
from medtune_jax.images import in_colour
from medtune_jax.study import default_config

GRAY = np.tile(np.arange(64, dtype=np.uint8) * 3, (64, 1))


def write_dicom(path, modality, pixels=GRAY):
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", generate_uid()
    data.Modality, data.PhotometricInterpretation = modality, "MONOCHROME2"
    data.Rows, data.Columns = pixels.shape
    data.BitsAllocated = data.BitsStored = 8
    data.SamplesPerPixel, data.HighBit, data.PixelRepresentation = 1, 7, 0
    data.PixelData = pixels.tobytes()
    data.save_as(path, enforce_file_format=True)
    return path


def study_at(folder, content):
    (folder / "application").mkdir(parents=True)
    (folder / "application" / "kinds.json").write_bytes(content)
    return folder


@pytest.mark.parametrize(
    "study, modality, alike",
    [
        (["DX", "DX"], "DX", True),
        (["DX"], "CR", True),  # both are radiographs
        (["DX"], "CT", False),
        (["DX"], "MG", False),
        (["CT", "MR"], "MR", True),
        (["DX", ""], "CT", False),
        (["DX"], "", True),  # said, not refused
        (["", ""], "CT", True),
    ],
)
def test_another_modality_is_refused_where_both_are_known(tmp_path, study, modality, alike):
    kinds = Kinds.of(study, [])
    if alike:
        require_alike(kinds, tmp_path / "a.dcm", modality)
    else:
        with pytest.raises(UserError, match=rf"a\.dcm: its DICOM Modality is {modality}"):
            require_alike(kinds, tmp_path / "a.dcm", modality)
    require_alike(None, tmp_path / "a.dcm", modality)  # an older study's are not known


@pytest.mark.parametrize(
    "study, new, said",
    [
        ((["DX"], [False]), (["CR"], [False]), None),
        (([""], [False]), ([""], [False]), None),
        (([""], [False]), (["CT", ""], [False] * 2), "1 of 2 images is DICOM of modality CT"),
        ((["DX"], [False]), (["", ""], [False] * 2), "2 of 2 images are without a DICOM Modality"),
        (([""], [False]), (["", ""], [True, False]), "1 of 2 images is in colour"),
        (([""], [True]), ([""], [False]), "1 of 1 image is gray"),
        (([""] * 2, [True, False]), ([""], [True]), None),
    ],
)
def test_what_else_differs_is_said(study, new, said):
    lines = differences(Kinds.of(*study), Kinds.of(*new), "images")
    assert [said] == [line.partition(", and the")[0].removeprefix("note: ") for line in lines] or (
        said is None and lines == []
    )


def test_the_record_is_read_back_and_an_older_study_has_none(tmp_path):
    kinds = Kinds.of(["CR", "", "CR"], [True, False])
    assert read_kinds(study_at(tmp_path / "new", kinds.file["kinds.json"])) == kinds
    assert read_kinds(tmp_path) is None
    (line,) = differences(None, kinds, "frames")
    assert "no record" in line
    with pytest.raises(UserError, match=r"kinds\.json is damaged"):
        read_kinds(study_at(tmp_path / "damaged", b"{"))


def test_a_study_records_what_its_files_say(tmp_path):
    rows, rng = ["image,label,patient"], np.random.default_rng(0)
    for number in range(12):
        name = f"{number}.png" if number % 3 else f"{number}.dcm"
        pixels = rng.integers(0, 256, (64, 64), np.uint8)
        if number % 3:
            Image.fromarray(pixels).save(tmp_path / name)
        else:
            write_dicom(tmp_path / name, ("DX", "CR")[number % 2], pixels)
        rows.append(f"{name},{'ab'[number // 2 % 2]},p{number // 2}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    config = default_config()
    config.data.dir = str(tmp_path)
    found = json.loads(load(config, 64).files["kinds.json"])
    del found["checksum"]
    assert found == {
        "modalities": {"DX": 2, "CR": 2},
        "unstated": 8,
        "colour": 0,
        "gray": 12,
    }


def test_what_a_file_states(tmp_path):
    assert modality_of(write_dicom(tmp_path / "a.dcm", "MR")) == "MR"
    assert modality_of(write_dicom(tmp_path / "b", "OT")) == ""  # "other" says nothing
    Image.fromarray(GRAY).save(tmp_path / "c.png")
    assert modality_of(tmp_path / "c.png") == ""


def test_colour_is_what_a_person_calls_so():
    gray = np.repeat(GRAY[..., None], 3, axis=-1)
    marked = gray.copy()
    marked[:8, :16] = (255, 200, 0)  # a scanner's coloured letters
    tissue = np.clip(gray * (1.0, 0.5, 0.4), 0, 255).astype(np.uint8)
    assert [in_colour(picture) for picture in (gray, marked, tissue)] == [False, False, True]
