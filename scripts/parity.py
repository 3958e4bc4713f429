"""Compare every stage of every network with OpenCV's Caffe importer, from an image file on.

    python scripts/parity.py [--networks alexnet,vgg16] [--images FILE ...] [--versions 1,2]
    python scripts/parity.py --networks googlenet --weights FILE.caffemodel   (real weights)

Prints network, form, stage and the relative error: the norm of the difference over the norm of
OpenCV's, the worst of the images. Exits with 1 if any exceeds 1e-4. OpenCV (below 5) is needed
here only, not by the package.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import caffe_files
import cv2
import jax
import numpy as np
from PIL import Image

from medtune_jax import networks
from medtune_jax.networks import Params
from medtune_jax.weights import checkpoint
from medtune_jax.weights.files import convert_file

LIMIT = 1e-4


def sample_image(path: Path, size: int, seed: int = 0) -> Path:
    """Write a smooth, noisy colour picture of the network's size as PNG."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (9, 9, 3), np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))
    noisy = np.clip(smooth + generator.normal(0, 12, smooth.shape), 0, 255)
    Image.fromarray(noisy.astype(np.uint8)).save(path)
    return path


def resized(image: Path, size: int, target: Path) -> Path:
    """The image at the network's size, as a file both sides read."""
    picture = Image.open(image).convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    picture.save(target)
    return target


def opencv_stages(
    net: caffe_files.CaffeNet,
    prototxt: Path,
    model: Path,
    images: Sequence[Path],
    mean: tuple[float, ...],
) -> dict[str, np.ndarray]:
    """Stage -> OpenCV's output, NHWC or NC, one row an image."""
    oracle = cv2.dnn.readNetFromCaffe(str(prototxt), str(model))
    oracle.enableFusion(False)  # otherwise a ReLU's or norm's own output is not there to ask for
    rows: list[Sequence[np.ndarray]] = []
    for image in images:
        blob = cv2.dnn.blobFromImage(cv2.imread(str(image)), 1.0, (net.size, net.size), mean)
        oracle.setInput(blob)
        rows.append(oracle.forward(list(net.stages.values())))
    return {
        stage: np.concatenate([out.transpose(0, 2, 3, 1) if out.ndim == 4 else out for out in outs])
        for stage, outs in zip(net.stages, zip(*rows, strict=True), strict=True)
    }


def our_stages(directory: Path, images: Sequence[Path]) -> dict[str, np.ndarray]:
    """Stage -> our output, from the checkpoint's own preprocessing; auxiliary heads included."""
    stored = checkpoint.load(directory)
    network = stored.build()
    pixels = np.stack([np.asarray(Image.open(image).convert("RGB")) for image in images])

    @jax.jit
    def run(params: Params, pixels: jax.Array) -> dict[str, jax.Array]:
        taps: dict[str, jax.Array] = {}
        network.apply(params, stored.preprocessing(pixels), taps=taps)
        for _, side in network.sides(params):
            taps[side.stage.name] = side.stage(params[side.stage.name], taps[side.after])
        return taps

    return {name: np.asarray(out) for name, out in run(stored.params, pixels).items()}


def relative_error(ours: np.ndarray, reference: np.ndarray) -> float:
    """The worst of the images: norm of the difference over the norm of the reference."""
    rows = reference.reshape(len(reference), -1)
    difference = ours.reshape(rows.shape) - rows
    return float((np.linalg.norm(difference, axis=1) / np.linalg.norm(rows, axis=1)).max())


def compare(
    name: str,
    version: int,
    folder: Path,
    images: Sequence[Path] = (),
    weights: Path | None = None,
) -> Iterator[tuple[str, float]]:
    """Stage and relative error for one network, with random weights or those of a file.

    images: any sizes; without them one made-up picture.
    """
    nets: dict[str, Callable[[], caffe_files.CaffeNet]] = dict(caffe_files.NETS)
    nets["googlenet"] = lambda: caffe_files.googlenet(auxiliary=weights is None)
    net = nets[name]()
    prototxt, model = folder / "net.prototxt", weights
    if model is None:
        prototxt, model = caffe_files.write(net, folder, version)
    prototxt.write_text(net.prototxt())
    pictures = [resized(image, net.size, folder / f"{i}.png") for i, image in enumerate(images)]
    pictures = pictures or [sample_image(folder / "i.png", net.size)]
    convert_file(model, name, folder / "checkpoint")
    mean = networks.get(name).preprocessing.mean
    reference = opencv_stages(net, prototxt, model, pictures, mean)
    ours = our_stages(folder / "checkpoint", pictures)
    for stage, expected in reference.items():
        yield stage, relative_error(ours[stage], expected)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default=",".join(caffe_files.NETS))
    parser.add_argument("--versions", default="1,2")
    parser.add_argument("--images", type=Path, nargs="+", default=())
    parser.add_argument("--weights", type=Path)
    arguments = parser.parse_args()
    worst = 0.0
    print(f"{'network':<12}{'form':<6}{'stage':<16}relative error")
    for name in arguments.networks.split(","):
        for version in [1] if arguments.weights else map(int, arguments.versions.split(",")):
            with tempfile.TemporaryDirectory() as folder:
                rows = compare(name, version, Path(folder), arguments.images, arguments.weights)
                for stage, error in rows:
                    form = "file" if arguments.weights else f"V{version}"
                    print(f"{name:<12}{form:<6}{stage:<16}{error:.1e}")
                    worst = max(worst, error)
    print(f"worst {worst:.1e}, limit {LIMIT:.0e}: {'agree' if worst <= LIMIT else 'DISAGREE'}")
    return 0 if worst <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
