"""The device state of one run, or of several that train together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medtune_jax.networks import Params
from medtune_jax.training.mesh import Layout
from medtune_jax.training.program import Inputs, Program, Work
from medtune_jax.training.stream import Streamed
from medtune_jax.tuning.sgd import GroupRates


class Stack:
    """Tuned parameters and optimizer states with a leading run axis; a single run goes without that axis.

    members: (tuned, state) of each run, copied: the program donates what it is given. frozen: shared by all.
    """

    def __init__(
        self,
        program: Program,
        inputs: Inputs,
        frozen: Params,
        members: Sequence[tuple[Params, Any]],
        layout: Layout | None = None,
    ) -> None:
        self._program, self._inputs = program, inputs
        self.width = len(members)
        self._layout = layout or Layout.of(self.width)
        self._frozen = self._layout.everywhere(frozen)
        self._streamed = isinstance(inputs.arrays, Streamed)
        if not self._streamed:
            resident = self._layout.everywhere((inputs.arrays, inputs.labels))
            self._arrays, self._labels = resident
        joined = (self._join([member[part] for member in members]) for part in (0, 1))
        self._tuned, self._state = (self._layout.by_run(_copied(tree)) for tree in joined)

    def _join(self, trees: Sequence[Any]) -> Any:
        if self.width == 1:
            return trees[0]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)

    def advance(
        self, work: Sequence[Work], rates: Sequence[GroupRates], decays: Sequence[float]
    ) -> tuple[np.ndarray, np.ndarray]:
        """One dispatch -> losses [R, S], logits [R, E, B', C]. decays: factor on each run's rates."""
        decayed = [
            {name: np.float32(rate * decay) for name, rate in own.items()}
            for own, decay in zip(rates, decays, strict=True)
        ]
        rate = self._layout.by_run(self._join(decayed))
        if self._streamed:
            self._tuned, self._state, *out = self._advance_streamed(rate, work[0])
        else:
            advance = self._program.advance if self.width == 1 else self._program.advance_stack
            joined = self._layout.work(self._join(list(work)))
            own = (self._tuned, self._state, self._frozen, rate, self._arrays, self._labels, joined)
            self._tuned, self._state, *out = advance(*own)
        width = work[0].score.shape[-1]
        losses, logits = self._layout.fetch(out)
        logits = logits[..., :width, :]
        return (losses[None], logits[None]) if self.width == 1 else (losses, logits)

    def _advance_streamed(self, rates: Any, work: Work) -> Any:
        """One run only: a stack would move the batches of each of its runs."""
        assert self.width == 1
        order, score = np.asarray(work.order), np.asarray(work.score)
        place = self._layout.batch
        return self._program.advance_batches(
            self._tuned,
            self._state,
            self._frozen,
            rates,
            map(place, self._inputs.batches(order[: int(work.steps)])),
            map(place, self._inputs.batches(score[: int(work.batches)])),
            self._layout.work(work),
        )

    def member(self, number: int) -> tuple[Params, Any]:
        """A copy of one run's (tuned, state)."""
        return self._copy((self._tuned, self._state), number)

    def snapshot(self, number: int) -> Params:
        """A copy of one run's tuned parameters."""
        return self._copy(self._tuned, number)

    def _copy(self, tree: Any, number: int) -> Any:
        if not self._layout.single:
            tree = self._layout.fetch(tree)
        return _copied(tree if self.width == 1 else jax.tree.map(lambda x: x[number], tree))


def _copied(tree: Any) -> Any:
    """On the device, without a program for every shape as of jnp.array."""
    return jax.device_put(tree, may_alias=False)
