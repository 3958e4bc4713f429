"""What a run starts from: parameters and rates."""

from __future__ import annotations

from collections.abc import Collection

import jax
from ml_collections import ConfigDict

from medtune_jax import networks, tuning, weights
from medtune_jax.networks import Network, Params, Rates
from medtune_jax.networks.low_rank import with_factors
from medtune_jax.tuning import Depth, StageRates


def starting_params(
    network: Network,
    source: weights.Checkpoint,
    depth: Depth,
    seed: int,
    size: int,
    auxiliary: bool = True,
) -> tuple[Params, tuple[str, ...]]:
    """(parameters a run starts from, names of the stages that are new in them)."""
    # The new head of a pre-trained network is drawn as its authors drew it: Caffe's Gaussian.
    initializer, key = depth.initializer or "gaussian", jax.random.key(seed)
    if depth.scratch:
        sides = auxiliary and bool(network.auxiliary)
        drawn = networks.initial_params(network, key, initializer, size, sides)
        return drawn, tuple(drawn)
    absent = [name for name in network.names if name not in source.params]
    drawn = networks.initial_params(network, key, initializer, size, only={*absent, network.head})
    initial = {**network.abstract_params(size), **drawn}
    params, new = weights.transplant(source.params, initial, network)
    if depth.rank:
        params = with_factors(params, network, depth.light, depth.rank, key)
    return params, new


def trained_stages(network: Network, depth: Depth, config: ConfigDict) -> tuple[str, ...]:
    """The tuned stages, and the side heads that exist only while they are trained."""
    if not (depth.scratch and config.training.auxiliary):
        return depth.tuned
    return (*depth.tuned, *(side.stage.name for side in network.auxiliary))


def starting_rates(
    network: Network,
    depth: Depth,
    config: ConfigDict,
    new: Collection[str],
    trained: Collection[str],
) -> dict[str, StageRates]:
    """The network's rates, or the config's where it gives any."""
    known, given = network.rates, config.rates
    rates = Rates(
        given.tuned or known.tuned, given.head or known.head, given.scratch or known.scratch
    )
    return tuning.stage_rates(network, depth, new, rates, given.stage_decay, trained)
