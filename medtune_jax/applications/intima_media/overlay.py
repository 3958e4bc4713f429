"""Contours drawn on an ultrasound image, for a person to check."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from medtune_jax.datasets.carotid import Roi, read_cubs, read_plain

LI_COLOUR, MA_COLOUR, UNSURE_COLOUR = (255, 214, 0), (60, 200, 255), (230, 70, 50)
_SHOWN, _ACROSS, _GAP = 12, 3, 8
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


def show(directory: Path) -> Image.Image | None:
    """The first regions of a folder with an expert's contours, and how many there are.

    The folder is a plain layout or CUBS of one expert (see `datasets.carotid`); None for any other.
    """
    if any(directory.rglob("*-LI.txt")):
        return _sheet(read_cubs(directory))
    return _sheet(read_plain(directory)) if any(directory.rglob("*LI.csv")) else None


def _sheet(rois: Sequence[Roi]) -> Image.Image:
    font = ImageFont.load_default(16)
    pictures = [overlay(roi.image, roi.li, roi.ma) for roi in rois[:_SHOWN]]
    width, height = (max(picture.size[axis] for picture in pictures) for axis in (0, 1))
    line = 26
    across = min(_ACROSS, len(pictures))
    down = -(-len(pictures) // across)
    sheet = Image.new(
        "RGB", (across * (width + _GAP) + _GAP, down * (height + line + _GAP) + line), "white"
    )
    draw = ImageDraw.Draw(sheet)
    subjects = len({roi.subject for roi in rois})
    heading = f"{len(rois)} regions of {subjects} subjects; LI yellow, MA blue"
    draw.text((_GAP, 3), heading, "black", font)
    for number, (roi, picture) in enumerate(zip(rois, pictures, strict=False)):
        row, column = divmod(number, across)
        left, top = _GAP + column * (width + _GAP), line + row * (height + line + _GAP)
        scale = "uncalibrated" if roi.mm_per_pixel is None else f"{roi.mm_per_pixel:.4f} mm/px"
        draw.text((left, top + 3), f"{roi.name}, {scale}", "black", font)
        sheet.paste(picture, (left, top + line))
    return sheet
