"""Random initialisations for training from scratch (Caffe `filler.hpp`)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from medtune_jax.errors import UserError
from medtune_jax.networks.stages import Network, Params

FILLERS = ("gaussian", "xavier", "msra")


def initial_params(
    network: Network,
    key: Array,
    filler: str | None = None,
    size: int | None = None,
    auxiliary: bool = False,
) -> Params:
    """Parameters of every stage drawn at random.

    gaussian: N(0, std) with the network's own Caffe deviations. xavier: U(+-sqrt(3 / fan_in)).
    msra: N(0, sqrt(2 / fan_in)). Biases keep the network's constants in all three. Default: the network's own filler.
    """
    filler = filler or network.filler
    if filler not in FILLERS:
        raise UserError(f"unknown filler '{filler}': choose one of {', '.join(FILLERS)}")
    params = network.init(key, size, auxiliary)
    return params if filler == "gaussian" else _refill(params, key, filler)


def _refill(params: Params, key: Array, filler: str) -> Params:
    leaves, tree = jax.tree_util.tree_flatten_with_path(params)
    filled = [
        _draw(jax.random.fold_in(key, number), leaf, filler) if path[-1].key == "kernel" else leaf
        for number, (path, leaf) in enumerate(leaves)
    ]
    return jax.tree.unflatten(tree, filled)


def _draw(key: Array, kernel: Array, filler: str) -> Array:
    fan_in = int(np.prod(kernel.shape[:-1]))
    if filler == "xavier":
        bound = np.sqrt(3 / fan_in)
        return jax.random.uniform(key, kernel.shape, jnp.float32, -bound, bound)
    return jax.random.normal(key, kernel.shape) * np.sqrt(2 / fan_in)
