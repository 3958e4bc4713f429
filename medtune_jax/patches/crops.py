"""Patches as affine recipes over images that lie on the device once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array

from medtune_jax.patches.sampler import sample


def padded(sources: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Arrays of different sizes as one stack [M, *largest, *channels], and their shapes int32 [M, d].

    2-D images may have a channel axis; 3-D blocks have none.
    """
    dimensions = 2 if sources[0].ndim == 2 or sources[0].shape[-1] == 3 else 3
    shapes = np.array([source.shape[:dimensions] for source in sources], np.int32)
    tail = sources[0].shape[dimensions:]
    stack = np.zeros((len(sources), *shapes.max(0), *tail), sources[0].dtype)
    for row, source in zip(stack, sources, strict=True):
        row[tuple(slice(n) for n in source.shape)] = source
    return stack, shapes


@dataclass(frozen=True)
class _Sampled:
    """What crops and planes share: sources on the device once, and a recipe per patch."""

    sources: np.ndarray
    shapes: np.ndarray
    source: np.ndarray
    affines: np.ndarray
    size: int

    bulk: ClassVar[str] = "sources"

    def __len__(self) -> int:
        return len(self.source)

    def arrays(self) -> dict[str, np.ndarray]:
        return self._arrays(slice(None), slice(None), self.source)

    def subset(self, index: np.ndarray, at: np.ndarray | None = None) -> dict[str, np.ndarray]:
        used, source = np.unique(self.source[index], return_inverse=True)
        source = source if at is None else at[source]
        # As many sources as patches, some repeated: one compiled step serves every part of this size.
        return self._arrays(np.resize(used, len(index)), index, source)

    def _arrays(
        self, used: np.ndarray | slice, index: np.ndarray | slice, source: np.ndarray
    ) -> dict[str, np.ndarray]:
        return {
            "sources": self.sources[used],
            "shapes": self.shapes[used],
            "source": source.astype(np.int32),
            "affines": self.affines[index].astype(np.float32),
        }

    def _values(self, arrays: dict[str, Array], index: Array) -> Array:
        """Source values [B, S, S, ...] of the patches index [B]."""
        points = jnp.einsum("b...ij,hwj->bhw...i", arrays["affines"][index], _grid(self.size))
        return sample(arrays["sources"], arrays["shapes"], arrays["source"][index], points)

    def _settings(self) -> np.ndarray:
        return np.array(self.size)

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for array in (self.sources, self.shapes, self.source, self.affines, self._settings()):
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


@dataclass(frozen=True)
class Crops(_Sampled):
    """Windows of 2-D images.

    sources: uint8 [M, H, W] gray or [M, H, W, 3] RGB, shapes: int32 [M, 2] (see `padded`). source: int32 [N], the
    image of each patch. affines: float32 [N, 2, 3], output (row, col, 1) -> source (row, col). size: pixels per side.
    """

    def take(self, arrays: dict[str, Array], index: Array) -> Array:
        """index int32 [B] -> RGB [B,S,S,3], 0..255; gray is repeated."""
        pixels = self._values(arrays, index)
        return pixels if pixels.ndim == 4 else jnp.repeat(pixels[..., None], 3, -1)


@dataclass(frozen=True)
class Planes(_Sampled):
    """Planes through 3-D blocks, as the channels of an image.

    sources: int16 [M, D, H, W] HU, shapes: int32 [M, 3] (see `padded`). source: int32 [N]. affines: float32
    [N, P, 3, 3], output (row, col, 1) -> (z, y, x) of the block, P = 2 or 3 planes; the second of two is repeated.
    window: the HU that become 0 and 255.
    """

    window: tuple[float, float]

    def take(self, arrays: dict[str, Array], index: Array) -> Array:
        """index int32 [B] -> [B,S,S,3], 0..255."""
        low, high = self.window
        planes = 255 * jnp.clip((self._values(arrays, index) - low) / (high - low), 0, 1)
        channels = [min(number, planes.shape[-1] - 1) for number in range(3)]
        return planes[..., np.array(channels)]

    def _settings(self) -> np.ndarray:
        return np.array([self.size, *self.window])


def _grid(size: int) -> np.ndarray:
    """Homogeneous output pixels (row, col, 1): float32 [size, size, 3]."""
    rows, columns = np.mgrid[:size, :size]
    return np.stack([rows, columns, np.ones_like(rows)], -1).astype(np.float32)
