"""Settings that make the tests' own programs compile soon, and spare pictures that no test looks at.

They hold in the tests' process (conftest.py) and, by `python -m tests.quick MODULE WORDS`, in those that it starts.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from unittest.mock import patch

from medtune_jax.__main__ import HELD

# Most of compiling is LLVM's optimization and MLIR's fusions, for programs that run a few times: without both, a toy's
# epoch compiles in a third of the time. TEST_ALL=1 compiles as users do.
_OPTIONS: dict[str, int] = {"xla_backend_optimization_level": 0}
if tuple(map(int, version("jaxlib").split(".")[:2])) < (
    0,
    11,
):  # later ones know no such flag, and end at one
    _OPTIONS["xla_cpu_use_fusion_emitters"] = False
OPTIONS = {} if os.environ.get("TEST_ALL") else _OPTIONS


def xla_flags(*more: str) -> str:
    """What XLA_FLAGS is to be, with others."""
    return " ".join([*(f"--{name}={int(value)}" for name, value in OPTIONS.items()), *more])


def devices(count: int) -> dict[str, str]:
    """An environment of so many simulated devices, which may stand still for long.

    Each device's part of a program blocks a thread of XLA's pool until all of them meet, and by itself the pool has a
    thread a device and no other; those that wait give up after 40 s of the clock, which a busy or paused machine takes.
    """
    flags = (
        f"--xla_force_host_platform_device_count={count}",
        "--xla_cpu_collective_call_terminate_timeout_seconds=280",
    )
    return {"JAX_PLATFORMS": "cpu", "PJRT_NPROC": str(2 * count), "XLA_FLAGS": xla_flags(*flags)}


@contextmanager
def programs() -> Iterator[None]:
    """Those that the package compiles with options of its own, too."""
    from medtune_jax import compilation  # JAX reads the environment when it is imported

    own = compilation.options
    with patch.object(compilation, "options", lambda *a: (made := own(*a)) and {**made, **OPTIONS}):
        yield


def pictures():
    """Of one kind, that which a page holds anyhow: tests/report asks for the others."""
    return patch("medtune_jax.report.figures.KINDS", ("svg",))


if __name__ == "__main__":
    del sys.argv[0]
    if sys.argv[0] == "medtune_jax":  # as it does itself before it imports anything
        signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    with programs(), pictures():
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
