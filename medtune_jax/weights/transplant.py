"""Copying pre-trained stages into a network."""

from __future__ import annotations

import jax
import numpy as np

from medtune_jax.errors import UserError
from medtune_jax.networks import Network, Params


def transplant(
    source: Params, initial: Params, network: Network, keep_head: bool = False
) -> tuple[Params, tuple[str, ...]]:
    """Replace the stages of `initial` by those of `source` that bear the same name; returns also the names that stay.

    The head (last stage) stays new unless `keep_head`, because its classes are another task's (docs/paper.md, "The
    scheme"). Raises UserError, naming the stage and both shapes, when a stage of the same name has other shapes.
    """
    new = tuple(
        name for name in initial if name not in source or (name == network.head and not keep_head)
    )
    for name in (name for name in initial if name not in new):
        _check_shapes(name, source[name], initial[name], network.name)
    return {name: (initial if name in new else source)[name] for name in initial}, new


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
