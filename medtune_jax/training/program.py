"""The compiled program of a tuning depth: one epoch of steps and the scores of held-out patches.

Everything that differs between runs of a depth is a traced argument (parameters, rates, orders, keys, how many steps),
so a depth compiles once, whatever the seeds, rates and training-set sizes.

The epoch is one dispatch, with one exception: on XLA's CPU backend the gradients of convolutions take three to twenty
times as long inside a loop as outside. On a CPU the steps of a depth that convolves neighbouring pixels are therefore
dispatched by themselves, stage by stage, and nothing is compiled for the depth alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax

from medtune_jax import compilation, tuning
from medtune_jax.networks import Network, Params
from medtune_jax.networks.layers import row_keys
from medtune_jax.training.by_stage import loss_and_gradients
from medtune_jax.training.loss import Target, cross_entropy
from medtune_jax.training.stream import Batch, Streamed
from medtune_jax.tuning.sgd import GroupRates

_AHEAD = 2  # dispatches that wait on the device, when each brings its own data


@dataclass(frozen=True)
class Inputs:
    """What a step reads: arrays, on the device or streamed to it, and how a batch of indices becomes the input of
    stage `start`.
    """

    arrays: dict[str, Array] | Streamed
    labels: Array  # int32 [N]
    start: str
    fetch: Callable[[dict[str, Array], Array], Array]

    def batches(self, rows: np.ndarray) -> Iterator[Batch]:
        """What the steps on rows of patches int32 [S, B] read, one after another."""
        if isinstance(self.arrays, Streamed):
            return self.arrays.batches(rows)
        return resident(self.arrays, self.labels, rows)


def resident(arrays: dict[str, Array], labels: Array, rows: Any) -> Iterator[Batch]:
    """Batches of arrays that lie on the device."""
    return (Batch(arrays, labels, row) for row in rows)


class Work(NamedTuple):
    """One dispatch: the steps of an epoch and the patches to score after it. Index -1 is padding."""

    order: Array | np.ndarray  # int32 [S, B]
    steps: Array | np.int32  # int32 []: how many rows of `order` count
    score: Array | np.ndarray  # int32 [E, B']
    batches: Array | np.int32  # int32 []: how many rows of `score` count
    key: Array


class Program:
    """Steps and scores of one tuning depth.

    network, tuned: what is trained. start, fetch: see `Inputs`. dtype: of the activations.
    by_step: whether every step is dispatched by itself; by default as measured for what a step holds.
    by_stage: whether such a step is a program for each stage rather than one of its own; by default on a CPU.
    """

    def __init__(
        self,
        network: Network,
        tuned: tuple[str, ...],
        start: str,
        fetch: Callable[[dict[str, Array], Array], Array],
        dtype: Any = jnp.float32,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        by_step: bool | None = None,
        by_stage: bool | None = None,
    ) -> None:
        self.network, self.tuned, self.start = network, tuned, start
        self._fetch, self._dtype = fetch, dtype
        self._momentum, self._weight_decay = momentum, weight_decay
        self._by_step = by_step
        self._by_stage = jax.default_backend() == "cpu" if by_stage is None else by_stage
        self.parts = 1
        self._compile()

    def _compile(self) -> None:
        jit: Any = partial(jax.jit, compiler_options=compilation.options())
        self._epoch = jit(self._whole_epoch, donate_argnums=(0, 1))
        self.advance_stack = jit(self._stacked_epoch, donate_argnums=(0, 1))
        self._one_step = jit(self._step, donate_argnums=(0, 1))
        self._one_fetch = jit(self._inputs)
        self._one_score = jit(self._score)

    def divide(self) -> None:
        """Compute every batch in twice as many parts from now on; their gradients add up to the same result.

        For a device that runs out of memory.
        """
        self.parts *= 2
        self._compile()

    @property
    def compilations(self) -> int:
        """How many programs have been compiled for this depth so far (a step and its scoring count as one), without
        those of the stages, which all depths share.
        """
        programs: tuple[Any, ...] = self._epoch, self.advance_stack, self._one_step
        return sum(program._cache_size() for program in programs)

    def initial_state(self, params: Params) -> tuple[Params, optax.OptState, Params]:
        """(tuned, optimizer state, frozen) of one run. The state has no leaf for a frozen stage."""
        tuned, frozen = tuning.split(params, self.tuned)
        # Zeros, as its `init` would make them by a program for every shape.
        state = jax.eval_shape(self._optimizer(params, None).init, params)
        return tuned, jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), state), frozen

    def _optimizer(self, params: Params, rates: GroupRates | None) -> optax.GradientTransformation:
        if rates is None:  # only the structure is wanted
            groups = set(jax.tree.leaves(tuning.labels(params, self.tuned)))
            rates = dict.fromkeys(groups, 0.0)
        return tuning.optimizer(params, self.tuned, rates, self._momentum, self._weight_decay)

    def advance(self, tuned, state, frozen, rates, arrays, labels, work: Work):
        """-> (tuned, state, losses [S], logits [E, B', C]); rows that do not count are zero.

        `tuned` and `state` are donated.
        """
        if not self.dispatches_steps({**tuned, **frozen}):
            return self._epoch(tuned, state, frozen, rates, arrays, labels, work)
        steps, scored = work.order[: int(work.steps)], work.score[: int(work.batches)]
        return self.advance_batches(
            tuned,
            state,
            frozen,
            rates,
            resident(arrays, labels, steps),
            resident(arrays, labels, scored),
            work,
        )

    def advance_batches(
        self, tuned, state, frozen, rates, steps: Iterable[Batch], scored: Iterable[Batch], work
    ):
        """`advance` on batches that come one at a time, with a dispatch for each; of `work` only sizes and the key."""
        step = self._step_by_stage if self._by_stage and self.parts == 1 else self._one_step
        losses: list[Array] = []
        for number, batch in enumerate(steps):
            if number >= _AHEAD:  # or else the batches that wait for their step fill the device
                losses[number - _AHEAD].block_until_ready()
            tuned, state, loss = step(
                tuned, state, frozen, rates, *batch, work.key, np.int32(number)
            )
            losses.append(loss)
        scores: list[Array] = []
        for number, batch in enumerate(scored):
            if number >= _AHEAD:
                scores[number - _AHEAD].block_until_ready()
            scores.append(self._score_by_stage(tuned, frozen, batch.arrays, batch.rows))
        all_scores = np.zeros((*work.score.shape, self.network.classes), np.float32)
        return tuned, state, _filled(np.zeros(len(work.order)), losses), _filled(all_scores, scores)

    def dispatches_steps(self, params: Params) -> bool:
        """Whether `advance` dispatches every step on its own (see the module's text)."""
        if self._by_step is None:
            run = self.network.names[self.network.index(self.start) :]
            self._by_step = jax.default_backend() == "cpu" and any(
                leaf.ndim == 4 and leaf.shape[0] > 1  # a kernel over neighbouring pixels
                for leaf in jax.tree.leaves([params[name] for name in run])
            )
        return self._by_step

    def _whole_epoch(self, tuned, state, frozen, rates, arrays, labels, work: Work):
        def step(number, carry):
            tuned, state, losses = carry
            tuned, state, loss = self._step(
                tuned, state, frozen, rates, arrays, labels, work.order[number], work.key, number
            )
            return tuned, state, losses.at[number].set(loss)

        def score(number, logits):
            row = self._score(tuned, frozen, arrays, work.score[number])
            return logits.at[number].set(row)

        losses = jnp.zeros(work.order.shape[0], jnp.float32)
        tuned, state, losses = lax.fori_loop(0, work.steps, step, (tuned, state, losses))
        empty = jnp.zeros((*work.score.shape, self.network.classes), jnp.float32)
        return tuned, state, losses, lax.fori_loop(0, work.batches, score, empty)

    def _step(self, tuned, state, frozen, rates, arrays, labels, index, key, number):
        """-> (tuned, state, loss) after one step on the patches `index` int32 [B]."""
        key = jax.random.fold_in(key, number)
        loss, gradients = self._gradients(tuned, frozen, arrays, labels, index, key)
        transformation = self._optimizer({**tuned, **frozen}, rates)
        return *tuning.update(gradients, state, tuned, frozen, transformation), loss

    def _step_by_stage(self, tuned, state, frozen, rates, arrays, labels, index, key, number):
        """`_step` by the stages' programs."""
        x = self._one_fetch(arrays, index)
        keys, target = _keys_and_target(labels, index, key, number)
        loss, gradients = loss_and_gradients(
            self.network, tuned, frozen, x, self.start, keys, target
        )
        constants = self._momentum, self._weight_decay
        return *tuning.update_by_stage(gradients, state, tuned, rates, *constants), loss

    def _gradients(self, tuned, frozen, arrays, labels, index, key):
        """-> (loss, gradients) of a batch, its parts one after another."""
        total = _counted(index)
        gradient = jax.value_and_grad(self._loss)
        if self.parts == 1:
            keys = row_keys(key, jnp.arange(len(index)))
            return gradient(tuned, frozen, arrays, labels, index, keys, total)

        def add(sums, part):
            number, rows = part
            keys = row_keys(key, number * len(rows) + jnp.arange(len(rows)))
            own = gradient(tuned, frozen, arrays, labels, rows, keys, total)
            return jax.tree.map(jnp.add, sums, own), None

        zeros = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, tuned))
        return lax.scan(add, zeros, (jnp.arange(self.parts), self._divided(index)))[0]

    def _divided(self, index: Array) -> Array:
        """A batch int32 [B] as [parts, rows], padded with -1."""
        missing = -len(index) % self.parts
        return jnp.pad(index, (0, missing), constant_values=-1).reshape(self.parts, -1)

    def _loss(self, tuned, frozen, arrays, labels, index, keys, total) -> Array:
        """Of a part, `total` patches in its batch: the main head's and, weighted, the side heads'."""
        x = self._inputs(arrays, index)
        target = Target.of(labels, index, total)
        outputs = self.network.training_outputs({**tuned, **frozen}, x, self.start, keys)
        return sum(
            (weight * cross_entropy(scores, target) for weight, scores in outputs), jnp.zeros(())
        )

    def _score(self, tuned, frozen, arrays, index) -> Array:
        """Logits float32 [B', C] of the patches `index`."""
        if self.parts == 1:
            return self._logits(tuned, frozen, arrays, index)
        parts = self._divided(index)
        scores = lax.map(lambda rows: self._logits(tuned, frozen, arrays, rows), parts)
        return scores.reshape(-1, scores.shape[-1])[: len(index)]

    def _logits(self, tuned, frozen, arrays, index) -> Array:
        x = self._inputs(arrays, index)
        logits = self.network.apply({**tuned, **frozen}, x, start=self.start)
        return logits.astype(jnp.float32)

    def _score_by_stage(self, tuned, frozen, arrays, index) -> Array:
        """`_score` by the programs that make the features: nothing to compile for this depth alone."""
        if self.parts > 1:
            return self._one_score(tuned, frozen, arrays, index)
        x = self._one_fetch(arrays, index)
        logits = self.network.run({**tuned, **frozen}, x, self.start)
        return logits.astype(jnp.float32)

    def _inputs(self, arrays, index) -> Array:
        """What stage `start` reads of the patches `index`; of padding, any patch."""
        return self._fetch(arrays, jnp.maximum(index, 0)).astype(self._dtype)

    def _stacked_epoch(self, tuned, state, frozen, rates, arrays, labels, work: Work):
        """`advance` of several runs at once: all but the data, and the frozen stages, have a leading run axis."""
        axes = (0, 0, None, 0, None, None, 0)
        return jax.vmap(self._whole_epoch, in_axes=axes)(
            tuned, state, frozen, rates, arrays, labels, work
        )


def _counted(index: Array) -> Array:
    """How many rows of a batch are no padding, at least 1."""
    return jnp.maximum((index >= 0).sum(), 1)


@jax.jit
def _keys_and_target(labels, index, key, number) -> tuple[Array, Target]:
    """The keys of the rows of a step, and what they should be scored as."""
    keys = row_keys(jax.random.fold_in(key, number), jnp.arange(len(index)))
    return keys, Target.of(labels, index, _counted(index))


def _filled(rows: np.ndarray, first: list[Array]) -> np.ndarray:
    if first:
        rows[: len(first)] = jax.device_get(first)
    return rows
