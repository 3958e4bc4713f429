"""Image files of any common kind as square 8-bit RGB."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from medtune_jax import images
from medtune_jax.errors import UserError
from medtune_jax.words import count

SUFFIXES = (*images.SUFFIXES, *images.DICOM_SUFFIXES)
_SHOWN = 20
_ALIGNED = 64  # bytes
_NEVER_TRANSPARENT = (".jpg", ".jpeg", ".jpe", ".jfif", *images.DICOM_SUFFIXES)


def read_images(paths: Sequence[Path], size: int) -> np.ndarray:
    """uint8 [N,size,size,3] RGB.

    As a viewer shows them (`images.rgb`, `dicom.picture`): upright; gray is repeated three times; more than 8 bits are
    scaled from the darkest to the brightest value, DICOM by the window that it states. Bilinear, with an area filter
    when shrinking.
    Raises one UserError that lists every file that cannot be read.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return stacked(pool.map(lambda path: try_read(path, size), paths), len(paths), size)


def stacked(found: Iterable[np.ndarray | str], total: int, size: int) -> np.ndarray:
    """uint8 [total,size,size,3] of pictures; UserError where some are none, but say why they cannot be read."""
    whole, bad = _aligned((total, size, size, 3)), []
    for number, picture in enumerate(found):
        if isinstance(picture, str):
            bad.append(picture)
        else:
            whole[number] = picture
    if bad:
        raise unreadable(bad, total)
    return whole


def _aligned(shape: tuple[int, ...]) -> np.ndarray:
    """uint8 whose first byte lies where XLA's CPU backend takes memory as it is, so that there is no second copy."""
    size = math.prod(shape)
    room = np.empty(size + _ALIGNED, np.uint8)
    first = -room.ctypes.data % _ALIGNED
    return room[first : first + size].reshape(shape)


def on_white(paths: Sequence[Path]) -> list[str]:
    """A note of how many files can be transparent, by their headers alone; none of none."""
    candidates = [path for path in paths if path.suffix.lower() not in _NEVER_TRANSPARENT]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        number = sum(pool.map(images.has_alpha, candidates))
    return (
        [f"transparent parts of {count(number, 'files')} with alpha are laid on white"]
        if number
        else []
    )


def unreadable(reasons: Sequence[str], total: int) -> UserError:
    """That so many of all images cannot be read, and why the first of them."""
    listing = "\n  ".join(reasons[:_SHOWN])
    more = f"\n  ... and {len(reasons) - _SHOWN} more" if len(reasons) > _SHOWN else ""
    return UserError(
        f"{len(reasons)} of {total} images cannot be read; mend or remove them from the list:\n  {listing}{more}"
    )


def try_read(path: Path, size: int) -> np.ndarray | str:
    """As `read_image`, or why the file cannot be read, with its name."""
    try:
        return read_image(path, size)
    except UserError as error:
        return str(error)
    except Exception as error:  # whatever a codec throws at a broken file, the user wants its name
        return f"{path}: {images.reason(error)}"


def read_image(path: Path, size: int) -> np.ndarray:
    """One file as uint8 [size,size,3] RGB; DICOM is known by its suffix or, as scanners write it, by its content."""
    return squared(_dicom(path) if images.is_dicom(path) else images.rgb(path), size)


def squared(picture: Image.Image, size: int) -> np.ndarray:
    """uint8 [size,size,3]; bilinear, gray repeated."""
    return np.asarray(picture.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))


def _dicom(path: Path) -> Image.Image:
    from medtune_jax import (
        dicom,  # pydicom takes a moment, which a folder of PNG should not wait for
    )

    return images.as_rgb(dicom.picture(path))
