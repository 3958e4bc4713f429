"""A look at regions of the carotid wall, with their experts' contours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from medtune_jax.applications.intima_media.overlay import overlay
from medtune_jax.datasets.carotid import Roi, read_cubs, read_plain

_SHOWN, _ACROSS, _GAP = 12, 3, 8


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
