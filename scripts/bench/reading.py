"""Images per second from files: decoded once to disk and streamed from there, beside a PyTorch DataLoader.

    python scripts/bench/reading.py --data DIR --count 4000 --repeats 3

DIR: a folder of image files, each read as often as the count asks. Three cases, in turn, each in a process of its own:
`decode`, files to records, as a study that does not fit into memory begins; `stream`, shuffled batches of records, as
each of its epochs reads them; `torch`, shuffled batches of a DataLoader that opens, decodes and scales the same files
with the same library, as each epoch of a PyTorch script does. Memory is the peak of the process, and of its workers.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from medtune_jax import images

CASES = ("decode", "stream", "torch")


def main() -> None:
    options = _options()
    if options.case:
        print(json.dumps(_measured(options)))
        return
    found: dict[str, list[dict[str, float]]] = {case: [] for case in CASES}
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory(dir=options.disk_dir) as folder:
            for case in CASES:
                found[case].append(_apart(case, folder))
    print(
        f"{options.count:,} images to {options.size} px, batch {options.batch}, median of {options.repeats}"
    )
    print(f"load {os.getloadavg()[0]:.1f}, {len(os.sched_getaffinity(0))} cores")
    for case, runs in found.items():
        figures = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
        print(
            f"{case:7} {figures['wall']:8.0f} images/s, {figures['cpu']:8.0f} images per processor second, "
            f"peak {figures['mib']:6.0f} MiB"
        )
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--size", type=int, default=227)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--disk-dir", help="for the records; default: the temporary folder")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    return parser.parse_args()


def _apart(case: str, folder: str) -> dict[str, float]:
    """A case in a process of its own."""
    command = [sys.executable, *sys.argv, "--case", case, "--disk-dir", folder]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _measured(options: argparse.Namespace) -> dict[str, float]:
    files = sorted(p for p in options.data.rglob("*") if p.suffix.lower() in images.SUFFIXES)
    paths = [files[n % len(files)] for n in range(options.count)]
    run = {"decode": _decode, "stream": _stream, "torch": _torch}[options.case](paths, options)
    began, processor = time.perf_counter(), _processor_seconds()
    run()
    seconds, processor = time.perf_counter() - began, _processor_seconds() - processor
    # Of all workers the largest is known: two of them hold at most twice that.
    own, worker = (resource.getrusage(who).ru_maxrss / 1024 for who in _WHO)
    workers = len(os.sched_getaffinity(0)) if options.case == "torch" else 0
    return {
        "wall": len(paths) / seconds,
        "cpu": len(paths) / processor,
        "mib": own + workers * worker,
    }


_WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


def _processor_seconds() -> float:
    used = [resource.getrusage(who) for who in _WHO]
    return sum(u.ru_utime + u.ru_stime for u in used)


def _records(paths: list[Path], options: argparse.Namespace):
    from medtune_jax.applications.image_folder.decoded import pixels_of
    from medtune_jax.study import default_config

    memory = default_config().memory
    memory.images_gib, memory.disk_dir = 0.0, options.disk_dir
    return pixels_of(paths, options.size, memory)


def _decode(paths: list[Path], options: argparse.Namespace) -> Callable[[], None]:
    _records(paths[:1], options)  # what is imported is not timed
    return lambda: _records(paths, options)


def _stream(paths: list[Path], options: argparse.Namespace) -> Callable[[], None]:
    from medtune_jax.patches import Images
    from medtune_jax.training.inputs.stream import Streamed

    patches = Images(_records(paths, options))
    rows = np.random.default_rng(0).permutation(len(paths)).astype(np.int32)
    rows = rows[: len(rows) // options.batch * options.batch].reshape(-1, options.batch)
    source = Streamed(patches.subset, np.zeros(len(paths), np.int32))

    def run() -> None:
        for batch in source.batches(rows):
            assert batch.arrays["pixels"].shape[0] == options.batch

    return run


def _torch(paths: list[Path], options: argparse.Namespace) -> Callable[[], None]:
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset

    class Files(Dataset):
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, index: int) -> torch.Tensor:
            with Image.open(paths[index]) as image:
                square = image.convert("RGB").resize((options.size,) * 2, Image.Resampling.BILINEAR)
            return torch.from_numpy(np.array(square))

    workers = len(os.sched_getaffinity(0))
    loader = DataLoader(Files(), options.batch, shuffle=True, num_workers=workers)

    def run() -> None:
        for batch in loader:
            assert batch.shape[1] == options.size

    return run


if __name__ == "__main__":
    main()
