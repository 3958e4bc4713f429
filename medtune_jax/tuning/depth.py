"""Tuning depth: which stages are trained, and what the depth is called."""

from __future__ import annotations

from dataclasses import dataclass

from medtune_jax.errors import UserError
from medtune_jax.networks import INITIALIZERS, Network

SCRATCH = "scratch"


@dataclass(frozen=True)
class Phase:
    """A part of a run. tuned: the stages that it trains, in the network's order."""

    tuned: tuple[str, ...]


@dataclass(frozen=True)
class Depth:
    """A tuning depth.

    name: the first tuned stage ('conv4'), 'scratch', or 'scratch-xavier' and the like.
    phases: what is trained, one phase after another; those of every depth that `parse` knows are a single one.
    initializer: how scratch starts; None when pre-trained.
    """

    name: str
    phases: tuple[Phase, ...]
    initializer: str | None = None

    @property
    def tuned(self) -> tuple[str, ...]:
        """The trained stages in order: those of the widest phase, which holds the others."""
        return max((phase.tuned for phase in self.phases), key=len)

    @property
    def scratch(self) -> bool:
        return self.initializer is not None

    @property
    def label(self) -> str:
        """The paper's name: 'conv4-fc8', 'only fc8', 'scratch', 'scratch (xavier)'."""
        if self.scratch:
            scratch, _, named = self.name.partition("-")
            return f"{scratch} ({named})" if named else scratch
        first, last = self.tuned[0], self.tuned[-1]
        return f"only {last}" if first == last else f"{first}-{last}"


def parse(network: Network, text: str) -> Depth:
    """The depth called `text`: a stage ('conv4'), the paper's form ('conv4-fc8'), 'scratch' or 'scratch-FILLER'.

    Raises UserError with the nearest name.
    """
    text = text.strip()
    if text == SCRATCH or text.startswith(f"{SCRATCH}-"):
        return Depth(text, (Phase(network.names),), _initializer(network, text))
    first, _, last = text.removeprefix("only ").partition("-")
    if last and last != network.head:
        raise UserError(
            f"depth '{text}' must end at {network.head}: a tuning depth is every stage from its first tuned one on"
        )
    return Depth(first, (Phase(network.names[network.index(first) :]),))


def _initializer(network: Network, text: str) -> str:
    initializer = text.removeprefix(SCRATCH).removeprefix("-") or network.initializer
    if initializer not in INITIALIZERS:
        raise UserError(
            f"depth '{text}' names no initializer: use scratch or scratch-{{{','.join(INITIALIZERS)}}}"
        )
    return initializer


def every_depth(network: Network) -> tuple[str, ...]:
    """All names from 'only the last stage' to 'all stages', then scratch."""
    return (*reversed(network.names), SCRATCH)
