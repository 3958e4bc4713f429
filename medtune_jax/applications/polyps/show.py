"""What a person looks at: patches as the network sees them, and test frames with detections drawn on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from medtune_jax.applications.polyps.cases import Cases, mask_of
from medtune_jax.applications.polyps.detector import Candidate
from medtune_jax.applications.protocol import Dataset
from medtune_jax.datasets.sheet import outlined
from medtune_jax.patches import pixels_of
from medtune_jax.pictures import mosaic, png

PATCHES, FOLDER = "patches.png", "frames"
_ACROSS, _DOWN = 12, 2  # patches of each class on the montage
_WITH, _WITHOUT = 8, 4  # frames with and without a lesion
_GAP = 3
_BEST, _WORST = np.array([255, 214, 0]), np.array([60, 140, 255])


class Shown(NamedTuple):
    """A test frame to draw on: its number among the test frames, uint8 RGB [H, W, 3], bool [H, W]."""

    number: int
    image: np.ndarray
    mask: np.ndarray


def picture_files(dataset: Dataset, cases: Cases) -> dict[str, bytes]:
    """A montage of training patches, and some test frames with their masks."""
    files = {PATCHES: png(_montage(dataset))}
    test = np.flatnonzero(cases.test)
    for index in _chosen(cases, test):
        frame = cases.frames[test[index]]
        files[f"{FOLDER}/{index:06d}.png"] = png(frame.image)
        files[f"{FOLDER}/{index:06d}-mask.png"] = png(mask_of(frame))
    return files


def read_shown(application: Path) -> list[Shown]:
    """The test frames that `picture_files` kept."""
    return [
        Shown(
            int(path.name.partition("-")[0]),
            np.asarray(Image.open(path.with_name(path.name.replace("-mask", ""))).convert("RGB")),
            np.asarray(Image.open(path)) > 0,
        )
        for path in sorted((application / FOLDER).glob("*-mask.png"))
    ]


def draw_detections(
    image: np.ndarray, candidates: Sequence[Candidate], mask: np.ndarray | None = None
) -> Image.Image:
    """The frame uint8 [H, W, 3] with the outline of the true lesion (green), and boxes with their scores.

    Boxes are drawn from the lowest score to the highest, blue to yellow, the highest on top.
    """
    line = max(1, round(max(image.shape[:2]) / 250))
    canvas = Image.fromarray(image if mask is None else outlined(image, mask, width=line))
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(max(9, round(max(image.shape[:2]) / 32)))
    for rank, box in enumerate(sorted(candidates, key=lambda candidate: candidate.score), 1):
        share = rank / len(candidates)
        red, green, blue = (int(v) for v in np.rint(share * _BEST + (1 - share) * _WORST))
        left, top = box.col - box.width / 2, box.row - box.height / 2
        corners = (left, top, left + box.width, top + box.height)
        draw.rectangle(corners, outline=(red, green, blue), width=line)
        draw.text(
            (max(left, 0) + 2 * line, max(top, 0) + line),
            f"{box.score:.2f}",
            fill=(red, green, blue),
            font=font,
            stroke_width=line,
            stroke_fill=(0, 0, 0),
        )
    return canvas


def _montage(dataset: Dataset) -> Image.Image:
    """Rows of training patches with a lesion, then rows without."""
    rng, count = np.random.default_rng(0), _ACROSS * _DOWN
    picked = []
    for label in (1, 0):
        members = np.flatnonzero((dataset.labels == label) & ~dataset.test)
        picked.append(rng.choice(members, count, replace=len(members) < count))
    return mosaic(
        [*pixels_of(dataset.patches, np.concatenate(picked))], _ACROSS, _GAP, background=255
    )


def _chosen(cases: Cases, test: np.ndarray) -> np.ndarray:
    """Indices of test frames with and without lesions, evenly over the whole test set."""
    positive = np.array([mask_of(cases.frames[i]).any() for i in test])
    kinds = ((np.flatnonzero(positive), _WITH), (np.flatnonzero(~positive), _WITHOUT))
    picked = [
        members[np.linspace(0, len(members) - 1, min(count, len(members))).astype(int)]
        for members, count in kinds
    ]
    return np.concatenate(picked)
