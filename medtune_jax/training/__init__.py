"""Steps, epochs and snapshots: knows nothing of medicine."""

from medtune_jax.training.epoch import Capacity, EpochPlan, Run, Settings
from medtune_jax.training.fit import fit, predict
from medtune_jax.training.history import Epoch, Fitted
from medtune_jax.training.inputs.batch import Batch, Inputs
from medtune_jax.training.inputs.memory import Memory
from medtune_jax.training.inputs.prefix import PrefixCache
from medtune_jax.training.partial import Partial
from medtune_jax.training.runners import (
    Runner,
    StageByStage,
    StepByStep,
    WholeEpoch,
    runner_for,
)
from medtune_jax.training.step import BATCH, NORMS, STORED, Task, TrainState, scores, step

__all__ = [
    "BATCH",
    "NORMS",
    "STORED",
    "Batch",
    "Capacity",
    "Epoch",
    "EpochPlan",
    "Fitted",
    "Inputs",
    "Memory",
    "Partial",
    "PrefixCache",
    "Run",
    "Runner",
    "Settings",
    "StageByStage",
    "StepByStep",
    "Task",
    "TrainState",
    "WholeEpoch",
    "fit",
    "predict",
    "runner_for",
    "scores",
    "step",
]
