"""Workers as processes of this machine: shares of devices and cores, killed and stopped, the same bytes."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from medtune_jax.errors import UserError
from medtune_jax.executors import local
from medtune_jax.executors.launch import launch as launch_workers
from medtune_jax.executors.submission import submit
from medtune_jax.sharing.claims import Claims
from medtune_jax.study import default_config
from tests.executors.conftest import TWELVE, launch, lives
from tests.sharing.launchers import command, finished, leftovers, results


def on_cores(count, words):
    """A launcher that may use so many cores: the last bits of a convolution depend on that."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(cores)[:count])
    try:
        return launch(words)
    finally:
        os.sched_setaffinity(0, cores)


@pytest.fixture(scope="module")
def alone(images, tmp_path_factory):
    """By one process on one core."""
    study = tmp_path_factory.mktemp("alone") / "study"
    code, said = finished(on_cores(1, command(images, study, **TWELVE)))
    assert code == 0, said
    return results(study)


def processes(images, study):
    """Two workers, a core each."""
    return on_cores(2, [*command(images, study, **TWELVE), "--executor.workers=2"])


def at_work(study, process, count):
    give_up = time.monotonic() + 200
    while len(held := Claims(study / "claims").held()) < count:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < give_up
        time.sleep(0.05)
    return [lease.pid for lease in held]


@pytest.mark.slow
def test_workers_killed_in_the_middle_cost_no_bit(images, alone, tmp_path):
    """Both of them: they are started again."""
    study = tmp_path / "study"
    process = processes(images, study)
    for pid in at_work(study, process, 2):
        os.kill(pid, signal.SIGKILL)
    code, said = finished(process)
    assert code == 0, said
    assert results(study) == alone
    assert not leftovers(study)


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_their_launcher(images, alone, tmp_path, sent):
    study = tmp_path / "study"
    process = processes(images, study)
    pids = at_work(study, process, 2)
    process.send_signal(sent)
    code, said = finished(process)
    assert code == {2: 130, 15: 75, 9: -9}[sent]
    assert (said.count("medtune: interrupted"), said.count("Traceback")) == (int(code > 0), 0)
    give_up = time.monotonic() + 60
    while any(lives(pid) for pid in pids):
        assert time.monotonic() < give_up
        time.sleep(0.05)
    assert finished(processes(images, study))[0] == 0
    assert results(study) == alone


@pytest.mark.slow
def test_cancel_ends_workers_and_plain_launchers(images, tmp_path):
    study = tmp_path / "study"
    words = command(
        images, study, **{**TWELVE, "training__epochs": 5000, "training__patience": 5000}
    )
    plain = launch(words)
    at_work(study, plain, 1)
    process = launch([*words, "--executor.workers=2"])
    pids = at_work(study, process, 3)
    assert finished(launch(["cancel", str(study)]))[0] == 0
    for each in (plain, process):
        code, said = finished(each)
        assert code == 130 and "cancelled by `medtune cancel`" in said
    assert not any(lives(pid) for pid in pids)
    assert not any(lease.job for lease in Claims(study / "claims").held())
    assert leftovers(study)  # the states of the runs in progress


@pytest.mark.parametrize(
    ("end", "starts"),
    [("os.kill(os.getpid(), 9)", 4), ("os.kill(os.getpid(), 15)", 1), ("sys.exit(1)", 1)],
)
def test_a_killed_worker_is_started_three_times_again(end, starts):
    """But not one that ended by itself or was asked to, nor where all are to stop."""
    started = []

    def start(number):
        started.append(subprocess.Popen([sys.executable, "-c", f"import os, sys; {end}"]))
        return started[-1]

    workers = local.Processes(start, 1)
    while workers.alive():
        started[-1].wait()
    assert len(started) == starts
    stopped = local.Processes(start, 1)
    stopped.stop()
    assert not stopped.alive() and len(started) == starts + 1


class Useless(local.Local):
    """Its workers end without having done anything."""

    def start(self, submission, workers):
        return local.Processes(lambda _: subprocess.Popen([sys.executable, "-c", ""]), 1)


def test_workers_that_leave_jobs_are_noticed(images, tmp_path):
    config = default_config()
    config.data.dir, config.image_size = str(images), 64
    config.sweep.depths, config.sweep.seeds = "conv10,fire9", 1
    with pytest.raises(
        UserError, match="the workers ended and left 2 jobs, the first is conv10-f1"
    ) as error:
        launch_workers(config, tmp_path / "study", Useless(workers=2))
    assert str(tmp_path / "study" / "submitted" / "0001") in str(error.value)


@pytest.mark.parametrize("content", [b"{", b'{"before": []}', b'{"before": {"r": 1}}'])
def test_a_damaged_submission_is_one_sentence(tmp_path, content):
    (tmp_path / "submission.json").write_bytes(content)
    command = [sys.executable, "-m", "medtune_jax.executors.worker", str(tmp_path)]
    done = subprocess.run([*command, str(os.getpid())], capture_output=True, text=True)
    assert done.returncode == 2
    assert "submission.json is damaged" in done.stderr and "Traceback" not in done.stderr


def test_a_worker_whose_launcher_is_gone_before_it_looks_does_nothing(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    command = [sys.executable, "-m", "medtune_jax.executors.worker", str(tmp_path), str(gone.pid)]
    assert subprocess.run(command).returncode == -signal.SIGTERM


def test_cores_are_shared_out(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {2, 3, 5, 7, 8})
    assert [a for _, a in local._of_cores(2)] == [("--cores=2,3",), ("--cores=5,7",)]
    assert [a for _, a in local._of_cores(6)][-2:] == [("--cores=8",), ("--cores=2",)]


def test_accelerators_are_shared_out(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    seen = [v["CUDA_VISIBLE_DEVICES"] for v, _ in local._of_devices("cuda", 4, 2)]
    assert seen == ["0,1", "2,3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    seen = [v["CUDA_VISIBLE_DEVICES"] for v, _ in local._of_devices("cuda", 2, 2)]
    assert seen == ["4", "6"]
    tpu = local._of_devices("tpu", 4, 4)[3][0]
    assert tpu["TPU_VISIBLE_CHIPS"] == "3" and tpu["TPU_CHIPS_PER_PROCESS_BOUNDS"] == "1,1,1"


class Tells:
    """In place of a worker's own module: writes down what its process was given."""

    CODE = """
import json, os, sys
names = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "TPU_VISIBLE_CHIPS", "TPU_PROCESS_BOUNDS", "OF_THE_USER")
print(json.dumps({name: os.environ[name] for name in names if name in os.environ}))
"""

    def __init__(self, monkeypatch):
        popen = subprocess.Popen

        def start(command, **given):
            assert command[1:3] == ["-m", "medtune_jax.executors.worker"]
            return popen([sys.executable, "-c", self.CODE], **given)

        monkeypatch.setattr(local.subprocess, "Popen", start)

    def seen(self, folder, workers, count):
        """The variables of each of the processes that the executor started."""
        config = default_config()
        submission = submit(folder, "local", config, {})
        processes = local.Local(workers=workers).start(submission, count)
        processes.close()
        assert [process.wait() for process in processes.processes] == [0] * count
        logs = sorted(submission.folder.glob("worker-*.log"))
        return [json.loads(log.read_text()) for log in logs]


def test_every_worker_has_accelerators_of_its_own_in_its_environment(monkeypatch, tmp_path):
    for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "TPU_VISIBLE_CHIPS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OF_THE_USER", "kept")
    tells = Tells(monkeypatch)
    for platform, workers, name, shares in (
        ("cuda", 0, "CUDA_VISIBLE_DEVICES", ["0", "1", "2", "3"]),
        ("cuda", 2, "CUDA_VISIBLE_DEVICES", ["0,1", "2,3"]),
        ("rocm", 4, "HIP_VISIBLE_DEVICES", ["0", "1", "2", "3"]),
        ("tpu", 0, "TPU_VISIBLE_CHIPS", ["0", "1", "2", "3"]),
    ):
        monkeypatch.setattr(local, "_devices", lambda _, platform=platform: (platform, 4))
        seen = tells.seen(tmp_path, workers, len(shares))
        bounds = {"TPU_PROCESS_BOUNDS": "1,1,1"} if platform == "tpu" else {}
        assert seen == [{name: share, **bounds, "OF_THE_USER": "kept"} for share in shares]


def test_fewer_jobs_than_accelerators_leave_some_idle(monkeypatch, tmp_path):
    """Of the four that Slurm, say, gave this process."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b,GPU-c,GPU-d")
    monkeypatch.setattr(local, "_devices", lambda _: ("cuda", 4))
    seen = Tells(monkeypatch).seen(tmp_path, 0, 2)
    assert seen == [{"CUDA_VISIBLE_DEVICES": "GPU-a"}, {"CUDA_VISIBLE_DEVICES": "GPU-b"}]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("cuda", 4, 3), "a number that divides them evenly"),
        (("cuda", 2, 4), "this machine has 2 accelerators"),
        (("tpu", 4, 2), "a worker has one TPU chip"),
        (("METAL", 1, 2), "cannot be shared out"),
    ],
)
def test_accelerators_that_cannot_be_shared_out(arguments, said):
    with pytest.raises(UserError, match=said):
        local._of_devices(*arguments)
