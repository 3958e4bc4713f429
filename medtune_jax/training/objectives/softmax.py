"""One class of several: negative log likelihood of the true class (docs/paper.md, "Cost")."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from medtune_jax.evaluation import log_odds
from medtune_jax.training.inputs.batch import AnyArray
from medtune_jax.training.objectives.objective import Objective


def _cost(outputs: Array, labels: Array, weights: AnyArray | None) -> Array:
    costs = optax.softmax_cross_entropy_with_integer_labels(outputs, labels)
    return costs if weights is None else costs * jnp.asarray(weights)[labels]


def _weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """float32 [C]: N / (C N_c), so that all classes weigh the same (King and Zeng, Political Analysis 9, 2001)."""
    counts = np.bincount(labels, minlength=classes)
    return (len(labels) / (classes * counts)).astype(np.float32)


SOFTMAX = Objective("softmax", _cost, _weights, log_odds.of_logits)
