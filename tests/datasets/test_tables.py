"""Tables as spreadsheets and programs save them: one content, whatever the file."""

import codecs

import pytest

from medtune_jax.datasets.tables import columns_of, read_table
from medtune_jax.errors import UserError

CELLS = {"image": "é.png", "label": "naïve, mild", "patient": "Ñ 7"}
NAMES = tuple(CELLS)


def text(delimiter=",", newline="\n", tail=""):
    quoted = (f'"{cell}"' if delimiter in cell else cell for cell in CELLS.values())
    return newline.join([delimiter.join(NAMES) + tail, delimiter.join(quoted) + tail, ""])


@pytest.mark.parametrize(
    "content",
    [
        text().encode(),
        text(newline="\r\n").encode("utf-8-sig"),
        text(newline="\r").encode(),
        text(";").encode(),
        text("\t").encode("utf-16"),
        codecs.BOM_UTF16_BE + text().encode("utf-16-be"),
        text().encode("utf-16-le"),
        text().encode("utf-32"),
        ("\u200b" + text().replace(",naïve", ",\u200bnaïve").replace("7", "7\0")).encode(),
        text().encode("utf-16-be"),
        text("|").encode(),
        text(tail=",,,").encode(),
        ("sep=;\r\n" + text(";", "\r\n")).encode(),
        ("\n\n" + text()).encode(),
        text().replace("image,label,patient", "Image, LABEL ,Patient").encode(),
        (text() + ",,\n\n").encode(),
    ],
)
def test_one_content_in_many_files(tmp_path, content):
    (tmp_path / "t.csv").write_bytes(content)
    notes: list[str] = []
    assert [row for _, row in read_table(tmp_path / "t.csv", NAMES, ("split",), notes)] == [
        {**CELLS, "split": ""}
    ]
    assert not notes


def test_a_windows_code_page_is_said(tmp_path):
    (tmp_path / "t.csv").write_bytes(text().encode("cp1252"))
    notes: list[str] = []
    assert read_table(tmp_path / "t.csv", NAMES, notes=notes) == [(2, CELLS)]
    assert len(notes) == 1 and "cp1252" in notes[0]
    with pytest.warns(UserWarning, match="cp1252"):
        read_table(tmp_path / "t.csv", NAMES)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("image,label\na,b\n", "no column 'patient'"),
        ("image,label,patient,label\na,b,c,d\n", "two columns 'label'"),
        ("image,label,patient\na.png,mild, severe,p1\n", "line 2 has 4 cells but the header 3"),
        (
            'image,label,patient\na.png,"mild,p1\nb.png,mild,p2\n',
            "line 2: a quotation mark is opened",
        ),
        ("PK\x03\x04 and more", "is a workbook"),
        ("", "found: nothing"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path, content, said):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(UserError, match=said):
        read_table(tmp_path / "t.csv", NAMES)


def test_cells_of_several_lines_beside_those_that_are_read(tmp_path):
    rows = 'a.png,mild,p1,"first line\nand ""second"""\nb.png,mild,p2,short\n'
    (tmp_path / "t.csv").write_text("image,label,patient,report\n" + rows)
    notes: list[str] = []
    found = read_table(tmp_path / "t.csv", NAMES, notes=notes)
    assert [(line, row["patient"]) for line, row in found] == [(3, "p1"), (4, "p2")]
    assert notes == [f"{tmp_path / 't.csv'}: 1 rows have cells of several lines"]
    (tmp_path / "t.csv").write_text('image,label,patient\n"a\nb.png",mild,p1\n')
    with pytest.raises(
        UserError, match="line 3: a quotation mark is opened and not closed in a line before"
    ):
        read_table(tmp_path / "t.csv", NAMES)


def test_lines_are_those_of_the_file(tmp_path):
    (tmp_path / "t.csv").write_text("\nsep=,\nimage,label,patient\na,b,c\n\nd,e,f\n")
    assert [line for line, _ in read_table(tmp_path / "t.csv", NAMES)] == [4, 6]


def test_columns_of_any_table(tmp_path):
    (tmp_path / "t.csv").write_text("Frame ; Sequence;;\n1;2;;\n")
    assert columns_of(tmp_path / "t.csv") == ["Frame", "Sequence"]
