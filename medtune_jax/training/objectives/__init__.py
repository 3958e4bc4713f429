"""What training minimises."""

from medtune_jax.training.objectives.objective import Objective, Target, loss
from medtune_jax.training.objectives.sigmoid import SIGMOID
from medtune_jax.training.objectives.softmax import SOFTMAX

__all__ = ["SIGMOID", "SOFTMAX", "Objective", "Target", "loss"]
