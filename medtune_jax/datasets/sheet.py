"""Contact sheets: the frames of a data set at a glance, lesions outlined, labels below."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.ndimage as ndi
from PIL import Image, ImageDraw, ImageFont, ImageOps

from medtune_jax.datasets.frames import Frame
from medtune_jax.pictures import mosaic

TRUTH_COLOUR = (60, 255, 90)
_LINE, _LINES = 13, 2  # of the caption
_GAP, _BACKGROUND = 6, (24, 24, 24)


def outlined(
    image: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int] = TRUTH_COLOUR, width: int = 2
) -> np.ndarray:
    """A copy of uint8 RGB [H, W, 3] with the inner outline of a bool mask [H, W] drawn on it."""
    drawn = image.copy()
    drawn[mask & ~ndi.binary_erosion(mask, iterations=width, border_value=0)] = colour
    return drawn


def contact_sheet(
    frames: Sequence[Frame], maximum: int = 40, columns: int = 8, tile: int = 176
) -> Image.Image:
    """At most `maximum` frames, picked evenly from the whole set, on one picture; `tile`: pixels per side of each."""
    count = min(maximum, len(frames))
    picked = [frames[int(i)] for i in np.linspace(0, len(frames) - 1, count)]
    thumbnails = [_thumbnail(frame, tile) for frame in picked]
    tallest = max(thumbnail.height for thumbnail in thumbnails)
    pairs = zip(picked, thumbnails, strict=True)
    tiles = [_captioned(frame, thumbnail, (tile, tallest)) for frame, thumbnail in pairs]
    sheet = mosaic(tiles, min(columns, count), _GAP)
    return ImageOps.expand(sheet, (_GAP, _GAP, 0, 0), _BACKGROUND)


def _captioned(frame: Frame, thumbnail: Image.Image, room: tuple[int, int]) -> Image.Image:
    """The thumbnail in the middle of its room (width, height), name and facts below."""
    width, height = room
    picture = Image.new("RGB", (width, height + _LINES * _LINE), _BACKGROUND)
    picture.paste(thumbnail, ((width - thumbnail.width) // 2, (height - thumbnail.height) // 2))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(11)
    for line, text in enumerate(_caption(frame)):
        place = (2, height + line * _LINE)
        draw.text(place, _fitting(text, font, width - 4), fill=(230, 230, 230), font=font)
    return picture


def _thumbnail(frame: Frame, tile: int) -> Image.Image:
    scale = tile / max(frame.image.shape[:2])
    size = (
        max(1, round(frame.image.shape[1] * scale)),
        max(1, round(frame.image.shape[0] * scale)),
    )
    image = np.asarray(Image.fromarray(frame.image).resize(size, Image.Resampling.BICUBIC))
    if frame.mask is None:
        return Image.fromarray(image)
    mask = Image.fromarray(frame.mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)
    return Image.fromarray(outlined(image, np.asarray(mask) >= 128))


def _caption(frame: Frame) -> tuple[str, str]:
    """Name and facts."""
    facts = []
    if frame.label is not None:
        facts.append(frame.label)
    if frame.quality is not None:
        facts.append("informative" if frame.quality else "not informative")
    if frame.mask is not None:
        facts.append("lesion" if frame.mask.any() else "no lesion")
    name = f"{frame.video}/{frame.name}" if frame.video != frame.name else frame.name
    return name, ", ".join(facts)


def _fitting(text: str, font: Any, width: int) -> str:
    """The text, or as much of its end as fits: names differ at their end."""
    if font.getlength(text) <= width:
        return text
    return next(
        (f"…{text[i:]}" for i in range(len(text)) if font.getlength(f"…{text[i:]}") <= width), ""
    )
