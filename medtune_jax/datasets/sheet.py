"""Contact sheets: the frames of a data set at a glance, lesions outlined, labels below."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import scipy.ndimage as ndi
from PIL import Image, ImageDraw, ImageFont

from medtune_jax.datasets.frames import Frame

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
    """Frames picked evenly from the whole set, on one picture."""
    places = np.linspace(0, len(frames) - 1, min(maximum, len(frames)))
    picked = [frames[int(place)] for place in places]
    return captioned([_thumbnail(frame, tile) for frame in picked], map(_caption, picked), columns)


def captioned(
    tiles: Sequence[Image.Image], captions: Iterable[Sequence[str]], columns: int
) -> Image.Image:
    """Tiles row by row, with up to two lines of text below each."""
    width, height = np.max([tile.size for tile in tiles], 0).tolist()
    across, down = min(columns, len(tiles)), -(-len(tiles) // columns)
    step_x, step_y = width + _GAP, height + _LINES * _LINE + _GAP
    sheet = Image.new("RGB", (across * step_x + _GAP, down * step_y + _GAP), (24, 24, 24))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for index, (tile, lines) in enumerate(zip(tiles, captions, strict=True)):
        left, top = _GAP + index % columns * step_x, _GAP + index // columns * step_y
        sheet.paste(tile, (left + (width - tile.width) // 2, top + (height - tile.height) // 2))
        for line, text in enumerate(lines):
            place = (left + 2, top + height + line * _LINE)
            draw.text(place, _fitting(text, font, width - 4), fill=(230, 230, 230), font=font)
    return sheet


def _thumbnail(frame: Frame, tile: int) -> Image.Image:
    scale = tile / max(frame.image.shape[:2])
    height, width = (max(1, round(side * scale)) for side in frame.image.shape[:2])
    size = (width, height)
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
    return frame.title, ", ".join(facts)


def _fitting(text: str, font: Any, width: int) -> str:
    """The text, or as much of its end as fits: names differ at their end."""
    if font.getlength(text) <= width:
        return text
    return next(
        (f"…{text[i:]}" for i in range(len(text)) if font.getlength(f"…{text[i:]}") <= width), ""
    )
