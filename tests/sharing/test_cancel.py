"""The number that all who work at a study look at."""

import subprocess
import sys

import pytest

from medtune_jax import cli
from medtune_jax.paths import json_with_sum
from medtune_jax.sharing.cancel import cancel, times_cancelled

WORKER = """
import sys, time
from pathlib import Path
from medtune_jax import signals
from medtune_jax.sharing.cancel import obey_cancel
signals.listen()
obey_cancel(Path(sys.argv[1]), int(sys.argv[2]), look=0.01)
print("at work", flush=True)
time.sleep(float(sys.argv[3]))
"""


def worker(study, since, seconds):
    command = [sys.executable, "-c", WORKER, str(study), str(since), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_who_began_before_ends_and_who_began_later_does_not(tmp_path):
    before = worker(tmp_path, 0, 600)
    assert before.stdout.readline() == "at work\n"
    assert cancel(tmp_path) == []
    said = before.communicate(timeout=60)[1]
    assert before.returncode == 130
    assert "cancelled by `medtune cancel`" in said and said.count("medtune: interrupted") == 1
    later = worker(tmp_path, times_cancelled(tmp_path), 0.5)
    assert later.communicate(timeout=60)[1] == "" and later.returncode == 0


@pytest.mark.parametrize("content", [b"", b"x", b"\xff"])
def test_a_damaged_number_counts_as_none_and_is_written_anew(tmp_path, content):
    (tmp_path / "cancelled").write_bytes(content)
    assert times_cancelled(tmp_path) == 0
    cancel(tmp_path)
    assert times_cancelled(tmp_path) == 1


def test_nobody_works(tmp_path, capsys):
    assert cli.run(["cancel", str(tmp_path)]) == 2
    assert "holds no study.json" in capsys.readouterr().err
    (tmp_path / "study.json").write_bytes(json_with_sum({"runs": []}))
    assert cli.run(["cancel", str(tmp_path)]) == 0
    assert "0 workers ended" in capsys.readouterr().out
