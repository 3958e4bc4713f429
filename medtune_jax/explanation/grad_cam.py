"""Grad-CAM (Selvaraju et al., ICCV 2017, https://arxiv.org/abs/1610.02391) of any stage that has a map."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from medtune_jax import compilation
from medtune_jax.errors import UserError
from medtune_jax.explanation.inputs import (
    BATCH,
    Classes,
    batches,
    log_odds_of,
    patches_of,
    scaled,
)
from medtune_jax.networks import Network, Params, Preprocessing, Stage
from medtune_jax.patches import PatchSet


def grad_cam(
    network: Network,
    params: Params,
    images: np.ndarray | PatchSet,
    of: Classes,
    *,
    stage: str = "",
    exclusive: bool = True,
    signed: bool = False,
    preprocessing: Preprocessing | None = None,
) -> np.ndarray:
    """Where the feature maps of a stage speak for a class: ReLU(sum_k w_k A_k), w_k the mean gradient of its log-odds.

    Args:
      images: uint8 [N,S,S,3] RGB, or patches. of: the class, or int [N], one for each image.
      stage: '' for the last one that has a map (`stage_to_map`). Taken is what it computes before the pooling or norm
        that ends it.
      exclusive: one class an image; False for findings, of which an image may have several.
      signed: keep, as negative values, what speaks against the class, which the ReLU leaves out.
      preprocessing: where the weights want another than the network's own.

    Returns: float32 [N,S,S] of 0 to 1 (signed: -1 to 1), the largest of each image 1; all 0 where nothing speaks for
    the class. The stage's grid is enlarged bilinearly, so that the map is no finer than that grid.

    Raises: UserError for a stage that the network does not have, or that has no map.
    """
    patches, prepare = patches_of(images), preprocessing or network.preprocessing
    maps: list[np.ndarray] = []
    for pixels, classes, count in batches(patches, of):
        side = pixels.shape[1]
        first = network.index(stage_to_map(network, side, stage))
        x = network.run(params, prepare(jnp.asarray(pixels)), stop=network.names[first])
        stages = network.stages[first:]
        own = {s.name: params[s.name] for s in stages}
        grids = compilation.compiled(_grids, static=(0, 1))(stages, exclusive, own, x, classes)
        grids = grids if signed else jax.nn.relu(grids)
        enlarged = jax.image.resize(grids, (BATCH, side, side), "bilinear")
        maps.extend(np.asarray(enlarged)[:count])
    return scaled(maps, signed)


def mapped_stages(network: Network, size: int | None = None) -> tuple[str, ...]:
    """The stages that have a map, first to last: feature maps of more than one pixel, or tokens of patches.

    The head is none, even where it convolves: its channels are the classes. Nor is a transformer's last block: the head
    reads its class token alone, so that no gradient reaches the patches.
    """
    before, after = network.shapes(size, ended=False), network.shapes(size)

    def has_map(name: str) -> bool:
        grid = before[name]
        return math.prod(grid[:2]) > 1 if len(grid) == 3 else len(after[name]) == 2

    return tuple(name for name in network.names if name != network.head and has_map(name))


def stage_to_map(network: Network, size: int | None = None, stage: str = "") -> str:
    """The stage that is meant: by default the last one with a map, whose features are the most specific to classes and
    still have a place, as Selvaraju et al. choose. UserError for one without a map.
    """
    known = mapped_stages(network, size)
    if not known:
        raise UserError(f"{network.name} has no stage with a map at this image size")
    if not stage:
        return known[-1]
    network.index(stage)
    if stage not in known:
        raise UserError(
            f"stage '{stage}' of {network.name} has no map: give one of {', '.join(known)}"
        )
    return stage


def _grids(
    stages: tuple[Stage, ...], exclusive: bool, params: Params, x: Array, of: Array
) -> Array:
    """Signed maps [N,h,w] on the first stage's grid. x: its input."""
    first, *rest = stages

    def score(features: Array) -> Array:
        for layer in first.then:
            features = layer(features)
        for stage in rest:
            features = stage(params[stage.name], features)
        return log_odds_of(features.reshape(len(features), -1), of, exclusive).sum()

    features = jnp.asarray(first.module.apply({"params": params[first.name]}, x))
    gradient = jax.grad(score)(features)
    features, gradient = _on_grid(features), _on_grid(gradient)
    weights = gradient.mean(axis=(1, 2))
    return jnp.einsum("nhwc,nc->nhw", features, weights)


def _on_grid(x: Array) -> Array:
    """[N,h,w,C]; of tokens [N,1+h*h,C] those of the patches, without the class token."""
    if x.ndim == 4:
        return x
    side = math.isqrt(x.shape[1] - 1)
    return x[:, 1:].reshape(len(x), side, side, -1)
