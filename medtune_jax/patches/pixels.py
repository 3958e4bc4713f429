"""Patches as pictures."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from medtune_jax.patches.protocol import PatchSet


def pixels_of(patches: PatchSet, index: np.ndarray | Sequence[int]) -> np.ndarray:
    """uint8 [n, S, S, 3] of patches int [n], as the network is given them; only their own sources are loaded."""
    index = np.asarray(index, int)
    arrays = {name: jnp.asarray(array) for name, array in patches.subset(index).items()}
    pixels = patches.take(arrays, jnp.arange(len(index)))
    return np.rint(np.asarray(pixels)).astype(np.uint8)
