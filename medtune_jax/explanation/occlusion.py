"""Occlusion (Zeiler and Fergus, ECCV 2014, https://arxiv.org/abs/1311.2901): cover a part, see what the score loses."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from medtune_jax import compilation
from medtune_jax.explanation.inputs import (
    BATCH,
    Classes,
    batches,
    log_odds_of,
    patches_of,
    scaled,
)
from medtune_jax.networks import Network, Params, Preprocessing
from medtune_jax.patches import PatchSet


def occlusion(
    network: Network,
    params: Params,
    images: np.ndarray | PatchSet,
    of: Classes,
    *,
    across: int = 9,
    exclusive: bool = True,
    preprocessing: Preprocessing | None = None,
) -> np.ndarray:
    """How much of a class's log-odds is lost where a square is covered with the image's mean colour.

    It asks the network itself, with no gradient and no stage, and so checks `grad_cam`. It takes across^2 passes an
    image.

    Args:
      across: squares side by side, each overlapping half of the next. The rest as of `grad_cam`.

    Returns: float32 [N,S,S] of 0 to 1: the mean loss over the squares that cover a pixel, the largest of each image 1.
    """
    prepare = preprocessing or network.preprocessing

    def scores(pixels: np.ndarray, classes: np.ndarray) -> np.ndarray:
        logits = network.run(params, prepare(jnp.asarray(pixels)))
        odds = compilation.compiled(log_odds_of, static=(2,))
        return np.asarray(odds(logits, jnp.asarray(classes), exclusive))

    maps: list[np.ndarray] = []
    for pixels, classes, count in batches(patches_of(images), of):
        whole = scores(pixels, classes)
        squares = _squares(pixels.shape[1], across)
        for image, own, of_image in zip(pixels[:count], whole, classes, strict=False):
            lost = np.concatenate(
                [
                    own - scores(_covered(image, part), np.full(BATCH, of_image))[: len(part)]
                    for part in np.array_split(squares, -(-len(squares) // BATCH))
                ]
            )
            maps.append(_spread(lost, squares, pixels.shape[1]))
    return scaled(maps)


def _squares(side: int, across: int) -> np.ndarray:
    """int [across^2, 4]: top, bottom, left, right of squares that overlap by half and cover the image."""
    edges = np.round(np.linspace(0, side, across + 2)).astype(int)
    spans = list(zip(edges[:-2], edges[2:], strict=True))
    return np.array([(*rows, *columns) for rows in spans for columns in spans])


def _covered(image: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """[BATCH,S,S,3]: the image with each square covered, then as it is."""
    copies = np.repeat(image[None], BATCH, axis=0)
    colour = image.mean(axis=(0, 1))
    for copy, (top, bottom, left, right) in zip(copies, squares, strict=False):
        copy[top:bottom, left:right] = colour
    return copies


def _spread(lost: np.ndarray, squares: np.ndarray, side: int) -> np.ndarray:
    """[S,S]: the mean of what was lost over the squares that cover each pixel."""
    total, count = np.zeros((2, side, side))
    for loss, (top, bottom, left, right) in zip(lost, squares, strict=True):
        total[top:bottom, left:right] += loss
        count[top:bottom, left:right] += 1
    return total / count
