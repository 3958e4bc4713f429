"""Two processes that train every run together: the result of one, and an end in a sentence when one is lost."""

import csv
import os
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from medtune_jax.sharing.claims import latest, read
from medtune_jax.sharing.status import status
from tests.sharing.launchers import ROOT, command, finished, launch, leftovers

FIELDS = {"sweep__depths": "conv10,fire9", "sweep__fractions": "1.0", "training__epochs": 2}
LONG = {
    "sweep__fractions": "1.0",
    "sweep__depths": "conv10",
    "sweep__seeds": 1,
    "training__epochs": 1500,
    "training__patience": 1500,
}
GO_ON = "start all again with the same command to go on"


@pytest.fixture(scope="module")
def alone(images, tmp_path_factory):
    study = tmp_path_factory.mktemp("alone") / "study"
    code, said = finished(launch(command(images, study, **FIELDS)))
    assert code == 0, said
    return study


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def places(count=2):
    address = f"127.0.0.1:{free_port()}"
    return [
        {
            "JAX_COORDINATOR_ADDRESS": address,
            "JAX_NUM_PROCESSES": str(count),
            "JAX_PROCESS_ID": str(number),
        }
        for number in range(count)
    ]


def together(images, study, **fields):
    words = command(images, study, **{**FIELDS, **fields})
    return [launch(words, **place) for place in places()]


def ended(process, seconds):
    """Exit code and what it said; it must end within so many seconds."""
    said = process.communicate(timeout=seconds)[1]
    return process.returncode, said


def until(true, processes):
    """Wait for it, while all of them run."""
    while not true():
        assert all(process.poll() is None for process in processes), "one ended before"
        time.sleep(0.05)


def leases(study):
    return [read(path) for path in latest(study / "claims").values()]


def numbers(path):
    rows = list(csv.reader(path.open()))
    kept = [column for column, name in enumerate(rows[0]) if name not in ("image", "patient")]
    found = [row[column] for row in rows[1:] for column in kept]
    return np.array([float(value) for value in found if re.fullmatch(r"-?[\d.]+(e-?\d+)?", value)])


def assert_equal_to(study, alone):
    runs = sorted(path.name for path in (alone / "runs").iterdir())
    assert sorted(path.name for path in (study / "runs").iterdir()) == runs
    for run in runs:
        for name in ("history.csv", "scores.csv", "validation.csv"):
            here, there = numbers(study / "runs" / run / name), numbers(alone / "runs" / run / name)
            assert len(there) and here.shape == there.shape
            np.testing.assert_allclose(here, there, atol=1e-5, err_msg=f"{run} {name}")


def test_two_processes_train_to_the_result_of_one(images, alone, tmp_path):
    """Also where the runs are seeds that train as one stack (conv10); only process 0 writes and speaks."""
    processes = together(images, tmp_path / "study")
    (first, said), (second, silent) = map(finished, processes)
    assert (first, second) == (0, 0), said + silent
    assert len(re.findall(r"^\[\d+/4\]", said, re.MULTILINE)) == 4
    assert not re.search(r"^\[\d+/4\]", silent, re.MULTILINE)
    assert (tmp_path / "study" / "report.html").is_file()
    assert_equal_to(tmp_path / "study", alone)


@pytest.mark.slow
def test_images_on_disk_are_decoded_once_a_host_and_read_in_parts(images, alone, tmp_path):
    study, cache = tmp_path / "study", tmp_path / "cache"
    processes = together(images, study, memory__images_gib=0, memory__disk_dir=cache)
    (first, said), (second, silent) = map(finished, processes)
    assert (first, second) == (0, 0), said + silent
    assert "images are streamed from disk" in said and "are there" not in said
    assert "of which 0.000458 GiB are there" in silent
    assert len(list(cache.glob("*.array_record"))) == 1
    assert_equal_to(study, alone)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_lost_process_ends_the_other_and_the_study_goes_on(images, alone, tmp_path, victim):
    """Killed when the first run is done; one process finishes what two began, and two."""
    study = tmp_path / "study"
    processes = together(images, study)
    until(lambda: status(study).done if (study / "study.json").is_file() else False, processes)
    processes[victim].kill()
    code, said = ended(processes[1 - victim], 60)
    finished(processes[victim])
    assert code == 75, said
    sentences = [line for line in said.splitlines() if line.startswith("medtune:")]
    assert len(sentences) == 1 and GO_ON in sentences[0], said
    assert f"process {1 - victim} of 2" in sentences[0]
    assert "Traceback" not in said and "@     0x" not in said
    assert not status(study).failed
    words = command(images, study, **FIELDS)
    rest = together(images, study) if victim else [launch(words)]
    assert {code for code, _ in map(finished, rest)} == {0}
    assert_equal_to(study, alone)
    assert not leftovers(study)


@pytest.mark.slow
def test_a_signal_to_one_stops_both_and_its_state_is_kept(images, tmp_path):
    """In the middle of a run, which then goes on to what it would have been."""
    whole, study = tmp_path / "whole", tmp_path / "study"
    code, said = finished(launch(command(images, whole, **LONG)))
    assert code == 0, said
    processes = together(images, study, **LONG)
    until(
        lambda: any("epoch" in lease.doing and not lease.released for lease in leases(study)),
        processes,
    )
    processes[1].send_signal(signal.SIGTERM)
    assert [ended(process, 60)[0] for process in processes] == [75, 75]
    assert list(study.glob("runs/.*.partial/state.npz"))
    assert [code for code, _ in map(finished, together(images, study, **LONG))] == [0, 0]
    assert_equal_to(study, whole)


@pytest.mark.slow
def test_a_process_that_never_comes_ends_the_other():
    start = "from medtune_jax.training.devices import hosts; hosts.START = 3; hosts.join()"
    environment = {**os.environ, **places()[0], "JAX_PLATFORMS": "cpu"}
    process = subprocess.Popen(
        [sys.executable, "-c", start], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    )
    code, said = ended(process, 60)
    assert code == 75
    assert said.count("medtune: process 0 of 2 did not find all others within 3 seconds") == 1, said
    assert "@     0x" not in said


def test_processes_that_plan_other_runs_are_refused(images, tmp_path):
    words = [command(images, tmp_path / "study", **{**FIELDS, "sweep__seeds": n}) for n in (1, 2)]
    pairs = zip(words, places(), strict=True)
    processes = [launch(given, **place) for given, place in pairs]
    for code, said in map(finished, processes):
        assert code == 2
        assert "do not plan the same: start all with the same command" in said


def test_an_executor_is_refused(images, tmp_path):
    words = [*command(images, tmp_path / "study", **FIELDS), "--executor.workers=2"]
    code, said = finished(launch(words, **places()[0]))
    assert code == 2 and "leave out --executor, or start one process" in said


@pytest.mark.slow
def test_when_every_run_fails_all_processes_say_so(images, tmp_path):
    """Each run diverges, at a rate that no network stands."""
    fields = {"sweep__depths": "conv10", "rates__head": 1e9, "rates__tuned": 1e9}
    ends = list(map(finished, together(images, tmp_path / "study", **fields)))
    assert [code for code, _ in ends] == [1, 1]
    assert "all 2 runs failed" in ends[0][1]
