"""Linear interpolation at any points of many sources, inside a compiled step."""

from __future__ import annotations

from itertools import product

import jax.numpy as jnp
from jax import Array


def sample(sources: Array, shapes: Array, which: Array, points: Array) -> Array:
    """Bilinear (2-D) or trilinear (3-D) samples, float32 [B, ..., *channels].

    sources: [M, *dims, *channels] of any number type, padded to common dims. shapes: int32 [M, d], the part of each
    source that counts. which: int32 [B], the source of each patch. points: float32 [B, ..., d] in pixels or voxels,
    centres at integers; a point outside takes the value of the nearest border.
    """
    dimensions = points.shape[-1]
    between = points.ndim - 2
    last = (shapes[which] - 1).reshape(-1, *(1,) * between, dimensions)
    points = jnp.clip(points, 0, last.astype(points.dtype))
    base = jnp.floor(points).astype(jnp.int32)
    share = points - base
    channels = (1,) * (sources.ndim - 1 - dimensions)
    rows = which.reshape(-1, *(1,) * between)
    total = jnp.zeros((), jnp.float32)
    for corner in product((0, 1), repeat=dimensions):
        near = jnp.minimum(base + jnp.array(corner), last)
        weight = jnp.where(jnp.array(corner) == 1, share, 1 - share).prod(-1)
        values = sources[(rows, *(near[..., axis] for axis in range(dimensions)))]
        total += weight.reshape(*weight.shape, *channels) * values.astype(jnp.float32)
    return total
