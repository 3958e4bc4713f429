"""Steps, epochs and snapshots: knows nothing of medicine."""

from medtune_jax.training.fit import Capacity, Epoch, Fitted, Run, Settings, fit, predict
from medtune_jax.training.program import Inputs, Program, Work

__all__ = [
    "Capacity",
    "Epoch",
    "Fitted",
    "Inputs",
    "Program",
    "Run",
    "Settings",
    "Work",
    "fit",
    "predict",
]
