"""How programs are compiled."""

import hashlib
import platform
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
from jax._src import compilation_cache  # where its cache is exchanged has no public name
from jax._src.compilation_cache_interface import CacheInterface

from medtune_jax.paths import user_cache, write_whole

_SUM = hashlib.sha256().digest_size


@lru_cache
def compiled(
    function: Callable[..., Any],
    static: tuple[int, ...] = (),
    donated: tuple[int, ...] = (),
    plain_loops: bool = False,
) -> Callable[..., Any]:
    """The function as a program that all who ask share. static, donated: positions of arguments. plain_loops: see
    `options`.
    """
    return jax.jit(
        function,
        static_argnums=static,
        donate_argnums=donated,
        compiler_options=options(plain_loops),
    )


def options(plain_loops: bool = False) -> dict[str, int | str | bool] | None:
    """For compiler_options of a jax.jit that is never called inside another one. plain_loops: on a CPU, loops between
    matrix products by XLA's older emitter, with which a fire module compiles in half the time and runs as fast; those
    of response normalisation and of depthwise convolutions run slower.

    On a CPU LLVM's level 2, with which a step of SqueezeNet compiles in 4.7 instead of 7.6 s and runs as fast; and
    YNN's kernels for matrix products and sums, but not for convolutions, many of which it runs on one thread
    (docs/benchmarks.md).
    """
    if jax.default_backend() != "cpu":
        return None
    ynn = "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"
    wanted: dict[str, int | str | bool] = {
        "xla_backend_optimization_level": 2,
        "xla_cpu_experimental_ynn_fusion_type": ynn,
        "xla_cpu_use_fusion_emitters": not plain_loops,
    }
    return {name: value for name, value in wanted.items() if _is_known(name, value)}


@lru_cache
def _is_known(name: str, value: int | str | bool) -> bool:
    """Whether this version of XLA has an option: they come and go (in jax 0.11 there is no choice of emitters)."""
    try:
        jax.jit(lambda: 0, compiler_options={name: value}).lower().compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True


def keep_programs() -> None:
    """Compiled programs are kept per user and kind of machine, so that the second sweep starts at once.

    All of them, however fast they compile: a small study on a CPU compiles a hundred that take less than a second each.
    """
    compilation_cache.get_file_cache = lambda path: (Programs(Path(path)), path)
    folder = user_cache() / "compiled" / _machine()
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


class Programs(CacheInterface):
    """JAX's files of compiled programs, each behind its SHA-256 and written whole.

    JAX's own cache runs what it reads, leaves half a file where a process is killed, and never replaces a damaged one.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder

    def get(self, key: str) -> bytes | None:
        """A program; None where it is not there, or damaged."""
        try:
            content = self._file(key).read_bytes()
        except FileNotFoundError:
            return None
        program = content[_SUM:]
        return program if hashlib.sha256(program).digest() == content[:_SUM] else None

    def put(self, key: str, value: bytes) -> None:
        """Keep a program, in place of what is there."""
        write_whole(self._file(key), hashlib.sha256(value).digest() + value)

    def _file(self, key: str) -> Path:
        return self._path / f"{key}-cache"


def _machine() -> str:
    """A digest of what code for this processor may use: homes are shared by machines that differ in it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    features = {line for line in lines if line.startswith(("flags", "Features", "model name"))}
    told = "\n".join([platform.machine(), platform.processor(), *sorted(features)])
    return hashlib.sha256(told.encode()).hexdigest()[:16]
