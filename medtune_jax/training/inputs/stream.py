"""Data larger than the device's memory: what a batch needs travels while the step before it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from medtune_jax.training.devices import hosts
from medtune_jax.training.inputs.batch import Batch

_AHEAD = 2  # batches that are read before they are asked for
_READERS = 2


@dataclass(frozen=True)
class Streamed:
    """Arrays of the host's memory or disk.

    subset: patches int [B] -> arrays of just those, in that order. labels: int32 [N] of all patches. parted: of several
    processes each reads the rows `hosts.part` of a batch, and `subset` is told at which places of the batch they lie.
    """

    subset: Callable[..., dict[str, np.ndarray]]
    labels: np.ndarray
    parted: bool = False

    def batches(self, rows: np.ndarray) -> Iterator[Batch]:
        """One batch for each row of int32 [S, B], -1 is padding; other threads read ahead."""
        import grain

        if not len(rows):
            return iter(())
        options = grain.ReadOptions(num_threads=_READERS, prefetch_buffer_size=_AHEAD)
        return iter(grain.MapDataset.source(rows).map(self._batch).to_iter_dataset(options))

    def _batch(self, row: np.ndarray) -> Batch:
        patches = np.maximum(row, 0)
        renumbered = np.where(row < 0, -1, np.arange(len(row), dtype=np.int32))
        return Batch(self._arrays(patches), self.labels[patches], renumbered, patches)

    def _arrays(self, patches: np.ndarray) -> dict[str, np.ndarray]:
        if not self.parted:
            return self.subset(patches)
        return self.subset(patches[hosts.part(len(patches))], hosts.places(len(patches)))
