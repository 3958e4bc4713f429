"""What training minimises."""

from medtune_jax.training.objectives.objective import Objective, Target, loss
from medtune_jax.training.objectives.softmax import SOFTMAX

__all__ = ["SOFTMAX", "Objective", "Target", "loss"]
