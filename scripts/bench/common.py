"""What all benchmarks share: cases, alternating timing, tables, JSON."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from medtune_jax import heap, networks, tuning
from medtune_jax.networks import Network, Params
from medtune_jax.patches import Images
from medtune_jax.training import (
    Capacity,
    Epoch,
    Inputs,
    Memory,
    PrefixCache,
    Run,
    Runner,
    Settings,
    Task,
    fit,
    runner_for,
)
from medtune_jax.tuning import Depth, StageRates

CLASSES = 2
CLOCKS: dict[str, Callable[[int], Callable[[], float]]] = {
    "wall": lambda cores: time.perf_counter,
    "cpu": lambda cores: lambda: time.process_time() / cores,
}
Clock = Callable[[], float]
Seconds = dict[str, list[float]]
"""Timed repeats by candidate."""


@dataclass(frozen=True)
class Row:
    """One line of a table. spread: half the range between the quartiles, in percent, of the side that varies more."""

    network: str
    case: str
    medtune: float
    torch: float | None
    ratio: float | None
    unit: str
    repeats: int = 0
    spread: float = 0.0
    note: str = ""


def parser(description: str | None, networks_default: str) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    result = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("--networks", default=networks_default, help="comma-separated")
    result.add_argument("--depths", default="", help="first tuned stages; default: all")
    result.add_argument("--batch", type=int, default=32)
    result.add_argument("--size", type=int, default=0, help="pixels a side; 0: the network's own")
    result.add_argument("--repeats", type=int, default=5)
    result.add_argument(
        "--clock",
        default="wall",
        choices=CLOCKS,
        help="cpu: processor seconds of this process over its cores, for a machine that others use too (on one core)",
    )
    result.add_argument(
        "--torch-keeps-memory", action="store_true", help="PyTorch gets our malloc settings"
    )
    result.add_argument("--json", type=Path, help="write the rows there")
    return result


def dtype() -> jnp.dtype:
    """Of the activations, as a study chooses it."""
    return jnp.dtype(jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16)


def use_all_allowed_cores(keep_memory: bool = True) -> int:
    """PyTorch gets as many threads as XLA takes: the cores this process may run on (taskset -c 0,1).

    keep_memory: as a sweep does.
    """
    if keep_memory:
        heap.keep_freed()
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    return cores


def network_and_params(name: str, size: int) -> tuple[Network, Params, int]:
    """A two-class network with parameters that keep its activations' size (He et al. 2015), drawn without compiling."""
    network = networks.get(name, CLASSES)
    size = size or network.preprocessing.size
    network.check_size(size)
    generator = np.random.default_rng(0)

    def drawn(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if len(leaf.shape) == 1:
            return np.zeros(leaf.shape, np.float32)
        deviation = np.float32(np.sqrt(2 / np.prod(leaf.shape[:-1])))
        if leaf.shape[-2] == 3:  # reads pixels
            deviation /= 64
        return deviation * generator.standard_normal(leaf.shape, np.float32)

    return network, jax.tree.map(drawn, network.abstract_params(size)), size


def depths_of(network: Network, text: str) -> list[str]:
    """The stages named on the command line, or all, in the network's order."""
    return sorted(text.split(",") if text else network.names, key=network.index)


def random_patches(count: int, size: int) -> tuple[Images, np.ndarray]:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (count, size, size, 3), np.uint8)
    return Images(pixels), generator.integers(0, CLASSES, count)


def cache_of(
    network: Network, params: Params, patches: Images, labels: np.ndarray, size: int, gib: float
) -> PrefixCache:
    memory = Memory(device=int(gib * 2**30))
    return PrefixCache(network, params, patches, labels, size, memory, dtype())


def runner_of(network: Network, params: Params, depth: Depth, inputs: Inputs) -> Runner:
    """As a study takes it."""
    task = Task(network, depth.tuned, inputs.start, inputs.take, dtype())
    return runner_for(task, params, inputs)


def idle_rates(depth: Depth) -> dict[str, StageRates]:
    """Random images: nothing to learn, nothing to diverge."""
    return dict.fromkeys(depth.tuned, StageRates(1e-6, 1e-6))


def epochs_of_fit(
    network: Network,
    params: Params,
    depth: str,
    cache: PrefixCache,
    batch: int,
    repeats: int,
    others: dict[str, Callable[[], None]],
    clock: Clock = time.perf_counter,
    count: int = 0,
) -> Seconds:
    """Seconds an epoch of `fit` takes at a tuning depth, each followed by one call of every other candidate.

    count: train on the first so many patches; 0: all. The first epoch of each, which compiles, is not counted.
    Validation is one image: what is timed is training.
    """
    chosen = tuning.parse(network, depth)
    inputs = cache.inputs(chosen.tuned[0])
    count = count or len(cache.patches)
    settings = Settings(batch=batch, score_batch=1, epochs=repeats + 1, patience=repeats + 1)
    run = Run(params, idle_rates(chosen), np.arange(count), np.arange(1), 0)
    seconds: Seconds = {name: [] for name in ("medtune", *others)}
    began = clock()
    turn = ExitStack()

    def after(_: int, epoch: Epoch) -> None:
        nonlocal began
        seconds["medtune"].append(clock() - began)
        for name, call in others.items():
            seconds[name].append(timed(call, clock))
        if len(seconds["medtune"]) == 1:
            turn.enter_context(in_turn())
        began = clock()

    with turn:
        (fitted,) = fit(
            runner_of(network, params, chosen, inputs),
            [run],
            inputs,
            settings,
            Capacity.of(count, 1, settings),
            lambda labels, scores: 0.0,
            after,
        )
    if fitted.failure:
        raise RuntimeError(fitted.failure)
    return {name: values[1:] for name, values in seconds.items()}


@contextmanager
def in_turn() -> Iterator[None]:
    """Of the processes that gpu.sh runs side by side, one at a time, and none before all are ready."""
    folder = os.environ.get("TURNS")
    if not folder:
        yield
        return
    (Path(folder) / os.environ["TURN"]).touch()
    while len(list(Path(folder).glob("ready-*"))) < int(os.environ["TOGETHER"]):
        time.sleep(0.05)
    with (Path(folder) / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def alternate(
    candidates: dict[str, Callable[[], Any]],
    repeats: int,
    clock: Clock = time.perf_counter,
    warm_up: bool = True,
) -> Seconds:
    """Call the candidates in turn, `repeats` times each, after a first time that is not counted."""
    if warm_up:
        for call in candidates.values():
            call()
    seconds: Seconds = {name: [] for name in candidates}
    for _ in range(repeats):
        for name, call in candidates.items():
            seconds[name].append(timed(call, clock))
    return seconds


def timed(call: Callable[[], Any], clock: Clock = time.perf_counter) -> float:
    """Seconds of a call; one that runs in another process returns its own."""
    began = clock()
    own = call()
    return own if isinstance(own, float) else clock() - began


def dispatched(
    call: Callable[[], Any], repeats: int, clock: Clock, inner: int
) -> tuple[float, float]:
    """(median seconds of a call, spread in percent), `inner` dispatches at a time."""

    def several() -> None:
        for _ in range(inner):
            result = call()
        jax.block_until_ready(result)

    seconds = alternate({"": several}, repeats, clock)[""]
    return statistics.median(seconds) / inner, spread(seconds)


def compare(network: str, case: str, images: int, seconds: Seconds) -> Row:
    """Images a second of medtune against the best of the other candidates (by median)."""
    others = {name: values for name, values in seconds.items() if name != "medtune"}
    best = min(others, key=lambda name: statistics.median(others[name]))
    ours, theirs = (statistics.median(v) for v in (seconds["medtune"], others[best]))
    wide = max(spread(seconds["medtune"]), spread(others[best]))
    note = f"torch's best: {best}"
    repeats = len(seconds["medtune"])
    return Row(
        network,
        case,
        images / ours,
        images / theirs,
        theirs / ours,
        "images/s",
        repeats,
        wide,
        note,
    )


def spread(values: Sequence[float]) -> float:
    low, middle, high = np.percentile(values, [25, 50, 75])
    return float(50 * (high - low) / middle)


def report(title: str, rows: Sequence[Row], path: Path | None) -> None:
    """Print the rows as a table headed by the machine, and write them as JSON."""
    table = Table(title=f"{title}\n{machine()}", title_justify="left")
    for column in (
        "network",
        "case",
        "medtune",
        "torch",
        "ratio",
        "unit",
        "repeats",
        "spread",
        "note",
    ):
        table.add_column(
            column, justify="left" if column in ("network", "case", "note") else "right"
        )
    for row in rows:
        table.add_row(
            row.network,
            row.case,
            _number(row.medtune),
            _number(row.torch),
            _number(row.ratio),
            row.unit,
            str(row.repeats or ""),
            f"±{row.spread:.0f}%" if row.repeats else "",
            row.note,
        )
    Console(width=None if os.isatty(1) else 140).print(table)
    if path:
        path.write_text(json.dumps([asdict(row) for row in rows], indent=1))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def machine() -> str:
    """Processor, cores in use, load, versions."""
    cores = len(os.sched_getaffinity(0))
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        name = next((s.partition(": ")[2] for s in lines if s.startswith("model name")), name)
    device = jax.devices()[0].device_kind
    load = os.getloadavg()[0]
    return f"{name}, {cores} cores, device {device}, load {load:.1f}; jax {jax.__version__}, torch {torch.__version__}"
