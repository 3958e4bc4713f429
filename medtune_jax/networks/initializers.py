"""Random initialisations for training from scratch (Caffe `filler.hpp`)."""

from __future__ import annotations

from collections.abc import Collection

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array

from medtune_jax import compilation
from medtune_jax.errors import UserError
from medtune_jax.networks.stages import Network, Params

INITIALIZERS = ("gaussian", "xavier", "msra")


def initial_params(
    network: Network,
    key: Array,
    initializer: str | None = None,
    size: int | None = None,
    auxiliary: bool = False,
    only: Collection[str] | None = None,
) -> Params:
    """Parameters of every stage, or of `only` some, drawn at random.

    gaussian: N(0, std) with the network's own Caffe deviations. xavier: U(+-sqrt(3 / fan_in)).
    msra: N(0, sqrt(2 / fan_in)). Biases keep the network's constants in all three. Default: the network's own.
    """
    initializer = initializer or network.initializer
    if initializer not in INITIALIZERS:
        raise UserError(
            f"unknown initializer '{initializer}': choose one of {', '.join(INITIALIZERS)}"
        )
    # To compile the draws takes far longer than to draw, and every run of a study draws at least a head.
    draw = compilation.compiled(_draw, static=(0, 1, 2))
    inputs = network.inputs(size, auxiliary).items()
    return {
        name: draw(*stage, initializer, jax.random.fold_in(key, number))
        for number, (name, stage) in enumerate(inputs)
        if only is None or name in only
    }


def _draw(module: nn.Module, shape: tuple[int, ...], initializer: str, key: Array) -> Params:
    """The parameters of one stage, whose input has `shape`."""
    params = dict(module.init(key, jnp.zeros((1, *shape)))["params"])
    return params if initializer == "gaussian" else refill(params, key, initializer)


def refill(params: Params, key: Array, initializer: str) -> Params:
    """The parameters of a stage with new kernels, xavier or msra."""
    leaves, tree = jax.tree_util.tree_flatten_with_path(params)
    counts = [leaf.size if path[-1].key == "kernel" else 0 for path, leaf in leaves]
    pieces = jnp.split(_draws(key, sum(counts), initializer), np.cumsum(counts)[:-1])
    filled = [
        piece.reshape(leaf.shape) / np.sqrt(np.prod(leaf.shape[:-1])) if count else leaf
        for piece, count, (_, leaf) in zip(pieces, counts, leaves, strict=True)
    ]
    return jax.tree.unflatten(tree, filled)


def _draws(key: Array, count: int, initializer: str) -> Array:
    """Of a kernel with a fan-in of 1."""
    if initializer == "xavier":
        return jax.random.uniform(key, (count,), jnp.float32, -np.sqrt(3), np.sqrt(3))
    return jax.random.normal(key, (count,)) * np.sqrt(2)
