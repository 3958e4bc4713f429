"""Random crops of a frame (Tajbakhsh et al. 2016, II-C; docs/paper.md, 3)."""

from collections.abc import Sequence

import numpy as np

from medtune_jax.errors import UserError
from medtune_jax.patches import crop_affines


def random_crops(
    shapes: Sequence[tuple[int, int]] | np.ndarray,
    rng: np.random.Generator,
    number: int | np.ndarray = 200,
    size: int = 227,
) -> tuple[np.ndarray, np.ndarray]:
    """`number` random size x size windows in every frame of shapes [n, 2] (height, width).

    number: one for all frames, or [n]. With N in all, returns the frame index int32 [N] and the
    recipes float32 [N, 2, 3]. A crop
    shows `size` pixels of the frame at their own scale; a frame whose shorter side is smaller is
    scaled up until it fits. The number is [open]: the paper's two figures disagree (docs/paper.md, 3).
    """
    shapes = np.asarray(shapes, float).reshape(-1, 2)
    fewest = int(np.min(number))
    if fewest < 1 or not len(shapes):
        raise UserError(f"{fewest} crops of {len(shapes)} frames: both must be at least 1.")
    frame = np.repeat(np.arange(len(shapes), dtype=np.int32), number)
    shape = shapes[frame]
    side = np.minimum(size, shape.min(1, keepdims=True))
    corner = rng.random((len(frame), 2)) * (shape - side)
    # Whole pixels: a crop at the frame's own scale must not blur it, blur is what is looked for.
    corner = np.where(side == size, np.rint(corner), corner)
    centre = corner + (side - 1) / 2
    return frame, crop_affines(centre, np.repeat(side, 2, 1), size)


def judged_crops(shape: np.ndarray, seed: int, number: int, size: int) -> np.ndarray:
    """Recipes float32 [number, 2, 3] of a frame to judge: random crops, but the same for all frames of a shape.

    So a frame's score depends on nothing but the frame, in a test set and years later.
    """
    return random_crops(shape, np.random.default_rng(seed), number, size)[1]
