"""Pixels on disk, read as an array is: more images than fit into memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from medtune_jax.errors import UserError

_BLOCK = 64  # images that are read at once where all are read in order


class Records:
    """Images uint8 [N,S,S,3] in array_record files, an image a record.

    Read like an array, by rows: `[int [B]]` are the images, `[bool [N]]` are Records of those that are True,
    iteration goes through all in order. Any number of threads may read. Raises UserError where a file is damaged.
    """

    def __init__(self, files: Sequence[Path], size: int, rows: np.ndarray) -> None:
        """rows: int [N] of the images among those of all files, one file after another."""
        self._files, self._rows = files, rows
        self.shape = (len(rows), size, size, 3)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def nbytes(self) -> int:
        """Of the images, were they in memory."""
        return int(np.prod(self.shape))

    def __getitem__(self, rows: np.ndarray) -> Any:
        if rows.dtype == bool:
            return Records(self._files, self.shape[1], self._rows[rows])
        try:
            images = self._source.__getitems__(self._rows[rows].tolist())
        except RuntimeError as error:
            raise UserError(
                f"decoded images in {self._files[0].parent} cannot be read ({error}): remove the files there, which "
                "the same command makes again"
            ) from error
        return np.stack(
            [np.frombuffer(image, np.uint8).reshape(self.shape[1:]) for image in images]
        )

    def __iter__(self) -> Iterator[np.ndarray]:
        for first in range(0, len(self), _BLOCK):
            yield from self[np.arange(first, min(first + _BLOCK, len(self)))]

    @cached_property
    def _source(self) -> Any:
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        return ArrayRecordDataSource([str(path) for path in self._files])
