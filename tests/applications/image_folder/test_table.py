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
    refused(tmp_path, "labels.csv has no column 'patient'", "found: image, label", "data.columns=")


def test_an_empty_file(tmp_path):
    (tmp_path / "labels.csv").write_text("")
    refused(tmp_path, "has no column 'image'", "found: nothing")


def test_header_only(tmp_path):
    refused(listing(tmp_path, []), "a header and no rows")


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


def rows_of(folder, rows, files, **keywords):
    """The images of a table whose rows name them otherwise than the files are called."""
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    text = "\n".join(["image,label,patient", *rows]) + "\n"
    (folder / "labels.csv").write_text(text, encoding="utf-8")
    return read_listing(folder, **keywords)


@pytest.mark.parametrize(
    ("named", "kept"),
    [
        ("{}", "{}.png"),
        ("img\\{}.png", "img/{}.png"),
        ("C:\\study\\img\\{}.png", "img/{}.png"),
        ("./{}.png", "{}.png"),
        ("/home/me/{}.png", "{}.png"),
        ("é{}.png", "é{}.png"),
        ("{}.PNG", "{}.png"),
        ("{}.png", "{}.PNG"),
        ("{}.png", "images/{}.png"),
        ("images/{}.png", "{}.png"),
        ("1.2.840.{}", "1.2.840.{}.dcm"),
        ("nan{}.png", "nan{}.png"),
    ],
)
def test_images_are_found_by_what_a_table_calls_them(tmp_path, named, kept):
    rows = [f"{named.format(n)},{'ab'[n % 2]},p{n}" for n in range(4)]
    table = rows_of(tmp_path, rows, [kept.format(n) for n in range(4)])
    assert [row.image for row in table.rows] == [kept.format(n) for n in range(4)]
    assert any("under another name" in note for note in table.notes) == (named != kept)


def test_images_that_are_not_there_are_listed_with_what_there_is(tmp_path):
    rows = [*GOOD, "left.png,ill,p5", "IMG_0001.png,ill,p6"]
    files = ["a.png", "b.png", "c.png", "d.png", "left.jpg", "IMG_001.png"]
    with pytest.raises(UserError) as error:
        rows_of(tmp_path, rows, files)
    assert "2 of 6 images" in str(error.value)
    assert "row 6: left.png (there is left.jpg)" in str(error.value)
    assert "row 7: IMG_0001.png (there is IMG_001.png)" in str(error.value)


def test_a_name_of_two_files_is_asked_about(tmp_path):
    with pytest.raises(UserError, match=r"a\.png may be one/a\.png or two/a\.png"):
        rows_of(tmp_path, GOOD, ["one/a.png", "two/a.png", "b.png", "c.png", "d.png"])
    inside = ["two/a.png,ill,p1", *GOOD[1:]]
    table = rows_of(tmp_path, inside, ())
    assert table.rows[0].image == "two/a.png"
    assert table.passed_over == {"images that labels.csv does not name": 1}


@pytest.mark.parametrize("cell", ["nan", "NaN", "NULL", "n/a"])
@pytest.mark.parametrize("column", ["label", "patient"])
def test_a_missing_value_is_refused_by_row(tmp_path, cell, column):
    row = f"e.png,{cell},p9" if column == "label" else f"e.png,ill,{cell}"
    refused(listing(tmp_path, [*GOOD, row]), f"row 6 has no '{column}' but '{cell}'")


def test_spellings_that_may_be_one_are_warned_about(tmp_path):
    rows = [*GOOD, "e.png,Ill,7", "f.png,Ill,07", "g.png,ill,7.0"]
    rows += [
        f"{name}.png,{label},{name}" for name, label in zip("hijk", ("1", "1.0") * 2, strict=True)
    ]
    table = read_listing(listing(tmp_path, rows))
    assert {row.label for row in table.rows} == {"ill", "Ill", "healthy", "1", "1.0"}
    for names in ("'ill', 'Ill'", "'1', '1.0'"):
        assert f"labels {names} may be one but are 2 classes: is that meant?" in table.notes
    assert "patients '7', '07', '7.0' may be one person but count as 3" in table.notes
    refused(listing(tmp_path, [*GOOD, "e.png,Ill,p9"]), "label 'Ill' (is it 'ill'?)")


def test_an_image_in_two_rows(tmp_path):
    table = read_listing(listing(tmp_path, [*GOOD, GOOD[0], "./a.png,ill,p1"]))
    assert [row.image for row in table.rows].count("a.png") == 1
    assert "2 rows of labels.csv repeat another and are read once" in table.notes
    refused(
        listing(tmp_path, [*GOOD, "a.png,healthy,p1"]),
        "rows 2 and 6: a.png has two values of 'label'",
    )
    refused(listing(tmp_path, [*GOOD, "a.png,ill,p8"]), "two values of 'patient', 'p1' and 'p8'")


def test_a_table_with_its_own_name_and_columns(tmp_path):
    listing(tmp_path, GOOD)
    (tmp_path / "labels.csv").rename(tmp_path / "meta.csv")
    text = (tmp_path / "meta.csv").read_text().replace("image,label,patient", "id,dx,lesion")
    (tmp_path / "meta.csv").write_text(text)
    table = read_listing(tmp_path, table="meta.csv", columns="id,dx,lesion")
    assert [row.patient for row in table.rows] == ["p1", "p2", "p3", "p4"]
    with pytest.raises(UserError, match="no column 'dy'"):
        read_listing(tmp_path, table="meta.csv", columns="id,dy,lesion")
    with pytest.raises(UserError, match="there is no table"):
        read_listing(tmp_path, table="mata.csv")
    refused(tmp_path, "there is meta.csv")


def test_a_validation_split_joins_training(tmp_path):
    rows = given([*GOOD, "e.png,ill,p5"], ["Train", "TEST", "training", "testing", "valid"])
    table = read_listing(listing(tmp_path, rows, "image,label,patient,split"))
    assert [row.split for row in table.rows] == ["train", "test", "train", "test", "train"]


FURTHER = [
    f"{c}{i}.png,{c},{c}{i},{'FM'[i % 2]},{i},{site}"
    for i, site in enumerate("AABB" * 3)
    for c in ("ill", "healthy")
]


def test_further_columns_with_few_values_are_sub_groups(tmp_path):
    table = read_listing(listing(tmp_path, FURTHER, "image,label,patient,Sex,age,site"))
    assert list(table.subgroups) == ["Sex", "age", "site"]
    assert table.subgroups["Sex"]["ill1.png"] == "M" and table.subgroups["site"]["ill2.png"] == "B"
    assert any("sub-groups of the test set by Sex, age, site" in note for note in table.notes)


def test_a_column_of_numbers_or_of_one_value_is_none(tmp_path):
    rows = [f"{row},{n},same" for n, row in enumerate(FURTHER)]
    table = read_listing(listing(tmp_path, rows, "image,label,patient,Sex,age,site,weight,scanner"))
    assert list(table.subgroups) == ["Sex", "age", "site"]
    assert any("no sub-groups by weight of labels.csv" in note for note in table.notes)


def test_columns_that_are_named_are_kept_whatever_they_hold(tmp_path):
    listing(
        tmp_path,
        [f"{row},{n}" for n, row in enumerate(FURTHER)],
        "image,label,patient,Sex,age,site,weight",
    )
    table = read_listing(tmp_path, subgroups="weight, sex")
    assert list(table.subgroups) == ["weight", "Sex"]
    with pytest.raises(UserError, match="no further column 'wieght'; did you mean 'weight'"):
        read_listing(tmp_path, subgroups="wieght")
    with pytest.raises(UserError, match="no further column 'label'"):
        read_listing(tmp_path, subgroups="label")


def test_a_column_that_says_two_things_of_an_image(tmp_path):
    rows = [*FURTHER, FURTHER[0].replace(",F,", ",M,")]
    listing(tmp_path, rows, "image,label,patient,sex,age,site")
    table = read_listing(tmp_path)
    assert len(table.rows) == len(FURTHER) and list(table.subgroups) == ["age", "site"]
    with pytest.raises(UserError, match=r"row 26: ill0.png has two values of 'sex', 'F' and 'M'"):
        read_listing(tmp_path, subgroups="sex")


def test_sub_groups_of_folders_are_refused(tmp_path):
    for name in ("ill", "healthy"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").touch()
    with pytest.raises(UserError, match="has no table: sub-groups are columns"):
        read_listing(tmp_path, subgroups="site")


def test_columns_of_one_name_and_other_separators(tmp_path):
    rows = [row.replace(",", ";") + ";x" for row in FURTHER]
    for row in FURTHER:
        (tmp_path / row.split(",")[0]).touch()
    text = "\n".join(["image;label;patient;sex;age;site;SITE", *rows])
    (tmp_path / "labels.csv").write_text(text)
    assert list(read_listing(tmp_path).subgroups) == ["sex", "age"]


def test_a_file_is_never_two_images_nor_that_of_another_folder(tmp_path):
    files = ["p1/1.png", "p2/0.png", "p2/1.png", "p3/2.png"]
    rows = [f"{name},{label},{name}" for name, label in zip(files, "abab", strict=True)]
    rows_of(tmp_path, rows, files)
    for lost, said in (
        ("p1/0.png,a,x", "row 6: p1/0.png (there is p2/0.png)"),  # p1 is there, and has no 0.png
        ("gone/2.png,b,p3/2.png", "gone/2.png would both be p3/2.png"),
    ):
        lines = ["image,label,patient", *rows, lost]
        (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
        refused(tmp_path, said)


def test_words_that_are_no_values_and_rounded_numbers_are_warned_about(tmp_path):
    names = ["?", "?", "a", "a", "a", "b", "b", "b"]
    patients = ["p1", "p2", "unknown", "unknown", "1.23E+17", "p3", "p4", "p5"]
    rows = [f"{k}.png,{n},{p}" for k, (n, p) in enumerate(zip(names, patients, strict=True))]
    notes = "\n".join(read_listing(listing(tmp_path, rows)).notes)
    for said in (
        "class '?' reads like a cell without a value",
        "patient 'unknown' counts as one person with 2 images",
        "1 patients such as '1.23E+17' are numbers that a spreadsheet has rounded",
    ):
        assert said in notes


def test_numbers_that_lost_their_zeros_are_named(tmp_path):
    rows = [f"{k:03}.png,{'ab'[k % 2]},p{k}" for k in range(4)]
    listing(tmp_path, rows)
    (tmp_path / "labels.csv").write_text("image,label,patient\n1,a,p1\n")
    refused(tmp_path, "row 2: 1 (there is 001.png)")
