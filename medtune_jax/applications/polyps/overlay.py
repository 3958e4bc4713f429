"""Detections drawn on a frame, for a person to check."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from medtune_jax.applications.polyps.candidates import Candidate
from medtune_jax.datasets.sheet import outlined

_BEST, _WORST = np.array([255, 214, 0]), np.array([60, 140, 255])


def draw_detections(
    image: np.ndarray,
    candidates: Sequence[Candidate],
    mask: np.ndarray | None = None,
    scores: Sequence[float] | None = None,
) -> Image.Image:
    """The frame uint8 [H, W, 3] with the outline of the true lesion (green) and the boxes.

    scores: what is written at the boxes instead of the candidates' own, a network's probability
    say. Boxes are drawn from the lowest score to the highest, blue to yellow, the highest on top.
    """
    line = max(1, round(max(image.shape[:2]) / 250))
    canvas = Image.fromarray(image if mask is None else outlined(image, mask, width=line))
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(max(9, round(max(image.shape[:2]) / 32)))
    values = np.array([c.score for c in candidates] if scores is None else list(scores), float)
    for rank, index in enumerate(np.argsort(values, kind="stable")):
        share = (rank + 1) / len(values)
        red, green, blue = (int(v) for v in np.rint(share * _BEST + (1 - share) * _WORST))
        box = candidates[index]
        left, top = box.col - box.width / 2, box.row - box.height / 2
        corners = (left, top, left + box.width, top + box.height)
        draw.rectangle(corners, outline=(red, green, blue), width=line)
        draw.text(
            (max(left, 0) + 2 * line, max(top, 0) + line),
            f"{values[index]:.2f}",
            fill=(red, green, blue),
            font=font,
            stroke_width=line,
            stroke_fill=(0, 0, 0),
        )
    return canvas
