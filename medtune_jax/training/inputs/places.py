"""Where features lie: on the device, in the host's memory or on disk. Each collects rows in order, then is read."""

from __future__ import annotations

from functools import partial
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import DTypeLike

from medtune_jax.training.inputs.batch import Arrays
from medtune_jax.training.inputs.disk import Disk, Entry, Rows
from medtune_jax.training.inputs.stream import Streamed

DEVICE, HOST, DISK = "device", "host", "disk"
Shape = tuple[int, ...]


class Place(Protocol):
    """Collects features.

    add: rows [B, ...] from number `first` on; those that it has already are passed over. finish: what a step reads.
    drop: nothing came of it.
    """

    def add(self, rows: Array, first: int) -> None: ...

    def finish(self, labels: np.ndarray) -> Arrays | Streamed: ...

    def drop(self) -> None: ...


class OnDevice:
    """One array of the device, filled in place."""

    def __init__(self, shape: Shape, dtype: DTypeLike) -> None:
        self._whole = jnp.zeros(shape, dtype)

    def add(self, rows: Array, first: int) -> None:
        self._whole = _put(self._whole, rows, first)

    def finish(self, labels: np.ndarray) -> Arrays:
        return {"features": self._whole.block_until_ready()}

    def drop(self) -> None:
        del self._whole


@partial(jax.jit, donate_argnums=0)
def _put(whole: Array, rows: Array, first: int) -> Array:
    return lax.dynamic_update_slice_in_dim(whole, rows, first, 0)


class OnHost:
    """One array of the host's memory."""

    def __init__(self, shape: Shape, dtype: DTypeLike) -> None:
        self._whole = np.empty(shape, dtype)

    def add(self, rows: Array, first: int) -> None:
        self._whole[first : first + len(rows)] = rows

    def finish(self, labels: np.ndarray) -> Streamed:
        return streamed(self._whole, labels)

    def drop(self) -> None:
        del self._whole


class OnDisk:
    """An entry of a folder. A disk that refuses raises OSError."""

    def __init__(self, disk: Disk, key: str, shape: Shape, dtype: DTypeLike) -> None:
        self._disk, self._key, self._shape, self._dtype = disk, key, shape, dtype
        self._entry: Entry = disk.create(key, shape, dtype)
        self._filled = 0

    def add(self, rows: Array, first: int) -> None:
        self._entry.add(np.asarray(rows)[self._filled - first :])
        self._filled = first + len(rows)

    def finish(self, labels: np.ndarray) -> Streamed:
        self._entry.finish()
        return streamed(self._disk.rows(self._key, self._shape, self._dtype), labels)

    def drop(self) -> None:
        self._entry.drop()


def streamed(whole: np.ndarray | Rows, labels: np.ndarray) -> Streamed:
    """Features of the host, of which each batch takes its rows."""
    return Streamed(lambda rows: {"features": whole[rows]}, labels)
