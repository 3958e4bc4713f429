"""Whose statistics the batch norms of a depth use in training: config.training.norm (docs/networks.md)."""

from __future__ import annotations

from difflib import get_close_matches

from ml_collections import ConfigDict

from medtune_jax.errors import UserError
from medtune_jax.networks import Network
from medtune_jax.study.plan import Plan
from medtune_jax.training import BATCH, NORMS, STORED
from medtune_jax.tuning import Depth


def norm_of(config: ConfigDict, network: Network, depth: Depth) -> str:
    """`Task.norm` of a depth: from scratch the batches', since nothing is stored."""
    if not set(network.batch_norms) & set(depth.tuned):
        return STORED
    return BATCH if depth.scratch else str(config.training.norm)


def check_norm(config: ConfigDict, plan: Plan) -> None:
    """UserError where the batches' statistics cannot be had."""
    norm, network = config.training.norm, plan.network
    if norm not in NORMS:
        near = get_close_matches(str(norm), NORMS, 1, 0)[0]
        raise UserError(
            f"training.norm is '{norm}'; did you mean '{near}'? (stored or batch, for all tuned stages; frozen stages "
            f"use stored statistics always)"
        )
    if norm == BATCH and not network.batch_norms:
        raise UserError(
            f"training.norm is batch, but {network.name} has no batch norms: leave it at stored"
        )
    tuned = [depth for depth in plan.depths if not depth.scratch]
    if norm == BATCH and tuned and all(norm_of(config, network, d) == STORED for d in tuned):
        raise UserError(
            f"training.norm is batch, but '{tuned[-1].label}' tunes no stage with a batch norm, and frozen stages use "
            f"stored statistics always: leave it at stored, or start at {network.batch_norms[-1]} or deeper"
        )
    by_batch = [d for d in plan.depths if norm_of(config, network, d) == BATCH]
    if by_batch and config.training.batch == 1:
        raise UserError(
            f"training.batch is 1, and '{by_batch[0].label}' takes its batch norms' statistics from the batch: one "
            f"image has no spread, so give 2 or more"
        )
