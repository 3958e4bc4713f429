"""A training step, and scores, stage by stage: how a CPU trains.

A whole step takes XLA's CPU backend seconds to compile, for every depth anew, and runs no faster than its stages one
after another (docs/benchmarks.md). Here each stage has a program forward, which keeps what its gradients need, and one
backward; all depths and runs of a process share them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from medtune_jax import compilation, tuning
from medtune_jax.networks import Params, Stage
from medtune_jax.networks.layers import row_keys
from medtune_jax.networks.stages import Auxiliary
from medtune_jax.training.inputs.batch import Batch
from medtune_jax.training.objectives import Objective, Target
from medtune_jax.training.objectives import loss as loss_of
from medtune_jax.training.step import Gradients, Task, TrainState, counted, in_parts
from medtune_jax.tuning import StageRates

ReadInputs = Callable[[Batch], Array]
"""`Task.inputs` as a program."""


def step(
    task: Task,
    read: ReadInputs,
    state: TrainState,
    frozen: Params,
    rates: Mapping[str, StageRates],
    batch: Batch,
    key: Array,
) -> tuple[TrainState, Array]:
    """`training.step.step` by the programs of the stages. `state` is donated."""

    def gradients_of(rows: Array, keys: Array, target: Target) -> Gradients:
        x = read(batch._replace(rows=rows))
        return loss_and_gradients(task, state.params, frozen, x, keys, target)

    parts = _parts(task.training_parts, batch._replace(arrays={}), key)
    loss, gradients = reduce(compilation.compiled(_add), (gradients_of(*part) for part in parts))
    update = compilation.compiled(tuning.update_stage, static=(0,), donated=(1, 2))
    moved = tuning.update(task.optimizer, state.params, state.optimizer, rates, gradients, update)
    return TrainState(*moved), loss


def scores(task: Task, read: ReadInputs, params: Params, batch: Batch) -> Array:
    """`training.step.scores` by the programs that make the features: nothing to compile for this task alone."""

    def logits(rows: Array) -> Array:
        x = task.network.run(params, read(batch._replace(rows=rows)), task.start)
        return x.astype(jnp.float32)

    if task.parts == 1:
        return logits(jnp.asarray(batch.rows))
    parts = in_parts(jnp.asarray(batch.rows), task.parts)
    return jnp.concatenate([logits(rows) for rows in parts])[: len(batch.rows)]


@partial(jax.jit, static_argnums=0)
def _parts(count: int, batch: Batch, key: Array) -> list[tuple[Array, Array, Target]]:
    """(rows, their keys, what they should be scored as) of every part of a batch."""
    total, rows = counted(batch.rows), in_parts(batch.rows, count)
    keys = row_keys(key, jnp.arange(rows.size)).reshape(rows.shape)
    targets = [Target.of(batch._replace(rows=part), total) for part in rows]
    return list(zip(rows, keys, targets, strict=True))


def _add(one: Gradients, other: Gradients) -> Gradients:
    total: Gradients = jax.tree.map(jnp.add, one, other)
    return total


def loss_and_gradients(
    task: Task, tuned: Params, frozen: Params, x: Array, keys: Array, target: Target
) -> Gradients:
    """The loss of `Network.training_outputs` and its gradients with respect to `tuned`.

    x: input of the task's first stage. keys: PRNG keys [B], one a row, for dropout and stochastic depth.
    """
    side_loss = compilation.compiled(_side, static=(0, 1))
    network, objective = task.network, task.objective
    params = {**tuned, **frozen}
    passed: list[tuple[Stage, Residuals, tuple[Params, Array]]] = []
    losses: list[Array] = []
    gradients: Params = {}
    behind_side: dict[str, Array] = {}
    for position in range(network.index(task.start), len(network.stages)):
        stage = network.in_training(position, tuned)
        arguments = params[stage.name], x
        if stage.name in tuned or passed:  # what is frozen behind a tuned stage passes gradients on
            counts = task.counts(target) if stage.name in tuned else None
            forward = compilation.compiled(_forward, static=(0,), plain_loops=stage.plain_loops)
            x, residuals = forward(stage, *arguments, keys, position, counts)
            passed.append((stage, residuals, arguments))
        else:
            x = stage.compiled(*arguments, keys, position)
        for number, side in network.sides(params):
            if side.after == stage.name:
                name = side.stage.name
                loss, by = side_loss(objective, side, params[name], x, keys, number, target)
                losses.append(loss)
                gradients[name], behind_side[stage.name] = by
    loss, behind = _head(objective, x, target)
    while passed:  # from the last stage to the first, each letting go of what it has kept
        stage, residuals, arguments = passed.pop()
        name = stage.name
        backward = compilation.compiled(_backward, static=(0, 1), plain_loops=stage.plain_loops)
        if name in behind_side:
            behind = behind + behind_side[name]
        gradients[name], behind = backward(
            name in tuned, bool(passed), residuals, arguments, behind
        )
    return sum(losses, loss), {name: gradients[name] for name in tuned}


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["arrays"],
    meta_fields=["positions", "structure"],
)
@dataclass(frozen=True)
class Residuals:
    """What a stage keeps for its gradients, without its own inputs: a program that returns them would copy them.

    positions: among the inputs, of every leaf of the function that makes the gradients; None if it is in `arrays`.
    """

    arrays: list[Array]
    positions: tuple[int | None, ...]
    structure: Any

    @classmethod
    def of(cls, backward: Callable[..., Any], inputs: Any) -> Residuals:
        """Of the function from jax.vjp, while it is traced."""
        known = {id(leaf): position for position, leaf in enumerate(jax.tree.leaves(inputs))}
        leaves, structure = jax.tree.flatten(backward)
        positions = tuple(known.get(id(leaf)) for leaf in leaves)
        kept = [leaf for leaf, position in zip(leaves, positions, strict=True) if position is None]
        return cls(kept, positions, structure)

    def backward(self, inputs: Any) -> Callable[..., Any]:
        """The function again."""
        known, kept = jax.tree.leaves(inputs), iter(self.arrays)
        leaves = [
            next(kept) if position is None else known[position] for position in self.positions
        ]
        function: Callable[..., Any] = jax.tree.unflatten(self.structure, leaves)
        return function


# Each of these is compiled with its objective, its stage and what is asked for static.


def _forward(
    stage: Stage,
    params: Params,
    x: Array,
    keys: Array,
    position: int,
    counts: Array | None = None,
) -> tuple[Array, Residuals]:
    y, backward = jax.vjp(lambda params, x: stage(params, x, keys, position, counts), params, x)
    return y, Residuals.of(backward, (params, x))


def _backward(
    tuned: bool, further: bool, residuals: Residuals, inputs: tuple[Params, Array], behind: Array
) -> tuple[Params | None, Array | None]:
    """Gradients by a stage's parameters, if it is tuned, and by its input, if one further ahead is."""
    params, x = residuals.backward(inputs)(behind)
    return params if tuned else None, x if further else None


def _side(
    objective: Objective,
    side: Auxiliary,
    params: Params,
    x: Array,
    keys: Array,
    number: int,
    target: Target,
) -> tuple[Array, tuple[Params, Array]]:
    """A side head's part of the loss and its gradients by the head's parameters and by its input."""

    def loss(params: Params, x: Array) -> Array:
        return side.weight * loss_of(objective, side(params, x, keys, number), target)

    return jax.value_and_grad(loss, argnums=(0, 1))(params, x)


@partial(jax.jit, static_argnums=0)
def _head(objective: Objective, x: Array, target: Target) -> tuple[Array, Array]:
    """The loss and its gradient by the last stage's output, of any shape [B, ...]."""
    return jax.value_and_grad(lambda x: loss_of(objective, x.reshape(len(x), -1), target))(x)
