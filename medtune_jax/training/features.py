"""Frozen-prefix features: the output of stages that no run of a depth trains, computed once for all patches.

Each deeper boundary's features are made from the next shallower ones that are at hand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from medtune_jax.networks import Network, Params
from medtune_jax.networks.stages import Preprocessing
from medtune_jax.patches import PatchSet
from medtune_jax.training.program import Inputs


def take(arrays: dict[str, Array], index: Array) -> Array:
    """The fetch of cached features."""
    return arrays["features"][index]


@dataclass
class Features:
    """Inputs of any stage for a fixed set of patches under fixed pre-trained parameters.

    budget: bytes that cached features may take; a boundary that does not fit falls back to the next shallower one
    that does, in the end to the patches themselves.
    """

    network: Network
    params: Params
    patches: PatchSet
    labels: np.ndarray
    size: int
    budget: int
    dtype: Any = jnp.float32
    batch: int = 64
    preprocessing: Preprocessing | None = None  # the weights' own; None: the network's
    _cache: dict[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        first = self.network.names[0]
        self._pixels = Inputs(
            jax.tree.map(jnp.asarray, self.patches.arrays()),
            jnp.asarray(self.labels, jnp.int32),
            first,
            self._preprocessed,
        )
        self._shapes = self.network.shapes(self.size)

    def _preprocessed(self, arrays: dict[str, Array], index: Array) -> Array:
        preprocessing = self.preprocessing or self.network.preprocessing
        return preprocessing(self.patches.fetch(arrays, index), self.dtype)

    def bytes_at(self, stage: str) -> int:
        """Bytes of the features that feed `stage`, 0 for the first stage (the patches are there anyway)."""
        position = self.network.index(stage)
        if position == 0:
            return 0
        shape = self._shapes[self.network.names[position - 1]]
        return len(self.patches) * int(np.prod(shape)) * jnp.dtype(self.dtype).itemsize

    def boundary(self, first_tuned: str) -> str:
        """The deepest stage a run tuned from `first_tuned` may start at, within the budget."""
        deepest = self.network.index(self.network.deterministic_prefix(first_tuned))
        names = self.network.names[: deepest + 1]
        return next(name for name in reversed(names) if self.bytes_at(name) <= self.budget)

    def inputs(self, first_tuned: str, pretrained: bool = True) -> Inputs:
        """What a run tuned from `first_tuned` reads; from scratch (nothing frozen) the patches themselves."""
        start = self.boundary(first_tuned) if pretrained else self.network.names[0]
        if start == self.network.names[0]:
            return self._pixels
        if start not in self._cache:
            self._cache = {start: self._compute(start)}  # only the newest boundary is kept
        return Inputs({"features": self._cache[start]}, self._pixels.labels, start, take)

    def _compute(self, stop: str) -> Array:
        at_hand = [
            name for name in self._cache if self.network.index(name) <= self.network.index(stop)
        ]
        source = self._pixels
        if at_hand:
            start = max(at_hand, key=self.network.index)
            source = Inputs({"features": self._cache[start]}, self._pixels.labels, start, take)
        step = self._span(source, stop)
        count = len(self.patches)
        parts = [
            step(self.params, source.arrays, jnp.arange(first, first + self.batch) % count)
            for first in range(0, count, self.batch)
        ]
        return jnp.concatenate(parts)[:count]

    def _span(self, source: Inputs, stop: str) -> Callable[..., Array]:
        def run(params: Params, arrays: dict[str, Array], index: Array) -> Array:
            x = source.fetch(arrays, index)
            return self.network.apply(params, x, start=source.start, stop=stop)

        return jax.jit(run)
