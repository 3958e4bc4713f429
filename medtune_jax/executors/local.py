"""Workers as processes of this machine, each on its own accelerator or its own share of the cores."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from medtune_jax.errors import UserError
from medtune_jax.executors.field import option
from medtune_jax.executors.submission import Submission
from medtune_jax.signals import CODES, GRACE

_PATIENCE = 3 * GRACE  # seconds for workers to save their state after a signal
_AGAIN = 3
_ASK = """
import json, jax
from jax.extend.backend import get_backend
devices = jax.local_devices()
print(json.dumps([devices[0].platform, get_backend().platform_version, len(devices)]))
"""
# Which variable hides all devices but some from a process, by JAX's platform.
_VISIBLE = {
    "cuda": "CUDA_VISIBLE_DEVICES",
    "rocm": "HIP_VISIBLE_DEVICES",
    "tpu": "TPU_VISIBLE_CHIPS",
}


@dataclass(frozen=True)
class Local:
    """processes of this machine; one worker is this very process, with all devices"""

    workers: int = option(
        1, "processes, each with its share of the accelerators, or of the cores where there are none; "
        "0: one for each accelerator", least=0
    )  # fmt: skip

    name: ClassVar[str] = "local"

    @property
    def in_process(self) -> bool:
        return self.workers == 1

    @property
    def accelerated(self) -> bool:
        return False  # this machine is where they run

    def count(self, jobs: int) -> int:
        return min(jobs, self.workers) if self.workers else jobs

    def rejoin(self, submission: Submission) -> None:
        """They belong to their launcher."""

    def start(self, submission: Submission, workers: int) -> Processes:
        platform, devices = _devices(str(submission.config.get("device", "auto")))
        if platform == "cpu":
            shares = _of_cores(workers)
        else:
            shares = _of_devices(platform, devices, self.workers or devices)[:workers]

        def one(number: int) -> subprocess.Popen[bytes]:
            variables, arguments = shares[number]
            with (submission.folder / f"worker-{number}.log").open("ab") as log:
                command = [sys.executable, "-m", "medtune_jax.executors.worker"]
                return subprocess.Popen(
                    [*command, str(submission.folder), str(os.getpid()), *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env={**os.environ, **variables},
                    start_new_session=True,  # signals come from the launcher, once
                )

        started = Processes(one, len(shares))
        pids = [str(process.pid) for process in started.processes]
        submission.started(pids, os.uname().nodename)
        return started


class Processes:
    """Workers of this machine, by their numbers; they end with their launcher.

    Who is killed (where memory is short, say) is started again, _AGAIN times a worker in all; who was asked to end by a
    signal is not.
    """

    def __init__(self, start: Callable[[int], subprocess.Popen[bytes]], count: int) -> None:
        self._start, self._again = start, _AGAIN * count
        self.processes = [start(number) for number in range(count)]

    def alive(self) -> int:
        """How many work, those that had to be started again among them."""
        for number, process in enumerate(self.processes):
            if self._again and (code := process.poll() or 0) < 0 and -code not in CODES:
                self._again -= 1
                self.processes[number] = self._start(number)
        return sum(process.poll() is None for process in self.processes)

    def stop(self) -> str:
        self._again = 0
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        self.close()
        return "the workers have saved their state and ended"

    def close(self) -> None:
        """They end by themselves; those that do not in time are ended."""
        self._again = 0
        give_up = time.monotonic() + _PATIENCE
        while self.alive() and time.monotonic() < give_up:
            time.sleep(0.05)
        for process in self.processes:
            if process.poll() is None:
                process.kill()


Share = tuple[Mapping[str, str], Sequence[str]]  # variables of the environment, arguments


def _devices(device: str) -> tuple[str, int]:
    """(platform, how many) as JAX has them, asked of a process of its own: this one must not take them."""
    if device == "cpu" or os.environ.get("JAX_PLATFORMS", "").startswith("cpu"):
        return "cpu", 1
    asked = subprocess.run(
        [sys.executable, "-c", _ASK], capture_output=True, text=True, check=False
    )
    if asked.returncode:
        said = asked.stderr.strip().splitlines() or ["no reason given"]
        raise UserError(f"JAX cannot say which devices this machine has: {said[-1]}")
    platform, version, count = json.loads(asked.stdout.splitlines()[-1])
    if platform == "gpu":
        platform = "rocm" if "rocm" in version.lower() else "cuda"
    return platform, count


def _of_devices(platform: str, devices: int, workers: int) -> list[Share]:
    """Equally many devices for each worker; of the devices that this process may see."""
    if platform not in _VISIBLE:
        raise UserError(
            f"devices of the kind '{platform}' cannot be shared out: leave executor.workers at 1"
        )
    if devices % workers:
        raise UserError(
            f"executor.workers is {workers}, and this machine has {devices} accelerators: "
            f"give a number that divides them evenly"
        )
    name = _VISIBLE[platform]
    visible = [word for word in os.environ.get(name, "").split(",") if word]
    visible = visible or [str(number) for number in range(devices)]
    each = devices // workers
    if platform == "tpu" and each > 1:
        raise UserError(f"a worker has one TPU chip: give --executor.workers={devices}, or 0")
    tpu = {"TPU_CHIPS_PER_PROCESS_BOUNDS": "1,1,1", "TPU_PROCESS_BOUNDS": "1,1,1"}
    return [
        (
            {
                name: ",".join(visible[n * each : (n + 1) * each]),
                **(tpu if platform == "tpu" else {}),
            },
            (),
        )
        for n in range(workers)
    ]


def _of_cores(workers: int) -> list[Share]:
    """Equally many of the cores that this process may use; with more workers than cores some share one.

    Equally many, since the last bits of a convolution depend on how many threads compute it, and results must not
    depend on who computes what.
    """
    if not hasattr(os, "sched_getaffinity"):  # not Linux
        return [({}, ())] * workers
    cores = sorted(os.sched_getaffinity(0))
    each = max(len(cores) // workers, 1)
    shares = [[cores[(n * each + k) % len(cores)] for k in range(each)] for n in range(workers)]
    return [({}, (f"--cores={','.join(map(str, share))}",)) for share in shares]
