"""What a study costs as it grows: seconds and memory over the number of patches and of depths.

    taskset -c 0,1 python scripts/bench/cost.py --patches 1000,10000 --depths 10 --json cost.json
    taskset -c 0,1 python scripts/bench/cost.py --patches 100000 --depths 2 --json large.json
    python scripts/bench/cost.py --plot cost.png --read cost.json,large.json

Patches are cut from frames while training, as a study of frames has them. Depths are trained one after another from the
shallowest, so that a row is what the study cost up to that depth. A process for each number of patches.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import common
import numpy as np

from medtune_jax import tuning
from medtune_jax.networks import Network, Params
from medtune_jax.patches.crops import Crops
from medtune_jax.patches.recipes import crop_affines
from medtune_jax.study import default_config
from medtune_jax.training import Capacity, Memory, PrefixCache, Run, Settings, fit
from medtune_jax.training.inputs.disk import Disk

Cost = dict[str, Any]
"""One depth of a study: seconds of it and of its parts."""


def by_depth(
    network: Network,
    params: Params,
    size: int,
    patches: int,
    depths: Sequence[str],
    settings: Settings,
    memory: Memory,
) -> Iterator[Cost]:
    """A study's training, one seed a depth, on patches cut from drawn frames; four in five of them train."""
    images, labels = _crops(patches, size)
    cache = PrefixCache(
        network, params, images, labels, size, memory, common.dtype(), batch=settings.score_batch
    )
    chosen_depths = [tuning.parse(network, name) for name in depths]
    boundaries = cache.expect([chosen.tuned[0] for chosen in chosen_depths])
    train, valid = np.split(np.arange(patches), [patches * 4 // 5])
    capacity = Capacity.of(len(train), len(valid), settings)
    for chosen, boundary in zip(chosen_depths, boundaries, strict=True):
        begun = time.perf_counter()
        inputs = cache.inputs(chosen.tuned[0])
        featured = time.perf_counter() - begun
        ends: list[float] = []
        (fitted,) = fit(
            common.runner_of(network, params, chosen, inputs),
            [Run(params, common.idle_rates(chosen), train, valid, 0)],
            inputs,
            settings,
            capacity,
            lambda labels, scores: 0.0,
            lambda number, epoch, ends=ends: ends.append(time.perf_counter()),
        )
        epoch = statistics.median(np.diff(ends))
        yield {
            "depth": chosen.label,
            "start": boundary.stage,
            "place": boundary.place,
            "patches": patches,
            "seconds": time.perf_counter() - begun,
            "features": featured,
            "epoch": epoch,
            "compiling": ends[0] - begun - featured - epoch,
            "failure": fitted.failure or "",
        }


def _crops(count: int, size: int) -> tuple[Crops, np.ndarray]:
    """Patches of drawn frames, and drawn labels."""
    generator = np.random.default_rng(0)
    frames = generator.integers(0, 256, (32, 480, 560, 3), np.uint8)
    centre = generator.uniform((150, 150), (330, 410), (count, 2))
    extent = generator.uniform(120, 260, (count, 1)).repeat(2, 1)
    crops = Crops(
        frames,
        np.tile(np.int32([480, 560]), (32, 1)),
        generator.integers(0, 32, count).astype(np.int32),
        crop_affines(centre, extent, size),
        size,
    )
    return crops, generator.integers(0, 2, count)


def measure(given: argparse.Namespace, patches: int) -> list[Cost]:
    """Seconds and peak memory of the study so far, a row a depth. Features that memory does not hold go to disk, as a
    sweep's do.
    """
    common.use_all_allowed_cores()
    with tempfile.TemporaryDirectory(dir=given.disk_dir) as folder:
        disk = Disk(Path(folder), int(default_config().memory.disk_gib * 2**30))
        return _measured(given, patches, Memory.of_this_machine(disk=disk))


def _measured(given: argparse.Namespace, patches: int, memory: Memory) -> list[Cost]:
    network, params, size = common.network_and_params(given.network, given.size)
    settings = Settings(batch=32, score_batch=128, epochs=given.epochs, patience=given.epochs)
    began, rows = time.perf_counter(), []
    depths = network.names[::-1][: given.depths]
    for row in by_depth(network, params, size, patches, depths, settings, memory):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        rows.append(
            {**row, "depths": len(rows) + 1, "total": time.perf_counter() - began, "peak_gib": peak}
        )
        print(
            {k: round(v, 2) if isinstance(v, float) else v for k, v in rows[-1].items()},
            file=sys.stderr,
        )
    return rows


def plot(rows: Sequence[Cost], path: Path) -> None:
    """Left: seconds of a depth over patches, both logarithmic. Right: of the study so far over depths."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    counts = sorted({row["patches"] for row in rows})
    for depth in dict.fromkeys(row["depth"] for row in rows):
        points = sorted((row["patches"], row["seconds"]) for row in rows if row["depth"] == depth)
        if len(points) == len(counts):
            left.loglog(*zip(*points, strict=True), marker="o", label=depth)
    left.set(xlabel="patches", ylabel="seconds of the depth", title="More patches")
    left.set_xlim(left=counts[0] / 10)  # room for the names
    for count in counts:
        points = [(row["depths"], row["total"]) for row in rows if row["patches"] == count]
        right.plot(*zip(*points, strict=True), marker="o", label=f"{count:,} patches")
    right.set(
        xlabel="depths, from the shallowest",
        ylabel="seconds of the study",
        title="More depths",
        yscale="log",
    )
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", default="squeezenet")
    parser.add_argument("--size", type=int, default=67)
    parser.add_argument("--patches", default="1000,10000")
    parser.add_argument("--depths", type=int, default=9, help="so many, from the head")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--disk-dir", help="where features may lie; default: the temporary folder")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--read", default="", help="rows of earlier runs, in place of measuring")
    given = parser.parse_args()
    if given.read:
        rows = [
            row
            for path in given.read.split(",")
            for row in json.loads(Path(path).read_text())["rows"]
        ]
    else:
        counts = [int(count) for count in given.patches.split(",")]
        with get_context("spawn").Pool(1, maxtasksperchild=1) as apart:
            rows = [*chain(*apart.map(partial(measure, given), counts, chunksize=1))]
    if given.json:
        given.json.write_text(json.dumps({"machine": common.machine(), "rows": rows}, indent=1))
    if given.plot:
        plot(rows, given.plot)


if __name__ == "__main__":
    main()
