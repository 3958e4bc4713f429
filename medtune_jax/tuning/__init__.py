"""Tuning depth, per-stage rates and the optimizer of the tuned stages."""

from medtune_jax.tuning.depth import SCRATCH, WAYS, Depth, Phase, every_depth, parse
from medtune_jax.tuning.optimizer import (
    FACTORS,
    LIGHT,
    OPTIMIZERS,
    Optimizer,
    OptStates,
    initial_states,
    only,
    optimizer,
    split,
    update,
    update_stage,
)
from medtune_jax.tuning.rates import StageRates, grid, scaled, stage_rates

__all__ = [
    "FACTORS",
    "LIGHT",
    "OPTIMIZERS",
    "SCRATCH",
    "WAYS",
    "Depth",
    "OptStates",
    "Optimizer",
    "Phase",
    "StageRates",
    "every_depth",
    "grid",
    "initial_states",
    "only",
    "optimizer",
    "parse",
    "scaled",
    "split",
    "stage_rates",
    "update",
    "update_stage",
]
