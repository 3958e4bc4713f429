"""Exported files beside PyTorch eager: sizes, and CPU milliseconds for one image and for each of 32.

    python scripts/bench/exported.py

Random weights. Needs the extra `onnx`, and torch. Each figure is the median of rounds that take turns, with the lowest
and the highest. CPU time of all threads, not wall clock: other jobs on the machine disturb it less.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import onnxruntime
import torch
import torch_networks

from medtune_jax import networks
from medtune_jax.applications.protocol import Trained
from medtune_jax.export import onnx, safetensors, stablehlo
from medtune_jax.export.run import FinishedRun
from medtune_jax.weights import Checkpoint

NETWORKS = ("squeezenet", "googlenet", "alexnet")


def finished(name: str) -> FinishedRun:
    network = networks.get(name, 2)
    params = networks.initial_params(network, jax.random.key(0), "msra")
    kept = Checkpoint(name, jax.tree.map(np.asarray, params), network.preprocessing, {}, 2)
    study = SimpleNamespace(findings=False)
    run = SimpleNamespace(run="random")
    return FinishedRun(study, run, Trained(kept, {"image_size": 0}))  # type: ignore[arg-type]


def sides(
    run: FinishedRun, folder: Path, threads: int
) -> dict[str, Callable[[np.ndarray], object]]:
    """Each from uint8 images to probabilities."""
    for format_ in (stablehlo, onnx, safetensors):
        format_.write(run, folder)
    hlo = jax.jit(jax.export.deserialize(bytearray((folder / stablehlo.FILE).read_bytes())).call)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(folder / onnx.FILE, options)
    model = torch_networks.build(run.network, run.params, run.size).eval()
    prepare = run.trained.checkpoint.preprocessing
    mean = torch.tensor(prepare.mean)[:, None, None]

    def eager(images: np.ndarray) -> object:
        with torch.inference_mode():
            x = torch.from_numpy(images).permute(0, 3, 1, 2).flip(1).float() - mean
            return model(x).softmax(1).numpy()

    return {
        "PyTorch eager": eager,
        "StableHLO": lambda images: np.asarray(hlo(images)[0]),
        "ONNX Runtime": lambda images: session.run(["probabilities"], {"images": images})[0],
    }


def milliseconds(
    made: dict[str, Callable[[np.ndarray], object]], images: np.ndarray, rounds: int
) -> dict[str, np.ndarray]:
    found: dict[str, list[float]] = {name: [] for name in made}
    for number in range(rounds + 1):
        for name, side in made.items():
            began = time.process_time()
            side(images)
            if number:  # the first compiles
                found[name].append(1e3 * (time.process_time() - began) / len(images))
    return {name: np.array(values) for name, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print("| network | | MB | CPU ms, one image | CPU ms an image, of 32 |\n|---|---|---|---|---|")
    for name in NETWORKS:
        with tempfile.TemporaryDirectory() as scratch:
            run, folder = finished(name), Path(scratch)
            made = sides(run, folder, options.threads)
            files = {
                "PyTorch eager": safetensors.FILE,
                "StableHLO": stablehlo.FILE,
                "ONNX Runtime": onnx.FILE,
            }
            rng = np.random.default_rng(0)
            images = rng.integers(0, 256, (32, run.size, run.size, 3), np.uint8)
            one = milliseconds(made, images[:1], options.rounds)
            many = milliseconds(made, images, max(options.rounds // 3, 3))
            for side in made:
                size = (folder / files[side]).stat().st_size / 1e6
                cells = [
                    f"{np.median(v[side]):.1f} ({v[side].min():.1f}–{v[side].max():.1f})"
                    for v in (one, many)
                ]
                print(f"| {name} | {side} | {size:.1f} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
