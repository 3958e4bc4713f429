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
        self._arrays, self._labels = self._layout.everywhere((inputs.arrays, inputs.labels))
        joined = (self._join([member[part] for member in members]) for part in (0, 1))
        self._tuned, self._state = (
            self._layout.by_run(jax.tree.map(jnp.array, tree)) for tree in joined
        )

    def _join(self, trees: Sequence[Any]) -> Any:
        if self.width == 1:
            return trees[0]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)

    def advance(
        self, work: Sequence[Work], rates: Sequence[GroupRates], decays: Sequence[float]
    ) -> tuple[np.ndarray, np.ndarray]:
        """One dispatch -> losses [R, S], probabilities [R, E, B', C]. decays: factor on each run's rates."""
        decayed = [
            {name: np.float32(rate * decay) for name, rate in own.items()}
            for own, decay in zip(rates, decays, strict=True)
        ]
        program = self._program
        advance = program.advance if self.width == 1 else program.advance_stack
        width = work[0].score.shape[-1]
        self._tuned, self._state, *out = advance(
            self._tuned,
            self._state,
            self._frozen,
            self._layout.by_run(self._join(decayed)),
            self._arrays,
            self._labels,
            self._layout.work(self._join(list(work))),
        )
        losses, probabilities = self._layout.fetch(out)
        probabilities = probabilities[..., :width, :]
        return (losses[None], probabilities[None]) if self.width == 1 else (losses, probabilities)

    def member(self, number: int) -> tuple[Params, Any]:
        """A copy of one run's (tuned, state)."""
        return self._copy((self._tuned, self._state), number)

    def snapshot(self, number: int) -> Params:
        """A copy of one run's tuned parameters."""
        return self._copy(self._tuned, number)

    def _copy(self, tree: Any, number: int) -> Any:
        if not self._layout.single:
            tree = self._layout.fetch(tree)
        return jax.tree.map(lambda x: jnp.array(x if self.width == 1 else x[number]), tree)
