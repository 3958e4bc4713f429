"""Features on disk: one file an entry, written whole, checked when it is opened, bounded in all.

Several processes may share a folder. An entry gets its name only when it is complete; two that make the same one write
the same bytes, and the last name stays. An entry that is removed while another process reads it lives until that
process lets go of it.
"""

from __future__ import annotations

import json
import os
import tempfile
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from medtune_jax.paths import make_room

Shape = tuple[int, ...]
_HEADER = 4096  # bytes before the rows; a page, so that the mapping is aligned
_CHUNK = 2**24
_SUFFIX = ".features"


@dataclass(frozen=True)
class Disk:
    """A folder for entries of at most `limit` bytes together; the longest unused ones make room."""

    folder: Path
    limit: int

    def open(self, key: str, shape: Shape, dtype: DTypeLike) -> Rows | None:
        """The entry; None when there is none, or a damaged one (removed)."""
        path = self._path(key)
        try:
            if not _whole(path, shape, dtype):
                path.unlink()
                return None
            os.utime(path)  # used just now
            return self.rows(key, shape, dtype)
        except FileNotFoundError:
            return None

    def rows(self, key: str, shape: Shape, dtype: DTypeLike) -> Rows:
        """`open` without the check, for what was written just now."""
        return Rows(self._path(key).open("rb"), shape, dtype)

    def create(self, key: str, shape: Shape, dtype: DTypeLike) -> Entry:
        """A new entry, to be filled row by row. OSError when the disk does not take it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        make_room(self.folder, _SUFFIX, self.limit - _bytes(shape, dtype))
        handle, scratch = tempfile.mkstemp(prefix=f".{key}-", dir=self.folder)
        stream = os.fdopen(handle, "wb")
        return Entry(stream, Path(scratch), self._path(key), tuple(shape), jnp.dtype(dtype).name)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{_SUFFIX}"


class Rows:
    """An entry's rows, `[int [B]]`. It is mapped only while it is read: what stays mapped counts as memory in use."""

    def __init__(self, stream: BinaryIO, shape: Shape, dtype: DTypeLike) -> None:
        self._stream, self._shape, self._dtype = stream, shape, jnp.dtype(dtype)

    def __getitem__(self, rows: np.ndarray | slice) -> np.ndarray:
        return np.array(np.memmap(self._stream, self._dtype, "r", _HEADER, self._shape)[rows])


class Entry:
    """An entry in the making: `add` rows in order, then `finish`; or `drop` it."""

    def __init__(
        self, stream: BinaryIO, scratch: Path, path: Path, shape: Shape, dtype: str
    ) -> None:
        self._stream, self._scratch, self._path = stream, scratch, path
        self._shape, self._dtype, self._checksum = shape, dtype, 0
        self._stream.write(b" " * _HEADER)

    def add(self, rows: np.ndarray) -> None:
        content = np.ascontiguousarray(rows).tobytes()
        self._checksum = zlib.crc32(content, self._checksum)
        self._stream.write(content)

    def finish(self) -> None:
        header = {"shape": self._shape, "dtype": self._dtype, "crc32": self._checksum}
        self._stream.seek(0)
        self._stream.write(json.dumps(header).encode())
        self._stream.close()
        self._scratch.replace(self._path)

    def drop(self) -> None:
        with suppress(OSError):
            self._stream.close()
        with suppress(OSError):
            self._scratch.unlink()


def _bytes(shape: Shape, dtype: DTypeLike) -> int:
    return int(np.prod(shape)) * jnp.dtype(dtype).itemsize


def _whole(path: Path, shape: Shape, dtype: DTypeLike) -> bool:
    """Whether the file holds what its header and its name promise."""
    with path.open("rb") as stream:
        try:
            header = json.loads(stream.read(_HEADER))
        except ValueError:
            return False
        checksum = 0
        while chunk := stream.read(_CHUNK):
            checksum = zlib.crc32(chunk, checksum)
    wanted = {"shape": list(shape), "dtype": jnp.dtype(dtype).name, "crc32": checksum}
    return header == wanted and path.stat().st_size == _HEADER + _bytes(shape, dtype)
