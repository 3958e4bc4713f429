"""How fast `medtune predict` is, and what it holds: images, and the frames of a video, by a small study's SqueezeNet.

    python scripts/bench/predict.py --images 10000 --size 67 --frames 1000

Prints processor and wall seconds, and the largest memory of the process after a tenth of the inputs and after all:
flat, if what is held does not grow with them. Studies and inputs are generated in a temporary folder.
"""

from __future__ import annotations

import argparse
import resource
import runpy
import tempfile
import time
from pathlib import Path

import av
import numpy as np
from PIL import Image

from medtune_jax import heap
from medtune_jax.applications.predict import predict
from medtune_jax.compilation import keep_programs
from medtune_jax.study import default_config, sweep

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def write_images(folder: Path, count: int, side: int = 256) -> Path:
    """Smooth pictures, dark and bright, of three to a patient."""
    folder.mkdir(parents=True)
    rng, rows = np.random.default_rng(0), ["image,label,patient"]
    for number in range(count):
        bright = number // 3 % 2
        small = rng.normal(90 + 60 * bright, 40, (side // 8, side // 8, 3)).clip(0, 255)
        picture = Image.fromarray(small.astype(np.uint8)).resize((side, side))
        picture.save(folder / f"{number:05d}.jpg")
        rows.append(f"{number:05d}.jpg,{'bright' if bright else 'dark'},p{number // 3}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def write_film(path: Path, frames: int, height: int = 352, width: int = 496) -> Path:
    """25 frames a second."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        small = rng.integers(40, 220, (height // 8, width // 8 + frames, 3), np.uint8)
        for number in range(frames):
            shown = Image.fromarray(small[:, number : number + width // 8]).resize((width, height))
            for packet in stream.encode(av.VideoFrame.from_image(shown)):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def image_study(folder: Path, size: int) -> Path:
    config = default_config()
    config.data.dir = str(write_images(folder / "training", 60))
    config.image_size = size
    return _swept(config, folder / "study")


def frame_study(folder: Path) -> Path:
    config = runpy.run_path(str(CONFIGS / "frame_quality.py"))["get_config"]("small")
    config.data.phantom.update(videos=6, frames=4)
    return _swept(config, folder / "study")


def _swept(config, folder: Path) -> Path:
    config.sweep.depths, config.sweep.fractions, config.sweep.seeds = "conv10", "1.0", 1
    config.training.epochs, config.training.keep_weights = 1, True
    return sweep(config, folder, quiet=True)


def measured(what: str, study: Path, source: Path, output: Path, count: int, **options) -> None:
    processor, wall = time.process_time(), time.perf_counter()
    predict(study, [source], output, **options)
    processor, wall = time.process_time() - processor, time.perf_counter() - wall
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{count:,} {what}: {processor:.1f} s of processor time ({1000 * processor / count:.2f} ms each), "
        f"{wall:.1f} s, {memory:.2f} GiB at most",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument(
        "--size", type=int, default=67, help="side of the network's input of images"
    )
    parser.add_argument("--frames", type=int, default=1000)
    given = parser.parse_args()
    heap.keep_freed()
    keep_programs()
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        study = image_study(root / "images", given.size)
        for count in (given.images // 10, given.images):
            source = write_images(root / f"images-{count}", count)
            measured("images", study, source, root / f"out-{count}", count, labels="none")
        study = frame_study(root / "frames")
        for count in (given.frames // 10, given.frames):
            film = write_film(root / f"film-{count}.mp4", count)
            measured("frames", study, film, root / f"seen-{count}", count, seconds=0.04)


if __name__ == "__main__":
    main()
