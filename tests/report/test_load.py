"""Studies that are damaged: what cannot be read is named, and the rest reported."""

import csv
import re

import pytest

from medtune_jax.errors import UserError
from medtune_jax.paths import seal
from medtune_jax.report import write_report
from medtune_jax.report.load import load_study
from medtune_jax.report.results import write_results
from tests.report.fake_study import write_study
from tests.report.reading import damage, table_rows, text_of

DAMAGES = [
    ("result.json", lambda t: t[:20], "result.json is damaged"),
    ("result.json", lambda t: f"[{t}]", "result.json is damaged"),
    ("scores.csv", lambda t: t.replace(",pos,", ",positive,", 1), "no column 'pos'"),
    ("scores.csv", lambda t: t.replace("P000,neg", "P000,odd"), "unknown class"),
    ("scores.csv", lambda t: t.replace("P001", "P999"), "test images are not those of"),
    ("history.csv", lambda t: t.replace("batches", "steps"), "no column 'batches'"),
    ("history.csv", lambda t: re.sub(r"(?m)^1,\d+", "1,many", t), "history.csv is damaged"),
]


@pytest.mark.parametrize(("name", "change", "message"), DAMAGES)
def test_a_run_that_cannot_be_read_is_named_and_the_others_have_their_rows(
    tmp_path, caplog, name, change, message
):
    directory = write_study(tmp_path, depths=("conv10",), fractions=(1.0,), seeds=3)
    run = damage(directory, name, change)
    write_results(load_study(directory))
    rows = {row["run"]: row for row in table_rows(directory)}
    assert rows[run]["status"] == "failed" and message in rows[run]["reason"]
    assert [row["status"] for row in rows.values()].count("done") == 2
    assert f"run {run} is left out of the report" in caplog.text and message in caplog.text


def test_the_page_is_written_of_the_runs_that_can_be_read(tmp_path):
    directory = write_study(tmp_path, depths=("conv10",), fractions=(1.0,), seeds=3)
    damage(directory, "result.json", lambda text: text[:20])
    assert "2 done, 1 failed" in text_of(write_report(directory).read_text())


def test_where_no_run_can_be_read_all_are_named(tmp_path):
    directory = write_study(tmp_path, depths=("conv10",), fractions=(1.0,), seeds=1)
    run = damage(directory, "scores.csv", lambda text: text.replace(",pos,", ",positive,", 1))
    with pytest.raises(UserError, match=rf"no run of .* can be reported:\n  {run}: .*no column"):
        write_report(directory)


def test_a_sealed_run_that_is_damaged_runs_again(tmp_path, caplog):
    directory = write_study(tmp_path, depths=("conv10",), fractions=(1.0,), seeds=2)
    seal(next(iter(sorted((directory / "runs").glob("conv10*")))))
    run = damage(directory, "scores.csv", lambda text: text + " ")
    assert "1 done, 0 failed, 1 not run yet" in text_of(write_report(directory).read_text())
    rows = {row["run"]: row for row in csv.DictReader((directory / "results.csv").open())}
    assert rows[run]["status"] == "missing"
    assert "scores.csv is damaged, or SHA256SUMS beside it: the next sweep" in rows[run]["reason"]


def test_a_diverged_run_is_left_out_and_named(tmp_path):
    directory = write_study(tmp_path, depths=("conv10", "scratch"), fractions=(1.0,), seeds=3)
    path = sorted(directory.glob("runs/conv10-*/scores.csv"))[0]
    head, *rows = list(csv.reader(path.read_text().splitlines()))
    rows = [[*row[:3], *["nan"] * (len(row) - 3)] for row in rows]
    path.write_text("\n".join(",".join(row) for row in (head, *rows)) + "\n")
    text = text_of(write_report(directory).read_text())
    assert "2 done" not in text and "1 failed" in text and "training diverged" in text


def test_no_study_there(tmp_path):
    with pytest.raises(UserError, match=r"no study\.json"):
        write_report(tmp_path)
