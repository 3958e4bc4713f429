"""The benchmark of a study of many runs writes a study that every command reads."""

import csv
import sys
from importlib import import_module
from pathlib import Path

import pytest

from medtune_jax.sharing.status import status

BENCH = Path(__file__).resolve().parents[2] / "scripts" / "bench"


@pytest.mark.slow
def test_a_hundred_runs_are_planned_written_and_read(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(BENCH))
    many_runs = import_module("many_runs")
    monkeypatch.setattr(sys, "argv", ["many_runs", "--runs", "100", "--keep", str(tmp_path)])
    many_runs.main()
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("plan, claim and write", "status", "report", "sweep"))
    found = status(tmp_path / "study")
    assert (len(found.done), len(found.failed), len(found.planned)) == (100, 0, 100)
    rows = list(csv.DictReader((tmp_path / "study" / "results.csv").open()))
    assert len(rows) == 100 and {row["status"] for row in rows} == {"done"}
