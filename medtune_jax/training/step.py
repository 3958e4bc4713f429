"""A training step, and scores. Pure functions, to be compiled whole; `stages` says the same stage by stage.

Everything that differs between the runs of a depth is an argument (parameters, rates, batches, keys), so one compiled
step serves all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import DTypeLike

from medtune_jax import tuning
from medtune_jax.networks import Network, Params
from medtune_jax.networks.layers import row_keys
from medtune_jax.training.inputs.batch import AnyArray, Augmented, Batch, Take
from medtune_jax.training.objectives import SOFTMAX, Objective, Target, loss
from medtune_jax.tuning import Optimizer, OptStates, StageRates

STORED, BATCH = "stored", "batch"
NORMS = (STORED, BATCH)
_DRAW = 2**32 - 1  # no step has this number: its key draws dropout
Gradients = tuple[Array, Params]
"""The loss, and its gradients by stage."""


@dataclass(frozen=True)
class Task:
    """What is trained, and on what: all that a compiled step depends on but shapes.

    tuned: the trained stages. start: the stage that reads the inputs, by `take` (see `Inputs`). dtype: of the
    activations. parts: every batch is computed in so many parts, one after another, to the same result. augmented: as
    `take`, for patches to train on; None: those are read as they are. objective: what the outputs mean and cost.
    norm: whose statistics the batch norms of tuned stages use in training, `STORED` or `BATCH`; frozen stages, and all
    stages when they score, use the stored ones.
    """

    network: Network
    tuned: tuple[str, ...]
    start: str
    take: Take
    dtype: DTypeLike = jnp.float32
    optimizer: Optimizer = field(default_factory=Optimizer)
    parts: int = 1
    augmented: Augmented | None = None
    objective: Objective = SOFTMAX
    norm: str = STORED

    @property
    def training_parts(self) -> int:
        """Statistics of a part are not those of the batch: a step that needs the batch's takes it whole."""
        return 1 if self.norm == BATCH else self.parts

    def counts(self, target: Target) -> Array | None:
        """The rows of whose statistics the batch norms of tuned stages make use; None: of the stored ones."""
        return target.counts if self.norm == BATCH else None

    def inputs(self, batch: Batch) -> Array:
        """What the first stage reads [B, ...]; of padding, any patch."""
        rows = jnp.maximum(batch.rows, 0)
        if self.augmented is None or batch.draw is None:
            return self.take(batch.arrays, rows).astype(self.dtype)
        # By the patch's number among all: its place in the batch says nothing.
        numbers = rows if batch.numbers is None else jnp.asarray(batch.numbers)[rows]
        keys = row_keys(batch.draw, numbers)
        return self.augmented(batch.arrays, rows, keys).astype(self.dtype)

    def draw(
        self, epoch: Array, fold_in: Callable[..., Array] = jax.random.fold_in
    ) -> Array | None:
        """`Batch.draw` of an epoch from its key."""
        return None if self.augmented is None else fold_in(epoch, np.uint32(_DRAW))


class TrainState(NamedTuple):
    """Of one run: parameters and optimizer states of the tuned stages, and of those only."""

    params: Params
    optimizer: OptStates

    @classmethod
    def of(cls, task: Task, params: Params) -> TrainState:
        """Before the first step."""
        tuned = tuning.split(params, task.tuned)[0]
        return cls(tuned, tuning.initial_states(task.optimizer, tuned))


def step(
    task: Task,
    state: TrainState,
    frozen: Params,
    rates: Mapping[str, StageRates],
    batch: Batch,
    key: Array,
) -> tuple[TrainState, Array]:
    """One step -> (state, loss). key: of this step, for dropout and stochastic depth."""
    loss, gradients = loss_and_gradients(task, state.params, frozen, batch, key)
    moved = tuning.update(task.optimizer, state.params, state.optimizer, rates, gradients)
    return TrainState(*moved), loss


def scores(task: Task, params: Params, batch: Batch) -> Array:
    """Logits float32 [B, C] of a batch under all parameters."""

    def logits(rows: Array) -> Array:
        x = task.inputs(batch._replace(rows=rows))
        return task.network.apply(params, x, start=task.start).astype(jnp.float32)

    if task.parts == 1:
        return logits(jnp.asarray(batch.rows))
    parts: Array = lax.map(logits, in_parts(batch.rows, task.parts))
    return parts.reshape(-1, parts.shape[-1])[: len(batch.rows)]


def loss_and_gradients(
    task: Task, params: Params, frozen: Params, batch: Batch, key: Array
) -> Gradients:
    """The loss, and its gradients by the tuned parameters `params`."""
    rows = in_parts(batch.rows, task.training_parts)
    keys = row_keys(key, jnp.arange(rows.size)).reshape(rows.shape)
    gradient = jax.value_and_grad(partial(_loss, task))
    total = counted(batch.rows)

    def of_part(rows: Array, keys: Array) -> Gradients:
        return gradient(params, frozen, batch._replace(rows=rows), keys, total)

    return _accumulated(of_part, rows, keys)


def _loss(
    task: Task, params: Params, frozen: Params, batch: Batch, keys: Array, total: Array
) -> Array:
    """Of a part, `total` patches in its batch: the main head's and, weighted, the side heads'."""
    x = task.inputs(batch)
    target = Target.of(batch, total)
    outputs = task.network.training_outputs(
        {**params, **frozen}, x, task.start, keys, task.tuned, task.counts(target)
    )
    losses = (weight * loss(task.objective, logits, target) for weight, logits in outputs)
    return sum(losses, jnp.zeros(()))


def _accumulated(
    gradient: Callable[[Array, Array], Gradients], rows: Array, keys: Array
) -> Gradients:
    """The sum of `gradient` over parts [parts, B], one after another."""
    if len(rows) == 1:
        return gradient(rows[0], keys[0])

    def add(sums: Gradients, part: tuple[Array, Array]) -> tuple[Gradients, None]:
        return jax.tree.map(jnp.add, sums, gradient(*part)), None

    shapes = jax.eval_shape(gradient, rows[0], keys[0])
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    sums: Gradients = lax.scan(add, zeros, (rows, keys))[0]
    return sums


def in_parts(rows: AnyArray, parts: int) -> Array:
    """The rows of a batch int32 [B] as [parts, B'], padded with -1."""
    missing = -len(rows) % parts
    return jnp.pad(rows, (0, missing), constant_values=-1).reshape(parts, -1)


def counted(rows: AnyArray) -> Array:
    """How many rows of a batch are no padding, at least 1."""
    return jnp.maximum((rows >= 0).sum(), 1)
