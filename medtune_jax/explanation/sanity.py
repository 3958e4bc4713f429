"""Do maps depend on what was learned? Sanity checks for saliency maps (Adebayo et al., NeurIPS 2018)."""

from __future__ import annotations

import jax
import numpy as np
from scipy.stats import rankdata

from medtune_jax.networks import Network, Params, initial_params


def with_random(
    network: Network, params: Params, down_to: str = "", size: int | None = None, seed: int = 0
) -> Params:
    """The parameters with those of the head, and of all stages from `down_to` on, drawn anew ('': the head alone).

    Weights are randomised from the head downwards, as in the paper's cascade; `initial_params` draws them as for
    training from scratch.
    """
    stages = network.names[network.index(down_to or network.head) :]
    drawn = initial_params(network, jax.random.key(seed), size=size, only=stages)
    return {**params, **drawn}


def rank_correlation(maps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation [N] over the pixels of maps [N,S,S]: 1 for the same map, about 0 for one that has
    nothing to do with it. 0 also where either map is constant and so ranks nothing.
    """
    one, other = (rankdata(m.reshape(len(m), -1), axis=1) for m in (maps, others))
    one, other = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (one, other))
    shared = (one * other).sum(axis=1)
    length = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
    return shared / np.where(length > 0, length, 1)
