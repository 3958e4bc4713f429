"""Norms over batches and over channels, as the networks after VGG have them.

A batch norm has two kinds of parameters: scale and bias, which are learned, and the statistics `mean` and `variance`,
which are averages over the batches that were trained on. All four lie in `Params`, so that a state, a snapshot and a
checkpoint hold the statistics as they hold the rest. An average needs no machinery of its own either:

    running <- running - 0.1 (running - batch)

is a step at a rate of 0.1 down the gradient of (running - batch)^2 / 2. A batch norm that uses a batch's statistics
therefore passes that distance as the gradient of its average, and the optimizer steps at that rate whatever the others'
(`tuning/optimizer.py`). One that uses the stored statistics passes zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax

STATISTICS = ("mean", "variance")
"""Names of the parameters that are averages over batches."""

AVERAGE_RATE = 0.1
"""How far an average goes towards the statistics of each batch: PyTorch's `momentum`."""


class BatchNorm(nn.Module):
    """(x - mean) / sqrt(variance + epsilon) * scale + bias for each channel of [N,H,W,C] (Ioffe and Szegedy 2015).

    Without `counts` with the stored statistics. counts: float32 [N], 1 for rows that count and 0 for padding: with
    those of the batch, over all its devices. As in PyTorch, the batch's own variance divides by n, and that which is
    averaged by n - 1. A batch of a single row (the rest of an epoch) says nothing of how rows vary: it is normalised by
    the stored statistics and leaves them as they are.
    """

    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Array, counts: Array | None = None) -> Array:
        channels = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, channels)
        bias = self.param("bias", nn.initializers.zeros, channels)
        mean = self.param("mean", nn.initializers.zeros, channels)
        variance = self.param("variance", nn.initializers.ones, channels)
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        if counts is None:
            mean, variance = lax.stop_gradient((mean, variance))
        else:
            mean, variance = _of_batch(wide, counts, mean, variance)
        y = (wide - mean) * (lax.rsqrt(variance + self.epsilon) * scale) + bias
        return y.astype(x.dtype)


def _of_batch(x: Array, counts: Array, mean: Array, variance: Array) -> tuple[Array, Array]:
    """The batch's mean and variance [C] over rows and pixels; the averages `mean` and `variance` follow them."""
    pixels = x[0, ..., 0].size
    count, enough = counts.sum() * pixels, counts.sum() > 1
    weights = counts.reshape(-1, *(1,) * (x.ndim - 1))
    axes = tuple(range(x.ndim - 1))
    middle = (x * weights).sum(axes) / jnp.maximum(count, 1)
    spread = (jnp.square(x - middle) * weights).sum(axes) / jnp.maximum(count, 1)
    unbiased = spread * (count / jnp.maximum(count - 1, 1))
    return (
        _followed(mean, middle, middle, enough),
        _followed(variance, spread, unbiased, enough),
    )


def _followed(average: Array, used: Array, seen: Array, enough: Array) -> Array:
    """`used`, and `average` moves towards `seen`; without `enough` rows the average itself, which stays."""
    kept = lax.stop_gradient(average)
    return _towards(average, jnp.where(enough, used, kept), jnp.where(enough, seen, kept))


@jax.custom_vjp
def _towards(average: Array, used: Array, seen: Array) -> Array:
    """`used`; the gradient by `average` is its distance from `seen`, whatever the loss."""
    return used


_towards.defvjp(
    lambda average, used, seen: (used, average - seen),
    lambda distance, g: (distance, g, jnp.zeros_like(g)),
)


class LayerNorm(nn.Module):
    """(x - mean) / sqrt(variance + epsilon) * scale + bias over the last axis of each position (Ba et al. 2016)."""

    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x: Array) -> Array:
        channels = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, channels)
        bias = self.param("bias", nn.initializers.zeros, channels)
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        mean = wide.mean(-1, keepdims=True)
        variance = jnp.square(wide - mean).mean(-1, keepdims=True)
        return ((wide - mean) * lax.rsqrt(variance + self.epsilon) * scale + bias).astype(x.dtype)


def has_statistics(params: Mapping[str, Any]) -> bool:
    """Whether a batch norm is among the parameters of a stage."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return any(path[-1].key in STATISTICS for path, _ in leaves)
