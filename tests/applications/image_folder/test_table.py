"""labels.csv and class sub-folders: what is read and what is refused."""

import pytest

from medtune_jax.applications.image_folder.listing import read_listing
from medtune_jax.errors import UserError

GOOD = ["a.png,ill,p1", "b.png,ill,p2", "c.png,healthy,p3", "d.png,healthy,p4"]


def listing(folder, rows, header="image,label,patient"):
    for name in filter(None, (row.split(",")[0] for row in rows)):
        (folder / name).touch()
    (folder / "labels.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder


def refused(folder, *words):
    with pytest.raises(UserError) as error:
        read_listing(folder)
    for word in words:
        assert word in str(error.value)


def test_rows_of_a_csv(tmp_path):
    table = read_listing(listing(tmp_path, GOOD))
    assert table.patients_known
    assert [(r.image, r.label, r.patient, r.split) for r in table.rows] == [
        (*row.split(","), "") for row in GOOD
    ]


def test_a_spreadsheets_csv_with_mark_spaces_and_other_columns(tmp_path):
    text = "﻿ patient , image,age,label\r\n p1 ,a.png,50,ill\r\np2,b.png,60,ill\r\n"
    text += "p3,c.png,70,healthy\r\np4,d.png,80, healthy\r\n"
    listing(tmp_path, GOOD)
    (tmp_path / "labels.csv").write_bytes(text.encode())
    rows = read_listing(tmp_path).rows
    assert (rows[0].image, rows[0].patient) == ("a.png", "p1")
    assert {row.label for row in rows} == {"ill", "healthy"}


def test_missing_column(tmp_path):
    listing(tmp_path, ["a.png,ill"], "image,label")
    refused(tmp_path, "labels.csv has no column 'patient'", "found: image, label")


def test_an_empty_file(tmp_path):
    (tmp_path / "labels.csv").write_text("")
    refused(tmp_path, "has no column 'image'", "found: nothing")


def test_header_only(tmp_path):
    refused(listing(tmp_path, []), "one class only")


@pytest.mark.parametrize(
    ("row", "field"), [(",ill,p1", "image"), ("a.png,,p1", "label"), ("a.png,ill,", "patient")]
)
def test_an_empty_field_is_named_with_its_row(tmp_path, row, field):
    refused(listing(tmp_path, [*GOOD, row]), f"row 6 has an empty '{field}'")


def test_one_class(tmp_path):
    refused(listing(tmp_path, GOOD[:2]), "one class only ('ill')")


def test_a_label_with_one_patient(tmp_path):
    rows = [*GOOD, "e.png,rare,p9", "f.png,rare,p9"]
    refused(listing(tmp_path, rows), "label 'rare'", "one patient only ('p9')")


def given(rows, splits):
    return [f"{row},{split}" for row, split in zip(rows, splits, strict=True)]


def test_given_splits(tmp_path):
    rows = given(GOOD, ["train", "test", "train", "test"])
    table = read_listing(listing(tmp_path, rows, "image,label,patient,split"))
    assert [row.split for row in table.rows] == ["train", "test", "train", "test"]


def test_a_patient_in_both_splits(tmp_path):
    rows = given([*GOOD, "e.png,ill,p1"], ["train", "test", "train", "test", "test"])
    listing(tmp_path, rows, "image,label,patient,split")
    refused(tmp_path, "e.png", "patient 'p1' is in both train and test")


def test_an_unknown_split_or_a_gap(tmp_path):
    listing(tmp_path, given(GOOD, ["train", "test", "train", "third"]), "image,label,patient,split")
    refused(tmp_path, "row 5", "split 'third'")
    listing(tmp_path, given(GOOD, ["train", "test", "", "test"]), "image,label,patient,split")
    refused(tmp_path, "row 4 has no split")


def test_a_given_split_without_a_class(tmp_path):
    listing(tmp_path, given(GOOD, ["train", "train", "train", "test"]), "image,label,patient,split")
    refused(tmp_path, "given test split has no image of class 'ill'")


def test_class_folders(tmp_path):
    for name in (
        "ill/p1_0.png",
        "ill/p1_1.PNG",
        "ill/deep/p2_0.jpg",
        "healthy/p3_0.tif",
        "healthy/p4_0.dcm",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "ill" / "notes.txt").touch()
    table = read_listing(tmp_path)
    assert not table.patients_known
    assert len({row.patient for row in table.rows}) == len(table.rows) == 5
    assert {row.label for row in table.rows} == {"ill", "healthy"}
    named = read_listing(tmp_path, r"^(p\d+)_")
    assert named.patients_known
    assert sorted(row.patient for row in named.rows) == ["p1", "p1", "p2", "p3", "p4"]
    with pytest.raises(UserError, match=r"finds no patient in p3_0\.tif"):
        read_listing(tmp_path, r"^(q\d+)_")


def test_no_folder_and_an_empty_one(tmp_path):
    refused(tmp_path, "neither a labels.csv", "class sub-folders")
    refused(tmp_path / "absent", "there is no folder", "data.dir")
