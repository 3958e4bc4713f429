"""What training reads: patches or the features of a frozen prefix, on the device or streamed to it."""

from medtune_jax.training.inputs.batch import AnyArray, Arrays, Batch, Inputs, Take
from medtune_jax.training.inputs.memory import Memory, within_memory
from medtune_jax.training.inputs.prefix import Boundary, PrefixCache, take
from medtune_jax.training.inputs.stream import Streamed

__all__ = [
    "AnyArray",
    "Arrays",
    "Batch",
    "Boundary",
    "Inputs",
    "Memory",
    "PrefixCache",
    "Streamed",
    "Take",
    "take",
    "within_memory",
]
