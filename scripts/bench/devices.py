"""A training step on simulated devices of this machine: its time, and the bytes that its program has devices exchange.

python scripts/bench/devices.py

SqueezeNet at 64 pixels, every stage tuned, batches of 16, an epoch of one step as one program. All devices share the
machine's cores, so the time says what dividing costs, not what it gains.
"""

from __future__ import annotations

import json
import math
import os
import re
import socket
import subprocess
import sys
import time

import jax
import numpy as np

from medtune_jax import networks, tuning
from medtune_jax.patches import Images
from medtune_jax.training import Capacity, Memory, PrefixCache, Run, Settings, Task, WholeEpoch
from medtune_jax.training.devices import hosts
from medtune_jax.training.epoch import EpochPlan
from medtune_jax.training.stack import Stack
from medtune_jax.training.step import TrainState

PLACES = ((1, 1), (1, 2), (1, 4), (1, 8), (2, 4))  # processes, devices of each
SIZE, BATCH, STEPS, REPEATS = 64, 16, 1, 3
BYTES = {"u8": 1, "pred": 1, "bf16": 2, "f32": 4, "s32": 4, "u32": 4}
COLLECTIVE = re.compile(r"= (.*?) (all-reduce|all-gather|reduce-scatter|all-to-all)(?:-start)?\(")


def main() -> None:
    print("processes  devices of each  ms a step  MB of gradients  MB of patches")
    for processes, devices in PLACES:
        found = started(processes, devices)
        print(
            f"{processes:9}  {devices:15}  {found['ms']:9.1f}  {found['f32']:15.2f}  {found['u8']:13.2f}"
        )


def started(processes: int, devices: int) -> dict[str, float]:
    """What process 0 measures."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    variables = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        # Threads to spare: each device's part of a program blocks one until all have met.
        "PJRT_NPROC": str(2 * devices),
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    }
    together = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": str(processes)}
    started = [
        subprocess.Popen(
            [sys.executable, __file__, "one"],
            env={**variables, **together, "JAX_PROCESS_ID": str(number)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(processes)
    ]
    said = [process.communicate()[0] for process in started]
    measured: dict[str, float] = json.loads(said[0].splitlines()[-1])
    return measured


def one() -> None:
    hosts.join()
    network, draw = networks.get("squeezenet", 2), np.random.default_rng(0)
    params = networks.initial_params(network, jax.random.key(0), "msra", SIZE)
    count = BATCH * STEPS
    pixels = draw.integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)
    labels = np.arange(count, dtype=np.int32) % 2
    inputs = PrefixCache(network, params, Images(pixels), labels, SIZE, Memory()).inputs("conv1")
    depth = tuning.parse(network, "conv1")
    rates = dict.fromkeys(depth.tuned, tuning.StageRates(1e-3, 1e-3))
    run = Run(params, rates, np.arange(count), np.arange(BATCH), 0)
    settings = Settings(batch=BATCH, score_batch=BATCH)
    runner = WholeEpoch(Task(network, depth.tuned, "conv1", inputs.take))
    stack = Stack(runner, inputs, {}, [TrainState.of(runner.task, params)])
    plan = EpochPlan.of(run, 1, settings, Capacity(STEPS, 1), jax.random.key(0))
    times = []
    for _ in range(1 + REPEATS):
        began = time.perf_counter()
        stack.epoch([plan], [run.rates_at(1.0)])
        times.append(time.perf_counter() - began)
    shared, layout = stack._shared, stack._layout
    laid = layout.plan(plan)
    program = runner._alone.lower(
        stack._state,
        {},
        layout.by_run(run.rates_at(1.0)),
        shared.inputs.arrays,
        shared.inputs.labels,
        laid,
    ).compile()
    print(
        json.dumps(
            {"ms": 1e3 * float(np.median(times[1:])) / STEPS, **exchanged(program.as_text())}
        )
    )
    hosts.leave()


def exchanged(program: str) -> dict[str, float]:
    """MB that collectives of the training loop give each device, floats (gradients) and bytes (patches)."""
    found = {"f32": 0.0, "u8": 0.0}
    for shapes, _ in COLLECTIVE.findall(program):
        for kind, dimensions in re.findall(r"(\w+)\[([\d,]*)\]", shapes):
            size = BYTES.get(kind, 0) * math.prod(map(int, filter(None, dimensions.split(","))))
            found["f32" if kind == "f32" else "u8"] += size / 1e6
    return found


if __name__ == "__main__":
    one() if sys.argv[1:] == ["one"] else main()
