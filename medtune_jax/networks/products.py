"""Products of many rows with one matrix of weights."""

from __future__ import annotations

import jax
from jax import Array, lax

from medtune_jax.networks.forms import forms

_WIDE = 8


def product(x: Array, weights: Array) -> Array:
    """x [...,I] @ weights [I,O], on a CPU with a gradient of the weights that suits their shape."""
    return _with_gradient(x, weights) if forms().products else x @ weights


@jax.custom_vjp
def _with_gradient(x: Array, weights: Array) -> Array:
    return x @ weights


def _forward(x: Array, weights: Array) -> tuple[Array, tuple[Array, Array]]:
    return x @ weights, (x, weights)


def _backward(residuals: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    """Summed over one axis of rows, not over all of x's: XLA's CPU backend takes up to five times as long for those.

    And that side is turned over which has fewer columns, unless there are so few rows that the gradient is the larger
    part: two to three times as fast (docs/notes/products.md).
    """
    x, weights = residuals
    inputs, outputs = weights.shape
    rows, behind = x.reshape(-1, inputs), g.reshape(-1, outputs)
    narrow = inputs > outputs and (len(rows) > inputs or inputs >= _WIDE * outputs)
    if not narrow:
        return g @ weights.T, rows.T @ behind
    # Without the barrier XLA makes it the other product again.
    turned: Array = lax.optimization_barrier(behind.T @ rows)
    return g @ weights.T, turned.T


_with_gradient.defvjp(_forward, _backward)
