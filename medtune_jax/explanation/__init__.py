"""Maps of what in an image speaks for a class, and checks whether such a map means anything (docs/explain.md)."""

from medtune_jax.explanation.grad_cam import grad_cam, mapped_stages, stage_to_map
from medtune_jax.explanation.inputs import Classes
from medtune_jax.explanation.occlusion import occlusion
from medtune_jax.explanation.overlay import overlay
from medtune_jax.explanation.sanity import rank_correlation, with_random

__all__ = [
    "Classes",
    "grad_cam",
    "mapped_stages",
    "occlusion",
    "overlay",
    "rank_correlation",
    "stage_to_map",
    "with_random",
]
