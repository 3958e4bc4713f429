"""What training minimises: the contract. One file here for each objective."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from medtune_jax.training.inputs.batch import AnyArray, Batch


@dataclass(frozen=True)
class Objective:
    """What a network's outputs mean, and what they cost.

    name: in messages. cost: outputs float32 [B, C], labels of those rows, class weights or None -> cost of each row
    float32 [B]; traced. weights: labels of a training subset [N], number of outputs C -> the class weights that
    balance it, of mean 1 over its rows. log_odds: outputs [..., C] -> the scores that are kept and ranked, float64.
    """

    name: str
    cost: Callable[[Array, Array, AnyArray | None], Array]
    weights: Callable[[np.ndarray, int], np.ndarray]
    log_odds: Callable[[np.ndarray], np.ndarray]


class Target(NamedTuple):
    """The labels [B] of a batch, which rows count (float32 [B], 0 for padding), how many do in all its parts, and the
    class weights, where classes do not count alike.
    """

    labels: Array
    counts: Array
    total: Array
    weights: AnyArray | None = None

    @classmethod
    def of(cls, batch: Batch, total: Array) -> Target:
        """Of the rows of a batch, or of a part of one; -1 is padding."""
        labels = jnp.asarray(batch.labels)[jnp.maximum(batch.rows, 0)]
        return cls(labels, jnp.asarray(batch.rows >= 0, jnp.float32), total, batch.weights)


def loss(objective: Objective, outputs: Array, target: Target) -> Array:
    """The cost, summed over the rows [B, C] that count and divided by their number in the batch (docs/paper.md,
    "Cost").

    By their number, not by their weights: else a batch without the rare class would weigh as much as one with it.
    """
    costs = objective.cost(outputs.astype(jnp.float32), target.labels, target.weights)
    total: Array = (costs * target.counts).sum()
    return total / target.total
