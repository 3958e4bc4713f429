"""A plan holds: studies of the planned size find the difference about as often as planned."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "scripts" / "bench"


@pytest.fixture(scope="module")
def power():
    """As if it were started by its path: its own folder is where it imports from."""
    sys.path.insert(0, str(BENCH))
    try:
        spec = spec_from_file_location("bench_power", BENCH / "power.py")
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(BENCH))
    return module


def test_the_planned_power_is_found(power, monkeypatch, capsys):
    """100 pilots and studies: a standard error of 0.04."""
    options = ("--pilot=40", "--seeds=10", "--between=0.01", "--detect=0.08", "--studies=100")
    monkeypatch.setattr(sys, "argv", ["power", *options])
    power.main()
    row = capsys.readouterr().out.splitlines()[2].strip("| ").split(" | ")
    assert row[:8] == ["40", "3", "5", "4", "0.01", "0.85", "0.08", "10"]
    assert 0.7 <= float(row[9]) <= 0.95 and float(row[10]) == 0
