"""A patch is a sampling recipe: a source array and a frame of reference in it."""

from medtune_jax.patches.images import Images
from medtune_jax.patches.protocol import PatchSet

__all__ = ["Images", "PatchSet"]
