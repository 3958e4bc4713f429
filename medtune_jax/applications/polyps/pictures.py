"""What a person looks at: patches as the network sees them, and test frames to draw detections on."""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from PIL import Image

from medtune_jax.applications.polyps.cases import Cases, mask_of
from medtune_jax.applications.protocol import Dataset
from medtune_jax.patches import Crops

PATCHES, FOLDER = "patches.png", "frames"
_ACROSS, _DOWN = 12, 2  # patches of each class on the montage
_WITH, _WITHOUT = 8, 4  # frames with and without a lesion
_GAP = 3


class Shown(NamedTuple):
    """A test frame to draw on: its number among the test frames, uint8 RGB [H, W, 3], bool [H, W]."""

    number: int
    image: np.ndarray
    mask: np.ndarray


def picture_files(dataset: Dataset, cases: Cases) -> dict[str, bytes]:
    """A montage of training patches, and some test frames with their masks."""
    files = {PATCHES: _png(_montage(dataset))}
    test = np.flatnonzero(cases.test)
    for index in _chosen(cases, test):
        frame = cases.frames[test[index]]
        files[f"{FOLDER}/{index:06d}.png"] = _png(frame.image)
        files[f"{FOLDER}/{index:06d}-mask.png"] = _png(mask_of(frame))
    return files


def read_shown(application: Path) -> list[Shown]:
    """The test frames that `picture_files` kept."""
    paths = sorted((application / FOLDER).glob("*-mask.png"))
    return [
        Shown(
            int(path.name.partition("-")[0]),
            np.asarray(Image.open(path.with_name(path.name.replace("-mask", ""))).convert("RGB")),
            np.asarray(Image.open(path)) > 0,
        )
        for path in paths
    ]


def _montage(dataset: Dataset) -> np.ndarray:
    """uint8 [H, W, 3]: rows of patches with a lesion, then rows without."""
    rng = np.random.default_rng(0)
    rows = []
    for label in (1, 0):
        members = np.flatnonzero((dataset.labels == label) & ~dataset.test)
        picked = rng.choice(members, _ACROSS * _DOWN, replace=len(members) < _ACROSS * _DOWN)
        rows += [_row(pixels) for pixels in np.split(_pixels(dataset, picked), _DOWN)]
    return np.concatenate(rows)


def _pixels(dataset: Dataset, index: np.ndarray) -> np.ndarray:
    """The patches as the network is given them: uint8 [N, S, S, 3]; only their own frames are loaded."""
    patches = dataset.patches
    assert isinstance(patches, Crops)
    used, source = np.unique(patches.source[index], return_inverse=True)
    few = Crops(
        patches.sources[used], patches.shapes[used], source, patches.affines[index], patches.size
    )
    return np.rint(few.take(few.arrays(), jnp.arange(len(index)))).astype(np.uint8)


def _row(pixels: np.ndarray) -> np.ndarray:
    framed = np.pad(pixels, ((0, 0), (0, _GAP), (0, _GAP), (0, 0)), constant_values=255)
    return np.concatenate(framed, axis=1)


def _chosen(cases: Cases, test: np.ndarray) -> np.ndarray:
    """Indices of test frames with and without lesions, evenly over the whole test set."""
    positive = np.array([mask_of(cases.frames[i]).any() for i in test])
    kinds = ((np.flatnonzero(positive), _WITH), (np.flatnonzero(~positive), _WITHOUT))
    picked = [
        members[np.linspace(0, len(members) - 1, min(count, len(members))).astype(int)]
        for members, count in kinds
    ]
    return np.concatenate(picked)


def _png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()
