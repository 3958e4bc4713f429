"""LoRA (Hu et al., ICLR 2022): a kernel W of an inner product becomes W + down up, where down [I, rank] and up
[rank, O] are learned and W stays.

The factors are two more parameters of the layer (`layers.Positionwise`), and `merged` adds their product to the kernel.
"""

from __future__ import annotations

from collections.abc import Collection

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import Array

from medtune_jax.networks.stages import Network, Params

DOWN, UP = "down", "up"


def adapted(network: Network) -> dict[str, int]:
    """The stages with inner products that factors can be added to, each with the least number of inputs or outputs that
    one has; none of a convolutional network.
    """
    found: dict[str, int] = {}
    if not network.adapted:
        return found
    for (stage, *layer, kind), leaf in flatten_dict(network.abstract_params()).items():
        if kind == "kernel" and tuple(layer) in network.adapted:
            found[stage] = min(*leaf.shape, found.get(stage, leaf.size))
    return found


def with_factors(
    params: Params, network: Network, stages: Collection[str], rank: int, key: Array
) -> Params:
    """The same network with factors in `stages`: up is 0, so that nothing changes yet; down is drawn from N(0, 1 / I),
    so that its outputs are of the size of its inputs.
    """
    factors = dict(flatten_dict(params))
    kernels = [
        p for p in factors if p[0] in stages and p[1:-1] in network.adapted and p[-1] == "kernel"
    ]
    for number, path in enumerate(kernels):
        inputs, outputs = factors[path].shape
        draw = jax.random.normal(jax.random.fold_in(key, number), (inputs, rank))
        factors[*path[:-1], DOWN] = draw / np.sqrt(inputs)
        factors[*path[:-1], UP] = jnp.zeros((rank, outputs))
    return dict(unflatten_dict(factors))


def merged(params: Params) -> Params:
    """Parameters without factors that compute the same: each kernel plus the product of its factors."""
    leaves = flatten_dict(params)
    flat = {path: leaf for path, leaf in leaves.items() if path[-1] not in (DOWN, UP)}
    for *layer, kind in leaves:
        if kind == DOWN:
            kernel, down, up = (np.asarray(leaves[*layer, name]) for name in ("kernel", DOWN, UP))
            flat[*layer, "kernel"] = kernel + down @ up
    return dict(unflatten_dict(flat))
