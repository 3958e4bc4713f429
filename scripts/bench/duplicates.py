"""The search for nearly identical pictures among many that look alike: pairs, processor seconds, rise of memory.

    python scripts/bench/duplicates.py --data DIR --counts 5000,20000 [--pictures 1]

DIR: a folder of images, such as the frames of videos. The first --pictures of them (all by default) are taken as often
as the count asks, moved by up to 3% of a side and with noise of 2 gray levels, and every image is a group of its own.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from medtune_jax import images
from medtune_jax.applications.image_folder.duplicates import nearly
from medtune_jax.applications.image_folder.reader import read_image

SIDE = 67


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--counts", default="5000,20000")
    parser.add_argument("--pictures", type=int)
    options = parser.parse_args()
    paths = (p for p in options.data.rglob("*") if p.suffix.lower() in images.SUFFIXES)
    files = sorted(p for p in paths if "masks" not in p.parts)
    pictures = np.stack([read_image(path, SIDE) for path in files[: options.pictures]])
    rng = np.random.default_rng(0)
    for count in map(int, options.counts.split(",")):
        pixels = np.stack([changed(pictures[n % len(pictures)], rng) for n in range(count)])
        _reset_peak()
        before, began = _memory("VmRSS"), time.process_time()
        found = nearly(pixels, np.arange(count), np.arange(count))
        seconds, rise = time.process_time() - began, _memory("VmHWM") - before
        print(
            f"{count:,} images of {len(pictures):,} pictures: {found.number:,} pairs, {len(found.links):,} kept, "
            f"{seconds:.0f} processor s, {rise:.0f} MiB more",
            flush=True,
        )


def changed(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    moved = np.roll(picture, rng.integers(-2, 3, 2), (0, 1))
    return (moved + rng.normal(0, 2, picture.shape)).clip(0, 255).astype(np.uint8)


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _memory(field: str) -> float:
    """Of this process in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(field))


if __name__ == "__main__":
    main()
