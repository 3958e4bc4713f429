"""Contours drawn on an ultrasound image, for a person to check."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

LI_COLOUR, MA_COLOUR, UNSURE_COLOUR = (255, 214, 0), (60, 200, 255), (230, 70, 50)
_WIDEST = 1600


def overlay(
    image: NDArray[np.uint8], li: NDArray, ma: NDArray, unsure: NDArray | None = None
) -> Image.Image:
    """The image uint8 [H, W], enlarged where small, with LI in yellow and MA in blue.

    li, ma: rows [W], NaN where there is none. unsure: bool [W], columns to mark in red below.
    """
    height, width = image.shape
    scale = max(1, min(6, _WIDEST // width))
    picture = Image.fromarray(image).convert("RGB")
    picture = picture.resize((width * scale, height * scale), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    for rows, colour in ((li, LI_COLOUR), (ma, MA_COLOUR)):
        columns = np.flatnonzero(np.isfinite(rows))
        points = (np.stack([columns, rows[columns]], axis=1) + 0.5) * scale
        draw.line([tuple(point) for point in points], fill=colour, width=max(1, scale // 3))
    for column in np.flatnonzero(unsure) if unsure is not None else ():
        bottom = height * scale - 1
        draw.line([(column * scale, bottom), ((column + 1) * scale, bottom)], UNSURE_COLOUR, scale)
    return picture
