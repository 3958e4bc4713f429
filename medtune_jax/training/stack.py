"""The device state of one run, or of several that train together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medtune_jax.networks import Params
from medtune_jax.training.devices.mesh import Layout
from medtune_jax.training.epoch import EpochPlan
from medtune_jax.training.inputs.batch import Inputs
from medtune_jax.training.runners import Rates, Runner, Shared
from medtune_jax.training.step import TrainState


class Stack:
    """Training states with a leading run axis; a single run goes without that axis.

    members: the state of each run, copied: the runner donates what it is given. frozen: shared by all. Fewer of them
    than the runner's `least` have copies of the first one beside them, of which nothing is read.
    """

    def __init__(
        self, runner: Runner, inputs: Inputs, frozen: Params, members: Sequence[TrainState]
    ) -> None:
        self.members = len(members)
        self.width = max(self.members, runner.least)
        self._runner, self._layout = runner, Layout.of(self.width)
        frozen = self._layout.everywhere(frozen)
        self._shared = Shared(frozen, self._layout.inputs(inputs), self._layout)
        self._state: TrainState = self._layout.by_run(_copied(self._join(members)))

    def _join(self, trees: Sequence[Any]) -> Any:
        if self.width == 1:
            return trees[0]
        filled = [*trees, *[trees[0]] * (self.width - self.members)]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *filled)

    def epoch(
        self, plans: Sequence[EpochPlan], rates: Sequence[Rates], begun: int = 0
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Train and validate all -> (losses [S], logits [E, B', C]) of each, only as many as its plan counts.

        begun: steps of the epoch that were taken already; losses are those of the others. Fewer of both came about
        when a signal asked to stop.
        """
        rate, plan = self._layout.by_run(self._join(rates)), self._join(plans)
        self._state, *figures = self._runner.epoch(self._state, rate, plan, self._shared, begun)
        losses, logits = map(np.asarray, self._layout.to_host(figures))
        if self.width == 1:
            losses, logits = losses[None], logits[None]
        return [
            (loss[: int(plan.steps)], _of_plan(scores, plan))
            for plan, loss, scores in zip(
                plans, losses[: self.members], logits[: self.members], strict=True
            )
        ]

    def member(self, number: int) -> TrainState:
        """A copy of the state of one run."""
        return TrainState(*self._copy(self._state, number))

    def snapshot(self, number: int) -> Params:
        """A copy of one run's tuned parameters."""
        return dict(self._copy(self._state.params, number))

    def _copy(self, tree: Any, number: int) -> Any:
        if not self._layout.single:
            tree = self._layout.to_host(tree)
        return _copied(tree if self.width == 1 else jax.tree.map(lambda x: x[number], tree))


def _of_plan(logits: np.ndarray, plan: EpochPlan) -> np.ndarray:
    """Without padding; none at all where the epoch was stopped before."""
    return logits[: int(plan.batches), : plan.score.shape[-1]] if logits.size else logits


def _copied(tree: Any) -> Any:
    """On the device, without a program for every shape as of jnp.array."""
    return jax.device_put(tree, may_alias=False)
