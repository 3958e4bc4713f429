"""Tuning depth, per-stage rates and the optimizer of the tuned stages."""

from medtune_jax.tuning.depth import SCRATCH, WAYS, Depth, Phase, every_depth, parse
from medtune_jax.tuning.optimizer import (
    OPTIMIZERS,
    Optimizer,
    OptStates,
    initial_states,
    light,
    optimizer,
    split,
    update,
    update_stage,
)
from medtune_jax.tuning.rates import StageRates, grid, scaled, stage_rates

__all__ = [
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
    "light",
    "optimizer",
    "parse",
    "scaled",
    "split",
    "stage_rates",
    "update",
    "update_stage",
]
