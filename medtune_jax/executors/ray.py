"""Workers as tasks of Ray: on a running cluster, or on one that is started here and bound to loopback."""

from __future__ import annotations

import os
import signal
import socket
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
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
    processes: int = option(
        1,
        "of a worker, which train every run together, on different nodes where there are such; "
        "num_cpus and num_gpus are of each",
        least=1,
    )

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
        folder = str(submission.folder)
        if self.processes == 1:
            task = ray.remote(**self.place, max_retries=self.max_retries)(_work)
            tasks = [task.remote(folder, str(number)) for number in range(workers)]
        else:
            task = ray.remote(num_cpus=0, max_retries=self.max_retries)(_group)
            tasks = [task.remote(folder, str(number), self) for number in range(workers)]
        submission.started(
            [each.task_id().hex() for each in tasks], ray.get_runtime_context().gcs_address
        )
        return Tasks(ray, tasks)

    @property
    def place(self) -> dict[str, float]:
        """What Ray is asked for, for one process of its own, which gives the device back when it ends."""
        return {"num_cpus": self.num_cpus, "num_gpus": self.num_gpus, "max_calls": 1}

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


def _work(folder: str, name: str, variables: Mapping[str, str] | None = None) -> None:
    """A worker in Ray's process, with variables of the environment; what it says goes beside the other logs."""
    from medtune_jax.executors.worker import work

    os.environ.update(variables or {})
    log = os.open(Path(folder) / f"ray-{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    work(folder)


def _group(folder: str, name: str, executor: Ray) -> None:
    """A worker of several processes: placed together, and all started again where one is lost."""
    import ray
    from ray.util.placement_group import placement_group, remove_placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    each = {"CPU": executor.num_cpus or 0.001, "GPU": executor.num_gpus}
    bundle = {kind: amount for kind, amount in each.items() if amount}
    group = placement_group([bundle] * executor.processes, strategy="SPREAD")
    ray.get(group.ready())

    def start(function: Any, process: int, *arguments: Any) -> Any:
        there = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=process)
        task = ray.remote(**executor.place, max_retries=0, scheduling_strategy=there)(function)
        return task.remote(*arguments)

    try:
        for left in count(executor.max_retries, -1):
            address = ray.get(start(_free_address, 0))
            members = [
                start(_work, n, folder, f"{name}-{n}", _variables(address, executor.processes, n))
                for n in range(executor.processes)
            ]
            ray.wait(members, num_returns=len(members))  # who loses another one ends as well
            failure = _lost(ray, members)
            if failure is None:
                return
            if left == 0:
                raise failure
    finally:
        remove_placement_group(group)


def _lost(ray: Any, members: Sequence[Any]) -> Exception | None:
    """Why a process of a group is gone; None where all have done their work. What one of them raised is raised."""
    lost = None
    for member in members:
        try:
            ray.get(member)
        except ray.exceptions.RayTaskError:
            raise
        except ray.exceptions.RayError as error:
            lost = error
    return lost


def _variables(address: str, processes: int, number: int) -> dict[str, str]:
    """By which the processes of a run find each other (`hosts.Place`)."""
    return {
        "JAX_COORDINATOR_ADDRESS": address,
        "JAX_COORDINATOR_BIND_ADDRESS": address,  # else it listens on all of the node's
        "JAX_NUM_PROCESSES": str(processes),
        "JAX_PROCESS_ID": str(number),
    }


def _free_address() -> str:
    """HOST:PORT of this node, as other nodes reach it."""
    import ray

    host = ray.util.get_node_ip_address()
    with socket.socket() as free:
        free.bind((host, 0))
        return f"{host}:{free.getsockname()[1]}"


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
