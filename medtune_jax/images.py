"""Image files of the usual kinds, opened with one sentence for those that cannot be read."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from medtune_jax.errors import UserError
from medtune_jax.folders import entries

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".bmp"),
    *(".webp", ".gif", ".jp2", ".j2k", ".jpx"),
)


def opened(path: Path) -> Image.Image:
    """The decoded image, as it is stored. Raises UserError when it is missing or no image that Pillow knows."""
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: not a readable image ({error}); replace the file.") from error


def eight_bit(path: Path) -> Image.Image:
    """As `opened`; UserError for more than 8 bits a channel, which Pillow would clip at 255 without a word."""
    image = opened(path)
    if image.mode[0] in "IF":
        raise UserError(f"{path} has more than 8 bits a channel: save it with 8 bits.")
    return image


def images_in(folder: Path) -> list[Path]:
    """The image files directly in a folder, sorted by name."""
    return [p for p in entries(folder) if p.suffix.lower() in SUFFIXES and not p.is_dir()]
