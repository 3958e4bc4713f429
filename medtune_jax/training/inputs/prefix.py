"""Frozen-prefix features: the output of stages that no run of a depth trains, computed once for all patches.

One pass over the patches makes the features of as many of the study's boundaries as fit into memory, each from the one
before it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from medtune_jax import compilation, signals
from medtune_jax.networks import Network, Params, Preprocessing
from medtune_jax.patches import Augment, PatchSet, Records
from medtune_jax.training.devices import hosts
from medtune_jax.training.inputs.batch import Arrays, Inputs
from medtune_jax.training.inputs.memory import Memory, within_memory
from medtune_jax.training.inputs.places import (
    DEVICE,
    DISK,
    HOST,
    OnDevice,
    OnDisk,
    OnHost,
    Place,
    streamed,
)
from medtune_jax.training.inputs.stream import Streamed

_FEATURES = "features"  # as `places` name their array
_log = logging.getLogger("medtune_jax")


@dataclass(frozen=True)
class Boundary:
    """Where a frozen prefix ends: the stage that its features feed, where they lie ('' for the patches), bytes."""

    stage: str
    place: str = ""
    bytes: int = 0


@dataclass
class PrefixCache:
    """Inputs of any stage for a fixed set of patches under fixed pre-trained parameters.

    memory: what may be filled; where the features of a boundary fit nowhere, its runs start from the next shallower
    one that does, in the end from the patches themselves. batch: patches that are computed at a time.
    Of several processes each keeps, and computes the features of, its own part of the patches (`hosts.part`).
    """

    network: Network
    params: Params
    patches: PatchSet
    labels: np.ndarray
    size: int
    memory: Memory = field(default_factory=Memory)
    dtype: DTypeLike = jnp.float32
    batch: int = 64
    preprocessing: Preprocessing | None = None  # the weights' own; None: the network's
    augment: Augment | None = None  # what `augmented` does to patches

    def __post_init__(self) -> None:
        self._shapes = self.network.shapes(self.size)
        self._rooms = {DEVICE: self.memory.device, HOST: self.memory.host, DISK: 0}
        if self.memory.disk:
            self._rooms[DISK] = self.memory.disk.limit
        self._expected: set[str] = set()
        self._in_order = False
        self._kept: dict[str, tuple[Boundary, Inputs]] = {}
        self._labels = np.asarray(self.labels, np.int32)
        self._own = hosts.part(len(self.patches))
        arrays, bulk, several = self.patches.arrays(), self.patches.bulk, hosts.several()
        on_disk = isinstance(arrays[bulk], Records)
        if several and not on_disk:
            arrays = {**arrays, bulk: arrays[bulk][hosts.part(len(arrays[bulk]))]}
        streamed = Streamed(self.patches.subset, self._labels)
        labels, start = jnp.asarray(self._labels), self.network.names[0]
        # What this process alone reads, to compute features of.
        self._read = Inputs(streamed, labels, start, self._preprocessed)
        if on_disk or sum(array.nbytes for array in arrays.values()) > self.memory.patches:
            self._pixels = replace(self._read, arrays=replace(streamed, parted=several))
        elif several:
            self._pixels = replace(self._read, arrays=arrays, parted=bulk)
        else:
            self._pixels = self._read = replace(
                self._read, arrays=jax.tree.map(jax.device_put, arrays)
            )

    def _preprocessed(self, arrays: Arrays, rows: Array) -> Array:
        return self._preprocessing(self.patches.take(arrays, rows), self.dtype)

    def augmented(self, arrays: Arrays, rows: Array, keys: Array) -> Array:
        """Patches as the first stage reads them, each changed by its key."""
        assert self.augment
        pixels = self.augment(self.patches.take(arrays, rows), keys)
        return self._preprocessing(pixels, self.dtype)

    @property
    def _preprocessing(self) -> Preprocessing:
        return self.preprocessing or self.network.preprocessing

    def expect(self, first_tuned: Sequence[str], in_order: bool = False) -> list[Boundary]:
        """Name the depths to come, so that one pass serves them; where the runs of each will start, in that order.

        in_order: from shallow to deep tuning, none twice, so that features are let go as soon as a deeper one begins.
        """
        self._in_order = in_order
        boundaries = [self.boundary(stage) for stage in first_tuned]
        self._expected = {boundary.stage for boundary in boundaries}
        return boundaries

    def boundary(self, first_tuned: str) -> Boundary:
        """The deepest boundary that a run tuned from `first_tuned` may start at."""
        deepest = self.network.index(self.network.deterministic_prefix(first_tuned))
        for stage in reversed(self.network.names[1 : deepest + 1]):
            if boundary := self._placed(stage, self._rooms):
                return boundary
        return Boundary(self.network.names[0])

    def _placed(self, stage: str, rooms: dict[str, int]) -> Boundary | None:
        """The features that feed a stage in the first place that has room for them."""
        size = int(np.prod(self._shape(stage))) * jnp.dtype(self.dtype).itemsize
        places = (place for place, room in rooms.items() if size <= room)
        return next((Boundary(stage, place, size) for place in places), None)

    def _shape(self, stage: str) -> tuple[int, ...]:
        """Of the features that feed a stage, for all patches that are this process's."""
        before = self.network.names[self.network.index(stage) - 1]
        return (len(self._own), *self._shapes[before])

    def inputs(self, first_tuned: str, pretrained: bool = True) -> Inputs:
        """What a run tuned from `first_tuned` reads; from scratch (nothing frozen) the patches themselves."""
        stage = self.boundary(first_tuned).stage
        if self._in_order:
            reached = self.network.names[: self.network.index(stage) + 1]
            self._kept = {name: kept for name, kept in self._kept.items() if name in reached}
        if not pretrained or stage == self.network.names[0]:
            return self._pixels
        if stage not in self._kept:
            self._make(stage)
        # Where the disk has refused, the boundary is now another one.
        return self._kept[stage][1] if stage in self._kept else self.inputs(first_tuned)

    def _make(self, stage: str) -> None:
        """The features of a boundary and, in the same pass, of the expected ones before it that fit beside them."""
        # A sweep goes from shallow to deep tuning: features of later boundaries are not needed again.
        earlier = self.network.names[: self.network.index(stage)]
        self._kept = {name: kept for name, kept in self._kept.items() if name in earlier}
        if not self._placed(stage, self._left()):
            self._kept = {}
        missing = [b for b in self._fitting(stage) if not self._reopened(b)]
        if missing:
            within_memory(lambda: self._pass(missing), self.need_less)

    def _fitting(self, stage: str) -> list[Boundary]:
        """What one pass makes, in the network's order. The boundary asked for comes first to the room."""
        rooms, chosen = self._left(), []
        for name in reversed(self.network.names[1 : self.network.index(stage) + 1]):
            needed = name == stage or name in self._expected
            made = self._placed(name, rooms) if needed and name not in self._kept else None
            if made:
                rooms[made.place] -= made.bytes
                chosen.append(made)
        return chosen[::-1]

    def _left(self) -> dict[str, int]:
        """The rooms less what is kept."""
        rooms = dict(self._rooms)
        for boundary, _ in self._kept.values():
            rooms[boundary.place] -= boundary.bytes
        return rooms

    def _reopened(self, boundary: Boundary) -> bool:
        """Whether the disk has these features from an earlier time."""
        if boundary.place != DISK or not self.memory.disk:
            return False
        stage, whole = boundary.stage, None
        with suppress(OSError):
            whole = self.memory.disk.open(self._key(stage), self._shape(stage), self.dtype)
        if whole is not None:
            self._keep(boundary, streamed(whole, self._labels))
        return whole is not None

    def _keep(self, boundary: Boundary, arrays: Arrays | Streamed) -> None:
        parted = _FEATURES if hosts.several() else ""
        inputs = Inputs(arrays, self._pixels.labels, boundary.stage, take, parted)
        self._kept[boundary.stage] = boundary, inputs

    def _pass(self, wanted: Sequence[Boundary]) -> None:
        """Run all its patches through the stages up to the last boundary wanted, and collect at each."""
        places: dict[str, Place] = {}
        for boundary in wanted:
            with self._disk_may_refuse(places, boundary.stage):
                places[boundary.stage] = self._place(boundary)
        try:
            for stage, first, rows in self._computed(wanted):
                with self._disk_may_refuse(places, stage):
                    if stage in places:
                        places[stage].add(rows, first)
            for boundary in wanted:
                with self._disk_may_refuse(places, boundary.stage):
                    if boundary.stage in places:
                        self._keep(boundary, places[boundary.stage].finish(self._labels))
                        del places[boundary.stage]
        finally:
            for place in places.values():
                place.drop()

    def _computed(self, wanted: Sequence[Boundary]) -> Iterator[tuple[str, int, Array]]:
        """(stage, number of the first row, rows of the features that feed the stage), batch by batch."""
        source = self._source(wanted[0].stage)
        first_input = jax.jit(source.take, compiler_options=compilation.options())
        params = jax.device_put(self.params)
        count = len(self._own)
        numbers = np.arange(count) if source.parted else self._own
        width = min(self.batch, count)
        firsts = [min(first, count - width) for first in range(0, count, width)]
        rows = numbers[np.array(firsts)[:, None] + np.arange(width)]
        for first, batch in zip(firsts, source.batches(rows.astype(np.int32)), strict=True):
            signals.check()
            x, reached = first_input(batch.arrays, batch.rows), source.start
            for boundary in wanted:
                x = self.network.run(params, x, reached, boundary.stage)
                reached = boundary.stage
                yield reached, first, x

    def _source(self, stage: str) -> Inputs:
        """The nearest features before a stage, or the patches."""
        names = self.network.names[: self.network.index(stage)]
        return next((self._kept[n][1] for n in reversed(names) if n in self._kept), self._read)

    def _place(self, boundary: Boundary) -> Place:
        shape = self._shape(boundary.stage)
        if boundary.place == DEVICE:
            return OnDevice(shape, self.dtype)
        if boundary.place == HOST:
            return OnHost(shape, self.dtype)
        assert self.memory.disk
        return OnDisk(self.memory.disk, self._key(boundary.stage), shape, self.dtype)

    @contextmanager
    def _disk_may_refuse(self, places: dict[str, Place], stage: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if stage in places:
                places.pop(stage).drop()
            if self._rooms[DISK]:
                _log.warning(
                    "features of frozen stages are computed anew, not kept on disk: %s", error
                )
            self._rooms[DISK] = 0

    def need_less(self) -> str:
        """Compute fewer patches at a time; what to tell the user, '' where that is no longer possible."""
        if self.batch == 1:
            return ""
        self.batch = (self.batch + 1) // 2
        return f"features are computed {self.batch} patches at a time"

    def _key(self, stage: str) -> str:
        """A digest of all that decides the features which feed a stage."""
        digest = hashlib.sha256(self._fingerprint.encode())
        names = self.network.names[: self.network.index(stage)]
        digest.update(f"{stage} {jnp.dtype(self.dtype).name}".encode())
        for leaf in jax.tree.leaves({name: self.params[name] for name in names}):
            digest.update(np.asarray(leaf).tobytes())
        return digest.hexdigest()[:32]

    @cached_property
    def _fingerprint(self) -> str:
        made = self._preprocessing
        how = (made.size, made.order, np.asarray(made.mean).tolist(), made.scale, made.std)
        machine = (jax.__version__, jax.default_backend())
        return repr((self.network.name, self.size, self.patches.fingerprint(), how, machine))


def take(arrays: Arrays, rows: Array) -> Array:
    """Of features."""
    features: Array = arrays[_FEATURES]
    return features[rows]
