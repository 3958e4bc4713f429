"""The simulation of intervals: every figure of merit gives a row, and the row says what was simulated."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "bench" / "coverage.py"


@pytest.fixture(scope="module")
def coverage():
    """By its path: a package of that name may be installed."""
    spec = spec_from_file_location("bench_coverage", SCRIPT)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(coverage, monkeypatch, capsys, *options):
    monkeypatch.setattr(sys, "argv", ["coverage", *options])
    coverage.main()
    return [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]


def test_every_figure_has_a_row(coverage, monkeypatch, capsys):
    options = ("--patients=12", "--images=4", "--seeds=3", "--between=0.01", "--auc=0.85")
    figures = ",".join(coverage.FIGURES)
    found = rows(coverage, monkeypatch, capsys, *options, "--studies=12", f"--figure={figures}")
    assert [row[:6] for row in found] == [
        [figure, "12", "4", "3", "0.01", "0.85"] for figure in coverage.FIGURES
    ]
    covers = {row[0]: float(row[6].split()[0]) for row in found}
    # Which is why the package gives none for it.
    assert covers.pop("calibration_error") < 0.9
    assert all(share >= 0.5 for share in covers.values())


def test_a_gain_is_found_and_few_patients_are_told(coverage, monkeypatch, capsys):
    options = ("--images=4", "--between=0", "--auc=0.85", "--studies=10", "--no-old")
    (power,) = rows(
        coverage, monkeypatch, capsys, *options, "--patients=80", "--seeds=3", "--gain=0.2"
    )
    assert float(power[7].split()[0]) == 1.0 and power[8].startswith("–")
    (few,) = rows(coverage, monkeypatch, capsys, *options, "--patients=6", "--seeds=3")
    assert few[6] == few[7] == "– (none 1.00)"


def test_the_truth_is_that_of_many_patients(coverage):
    rng = np.random.default_rng(0)
    for figure in coverage.FIGURES:
        cell = coverage.Cell(figure, 20_000, 1, 2, 0.01, 0.85)
        study = coverage.draw(rng, cell, 0.0)
        found = coverage.flat(study.depths[0])(np.ones((1, study.groups.size)))[0]
        np.testing.assert_allclose(found, study.truth, atol=0.025)
