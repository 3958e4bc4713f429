"""Devices as a mesh with two axes: stacked runs spread over 'run', the rows of a batch over 'batch'."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from medtune_jax.training.devices import hosts
from medtune_jax.training.epoch import EpochPlan
from medtune_jax.training.inputs.batch import AnyArray, Batch, Inputs


@dataclass(frozen=True)
class Layout:
    """How the arrays of one dispatch lie on the devices. `stacked`: they have a leading run axis."""

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

    def inputs(self, inputs: Inputs) -> Inputs:
        """With a copy of resident arrays on every device, but of the one of whose rows each process has its part: these
        are spread over all devices. Streamed ones come a batch at a time.
        """
        if not isinstance(inputs.arrays, dict):
            return inputs
        arrays = {
            name: (self._joined if name == inputs.parted else self.everywhere)(array)
            for name, array in inputs.arrays.items()
        }
        return replace(inputs, arrays=arrays, labels=self.everywhere(inputs.labels), parted="")

    def _joined(self, tree: Any) -> Any:
        """One array of the rows `hosts.part` of all processes. A step that takes rows of it gets them from all."""
        sharding = NamedSharding(self.mesh, PartitionSpec(self.mesh.axis_names))
        return jax.tree.map(
            lambda leaf: jax.make_array_from_process_local_data(sharding, np.asarray(leaf)), tree
        )

    def plan(self, plan: EpochPlan) -> EpochPlan:
        """The rows of every batch spread over 'batch'; a width that does not divide is padded with -1."""
        if self.single:
            return plan
        spec = PartitionSpec(*self._run, None, "batch")
        return EpochPlan(
            self._put(self._padded(plan.order), spec),
            self._put(self._padded(plan.score), spec),
            self.by_run(plan.key),
            self.by_run(plan.weights),
        )

    def batch(self, batch: Batch) -> Batch:
        """A batch with its rows spread over 'batch'; of several processes each brings its part of a streamed one."""
        rows = self._put(self._padded(batch.rows), PartitionSpec("batch"))
        if not hosts.several():
            arrays = self.everywhere(batch.arrays)
        elif batch.numbers is None:
            arrays = batch.arrays  # resident ones lie where `inputs` has put them
        else:
            arrays = self._joined(batch.arrays)
        whole = (batch.labels, batch.numbers, batch.weights)
        labels, numbers, weights = self.everywhere(whole)
        return Batch(arrays, labels, rows, numbers, weights=weights)

    def _padded(self, rows: AnyArray) -> np.ndarray:
        missing = -rows.shape[-1] % self.mesh.shape["batch"]
        widths = [(0, 0)] * (rows.ndim - 1) + [(0, missing)]
        return np.pad(np.asarray(rows), widths, constant_values=-1)

    def _put(self, tree: Any, spec: PartitionSpec) -> Any:
        if self.single:
            return jax.device_put(tree)
        sharding = NamedSharding(self.mesh, spec)
        put = _put_here if hosts.several() else jax.device_put
        return jax.tree.map(lambda leaf: put(leaf, sharding), tree)

    def to_host(self, tree: Any) -> Any:
        """numpy arrays on every host."""
        if hosts.several():
            tree = _whole(self.mesh)(tree)
        return jax.device_get(tree)


def _put_here(leaf: Any, sharding: NamedSharding) -> Array:
    """On this process's devices, what of it is theirs. All processes hold the same leaf, or its parts already."""
    if isinstance(leaf, Array) and not leaf.is_fully_addressable:
        return jax.device_put(leaf, sharding)
    if isinstance(leaf, Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = _put_here(jax.random.key_data(leaf), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    whole = np.asarray(leaf)
    return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])


@cache
def _whole(mesh: Mesh) -> Callable[[Any], Any]:
    """A program that gathers arrays on every device."""
    gathered: Callable[[Any], Any] = jax.jit(
        lambda tree: tree, out_shardings=NamedSharding(mesh, PartitionSpec())
    )
    return gathered
