"""Several processes that train every run together: how they find each other, agree, and end when one is lost.

All take the same steps, since each step is a collective of all. So whatever one of them decides by its own clock, disk,
signals or free memory, all must know: they tell each other by the key-value store of jax.distributed, which also hears
the heartbeat of each. With a single process nothing of this happens.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax._src.distributed import global_state  # its key-value store has no public name

from medtune_jax import signals
from medtune_jax.errors import UserError

START = 40  # seconds for all processes to come
HEARTBEAT = 30  # seconds of silence after which a process counts as lost
_MEET = 30.0  # seconds after which who has not failed as this process did is taken to train on
_LEAVE = 10  # seconds for the others to end too
_SLICE = 1000  # milliseconds of a wait, between which Python may look at signals
_COUNTS_AND_NUMBERS = (
    ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID"),
    ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
)
_ADDRESS = "JAX_COORDINATOR_ADDRESS"
_OPEN_MPI_ADDRESS = "OMPI_MCA_orte_hnp_uri"  # up to Open MPI 4
_FATAL = 3  # of absl's severities
_LOST = "has lost another one"

_round = 0
_here = ""
_handler: Any = None


@dataclass(frozen=True)
class Place:
    """Which of how many processes this one is. address: HOST:PORT of process 0; None where JAX finds it out."""

    address: str | None
    count: int
    number: int

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Place | None:
        """By JAX's own variables, Slurm's (a step of srun) or Open MPI's; None for a process of its own.

        UserError where they do not say enough.
        """
        address = environment.get(_ADDRESS)
        for count, number in _COUNTS_AND_NUMBERS:
            if count in environment and number in environment:
                place = cls(address, _whole(environment, count), _whole(environment, number))
                return place._checked(count, number, environment) if place.count > 1 else None
        if address:
            raise UserError(
                f"{_ADDRESS} is set, but not which process this is: set JAX_NUM_PROCESSES and JAX_PROCESS_ID "
                f"(0, 1, ...) as well, or unset it for a process of its own"
            )
        return None

    def _checked(self, count: str, number: str, environment: Mapping[str, str]) -> Place:
        if not 0 <= self.number < self.count:
            raise UserError(
                f"{number} is {self.number} of {count}={self.count}: number processes from 0"
            )
        found = count.startswith("SLURM") or _OPEN_MPI_ADDRESS in environment
        if not self.address and not found:
            raise UserError(
                f"{count} is {self.count}, but nothing says where process 0 listens: "
                f"set {_ADDRESS}=HOST:PORT for all of them"
            )
        return self


def _whole(environment: Mapping[str, str], name: str) -> int:
    try:
        return int(environment[name])
    except ValueError as error:
        raise UserError(f"{name} is '{environment[name]}': give a whole number") from error


def join(environment: Mapping[str, str] = os.environ) -> None:
    """Find the other processes, where the environment speaks of any. Before JAX computes anything.

    UserError where they do not all come. From here on a process that is lost ends this one, with a sentence and the
    exit code of `signals.AGAIN`.
    """
    global _here
    place = Place.of(environment)
    if place is None or jax.distributed.is_initialized():
        return
    _here = f"process {place.number} of {place.count}"
    _obey_abort(f"did not find all others within {START} seconds")
    # Its handler of SIGTERM would take the place of ours.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            place.address,
            place.count,
            place.number,
            initialization_timeout=START,
            heartbeat_timeout_seconds=HEARTBEAT,
            shutdown_timeout_seconds=_LEAVE,
        )
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{_here} cannot join the others ({reason}): start all {place.count} at the same time, "
            f"and let them reach {place.address or 'process 0'}"
        ) from error
    _obey_abort(_LOST)


def leave() -> None:
    """Wait for the others at the end of all runs; what this process does then is its own affair."""
    if several():
        everyones("")
        jax.distributed.shutdown()
        ctypes.CDLL(None).signal(signal.SIGABRT, None)


def several() -> bool:
    """Whether this process is one of several that train together."""
    return jax.process_count() > 1


def first() -> bool:
    """Whether this is process 0, which alone claims jobs, writes results and speaks."""
    return jax.process_index() == 0


def part(count: int) -> np.ndarray:
    """The rows int [n], of so many, that lie on this process's devices; all where it is alone.

    Every device has equally many, so the last row stands for those that are missing.
    """
    return np.minimum(places(count), count - 1)


def places(count: int) -> np.ndarray:
    """int [n]: at which places of an array over all devices the rows of `part` lie."""
    if not several():
        return np.arange(count)
    each = -(-count // jax.device_count())
    here = [n for n, at in enumerate(jax.devices()) if at.process_index == jax.process_index()]
    return (each * np.array(here)[:, None] + np.arange(each)).ravel()


@contextmanager
def one_of_a_host_first() -> Iterator[None]:
    """Of the processes on a host one does what is in here before the others: these find what it has left on disk."""
    machines = everyones(socket.gethostname())
    here = jax.process_index() if several() else 0
    first = machines.index(machines[here]) == here
    if not first:
        everyones("")
    try:
        yield
    finally:
        if first:
            everyones("")


def everyones(text: str, seconds: float | None = None, otherwise: str = _LOST) -> list[str]:
    """What each process says here, in their order. All must come, if need be within so many seconds, or this process
    ends and says `otherwise`.
    """
    global _round
    if not several():
        return [text]
    _round += 1
    until = None if seconds is None else time.monotonic() + seconds
    try:
        _store().key_value_set(_key(_round, jax.process_index()), text)
        said = [_said(_key(_round, number), until) for number in range(jax.process_count())]
        # Who speaks in this round has heard all of the one before.
        _store().key_value_delete(_key(_round - 1, jax.process_index()))
    except jax.errors.JaxRuntimeError:
        signals.end(_sentence(otherwise), signals.AGAIN)
    return said


def of_first(value: Any) -> Any:
    """What process 0 gives here (of JSON), for all. Its own value where it is alone."""
    return json.loads(everyones(json.dumps(value))[0]) if several() else value


def least(number: int) -> int:
    """The least number that any process gives."""
    return min(map(int, everyones(str(number))))


def same(text: str) -> bool:
    """Whether all say the same."""
    return len(set(everyones(text))) == 1


def meet(reason: str) -> None:
    """Where this process failed in what all do: go on only if the others come here too, soon."""
    everyones("", _MEET, f"cannot go on with the others ({reason})")


def asked() -> int:
    """The signal that asked any of the processes to stop, 0 as long as none did; from here on all know of it."""
    if not several():
        return signals.asked()
    number = max(map(int, everyones(str(signals.asked()))))
    signals.adopt(number)
    return number


def asked_here() -> int:
    """As `signals.asked` between two steps, where several do not stop: no two would stop at the same one."""
    return 0 if several() else signals.asked()


def check() -> None:
    """Raise signals.Stop in all, where a signal asked any to."""
    if asked():
        raise signals.Stop


def _store() -> Any:
    """The key-value store of all processes."""
    return global_state.client


def _said(key: str, until: float | None) -> str:
    while True:
        try:
            said: str = _store().blocking_key_value_get(key, _SLICE)
            return said
        except jax.errors.JaxRuntimeError as error:
            late = until is not None and time.monotonic() > until
            if late or "DEADLINE_EXCEEDED" not in str(error):
                raise


def _key(number: int, process: int) -> str:
    return f"medtune/{number}/{process}"


def _sentence(what: str) -> str:
    return f"{_here} {what}: finished runs are kept, start all again with the same command to go on"


def _obey_abort(what: str) -> None:
    """JAX's client aborts the process when another is lost, with a trace of C++: say a sentence in its place.

    Its callback for this cannot be one of Python's (jaxlib fails to convert its argument). With
    TF_CPP_MIN_LOG_LEVEL=0 the trace is printed as well.
    """
    global _handler
    from jaxlib import utils

    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") != "0":  # jax sets 1 where it is not set
        utils.absl_set_min_log_level(_FATAL + 1)

    def end(_: int) -> None:
        signals.end(_sentence(what), signals.AGAIN)

    _handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(end)
    ctypes.CDLL(None).signal(signal.SIGABRT, _handler)
