"""Workers as tasks of Ray: on a running cluster, or on one that is started here and bound to loopback."""

from __future__ import annotations

import os
import signal
import socket
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from medtune_jax.errors import UserError
from medtune_jax.executors.field import option
from medtune_jax.executors.submission import Submission

_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Ray:
    """tasks of Ray, which places them and starts those again whose process or node was lost"""

    address: str = option(
        "",
        "of a running cluster (HOST:6379, or auto); empty: one is started here, for loopback only",
    )
    workers: int = option(0, "tasks; 0: one for each job", least=0)
    num_cpus: float = option(1.0, "cores of a worker", least=0)
    num_gpus: float = option(0.0, "GPUs of a worker; with 0 Ray shows it none", least=0)
    max_retries: int = option(3, "how often a lost worker is started again; -1: always", least=-1)

    name: ClassVar[str] = "ray"

    @property
    def in_process(self) -> bool:
        return False

    def count(self, jobs: int) -> int:
        return min(jobs, self.workers) if self.workers else jobs

    @property
    def accelerated(self) -> bool:
        return self.num_gpus > 0

    def rejoin(self, submission: Submission) -> None:
        """They belong to their launcher."""

    def start(self, submission: Submission, workers: int) -> Tasks:
        ray = _ray(here=not self.address)
        self._connect(ray)
        if (has := ray.cluster_resources().get("GPU", 0)) < self.num_gpus:
            print(
                f"a worker asks for {self.num_gpus:g} GPUs, and Ray has {has:g}: it waits until nodes join",
                file=sys.stderr,
            )
        task = ray.remote(
            num_cpus=self.num_cpus,
            num_gpus=self.num_gpus,
            max_retries=self.max_retries,
            max_calls=1,  # a process of its own, which gives the device back when it ends
        )(_work)
        folder = str(submission.folder)
        tasks = [task.remote(folder, number) for number in range(workers)]
        submission.started(
            [each.task_id().hex() for each in tasks], ray.get_runtime_context().gcs_address
        )
        return Tasks(ray, tasks)

    def _connect(self, ray: Any) -> None:
        handler = signal.getsignal(signal.SIGTERM)
        with warnings.catch_warnings():
            # Python warns of a fork beside JAX's threads; what Ray forks is replaced by another program at once.
            warnings.simplefilter("ignore", RuntimeWarning)
            self._init(ray)
        signal.signal(signal.SIGTERM, handler)  # Ray has set its own

    def _init(self, ray: Any) -> None:
        quiet = {"log_to_driver": False, "logging_level": "error"}
        if self.address:
            try:
                _knock(self.address)
                ray.init(address=self.address, **quiet)
            except (OSError, RuntimeError, ValueError) as error:
                raise UserError(
                    f"no Ray cluster answers at executor.address '{self.address}': start one with `ray start --head`, "
                    f"or leave the address empty"
                ) from error
        else:
            os.environ.pop("RAY_ADDRESS", None)
            ray.init(include_dashboard=False, _node_ip_address=_LOOPBACK, **quiet)


@dataclass
class Tasks:
    """The workers' tasks; they belong to their launcher."""

    ray: Any
    tasks: Sequence[Any]

    def alive(self) -> int:
        done, waiting = self.ray.wait(self.tasks, num_returns=len(self.tasks), timeout=0)
        del done
        return len(waiting)

    def stop(self) -> str:
        for task in self.tasks:
            self.ray.cancel(task)
        self.ray.wait(self.tasks, num_returns=len(self.tasks), timeout=_PATIENCE)
        self.ray.shutdown()
        return "Ray's tasks belong to this launcher and have ended with it"

    def close(self) -> None:
        """Those that begin now find nothing to do; wait for them, and end the connection."""
        self.ray.wait(self.tasks, num_returns=len(self.tasks), timeout=_PATIENCE)
        self.ray.shutdown()


_PATIENCE = 12.0  # seconds for workers to save their state


def _work(folder: str, number: int) -> None:
    """A worker in Ray's process; what it says goes beside the other logs."""
    from medtune_jax.executors.worker import work

    log = os.open(Path(folder) / f"ray-{number}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    work(folder)


def _knock(address: str) -> None:
    """OSError where nobody listens at HOST:PORT: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "//" not in address:
        socket.create_connection((host, int(port)), timeout=_PATIENCE).close()


def _ray(here: bool) -> Any:
    """The library. here: its cluster is this machine alone."""
    # No reports of use to its makers.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if here:
        # Ray's switch for no other machine, read when it is imported. Without it 127.0.0.1 is replaced by an address
        # that others reach, and its servers listen to all.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    try:
        import ray
    except ImportError as error:
        raise UserError("--executor=ray needs Ray: pip install 'medtune-jax[cluster]'") from error
    return ray
