"""Several findings an image, each there or not: negative log likelihood of every finding that is known, their mean."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from medtune_jax.evaluation.labels import sides
from medtune_jax.training.inputs.batch import AnyArray
from medtune_jax.training.objectives.objective import Objective


def _cost(outputs: Array, labels: Array, weights: AnyArray | None) -> Array:
    there = labels == 1
    counts = (labels >= 0).astype(jnp.float32)
    if weights is not None:
        without, with_ = jnp.asarray(weights).T
        counts = counts * jnp.where(there, with_, without)
    costs = optax.sigmoid_binary_cross_entropy(outputs, there.astype(jnp.float32))
    return (costs * counts).mean(axis=-1)


def _weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """float32 [C, 2]: of each finding N / (2 N_without) and N / (2 N_with), of the N patches of which it is known."""
    counts = np.array([[side.sum() for side in sides(labels, (f,))[::-1]] for f in range(classes)])
    return (counts.sum(axis=1, keepdims=True) / (2 * counts)).astype(np.float32)


def _log_odds(outputs: np.ndarray) -> np.ndarray:
    return np.asarray(outputs, float)


SIGMOID = Objective("sigmoid", _cost, _weights, _log_odds)
