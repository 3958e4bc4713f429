"""Steps, epochs and snapshots: knows nothing of medicine."""

from medtune_jax.training.fit import Capacity, Run, Settings, fit, predict
from medtune_jax.training.history import Epoch, Fitted
from medtune_jax.training.partial import Partial
from medtune_jax.training.program import Inputs, Program, Work

__all__ = [
    "Capacity",
    "Epoch",
    "Fitted",
    "Inputs",
    "Partial",
    "Program",
    "Run",
    "Settings",
    "Work",
    "fit",
    "predict",
]
