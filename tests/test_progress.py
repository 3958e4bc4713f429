"""Word of long preparations."""

import time

import joblib
import pytest

from medtune_jax import progress


def test_lines_in_a_log_say_how_much_is_left(capsys, monkeypatch):
    now = iter(range(0, 1000, 6))  # an item takes six seconds
    monkeypatch.setattr(time, "monotonic", lambda: float(next(now)))
    assert list(progress.reported("abcdef", 6, "letters")) == list("abcdef")
    lines = capsys.readouterr().err.splitlines()
    # The items are handed on at 6, 12, ... seconds, and a line comes ten seconds after the last.
    assert lines == [
        "letters: 2 of 6, 0:24 left",
        "letters: 4 of 6, 0:12 left",
        "letters: 6 of 6, 0:00 left",
    ]


def test_a_line_keeps_its_brackets_and_its_length(capsys):
    text = "[1/2] " + 30 * "word "
    progress.say(text)
    assert capsys.readouterr().err == text + "\n"


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (75, "1:15"), (3600 + 61, "1:01:01")])
def test_clock(seconds, text):
    assert progress.clock(seconds) == text


def test_parallel_results_come_in_order():
    with joblib.parallel_config("threading"):
        calls = ((number, 2) for number in range(40))
        assert list(progress.parallel(pow, calls, jobs=2, batch=3)) == [n**2 for n in range(40)]
