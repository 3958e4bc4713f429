"""Copying pre-trained stages into a network, with a manifest of what went where."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np

from medtune_jax.errors import UserError
from medtune_jax.networks import Network, Params


@dataclass(frozen=True)
class Manifest:
    """Stage names: copied from the source, drawn anew, and present in the source but not used."""

    loaded: tuple[str, ...]
    new: tuple[str, ...]
    left_out: tuple[str, ...]

    def __str__(self) -> str:
        rows = (("loaded", self.loaded), ("new", self.new), ("left out", self.left_out))
        return "\n".join(f"{name + ':':<10}{' '.join(stages) or '-'}" for name, stages in rows)


def transplant(
    source: Params, initial: Params, network: Network, keep_head: bool = False
) -> tuple[Params, Manifest]:
    """Replace the stages of `initial` by those of `source` that bear the same name.

    The head (last stage) stays new unless `keep_head`, because its classes are another task's (docs/paper.md, "The
    scheme").
    Raises UserError, naming the stage and both shapes, when a stage of the same name has other shapes.
    """
    fresh = set() if keep_head else {network.head}
    loaded = tuple(name for name in initial if name in source and name not in fresh)
    for name in loaded:
        _check_shapes(name, source[name], initial[name], network.name)
    params = {name: source[name] if name in loaded else initial[name] for name in initial}
    manifest = Manifest(
        loaded=loaded,
        new=tuple(name for name in initial if name not in loaded),
        left_out=tuple(name for name in source if name not in loaded),
    )
    return params, manifest


def _check_shapes(stage: str, source: Params, target: Params, network: str) -> None:
    have, want = _shapes(source), _shapes(target)
    for layer in sorted(have.keys() | want.keys()):
        if have.get(layer) != want.get(layer):
            raise UserError(
                f"stage '{stage}' of {network} does not fit: its {layer} is {have.get(layer, 'absent')} in the "
                f"weights and {want.get(layer, 'absent')} in the network; use weights of the same network"
            )


def _shapes(params: Params) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    return {"/".join(key.key for key in path): np.shape(leaf) for path, leaf in leaves}
