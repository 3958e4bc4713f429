"""Images a second of training at every depth, with and without cached features, against PyTorch with frozen layers.

    taskset -c 0,1 python scripts/bench/depth.py --networks alexnet --batch 32 --json out.json

PyTorch runs the frozen stages under no_grad and its optimizer holds the tuned ones only. One epoch of ours
with the cache is `--steps` batches; PyTorch's and ours without a cache are `--whole-steps`.
Making the features is timed on its own. The last columns of the note are seconds an epoch of 1,000 images.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace

import common
import torch
import torch_side


def main() -> None:
    arguments = common.parser(__doc__, "alexnet")
    arguments.add_argument("--steps", type=int, default=32)
    arguments.add_argument("--whole-steps", type=int, default=1)
    arguments.add_argument("--cache-gib", type=float, default=4.0)
    options = arguments.parse_args()
    clock = common.CLOCKS[options.clock](common.use_all_allowed_cores())
    rows = []
    for name in options.networks.split(","):
        rows += _rows_of(name, options, clock)
    common.report(f"Training by depth, batch {options.batch}", rows, options.json)


def _rows_of(name: str, options, clock: common.Clock) -> list[common.Row]:
    network, params, size = common.network_and_params(name, options.size)
    patches, labels = common.random_patches(options.batch * options.steps, size)
    few = options.batch * options.whole_steps
    cached = common.features_of(network, params, patches, labels, size, options.cache_gib)
    plain = common.features_of(network, params, patches, labels, size, 0)
    x = torch_side.preprocessed(network, patches.pixels[:few])
    target = torch.tensor(labels[:few])
    rows = []
    # Shallow to deep, so that every prefix is made from the one before.
    for depth in common.depths_of(network, options.depths):
        trainers = {
            key: torch_side.Trainer(network, params, size, depth, **setting)
            for key, setting in torch_side.settings(False, False).items()
        }
        others = {k: torch_side.epoch(t, x, target, options.batch) for k, t in trainers.items()}
        made = time.perf_counter()
        start = cached.inputs(depth).start
        made = time.perf_counter() - made
        for label, features, count in (
            (f"cached at {start}", cached, len(patches)),
            ("no cache", plain, few),
        ):
            if label.endswith(network.names[0]):
                continue  # nothing is frozen, so there is nothing to cache
            seconds = common.epochs_of_fit(
                network,
                params,
                depth,
                features,
                options.batch,
                options.repeats,
                others,
                clock,
                count,
            )
            rows.append(_row(name, depth, label, count, few, seconds, made))
    return rows


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
