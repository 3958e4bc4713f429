"""Tuning depth: which stages are trained, and what the depth is called."""

from __future__ import annotations

from dataclasses import dataclass

from medtune_jax.errors import UserError
from medtune_jax.networks import INITIALIZERS, Network

SCRATCH = "scratch"


@dataclass(frozen=True)
class Depth:
    """A tuning depth.

    name: the first tuned stage ('conv4'), 'scratch', or 'scratch-xavier' and the like.
    tuned: the trained stages in order. filler: how scratch starts; None when pre-trained.
    """

    name: str
    tuned: tuple[str, ...]
    filler: str | None = None

    @property
    def scratch(self) -> bool:
        return self.filler is not None

    @property
    def label(self) -> str:
        """The paper's name: 'conv4-fc8', 'only fc8', 'scratch'."""
        if self.scratch:
            return self.name
        first, last = self.tuned[0], self.tuned[-1]
        return f"only {last}" if first == last else f"{first}-{last}"


def parse(network: Network, text: str) -> Depth:
    """The depth called `text`: a stage ('conv4'), the paper's form ('conv4-fc8'), 'scratch' or 'scratch-FILLER'.

    Raises UserError with the nearest name.
    """
    text = text.strip()
    if text == SCRATCH or text.startswith(f"{SCRATCH}-"):
        return Depth(text, network.names, _filler(network, text))
    first, _, last = text.removeprefix("only ").partition("-")
    if last and last != network.head:
        raise UserError(
            f"depth '{text}' must end at {network.head}: a tuning depth is every stage from its first tuned one on"
        )
    return Depth(first, network.names[network.index(first) :])


def _filler(network: Network, text: str) -> str:
    filler = text.removeprefix(SCRATCH).removeprefix("-") or network.initializer
    if filler not in INITIALIZERS:
        raise UserError(
            f"depth '{text}' names no filler: use scratch or scratch-{{{','.join(INITIALIZERS)}}}"
        )
    return filler


def every_depth(network: Network) -> tuple[str, ...]:
    """All names from 'only the last stage' to 'all stages', then scratch."""
    return (*reversed(network.names), SCRATCH)
