"""Patches as affine recipes over images that lie on the device once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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


def _digest(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


@dataclass(frozen=True)
class Crops:
    """Windows of 2-D images.

    sources: uint8 [M, H, W] gray or [M, H, W, 3] RGB, shapes: int32 [M, 2] (see `padded`). source: int32 [N], the
    image of each patch. affines: float32 [N, 2, 3], output (row, col, 1) -> source (row, col). size: pixels a side.
    """

    sources: np.ndarray
    shapes: np.ndarray
    source: np.ndarray
    affines: np.ndarray
    size: int

    def __len__(self) -> int:
        return len(self.source)

    def arrays(self) -> dict[str, Any]:
        return {
            "sources": self.sources,
            "shapes": self.shapes,
            **_recipes(self.source, self.affines),
        }

    def subset(self, index: np.ndarray) -> dict[str, np.ndarray]:
        which, source = _used(self.source[index])
        own = _recipes(source, self.affines[index])
        return {"sources": self.sources[which], "shapes": self.shapes[which], **own}

    def take(self, arrays: dict[str, Array], index: Array) -> Array:
        """index int32 [B] -> RGB [B,S,S,3], 0..255; gray is repeated."""
        points = jnp.einsum("bij,hwj->bhwi", arrays["affines"][index], _grid(self.size))
        which = arrays["source"][index]
        pixels = sample(arrays["sources"], arrays["shapes"], which, points)
        return pixels if pixels.ndim == 4 else jnp.repeat(pixels[..., None], 3, -1)

    def fingerprint(self) -> str:
        parts = (self.sources, self.shapes, self.source, self.affines, np.array(self.size))
        return _digest(*parts)


@dataclass(frozen=True)
class Planes:
    """Planes through 3-D blocks, as the channels of an image.

    blocks: int16 [M, D, H, W] HU, shapes: int32 [M, 3] (see `padded`). source: int32 [N]. affines: float32
    [N, P, 3, 3], output (row, col, 1) -> (z, y, x) of the block, P = 2 or 3 planes; the second of two is repeated.
    window: the HU that become 0 and 255.
    """

    blocks: np.ndarray
    shapes: np.ndarray
    source: np.ndarray
    affines: np.ndarray
    size: int
    window: tuple[float, float]

    def __len__(self) -> int:
        return len(self.source)

    def arrays(self) -> dict[str, Any]:
        return {"blocks": self.blocks, "shapes": self.shapes, **_recipes(self.source, self.affines)}

    def subset(self, index: np.ndarray) -> dict[str, np.ndarray]:
        which, source = _used(self.source[index])
        own = _recipes(source, self.affines[index])
        return {"blocks": self.blocks[which], "shapes": self.shapes[which], **own}

    def take(self, arrays: dict[str, Array], index: Array) -> Array:
        """index int32 [B] -> [B,S,S,3], 0..255."""
        points = jnp.einsum("bpij,hwj->bhwpi", arrays["affines"][index], _grid(self.size))
        hu = sample(arrays["blocks"], arrays["shapes"], arrays["source"][index], points)
        low, high = self.window
        planes = 255 * jnp.clip((hu - low) / (high - low), 0, 1)
        channels = [min(number, planes.shape[-1] - 1) for number in range(3)]
        return planes[..., np.array(channels)]

    def fingerprint(self) -> str:
        numbers = np.array([self.size, *self.window])
        return _digest(self.blocks, self.shapes, self.source, self.affines, numbers)


def _recipes(source: np.ndarray, affines: np.ndarray) -> dict[str, np.ndarray]:
    return {"source": source.astype(np.int32), "affines": affines.astype(np.float32)}


def _used(source: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sources that patches [B] read, repeated to B of them for one compiled step, and each patch's place there."""
    which, place = np.unique(source, return_inverse=True)
    return np.resize(which, len(source)), place


def _grid(size: int) -> np.ndarray:
    """Homogeneous output pixels (row, col, 1): float32 [size, size, 3]."""
    rows, columns = np.mgrid[:size, :size]
    return np.stack([rows, columns, np.ones_like(rows)], -1).astype(np.float32)
