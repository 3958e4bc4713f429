"""Tuning depth: which stages are trained, and what the depth is called; and the ways to tune that are no depth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches

from medtune_jax.errors import UserError
from medtune_jax.networks import INITIALIZERS, NETWORKS, Network, get
from medtune_jax.networks.low_rank import adapted

SCRATCH = "scratch"
ONLY, BITFIT, LPFT, GRADUAL, LORA = "only", "bitfit", "lpft", "gradual", "lora"
WAYS = {
    ONLY: "only:FIRST-LAST",
    BITFIT: "bitfit",
    LPFT: "lpft:STAGE",
    GRADUAL: "gradual:STAGE",
    LORA: "lora:RANK",
}
"""How each way to tune beside the depths is written (docs/tuning.md)."""


@dataclass(frozen=True)
class Phase:
    """A part of a run. tuned: the stages that it trains, in the network's order. light: those of them of which only
    biases and norms move or, with a `rank` above 0, only factors of that rank (LoRA). epochs: how many it takes; 0: as
    many as a run does.
    """

    tuned: tuple[str, ...]
    light: tuple[str, ...] = ()
    epochs: int = 0
    rank: int = 0


@dataclass(frozen=True)
class Depth:
    """A tuning depth, or a way to tune that stands beside the depths.

    name: the first tuned stage ('conv4'), 'scratch', 'scratch-xavier' and the like, or a way ('lpft:conv4').
    phases: what is trained, one phase after another; more than one of a way only.
    initializer: how scratch starts; None when pre-trained. way: a key of WAYS; '' for a depth and for scratch.
    """

    name: str
    phases: tuple[Phase, ...]
    initializer: str | None = None
    way: str = ""

    @property
    def tuned(self) -> tuple[str, ...]:
        """The trained stages in order: those of the widest phase, which holds the others."""
        return self._widest.tuned

    @property
    def light(self) -> tuple[str, ...]:
        """The trained stages of which only biases and norms move or, with a `rank`, only factors."""
        return self._widest.light

    @property
    def rank(self) -> int:
        """Of the factors of LoRA; 0 for all else."""
        return self._widest.rank

    @property
    def _widest(self) -> Phase:
        return max(self.phases, key=lambda phase: len(phase.tuned))

    @property
    def steps(self) -> tuple[Depth, ...]:
        """Its phases, each as what has that one alone."""
        return tuple(replace(self, phases=(phase,)) for phase in self.phases)

    @property
    def brief(self) -> int:
        """Of a single phase: the epochs that it has, where it ends after so many; else 0."""
        return self.phases[0].epochs

    @property
    def scratch(self) -> bool:
        return self.initializer is not None

    @property
    def ordered(self) -> bool:
        """Whether it is a point on the axis of depths."""
        return not self.scratch and not self.way

    @property
    def slug(self) -> str:
        """The name as part of a file's name."""
        return self.name.replace(":", "-")

    @property
    def place(self) -> tuple[int, int]:
        """To sort by: the depths from shallow to deep, then the ways, then scratch."""
        return (2 if self.scratch else 1 if self.way else 0), len(self.tuned)

    @property
    def label(self) -> str:
        """The paper's name: 'conv4-fc8', 'only fc8', 'scratch', 'scratch (xavier)'; of a way: 'conv2-conv3 and fc8',
        'BitFit', 'LP-FT conv4-fc8', 'gradual conv4-fc8', 'LoRA rank 4'.
        """
        if self.scratch:
            scratch, _, named = self.name.partition("-")
            return f"{scratch} ({named})" if named else scratch
        if self.way == BITFIT:
            return "BitFit"
        if self.way == LORA:
            return f"LoRA rank {self.rank}"
        if self.way == ONLY:
            *block, head = self.tuned
            return f"{_span(block[0], block[-1])} and {head}"
        first, last = self.tuned[0], self.tuned[-1]
        how = {LPFT: "LP-FT ", GRADUAL: "gradual "}.get(self.way, "")
        return f"only {last}" if first == last else f"{how}{first}-{last}"


def _span(first: str, last: str) -> str:
    return first if first == last else f"{first}-{last}"


def parse(network: Network, text: str) -> Depth:
    """The depth called `text`: a stage ('conv4'), the paper's form ('conv4-fc8'), 'scratch' or 'scratch-FILLER'; or a
    way of WAYS. A way that trains what a depth trains is that depth ('only:conv4-fc8').

    Raises UserError with the nearest name.
    """
    text = text.strip()
    if text == SCRATCH or text.startswith(f"{SCRATCH}-"):
        return Depth(text, (Phase(network.names),), _initializer(network, text))
    way, colon, rest = text.partition(":")
    if colon or way == BITFIT:
        return _way(network, text, way, rest)
    first, _, last = text.removeprefix("only ").partition("-")
    near = get_close_matches(first, [*network.names, *WAYS], 1)
    if near and near[0] in WAYS:
        raise UserError(f"there is no depth '{text}'; did you mean '{WAYS[near[0]]}'?")
    if last and last != network.head:
        block = f" (for a block of stages write {ONLY}:{text})" if last in network.names else ""
        raise UserError(
            f"depth '{text}' must end at {network.head}: a tuning depth is every stage from its first tuned one on"
            f"{block}"
        )
    return Depth(first, (Phase(network.names[network.index(first) :]),))


def _initializer(network: Network, text: str) -> str:
    initializer = text.removeprefix(SCRATCH).removeprefix("-") or network.initializer
    if initializer not in INITIALIZERS:
        raise UserError(
            f"depth '{text}' names no initializer: use scratch or scratch-{{{','.join(INITIALIZERS)}}}"
        )
    return initializer


def _way(network: Network, text: str, way: str, rest: str) -> Depth:
    made = {ONLY: _block, BITFIT: _bitfit, LPFT: _lpft, GRADUAL: _gradual, LORA: _lora}
    if way not in made:
        near = get_close_matches(way, WAYS, 1, 0)[0]
        raise UserError(
            f"'{text}' is no way to tune: there is none called '{way}'; did you mean '{WAYS[near]}'? (known: "
            f"{', '.join(WAYS.values())})"
        )
    return made[way](network, text, rest.strip())


def _block(network: Network, text: str, rest: str) -> Depth:
    """Surgical: a block of stages, and the head, which is new."""
    first, _, last = (part.strip() for part in rest.partition("-"))
    if not first:
        raise UserError(
            f"'{text}' names no block of stages: write {WAYS[ONLY]}, such as {ONLY}:{_span(*network.names[:2])}"
        )
    begin, end = network.index(first), network.index(last or first)
    if end < begin:
        raise UserError(
            f"'{text}' is an empty block, since {last} comes before {first}; did you mean '{ONLY}:{last}-{first}'?"
        )
    if end >= len(network.names) - 2:  # nothing is frozen behind it
        return parse(network, first)
    tuned = (*network.names[begin : end + 1], network.head)
    return Depth(f"{ONLY}:{_span(first, network.names[end])}", (Phase(tuned),), way=ONLY)


def _bitfit(network: Network, text: str, rest: str) -> Depth:
    """Biases and norms of all stages, and the head whole."""
    if rest or text != BITFIT:
        raise UserError(f"'{text}' names stages, but {BITFIT} is of all: write {BITFIT}")
    return Depth(BITFIT, (Phase(network.names, network.names[:-1]),), way=BITFIT)


def _lora(network: Network, text: str, rest: str) -> Depth:
    """Factors beside the attention of all blocks, and the head whole."""
    stages = adapted(network)
    if not stages:
        made = ", ".join(name for name in NETWORKS if get(name).adapted)
        raise UserError(
            f"'{text}' adds to the attention of a transformer, and {network.name} has none: take {made}, or "
            f"{BITFIT} in its place"
        )
    most = min(stages.values()) - 1
    if not (rest.isascii() and rest.isdecimal()) or not 0 < int(rest) <= most:
        raise UserError(f"'{text}' needs a rank from 1 to {most} in {network.name}: write {LORA}:4")
    phase = Phase((*stages, network.head), tuple(stages), rank=int(rest))
    return Depth(f"{LORA}:{int(rest)}", (phase,), way=LORA)


def _lpft(network: Network, text: str, rest: str) -> Depth:
    """The head alone, then a depth from that head."""
    depth = _behind(network, text, rest)
    return Depth(f"{LPFT}:{depth.name}", (Phase((network.head,)), *depth.phases), way=LPFT)


def _gradual(network: Network, text: str, rest: str) -> Depth:
    """An epoch of the head, one of it and the stage before, and so on to a depth."""
    depth = _behind(network, text, rest)
    shallower = [depth.tuned[-count:] for count in range(1, len(depth.tuned))]
    phases = (*(Phase(tuned, epochs=1) for tuned in shallower), *depth.phases)
    return Depth(f"{GRADUAL}:{depth.name}", phases, way=GRADUAL)


def _behind(network: Network, text: str, rest: str) -> Depth:
    """The depth that a way ends with."""
    way = text.partition(":")[0]
    if not rest:
        raise UserError(
            f"'{text}' names no stage to tune from after the head: write {WAYS[way]}, such as "
            f"{way}:{network.names[-2]}"
        )
    depth = parse(network, rest)
    if not depth.ordered:
        raise UserError(f"'{text}' needs a stage to tune from after the head, not '{rest}'")
    if depth.name == network.head:
        raise UserError(
            f"'{text}' tunes the head alone: write {network.head}, or name an earlier stage"
        )
    return depth


def every_depth(network: Network) -> tuple[str, ...]:
    """All names from 'only the last stage' to 'all stages', then scratch."""
    return (*reversed(network.names), SCRATCH)
