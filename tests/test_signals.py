"""The end of a process that is asked to stop, whatever it is doing."""

import signal
import subprocess
import sys
import time

import pytest

from medtune_jax import signals

SETUP = """
import sys, time
from pathlib import Path
from medtune_jax import paths, signals
signals.GRACE = 0.5
signals.listen()
def ready():
    print("ready", flush=True)
"""
BUSY = """
while True:
    time.sleep(0.01)
"""


def ended(body, *sent):
    """Exit code and what was said, of a process that gets the signals once it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", SETUP + body],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    for number in sent:
        process.send_signal(number)
        time.sleep(0.1)
    _, said = process.communicate(timeout=60)
    return process.returncode, said


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGHUP, 129)],
)
def test_each_signal_ends_with_its_code_and_one_sentence(number, code):
    got, said = ended(f"ready(){BUSY}", number)
    assert got == code
    assert said == f"medtune: interrupted ({number.name}); the same command starts anew\n"


def test_who_trains_says_that_runs_are_kept():
    body = f"signals.say_at_the_end(signals.RUNS_KEPT)\nready()\n{BUSY}"
    assert ended(body, signal.SIGINT)[1].endswith(
        "finished runs are kept, the same command goes on from there\n"
    )


@pytest.mark.parametrize(("part", "left"), [(1, "anew"), (2, "from there")])
def test_who_predicts_says_that_parts_are_kept_once_there_are(tmp_path, part, left):
    body = f"""
import numpy as np
from medtune_jax.applications.parts import in_parts
def work(n):
    if n == [{part}]:
        ready()
        time.sleep(100)
    return dict(a=np.zeros(1))
in_parts([1, 2], 1, list, work, Path({str(tmp_path)!r}), "key", "parts")
"""
    said = ended(body, signal.SIGTERM)[1].splitlines()[-1]
    assert said.startswith("medtune: interrupted (SIGTERM); ") and said.endswith(left)


def test_what_defers_the_end_stops_when_it_suits():
    body = """
with signals.deferred():
    ready()
    while not signals.asked():
        time.sleep(0.01)
    print("saved", file=sys.stderr, flush=True)
"""
    _, said = ended(body, signal.SIGTERM)
    assert said.startswith("saved\n") and "Stop" in said


def test_what_never_asks_is_ended_after_the_grace():
    body = f"with signals.deferred():\n    ready()\n{BUSY.replace(chr(10), chr(10) + '    ')}"
    assert ended(body, signal.SIGTERM)[0] == 75


def test_a_second_ctrl_c_ends_at_once_even_while_something_is_saved():
    body = f"""
signals.GRACE = 1000
with signals.deferred(), signals.saving():
    ready()
{BUSY.replace(chr(10), chr(10) + "    ")}"""
    assert ended(body, signal.SIGINT, signal.SIGINT)[0] == 130


def test_unfinished_files_go_with_the_process(tmp_path):
    body = f"""
with paths.scratch_beside(Path({str(tmp_path)!r}) / "out") as scratch:
    (scratch / "half").write_text("x")
    ready()
    time.sleep(100)
"""
    assert ended(body, signal.SIGINT)[0] == 130
    assert list(tmp_path.iterdir()) == []


def test_an_ignored_signal_stays_ignored():
    body = f"""
import signal, os
signal.signal(signal.SIGHUP, signal.SIG_IGN)
signals.listen()
ready()
{BUSY}"""
    got, said = ended(body.replace(SETUP, ""), signal.SIGHUP, signal.SIGTERM)
    assert got == 75 and "SIGTERM" in said


IMPORTING = """
import os, sys, time
from medtune_jax import __main__

class Sends:
    def find_spec(self, name, *_):
        if name == "medtune_jax.cli":
            os.kill(os.getpid(), {number})
            time.sleep(0.2)

sys.meta_path.insert(0, Sends())
__main__.main()
"""


@pytest.mark.parametrize("number", signals.CODES)
def test_a_signal_that_comes_while_the_command_line_is_imported_is_obeyed(number):
    process = subprocess.run(
        [sys.executable, "-c", IMPORTING.format(number=int(number))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == signals.CODES[number]
    assert process.stderr.startswith(f"medtune: interrupted ({number.name}); ")
    assert process.stderr.count("\n") == 1
