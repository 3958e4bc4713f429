"""The compiled program of a tuning depth: one epoch of steps and the scores of held-out patches in one dispatch.

Everything that differs between runs of a depth is a traced argument (parameters, rates, orders, keys, how many steps),
so a depth compiles once, whatever the seeds, rates and training-set sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax

from medtune_jax import tuning
from medtune_jax.networks import Network, Params
from medtune_jax.tuning.sgd import GroupRates


@dataclass(frozen=True)
class Inputs:
    """What a step reads: arrays on the device, and how a batch of indices becomes the input of stage `start`."""

    arrays: dict[str, Array]
    labels: Array  # int32 [N]
    start: str
    fetch: Callable[[dict[str, Array], Array], Array]


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
    ) -> None:
        self.network, self.tuned, self.start = network, tuned, start
        self._fetch, self._dtype = fetch, dtype
        self._momentum, self._weight_decay = momentum, weight_decay
        self.advance = jax.jit(self._advance, donate_argnums=(0, 1))
        self.advance_stack = jax.jit(self._advance_stack, donate_argnums=(0, 1))

    @property
    def compilations(self) -> int:
        """How many programs have been compiled for this depth so far."""
        programs: tuple[Any, ...] = (self.advance, self.advance_stack)
        return sum(program._cache_size() for program in programs)

    def initial_state(self, params: Params) -> tuple[Params, optax.OptState, Params]:
        """(tuned, optimizer state, frozen) of one run. The state has no leaf for a frozen stage."""
        tuned, frozen = tuning.split(params, self.tuned)
        return tuned, self._optimizer(params, None).init(params), frozen

    def _optimizer(self, params: Params, rates: GroupRates | None) -> optax.GradientTransformation:
        if rates is None:  # only the structure is wanted
            groups = set(jax.tree.leaves(tuning.labels(params, self.tuned)))
            rates = dict.fromkeys(groups, 0.0)
        return tuning.optimizer(params, self.tuned, rates, self._momentum, self._weight_decay)

    def _advance(self, tuned, state, frozen, rates, arrays, labels, work: Work):
        """-> (tuned, state, losses [S], probabilities [E, B', C]); rows that do not count are zero."""
        transformation = self._optimizer({**tuned, **frozen}, rates)

        def step(number, carry):
            tuned, state, losses = carry
            index = work.order[number]
            key = jax.random.fold_in(work.key, number)
            loss, gradients = jax.value_and_grad(self._loss)(
                tuned, frozen, arrays, labels, index, key
            )
            tuned, state = tuning.update(gradients, state, tuned, frozen, transformation)
            return tuned, state, losses.at[number].set(loss)

        losses = jnp.zeros(work.order.shape[0], jnp.float32)
        tuned, state, losses = lax.fori_loop(0, work.steps, step, (tuned, state, losses))
        return tuned, state, losses, self._scores({**tuned, **frozen}, arrays, work)

    def _loss(self, tuned, frozen, arrays, labels, index, key) -> Array:
        """Mean negative log likelihood of the true class over the patches of the batch (study.md, "Cost")."""
        x = self._fetch(arrays, jnp.maximum(index, 0)).astype(self._dtype)
        counts = (index >= 0).astype(jnp.float32)
        target = labels[jnp.maximum(index, 0)]
        total = jnp.zeros((), jnp.float32)
        for weight, scores in self.network.training_outputs(
            {**tuned, **frozen}, x, self.start, key
        ):
            losses = optax.softmax_cross_entropy_with_integer_labels(
                scores.astype(jnp.float32), target
            )
            total += weight * (losses * counts).sum() / jnp.maximum(counts.sum(), 1)
        return total

    def _scores(self, params, arrays, work: Work) -> Array:
        def score(number, probabilities):
            x = self._fetch(arrays, jnp.maximum(work.score[number], 0)).astype(self._dtype)
            logits = self.network.apply(params, x, start=self.start).astype(jnp.float32)
            return probabilities.at[number].set(jax.nn.softmax(logits))

        empty = jnp.zeros((*work.score.shape, self.network.classes), jnp.float32)
        return lax.fori_loop(0, work.batches, score, empty)

    def _advance_stack(self, tuned, state, frozen, rates, arrays, labels, work: Work):
        """`_advance` of several runs at once: all but the data, and the frozen stages, have a leading run axis."""
        axes = (0, 0, None, 0, None, None, 0)
        return jax.vmap(self._advance, in_axes=axes)(
            tuned, state, frozen, rates, arrays, labels, work
        )
