"""The loss of a batch and its gradients stage by stage: how a CPU trains.

A whole step takes XLA's CPU backend seconds to compile, for every depth anew, and runs no faster than its stages one
after another (docs/benchmarks.md). Here each stage has a program forward, which keeps what its gradients need, and one
backward; all depths and runs of a process share them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
from jax import Array

from medtune_jax import compilation
from medtune_jax.networks import Network, Params
from medtune_jax.networks.stages import Auxiliary, Stage
from medtune_jax.training.loss import Target, cross_entropy


def loss_and_gradients(
    network: Network,
    tuned: Params,
    frozen: Params,
    x: Array,
    start: str,
    keys: Array,
    target: Target,
) -> tuple[Array, Params]:
    """The loss of `Network.training_outputs` and its gradients with respect to `tuned`.

    x: input of stage `start`. keys: PRNG keys [B], one a row, for dropout.
    """
    programs = (compilation.compiled(part, static=(0,)) for part in (_forward, _backward, _side))
    forward, backward, side_loss = programs
    params = {**tuned, **frozen}
    passed: list[tuple[str, Residuals, tuple[Params, Array]]] = []
    losses: list[Array] = []
    gradients: Params = {}
    behind_side: dict[str, Array] = {}
    for position in range(network.index(start), len(network.stages)):
        stage = network.stages[position]
        own = params[stage.name], x
        if stage.name in tuned:
            x, residuals = forward(stage, *own, keys, position)
            passed.append((stage.name, residuals, own))
        else:
            x = stage.compiled(*own, keys, position)
        for number, side in enumerate(network.auxiliary):
            name = side.stage.name
            if side.after == stage.name and name in params:
                found = side_loss(side, params[name], x, keys, number, target)
                losses.append(found[0])
                gradients[name], behind_side[stage.name] = found[1]
    loss, behind = _head(x, target)
    while passed:  # from the last stage to the first, each letting go of what it has kept
        name, residuals, own = passed.pop()
        if name in behind_side:
            behind = behind + behind_side[name]
        gradients[name], behind = backward(not passed, residuals, own, behind)
    return sum(losses, loss), {name: gradients[name] for name in tuned}


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["arrays"],
    meta_fields=["places", "structure"],
)
@dataclass(frozen=True)
class Residuals:
    """What a stage keeps for its gradients, without its own inputs: a program that returns them would copy them.

    places: for every leaf of the function that makes the gradients, its position among the inputs, None if in `arrays`.
    """

    arrays: list[Array]
    places: tuple[int | None, ...]
    structure: Any

    @classmethod
    def of(cls, backward: Callable, inputs: Any) -> Residuals:
        """Of the function from jax.vjp, while it is traced."""
        known = {id(leaf): place for place, leaf in enumerate(jax.tree.leaves(inputs))}
        leaves, structure = jax.tree.flatten(backward)
        places = tuple(known.get(id(leaf)) for leaf in leaves)
        kept = [leaf for leaf, place in zip(leaves, places, strict=True) if place is None]
        return cls(kept, places, structure)

    def backward(self, inputs: Any) -> Callable:
        """The function again."""
        known, kept = jax.tree.leaves(inputs), iter(self.arrays)
        leaves = [next(kept) if place is None else known[place] for place in self.places]
        return jax.tree.unflatten(self.structure, leaves)


# Each of these is compiled with its first argument static.


def _forward(
    stage: Stage, params: Params, x: Array, keys: Array, position: int
) -> tuple[Array, Residuals]:
    y, backward = jax.vjp(lambda params, x: stage(params, x, keys, position), params, x)
    return y, Residuals.of(backward, (params, x))


def _backward(
    first: bool, residuals: Residuals, inputs: tuple[Params, Array], behind: Array
) -> tuple[Params, Array | None]:
    """Gradients by a stage's parameters and, unless it is the first tuned one, by its input."""
    params, x = residuals.backward(inputs)(behind)
    return params, None if first else x


def _side(
    side: Auxiliary, params: Params, x: Array, keys: Array, number: int, target: Target
) -> tuple[Array, tuple[Params, Array]]:
    """A side head's part of the loss and its gradients by the head's parameters and by its input."""

    def loss(params, x):
        return side.weight * cross_entropy(side(params, x, keys, number), target)

    return jax.value_and_grad(loss, argnums=(0, 1))(params, x)


@jax.jit
def _head(x: Array, target: Target) -> tuple[Array, Array]:
    """The loss and its gradient by the last stage's output, of any shape [B, ...]."""
    return jax.value_and_grad(lambda x: cross_entropy(x.reshape(len(x), -1), target))(x)
