"""Opening a weight file: the mistakes that come before its format matters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np

from medtune_jax.errors import UserError

_HEAD = 512


@contextmanager
def opened(path: str | Path) -> Iterator[BinaryIO]:
    """Open a weight file for reading; UserError if that cannot be done or it is no weight file.

    What it looks for is what downloads leave behind: an empty file, a web page, a Git LFS pointer.
    """
    try:
        with Path(path).open("rb") as file:
            _refuse_lookalikes(path, file.read(_HEAD))
            file.seek(0)
            yield file
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}.") from error


def _refuse_lookalikes(path: str | Path, head: bytes) -> None:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        raise UserError(f"{path} is empty; fetch it again.")
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<!--")):
        raise UserError(
            f"{path} is a web page, not a weight file: the download address showed a page instead "
            "of the file, so download the file itself."
        )
    if start.startswith(b"version https://git-lfs"):
        raise UserError(
            f"{path} is a Git LFS pointer, not the weight file itself; run 'git lfs pull' for that."
        )


def shaped(values: np.ndarray, shape: tuple[int, ...], where: str) -> np.ndarray:
    """`values` as float32 in `shape`; UserError if the shape is absurd or the counts disagree.

    `where` names the file and the layer.
    """
    if any(n <= 0 for n in shape) or not len(shape) <= 8:
        raise UserError(f"{where} has the impossible shape {_short(shape)}; the file is damaged.")
    if prod(shape) != values.size:
        raise UserError(
            f"{where} has the shape {_short(shape)}, which takes {prod(shape)} numbers, but the "
            f"file holds {values.size}; it is damaged or truncated."
        )
    with np.errstate(over="ignore", invalid="ignore"):  # inf and nan are refused in converting
        return values.astype(np.float32, copy=False).reshape(shape)


def quoted(name: str) -> str:
    """A name from a file for a message: one line, of bearable length."""
    return repr(name if len(name) <= 80 else name[:77] + "...")


def _short(shape: tuple[int, ...]) -> str:
    listed = " x ".join(map(str, shape[:8]))
    return f"{listed} x ... ({len(shape)} axes)" if len(shape) > 8 else listed or "()"
