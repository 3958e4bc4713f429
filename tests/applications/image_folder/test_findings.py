"""Several findings an image: words of one column, or a column each; what -1 and nothing mean."""

import re

import numpy as np
import pytest
from PIL import Image

from medtune_jax.applications.image_folder.findings import Wanted
from medtune_jax.applications.image_folder.listing import read_listing
from medtune_jax.applications.image_folder.task import IMAGE_FOLDER
from medtune_jax.errors import UserError
from medtune_jax.study import default_config

WORDS = """Image Index,Finding Labels,Follow-up #,Patient ID
a.png,Effusion|Mass,0,1
b.png,No Finding,1,1
c.png,Mass,0,2
d.png,Hernia|Effusion,0,3
"""
COLUMNS = """Path,Sex,Mass,Pleural Effusion
v1/train/patient1/a.png,F,1.0,
v1/train/patient1/b.png,F,-1.0,0.0
v1/train/patient2/c.png,M,,-1
v1/train/patient3/d.png,M,0.0,1.0
"""
OF_COLUMNS = {"columns": "Path", "patient_pattern": r"(patient\d+)"}


def table(folder, text, wanted, **fields):
    (folder / "labels.csv").write_text(text)
    rng = np.random.default_rng(0)
    for name in "abcd":
        pixels = rng.integers(0, 255, (8, 8), np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return read_listing(folder, wanted=Wanted(*wanted), **fields)


def truth(found):
    return {row.image: row.findings for row in found.rows}


def test_words_of_one_column(tmp_path):
    columns = "Image Index,Finding Labels,Patient ID"
    found = table(tmp_path, WORDS, ["all"], columns=columns)
    assert found.findings == ("Effusion", "Hernia", "Mass")
    want = {"a.png": (1, 0, 1), "b.png": (0, 0, 0), "c.png": (0, 0, 1), "d.png": (1, 1, 0)}
    assert truth(found) == want
    assert [row.patient for row in found.rows] == ["1", "1", "2", "3"]
    found = table(tmp_path, WORDS, ["Mass,Effusion"], columns=columns)
    assert found.findings == ("Mass", "Effusion") and truth(found)["d.png"] == (0, 1)
    assert any("not used: Hernia" in note for note in found.notes)


@pytest.mark.parametrize(
    ("uncertain", "blank", "want"),
    [
        ("ignore", "negative", [(1, 0), (-1, 0), (0, -1), (0, 1)]),
        ("positive", "ignore", [(1, -1), (1, 0), (-1, 1), (0, 1)]),
        ("negative", "positive", [(1, 1), (0, 0), (1, 0), (0, 1)]),
    ],
)
def test_a_column_each(tmp_path, uncertain, blank, want):
    wanted = ["Mass,pleural effusion", uncertain, blank]
    found = table(tmp_path, COLUMNS, wanted, **OF_COLUMNS)
    assert found.findings == ("Mass", "Pleural Effusion")
    assert [row.findings for row in found.rows] == want
    assert [row.patient for row in found.rows] == ["patient1", "patient1", "patient2", "patient3"]
    assert found.subgroups == {"Sex": dict(zip(truth(found), "FFMM", strict=True))}
    assert f"2 uncertain (-1) values of findings: {uncertain} (--config.data.uncertain)" in (
        found.notes
    )
    assert f"2 blank values of findings: {blank} (--config.data.blank)" in found.notes


@pytest.mark.parametrize(
    ("text", "wanted", "fields", "message"),
    [
        (WORDS, ["Effusion"], {"columns": "Image Index,Finding Labels,Patient ID"}, "two or more"),
        (
            WORDS,
            ["Mas,Effusion"],
            {"columns": "Image Index,Finding Labels,Patient ID"},
            "'Mas' is not in column 'Finding Labels' of .*; did you mean 'Mass'",
        ),
        (COLUMNS, ["Mass,Efusion"], OF_COLUMNS, "'Efusion' is not a column of"),
        (COLUMNS, ["Mass,Pleural Effusion", "ignored"], OF_COLUMNS, "did you mean 'ignore'"),
        (
            COLUMNS.replace("-1.0", "2"),
            ["Mass,Pleural Effusion"],
            OF_COLUMNS,
            "row 3 has '2' in 'Mass'",
        ),
        (
            COLUMNS,
            ["Mass,Pleural Effusion"],
            {"columns": "Path"},
            "name the columns of image and patient",
        ),
        (
            COLUMNS,
            ["Mass,Pleural Effusion"],
            {"columns": "Path", "patient_pattern": "(person)"},
            r"finds no patient in v1/train/patient1/a\.png",
        ),
        (
            WORDS.replace("No Finding", ""),
            ["all"],
            {"columns": "Image Index,Finding Labels,Patient ID"},
            "row 3 has an empty 'Finding Labels': write No Finding",
        ),
        (
            WORDS + "a.png,Mass,0,2\n",
            ["all"],
            {"columns": "Image Index,Finding Labels,Patient ID"},
            "rows 2 and 6: a.png has two values of 'patient'",
        ),
        (
            COLUMNS + "v1/train/patient1/a.png,F,0,0\n",
            ["Mass,Pleural Effusion"],
            OF_COLUMNS,
            "rows 2 and 6: .*a.png has two values of 'findings'",
        ),
        (
            WORDS.replace("No Finding", "No Finding|Mass"),
            ["all"],
            {"columns": "Image Index,Finding Labels,Patient ID"},
            r"row 3 has 'No Finding\|Mass' in 'Finding Labels', a finding and none",
        ),
        *(
            (
                WORDS.replace("Hernia|Effusion", f'"Hernia{between}Mass"'),
                ["all"],
                {"columns": "Image Index,Finding Labels,Patient ID"},
                rf"holds 'Hernia{re.escape(between)}Mass', whose parts are findings too: write \|",
            )
            for between in (", ", "; ", "/", " + ")
        ),
    ],
)
def test_what_is_refused(tmp_path, text, wanted, fields, message):
    with pytest.raises(UserError, match=message):
        table(tmp_path, text, wanted, **fields)


def test_findings_need_a_table(tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(UserError, match="has no table: findings are words or columns"):
        read_listing(tmp_path, wanted=Wanted("all"))


def test_a_bar_in_labels_is_told_of(tmp_path):
    text = "image,label,patient\n" + "".join(
        f"{name}.png,{label},{name}\n"
        for name, label in zip("abcd", ["A|B", "A", "A|B", "A"], strict=True)
    )
    found = table(tmp_path, text, [""])
    assert any("--config.data.findings=all reads several" in note for note in found.notes)


def test_the_data_set_has_a_label_for_each_finding(tmp_path):
    table(tmp_path, COLUMNS, ["Mass,Pleural Effusion"], **OF_COLUMNS)
    config = default_config()
    config.data.dir, config.data.findings = str(tmp_path), "Mass,Pleural Effusion"
    config.data.columns, config.data.patient_pattern = OF_COLUMNS.values()
    dataset = IMAGE_FOLDER.load(config, 8)
    assert dataset.classes == ("Mass", "Pleural Effusion")
    assert dataset.labels.tolist() == [[1, 0], [-1, 0], [0, -1], [0, 1]]
    assert dataset.objective.name == "sigmoid"


def test_rows_of_one_image_are_joined(tmp_path):
    """VinDr-CXR has a row for each finding."""
    columns = "Image Index,Finding Labels,Patient ID"
    found = table(tmp_path, WORDS + "c.png,Hernia,0,2\nc.png,Mass,1,2\n", ["all"], columns=columns)
    assert truth(found)["c.png"] == (0, 1, 1) and len(found.rows) == 4
    assert "1 images have several rows of labels.csv: their findings are joined" in found.notes


def test_findings_that_may_be_one_or_none_are_warned_about(tmp_path):
    columns = "Image Index,Finding Labels,Patient ID"
    text = WORDS.replace("Hernia|Effusion", "effusion|Normal")
    notes = "\n".join(table(tmp_path, text, ["all"], columns=columns).notes)
    assert "labels 'Effusion', 'effusion' may be one" in notes
    assert "finding 'Normal' reads like none" in notes


def test_labels_of_several_words_are_told_of(tmp_path):
    (tmp_path / "labels.csv").write_text(
        "image,label,patient\na.png,A;B,1\nb.png,A,2\nc.png,A;B,3\nd.png,A,4\n"
    )
    for name in "abcd":
        (tmp_path / f"{name}.png").touch()
    assert any("hold 'A;B', whose parts are classes too" in n for n in read_listing(tmp_path).notes)
