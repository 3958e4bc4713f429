"""Learning rates of the tuned stages."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
from jax import Array

from medtune_jax.errors import UserError
from medtune_jax.networks import Network, Rates
from medtune_jax.tuning.depth import Depth

Rate = float | np.float32 | Array
BIAS_FACTOR = 2.0  # docs/paper.md, "Rates": a bias learns twice as fast as the weights


GRID_STEP = (
    3.0  # between neighbours of a search: half a decade, as coarse as rates are commonly told apart
)
_MOST = 9  # rates; beyond lie factors of more than 81


class StageRates(NamedTuple):
    """Of one stage: of its kernels and norm scales, and of its biases. Floats, or traced scalars in a program."""

    weight: Rate
    bias: Rate


def stage_rates(
    network: Network,
    depth: Depth,
    new: Collection[str] = (),
    rates: Rates | None = None,
    stage_decay: float = 1.0,
    trained: Collection[str] = (),
) -> dict[str, StageRates]:
    """Rates of a depth as in Table II: tuned stages, new ones (the head), everything alike from scratch.

    new: stages not loaded from the pre-trained weights; they get the head's rate. rates: default: the network's own.
    stage_decay: factor on the rate for every stage further from the head (1: the paper's flat rate).
    trained: what is trained if more than the depth's own stages (auxiliary heads).
    """
    rates = rates or network.rates

    def weight(stage: str) -> float:
        fresh = stage in new or stage == network.head
        rate = rates.scratch if depth.scratch else rates.head if fresh else rates.tuned
        if stage not in depth.tuned:
            return rate
        return rate * stage_decay ** (len(network.names) - 1 - network.index(stage))

    stages = trained or depth.tuned
    return {stage: StageRates(weight(stage), weight(stage) * BIAS_FACTOR) for stage in stages}


def grid(count: int) -> tuple[float, ...]:
    """Factors on a run's rates that a search among `count` tries, low to high; the middle one is 1.

    UserError unless `count` is 1, 3, 5, 7 or 9: an even number has no middle.
    """
    if count not in range(1, _MOST + 1, 2):
        raise UserError(
            f"rates.search is {count}: give 1 (no search), 3 (three rates, {GRID_STEP:g} times apart), "
            f"or another odd number up to {_MOST}"
        )
    half = count // 2
    return tuple(GRID_STEP**power for power in range(-half, half + 1))


def scaled(rates: Mapping[str, StageRates], factor: float) -> dict[str, StageRates]:
    """All rates times a factor."""
    return {
        stage: StageRates(rate.weight * factor, rate.bias * factor) for stage, rate in rates.items()
    }
