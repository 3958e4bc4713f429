"""A patch is a sampling recipe: a source array and a frame of reference in it."""

from medtune_jax.patches.augment import Augment, Views
from medtune_jax.patches.crops import Crops, Planes, padded
from medtune_jax.patches.images import Images
from medtune_jax.patches.pixels import pixels_of
from medtune_jax.patches.protocol import PatchSet
from medtune_jax.patches.recipes import crop_affines
from medtune_jax.patches.records import Records

__all__ = [
    "Augment",
    "Crops",
    "Images",
    "PatchSet",
    "Planes",
    "Records",
    "Views",
    "crop_affines",
    "padded",
    "pixels_of",
]
