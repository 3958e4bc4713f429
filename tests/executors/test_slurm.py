"""A real Slurm: an array, its elements ended, requeued and warned in the middle; the same bytes as by one process."""

import os
import subprocess
import sys
import time

import pytest

from tests.executors import slurm_node
from tests.executors.conftest import TWELVE, launch
from tests.executors.slurm_node import slurm
from tests.sharing.launchers import ROOT, command, finished, leftovers, results

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    if reason := slurm_node.missing():
        pytest.skip(reason)
    with (
        slurm_node.running(tmp_path_factory.mktemp("slurm")) as variables,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("SLURM_CONF", variables["SLURM_CONF"])
        yield variables


def array(images, study, workers, **fields):
    words = command(images, study, **TWELVE | fields)
    return launch([*words, "--executor=slurm", f"--executor.workers={workers}"])


def until(condition, process):
    give_up = time.monotonic() + 200
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < give_up
        time.sleep(0.1)


def running(node):
    return slurm(node, "squeue", "-h", "--array", "-t", "R", "-o", "%i").split()


def done(study):
    return [run for run in (study / "runs").glob("[!.]*")] if study.is_dir() else []


def state(node, job):
    return slurm(node, "scontrol", "show", "job", job)


def test_twelve_jobs_as_an_array_whose_elements_are_ended_requeued_and_warned(
    node, images, alone, tmp_path
):
    study = tmp_path / "study"
    process = array(images, study, 3)
    until(lambda: len(running(node)) == 3 and list(study.glob("claims/*.0001")), process)
    ended, requeued, warned = running(node)
    slurm(node, "scancel", ended)
    slurm(node, "scontrol", "requeue", requeued)
    slurm(node, "scancel", "--signal=USR1", warned)
    until(lambda: "Restarts=1" in state(node, requeued), process)
    until(lambda: "Restarts=1" in state(node, warned), process)
    code, said = finished(process)
    assert code == 0, said
    assert "JobState=CANCELLED" in state(node, ended) and "Restarts=0" in state(node, ended)
    assert results(study) == alone
    assert not leftovers(study)
    logs = sorted(path.name for path in (study / "submitted" / "0001").glob("*.out"))
    assert logs == [f"{job}_0_log.out" for job in sorted((ended, requeued, warned))]
    assert "interrupted (SIGUSR1)" in (study / "submitted/0001" / f"{warned}_0_log.out").read_text()


def test_ctrl_c_leaves_the_jobs_and_the_same_command_waits_for_them(node, images, alone, tmp_path):
    study = tmp_path / "study"
    process = array(images, study, 1)
    until(lambda: list(study.glob("claims/*.0001")), process)
    process.send_signal(2)
    code, said = finished(process)
    assert code == 130 and "goes on without this launcher" in said
    assert len(running(node)) == 1
    code, said = finished(array(images, study, 1))
    assert code == 0 and "still has 1 of the workers" in said, said
    assert len(list((study / "submitted").iterdir())) == 1
    assert results(study) == alone


def test_cancel_ends_what_runs_and_what_waits(node, images, tmp_path):
    """Twelve elements on a node of four cores, at work for longer than `medtune cancel` takes to start."""
    study = tmp_path / "study"
    process = array(images, study, 12, training__epochs=5000, training__patience=5000)
    until(lambda: list(study.glob("claims/*.0001")), process)
    asked = launch(["cancel", str(study)])
    assert finished(asked)[0] == 0
    code, said = finished(process)
    assert code == 130 and "cancelled by `medtune cancel`" in said
    give_up = time.monotonic() + 100
    while slurm(node, "squeue", "-h"):
        assert time.monotonic() < give_up
        time.sleep(0.5)
    assert not done(study)


def test_the_job_file_is_accepted(node):
    done = subprocess.run(
        [
            "sbatch",
            "--test-only",
            "--gres=none",
            "--cpus-per-task=1",
            "--mem=0",
            ROOT / "scripts/cluster/slurm.sh",
            "A",
            "B",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "to start at" in done.stderr, done.stderr


def test_srun_starts_processes_that_train_together(node, images, alone, tmp_path):
    """Two tasks of a step on this node: one result, and what each of them says goes through srun."""
    study = tmp_path / "study"
    words = [sys.executable, "-m", "medtune_jax", *command(images, study, **TWELVE)]
    done = subprocess.run(
        ["srun", "--ntasks=2", "--cpus-per-task=1", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("[12/12]") == 1
    assert sorted(results(study)) == sorted(alone)


def test_what_slurm_refuses_is_one_sentence(node, images, tmp_path):
    words = command(images, tmp_path / "study", **TWELVE)
    code, said = finished(launch([*words, "--executor=slurm", "--executor.partition=nowhere"]))
    assert code == 2
    assert "medtune: Slurm refused the jobs" in said and "nvalid partition" in said
