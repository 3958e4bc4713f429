"""What every map is made of: pixels in batches of one size, the number that is explained, and the scale of 0 to 1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from medtune_jax.patches import Images, PatchSet

BATCH = 16
Classes = int | np.ndarray
"""A class for all images, or int [N], one for each."""


def patches_of(images: np.ndarray | PatchSet) -> PatchSet:
    """uint8 [N,S,S,3] RGB as patches; patches as they are."""
    return Images(images) if isinstance(images, np.ndarray) else images


def batches(patches: PatchSet, of: Classes) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Pixels [BATCH,S,S,3] RGB of 0 to 255, the class of each, and how many rows count.

    The last batch is filled up with its last patch, so that every program compiles once.
    """
    classes = np.broadcast_to(np.asarray(of, np.int32), len(patches))
    for start in range(0, len(patches), BATCH):
        rows = np.minimum(np.arange(start, start + BATCH), len(patches) - 1)
        pixels = patches.take(jax.tree.map(jnp.asarray, patches.subset(rows)), jnp.arange(BATCH))
        yield np.asarray(pixels), classes[rows], min(BATCH, len(patches) - start)


def log_odds_of(logits: Array, of: Array, exclusive: bool) -> Array:
    """Log-odds [N] of class of[i] of logits [N,C]: the number that a study ranks by, and that maps explain.

    exclusive: one class an image, so that the other classes' scores speak against it; otherwise a finding's own score.
    A probability would not do: where it saturates, its gradient is zero.
    """
    own = jnp.take_along_axis(logits, of[:, None], axis=1)[:, 0]
    if not exclusive:
        return own
    others = jnp.where(jnp.arange(logits.shape[1]) == of[:, None], -jnp.inf, logits)
    return own - jax.nn.logsumexp(others, axis=1)


def scaled(maps: Sequence[np.ndarray], signed: bool = False) -> np.ndarray:
    """float32 [N,S,S] of 0 to 1: what is negative is 0 unless `signed`, the largest absolute value of each map 1; a map
    without anything stays 0.
    """
    if not maps:
        return np.zeros((0, 0, 0), np.float32)
    values = np.stack(maps).astype(np.float32)
    values = values if signed else np.maximum(values, 0)
    largest = np.abs(values).max(axis=(1, 2), keepdims=True)
    return values / np.where(largest > 0, largest, 1)
