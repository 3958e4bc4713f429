"""Which preprocessing do these weights want? A linear probe on their features of real photographs tells.

    python scripts/probe_preprocessing.py --weights weights/vgg16 --data tiny-imagenet-val [--classes 40] [--side 64]

Features: what the checkpoint's last stage gives, flattened. Probe: logistic regression on standardised features, five
folds. Prints the share of images whose class is right, under the checkpoint's own preprocessing and under others.
DATA holds `labels.csv` with the columns image and imagenet_index.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medtune_jax.networks import Preprocessing
from medtune_jax.networks.preprocessing import imagenet_rgb
from medtune_jax.weights import Checkpoint, load

_BATCH = 32


def photographs(data: Path, classes: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """(pixels uint8 [N,side,side,3], class of each) of the classes with most images."""
    with (data / "labels.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    counts = Counter(int(row["imagenet_index"]) for row in rows)
    chosen = sorted(counts, key=lambda index: (-counts[index], index))[:classes]
    rows = [row for row in rows if int(row["imagenet_index"]) in chosen]
    pixels = np.stack([_read(data / row["image"], side) for row in rows])
    return pixels, np.array([int(row["imagenet_index"]) for row in rows])


def _read(path: Path, side: int) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB").resize((side, side), Image.Resampling.BILINEAR))


def accuracy(
    stored: Checkpoint, preprocessing: Preprocessing, pixels: np.ndarray, truth: np.ndarray
) -> float:
    """Share of right classes over five folds, by a linear probe of the checkpoint's last stage."""
    network = stored.build()
    stop = next((name for name in network.names if name not in stored.params), network.head)
    run = jax.jit(lambda params, x: network.apply(params, preprocessing(x), stop=stop))
    parts = np.array_split(pixels, -(-len(pixels) // _BATCH))
    features = np.concatenate([np.asarray(run(stored.params, part)) for part in parts])
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=2000))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    rows = features.reshape(len(features), -1)
    return float(cross_val_score(probe, rows, truth, cv=folds).mean())


def others(own: Preprocessing) -> Iterator[tuple[str, Preprocessing]]:
    """What one might take for it."""
    mean, std = own.mean[::-1], own.std[::-1]
    yield (
        "channels swapped",
        replace(own, order={"RGB": "BGR", "BGR": "RGB"}[own.order], mean=mean, std=std),
    )
    yield "torchvision's", imagenet_rgb(own.size)
    yield "pixels / 255 alone", Preprocessing(own.size, "RGB", (0.0, 0.0, 0.0), 1 / 255)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--classes", type=int, default=40)
    parser.add_argument("--side", type=int, default=64)
    arguments = parser.parse_args()
    stored = load(arguments.weights)
    pixels, truth = photographs(arguments.data, arguments.classes, arguments.side)
    print(f"{len(pixels)} images of {len(np.unique(truth))} classes, {arguments.side} px")
    for name, preprocessing in (("its own", stored.preprocessing), *others(stored.preprocessing)):
        print(f"{name:<20}{accuracy(stored, preprocessing, pixels, truth):.1%}", flush=True)


if __name__ == "__main__":
    main()
