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
_LEAST = 480  # pixels of a frame's longer side, to draw on it
Edges = tuple[float, float, float, float]  # left, top, right, bottom
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

    A frame whose longer side is below 480 pixels is enlarged by a whole number: scores could not be read in it. Boxes
    are drawn from the lowest score to the highest, blue to yellow, the highest on top, then their scores.
    """
    longest = max(image.shape[:2])
    zoom = -(-_LEAST // longest)
    line, font = _pen(zoom * longest)
    large = Image.fromarray(image).resize(
        (zoom * image.shape[1], zoom * image.shape[0]), Image.Resampling.BICUBIC
    )
    if mask is not None:
        mask = mask.repeat(zoom, 0).repeat(zoom, 1)
        large = Image.fromarray(outlined(np.asarray(large), mask, width=line))
    draw = ImageDraw.Draw(large)
    ranked = sorted(candidates, key=lambda candidate: candidate.score)
    shares = (rank / len(ranked) for rank in range(1, len(ranked) + 1))
    colours = [_colour(share) for share in shares]
    corners = [_corners(box, zoom) for box in ranked]
    for edges, colour in zip(corners, colours, strict=True):
        draw.rectangle(edges, outline=colour, width=line)
    taken: list[Edges] = []
    for box, edges, colour in reversed([*zip(ranked, corners, colours, strict=True)]):
        taken.append(_write_score(draw, f"{box.score:.2f}", edges, colour, font, taken))
    return large


def _pen(longest: int) -> tuple[int, ImageFont.FreeTypeFont | ImageFont.ImageFont]:
    """How wide lines are, and the letters, in a picture whose longer side has so many pixels."""
    return max(1, round(longest / 250)), ImageFont.load_default(round(longest / 28))


def _colour(share: float) -> tuple[int, int, int]:
    red, green, blue = (int(v) for v in np.rint(share * _BEST + (1 - share) * _WORST))
    return red, green, blue


def _corners(box: Candidate, zoom: int) -> Edges:
    left, top = box.col - box.width / 2, box.row - box.height / 2
    return zoom * left, zoom * top, zoom * (left + box.width), zoom * (top + box.height)


def _write_score(
    draw: ImageDraw.ImageDraw,
    score: str,
    edges: Edges,
    colour: tuple[int, int, int],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    taken: Sequence[Edges],
) -> Edges:
    """On black, above a box where there is room, else in it, and below others' scores; returns where."""
    left, top, right, bottom = draw.textbbox((0, 0), score, font=font)
    wide, high = right + left, bottom + top  # as much space after the letters as before them
    x = min(max(edges[0], 0), draw.im.size[0] - wide)
    y = edges[1] - high if edges[1] >= high else max(edges[1], 0)
    for other in sorted(taken, key=lambda other: other[1]):
        if abs(other[0] - x) < wide and abs(other[1] - y) < high:
            y = other[3]
    draw.rectangle((x, y, x + wide, y + high), fill=(0, 0, 0))
    draw.text((x, y), score, fill=colour, font=font)
    return x, y, x + wide, y + high


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
