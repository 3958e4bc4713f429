"""Devices as a mesh with two axes: stacked runs spread over 'run', the rows of a batch over 'batch'."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from medtune_jax.training.program import Work
from medtune_jax.training.stream import Batch


@dataclass(frozen=True)
class Layout:
    """Where the arrays of one dispatch lie. `stacked`: they have a leading run axis."""

    mesh: Mesh
    stacked: bool

    @classmethod
    def of(cls, runs: int, devices: Sequence[Any] | None = None) -> Layout:
        """All devices: as many parts on 'run' as divide the runs evenly, the rest on 'batch'."""
        devices = jax.devices() if devices is None else devices
        across = math.gcd(runs, len(devices))
        grid = np.array(devices, dtype=object).reshape(across, -1)
        return cls(Mesh(grid, ("run", "batch")), runs > 1)

    @property
    def single(self) -> bool:
        return self.mesh.size == 1

    @property
    def _run(self) -> tuple[str, ...]:
        return ("run",) if self.stacked else ()

    def everywhere(self, tree: Any) -> Any:
        """A copy on every device."""
        return self._put(tree, PartitionSpec())

    def by_run(self, tree: Any) -> Any:
        """Every run on its own devices."""
        return self._put(tree, PartitionSpec(*self._run))

    def work(self, work: Work) -> Work:
        """The rows of every batch spread over 'batch'; a width that does not divide is padded with -1."""
        if self.single:
            return work
        spec = PartitionSpec(*self._run, None, "batch")
        return Work(
            order=self._put(self._padded(work.order), spec),
            steps=self.by_run(work.steps),
            score=self._put(self._padded(work.score), spec),
            batches=self.by_run(work.batches),
            key=self.by_run(work.key),
        )

    def batch(self, batch: Batch) -> Batch:
        """A streamed batch on every device, its rows spread over 'batch'."""
        if self.single:
            return jax.device_put(batch)
        arrays, labels = self.everywhere((batch.arrays, batch.labels))
        return Batch(arrays, labels, self._put(self._padded(batch.rows), PartitionSpec("batch")))

    def _padded(self, index: Any) -> np.ndarray:
        missing = -index.shape[-1] % self.mesh.shape["batch"]
        widths = [(0, 0)] * (index.ndim - 1) + [(0, missing)]
        return np.pad(np.asarray(index), widths, constant_values=-1)

    def _put(self, tree: Any, spec: PartitionSpec) -> Any:
        if self.single:
            return tree
        place = NamedSharding(self.mesh, spec)
        return jax.tree.map(lambda leaf: jax.device_put(leaf, place), tree)

    def fetch(self, tree: Any) -> Any:
        """numpy arrays on every host."""
        if jax.process_count() > 1:
            whole = NamedSharding(self.mesh, PartitionSpec())
            tree = jax.jit(lambda x: x, out_shardings=whole)(tree)
        return jax.device_get(tree)
