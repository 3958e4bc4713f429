"""Learning rates of the tuned stages."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from jax import Array

from medtune_jax.networks import Network, Rates
from medtune_jax.tuning.depth import Depth

Rate = float | np.float32 | Array
BIAS_FACTOR = 2.0  # docs/paper.md, "Rates": a bias learns twice as fast as the weights


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
        return rate * stage_decay ** (len(depth.tuned) - 1 - depth.tuned.index(stage))

    stages = trained or depth.tuned
    return {stage: StageRates(weight(stage), weight(stage) * BIAS_FACTOR) for stage in stages}
