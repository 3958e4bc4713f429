"""Do runs of a depth train faster together than one after another? Three seeds, cached features, alternating.

    taskset -c 0,1 python scripts/bench/stacking.py --json stacking.json

The rule in medtune_jax/training/runners.py comes from this table.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medtune_jax import networks, tuning
from medtune_jax.networks import parameter_count
from medtune_jax.training import (
    Capacity,
    Inputs,
    Run,
    Runner,
    Settings,
    Task,
    WholeEpoch,
    fit,
    runner_for,
)
from medtune_jax.training.inputs.prefix import take

CASES = (
    ("squeezenet", 67, "conv10", 1024),
    ("squeezenet", 67, "fire9", 512),
    ("squeezenet", 67, "fire5", 256),
    ("squeezenet", 115, "conv10", 1024),
    ("squeezenet", 115, "fire9", 256),
    ("alexnet", 227, "fc8", 1024),
    ("alexnet", 227, "fc7", 256),
    ("alexnet", 227, "fc6", 128),
)
RUNS = 3


def case(name: str, size: int, first: str, patches: int, repeats: int) -> dict[str, Any]:
    """Seconds an epoch of RUNS seeds alone and together, on random features."""
    network, rng = networks.get(name, 2), np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: rng.normal(0, 0.01, leaf.shape).astype(np.float32),
        network.abstract_params(size),
    )
    depth = tuning.parse(network, first)
    start = network.deterministic_prefix(first)
    shape = network.shapes(size)[network.names[network.index(start) - 1]]
    features = rng.normal(0, 1, (patches, *shape)).astype(np.float32)
    labels = np.arange(patches, dtype=np.int32) % 2
    inputs = Inputs({"features": jnp.asarray(features)}, jnp.asarray(labels), start, take)
    task = Task(network, depth.tuned, start, take)
    apart, stacked = runner_for(task, params, inputs), WholeEpoch(task, stacks=True)
    rates = tuning.stage_rates(network, depth)
    settings = Settings(epochs=1)
    capacity = Capacity.of(patches, 64, settings)
    runs = [Run(params, rates, np.arange(patches), np.arange(64), seed) for seed in range(RUNS)]

    def train(runner: Runner, runs: list[Run]) -> None:
        fit(runner, runs, inputs, settings, capacity, lambda *_: 0.5)

    def alone() -> None:
        for run in runs:
            train(apart, [run])

    times = alternating((alone, lambda: train(stacked, runs)), repeats)
    return {
        "network": f"{name} {size} px",
        "case": f"{first}, {patches} patches, {RUNS} seeds",
        "tuned_parameters": parameter_count(tuning.split(params, depth.tuned)[0]),
        "alone": median(times[0]),
        "together": median(times[1]),
        "spread": [[min(own), max(own)] for own in times],
        "ratio": median(times[0]) / median(times[1]),
        "unit": "s",
    }


def alternating(actions: tuple[Callable[[], None], ...], repeats: int) -> list[list[float]]:
    """Seconds of each action, taken in turn; the first round compiles and does not count."""
    times: list[list[float]] = [[] for _ in actions]
    for _ in range(repeats + 1):
        for own, action in zip(times, actions, strict=True):
            began = time.perf_counter()
            action()
            own.append(time.perf_counter() - began)
    return [own[1:] for own in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--networks", default="squeezenet,alexnet")
    parser.add_argument("--json", default="")
    given = parser.parse_args()
    rows = []
    for chosen in CASES:
        if chosen[0] not in given.networks.split(","):
            continue
        row = case(*chosen, given.repeats)
        rows.append(row)
        print(
            f"{row['network']:<18} {row['case']:<32} {row['tuned_parameters']:>10,} parameters  "
            f"alone {row['alone']:.3f} s  together {row['together']:.3f} s  ratio {row['ratio']:.2f}",
            flush=True,
        )
    if given.json:
        Path(given.json).write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
