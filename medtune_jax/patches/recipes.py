"""Recipes: affine maps from the pixels of a network's input into a source."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def crop_affines(
    centre: ArrayLike, extent: ArrayLike, size: int, transform: ArrayLike | None = None
) -> np.ndarray:
    """Recipes float32 [N, 2, 3] that map an output pixel (row, col, 1) to (row, col) of the source.

    The box of extent [N, 2] (height, width) round centre [N, 2], in source pixels, fills a grid of
    size x size; pixel areas are aligned, so that the middle of the grid is the centre. transform
    [N, 2, 2] turns or mirrors the grid before it is laid on the box.
    """
    centre, extent = np.asarray(centre, float), np.asarray(extent, float)
    turn = np.eye(2) if transform is None else np.asarray(transform, float)
    linear = extent[:, :, None] / size * turn
    middle = np.full(2, (size - 1) / 2)
    return np.concatenate([linear, (centre - linear @ middle)[..., None]], -1).astype(np.float32)
