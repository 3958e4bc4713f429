"""Two studies side by side: paired by patient and seed; refused, with what differs, on other test sets."""

import csv

import numpy as np
import pytest

from medtune_jax.cli import run
from medtune_jax.errors import UserError
from medtune_jax.evaluation import AUC, difference
from medtune_jax.report.compared import answer
from medtune_jax.study import compare
from tests.report.fake_study import write_study

DEPTHS = ("conv10", "fire9", "scratch")


@pytest.fixture(scope="module")
def weak(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("weak"), depths=DEPTHS, fractions=(1.0,))


@pytest.fixture(scope="module")
def strong(tmp_path_factory):
    return write_study(
        tmp_path_factory.mktemp("strong"), depths=DEPTHS, fractions=(1.0,), skill=lambda d, f: 2.5
    )


def scores(study, depth):
    return np.stack([r.scores for r in study.cell(depth, 1.0)])


def test_the_difference_is_that_of_the_one_mechanism(weak, strong):
    found = compare(weak, strong)
    assert found.rows[0].cells[0][0] in ("conv10", "fire9")
    by_depth = {row.cells[0][0]: row for row in found.rows if row.cells[0] == row.cells[1]}
    assert {*DEPTHS} == {*by_depth}
    one, other = found.first.study, found.other.study
    for depth, row in by_depth.items():
        expected = difference(
            AUC, one.test.labels, scores(one, depth), scores(other, depth), one.test.groups
        )
        assert row.difference.estimate == pytest.approx(expected.estimate, abs=1e-9)
        assert row.difference.p == pytest.approx(expected.p, rel=1e-6)
        assert row.runs == 3
        assert row.difference.p <= row.holm_p
    assert found.rows[0].difference.estimate < 0
    assert "that can be concluded" in answer(found)


def test_a_lone_run_is_compared_with_every_run_and_has_no_p(weak, tmp_path):
    lone = write_study(tmp_path / "lone", depths=("conv10",), fractions=(1.0,), seeds=1)
    row = compare(lone, weak).rows[0]
    assert row.runs == 1
    assert row.difference.low is not None
    assert row.difference.p is None
    assert "one training run" in row.difference.why


def changed(study, folder, change):
    """A copy of a study, with every row of its scores changed."""
    made = write_study(folder, depths=("conv10",), fractions=(1.0,))
    for path in made.glob("runs/*/scores.csv"):
        with path.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, rows[0].keys())
            writer.writeheader()
            writer.writerows(change(rows))
    return made


def relabelled(rows):
    other = {"neg": "pos", "pos": "neg"}
    return [{**rows[0], "label": other[rows[0]["label"]]}, *rows[1:]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows[1:], "lacks some, 1 image, the first is 'img0000.png'"),
        (lambda rows: [{**r, "image": f"x{r['image']}"} for r in rows], "has more, 160 images"),
        (lambda rows: [{**rows[0], "patient": "Q"}, *rows[1:]], "has the patient Q, not P000"),
        (relabelled, "'img0000.png' has the label"),
    ],
)
def test_another_test_set_is_refused_with_what_differs(weak, tmp_path, change, said):
    other = changed(weak, tmp_path / "other", change)
    with pytest.raises(UserError) as error:
        compare(weak, other)
    assert said in str(error.value)
    assert str(other) in str(error.value)


def test_other_classes_and_the_same_study_are_refused(weak, tmp_path):
    other = write_study(tmp_path / "o", depths=("conv10",), classes=("a", "b"), fractions=(1.0,))
    with pytest.raises(UserError, match="classes are a, b, not neg, pos"):
        compare(weak, other)
    with pytest.raises(UserError, match="given twice"):
        compare(weak, weak)


def test_depths_of_another_network_have_no_common_row(weak, tmp_path):
    stages = ("conv1", "fire9", "conv10")
    other = write_study(tmp_path / "o", depths=("conv10", "fire9"), stages=stages, fractions=(1.0,))
    labels = [row.cells[1][0] for row in compare(weak, other).rows[1:]]
    assert labels in (
        ["conv10", "fire9"],
        ["fire9"],
        ["conv10"],
        [],
    )  # the same tuned stages, no scratch
    assert "scratch" not in labels


def test_the_verb_writes_a_page_a_table_and_an_answer(weak, strong, tmp_path, capsys):
    assert run(["compare", str(weak), str(strong), f"--output={tmp_path / 'c'}"]) == 0
    said = capsys.readouterr().out
    assert "Holm p" in said and "p < 0.001" in said
    page = (tmp_path / "c" / "report.html").read_text()
    assert "Two studies, one test set" in page and "http" not in page.partition("</head>")[2]
    with (tmp_path / "c" / "compare.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert next(row["depth"] for row in rows) in ("conv10", "fire9")
    assert all(float(row["low"]) <= float(row["difference"]) <= float(row["high"]) for row in rows)
    assert run(["compare", str(weak)]) == 2
