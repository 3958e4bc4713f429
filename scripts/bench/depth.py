"""Images a second of training at every depth, with and without cached features, against PyTorch with frozen layers.

    taskset -c 0,1 python scripts/bench/depth.py --networks alexnet --batch 32 --json out.json

PyTorch runs the frozen stages under no_grad and its optimizer holds the tuned ones only. One epoch of ours
with the cache is `--steps` batches; PyTorch's and ours without a cache are `--whole-steps`.
Making the features is timed on its own. The last columns of the note are seconds an epoch of 1,000 images.
The last row is a second seed of the shallowest depth: it finds features and program made.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import replace

import common
import numpy as np
import torch_side

from medtune_jax import tuning
from medtune_jax.training import Capacity, Run, Settings, fit


def main() -> None:
    arguments = common.parser(__doc__, "alexnet")
    arguments.add_argument("--steps", type=int, default=32)
    arguments.add_argument("--whole-steps", type=int, default=1)
    arguments.add_argument("--cache-gib", type=float, default=4.0)
    options = arguments.parse_args()
    clock = common.CLOCKS[options.clock](common.use_all_allowed_cores())
    rows = []
    for name in options.networks.split(","):
        rows += rows_of(name, options, clock)
    common.report(f"Training by depth, batch {options.batch}", rows, options.json)


def rows_of(name: str, options, clock: common.Clock) -> Iterator[common.Row]:
    network, params, size = common.network_and_params(name, options.size)
    patches, labels = common.random_patches(options.batch * options.steps, size)
    few = options.batch * options.whole_steps
    cached = common.cache_of(network, params, patches, labels, size, options.cache_gib)
    plain = common.cache_of(network, params, patches, labels, size, 0)
    # Shallow to deep, as a sweep goes; one pass makes the features of all that fit.
    depths = common.depths_of(network, options.depths)[::-1]
    cached.expect(depths)
    for depth in depths:
        made = time.perf_counter()
        start = cached.inputs(depth).start
        made = time.perf_counter() - made
        with torch_side.Apart(
            options.clock,
            torch_side.calls,
            "training",
            name,
            size,
            depth,
            options.batch,
            few,
            keep_memory=options.torch_keeps_memory,
        ) as others:
            for label, cache, count in (
                (f"cached at {start}", cached, len(patches)),
                ("no cache", plain, few),
            ):
                if label.endswith(network.names[0]):
                    continue  # nothing is frozen, so there is nothing to cache
                seconds = common.epochs_of_fit(
                    network,
                    params,
                    depth,
                    cache,
                    options.batch,
                    options.repeats,
                    others,
                    clock,
                    count,
                )
                yield _row(name, depth, label, count, few, seconds, made)
    yield _second_seed(name, network, params, size, patches, labels, options)


def _second_seed(name, network, params, size, patches, labels, options) -> common.Row:
    """Wall seconds of ten epochs of two seeds of the shallowest depth; the first makes the features and compiles."""
    depth = tuning.parse(network, network.head)
    settings = Settings(batch=options.batch, score_batch=options.batch, epochs=10, patience=10)
    index = np.arange(len(patches))
    seconds = []
    began = time.perf_counter()
    cache = common.cache_of(network, params, patches, labels, size, options.cache_gib)
    inputs = cache.inputs(depth.tuned[0])
    runner = common.runner_of(network, params, depth, inputs)
    capacity = Capacity.of(len(index), options.batch, settings)
    rates = common.idle_rates(depth)
    for seed in range(2):
        run = Run(params, rates, index, index[: options.batch], seed)
        fit(runner, [run], inputs, settings, capacity, lambda labels, scores: 0.0)
        seconds.append(time.perf_counter() - began)
        began = time.perf_counter()
    first, second = seconds
    note = f"the first: {first:.2f} s; the second takes {100 * second / first:.1f}% of it"
    return common.Row(name, f"{network.head}, second seed", second, None, None, "s", note=note)


def _row(network, depth, label, count, few, seconds: common.Seconds, made: float) -> common.Row:
    """`compare` counts the same images on both sides; here each side has its own number."""
    per_image = {
        name: [value / (count if name == "medtune" else few) for value in values]
        for name, values in seconds.items()
    }
    row = common.compare(network, f"{depth}, {label}", 1, per_image)
    ours = 1000 * statistics.median(per_image["medtune"])
    note = f"{row.note}; {ours:.3g} s against {1000 / row.torch:.3g} s an epoch of 1,000"
    if label != "no cache":
        note += f"; features made in {made:.1f} s"
    return replace(row, note=note)


if __name__ == "__main__":
    main()
