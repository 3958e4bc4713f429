"""What training minimises."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import optax
from jax import Array

from medtune_jax.training.inputs.batch import AnyArray


class Target(NamedTuple):
    """The classes int32 [B] of a batch, which rows count (float32 [B], 0 for padding), and how many do in all its
    parts.
    """

    classes: Array
    counts: Array
    total: Array

    @classmethod
    def of(cls, labels: AnyArray, rows: AnyArray, total: Array) -> Target:
        """Of the patches `rows` int32 [B]; -1 is padding."""
        return cls(
            jnp.asarray(labels)[jnp.maximum(rows, 0)], jnp.asarray(rows >= 0, jnp.float32), total
        )


def cross_entropy(scores: Array, target: Target) -> Array:
    """Negative log likelihood of the true class, summed over the rows [B, C] that count and divided by the number in
    the batch (docs/paper.md, "Cost").
    """
    losses = optax.softmax_cross_entropy_with_integer_labels(
        scores.astype(jnp.float32), target.classes
    )
    total: Array = (losses * target.counts).sum()
    return total / target.total
