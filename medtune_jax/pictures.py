"""Pictures made of pictures, and pictures as bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image


def mosaic(
    tiles: Sequence[Image.Image | np.ndarray],
    columns: int,
    gap: int = 0,
    background: int = 24,
    cell: tuple[int, int] | None = None,
) -> Image.Image:
    """Tiles (uint8, RGB or gray) row by row, each at the upper left of a cell with `gap` pixels right and below.

    cell: (width, height); by default that of the widest and the highest tile.
    """
    pictures = [tile if isinstance(tile, Image.Image) else Image.fromarray(tile) for tile in tiles]
    width, height = cell or np.max([picture.size for picture in pictures], 0).tolist()
    step_x, step_y = width + gap, height + gap
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * step_x, rows * step_y), (background,) * 3)
    for number, picture in enumerate(pictures):
        sheet.paste(picture, (number % columns * step_x, number // columns * step_y))
    return sheet


def png(picture: Image.Image | np.ndarray) -> bytes:
    """The bytes of a PNG file."""
    stream = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(stream, "PNG")
    return stream.getvalue()
