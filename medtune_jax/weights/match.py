"""Which layers of a file are which of a network, and which network a file's layers look like."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from medtune_jax import networks
from medtune_jax.networks import Network
from medtune_jax.networks.layers import lrn
from medtune_jax.networks.sources import Format
from medtune_jax.weights.formats.layer import Layer
from medtune_jax.weights.slots import Slot, slots


@dataclass(frozen=True)
class Match:
    """Which layers of a file are which of ours.

    layers: slot name -> layer. prefix: what begins the file's names beside the format's own. rivals: other prefixes
    under which the file holds as much. by_order: whether the names are unknown and the order alone decided.
    """

    layers: dict[str, Layer]
    format: Format
    prefix: str = ""
    rivals: tuple[str, ...] = ()
    by_order: bool = False


def match(layers: Mapping[str, Layer], network: Network) -> Match:
    """By the names of one of the network's formats, or by the order, whichever finds most.

    A module inside another one's (``model.features.0``, ``module.backbone.conv1``) is found under its prefix. The
    order counts only in a file that has one, a graph's.
    """
    wanted, formats = slots(network), network.sources.formats.values()
    candidates = [_by_name(layers, wanted, format_) for format_ in (Format(), *formats)]
    graph = all(layer.after is not None for layer in layers.values())
    ordered = [f for f in formats if f.ordered and all(n.startswith(f.prefix) for n in layers)]
    if graph and ordered:
        closest = max(ordered, key=lambda f: len(f.prefix))
        known = closest.preprocessing is not None
        candidates.append(Match(_in_order(layers, wanted), closest, by_order=not known))
    return max(candidates, key=lambda candidate: len(candidate.layers))


def _by_name(layers: Mapping[str, Layer], wanted: Sequence[Slot], format_: Format) -> Match:
    """By the file's names of layers or, layer by layer, our own."""
    ours = {name: s.name for s in wanted for name in (format_.names.get(s.name, s.name), s.name)}
    by_prefix: dict[str, dict[str, Layer]] = {}
    for full, layer in ((name, layer) for name, layer in layers.items() if layer.weights.size):
        for prefix, name in _splits(full):
            if name in ours:
                by_prefix.setdefault(prefix, {}).setdefault(ours[name], layer)
    if not by_prefix:
        return Match({}, format_)
    most = max(len(found) for found in by_prefix.values())
    best, *rivals = (prefix for prefix, found in by_prefix.items() if len(found) == most)
    return Match(by_prefix[best], format_, best, tuple(rivals))


def _splits(name: str) -> Iterator[tuple[str, str]]:
    """(prefix, rest) at every dot: "", "model.", "model.net.", ..."""
    parts = name.split(".")
    for n in range(len(parts)):
        yield "".join(f"{part}." for part in parts[:n]), ".".join(parts[n:])


def _in_order(layers: Mapping[str, Layer], wanted: Sequence[Slot]) -> dict[str, Layer]:
    """Pair layers and slots one to one in order, if every shape but the classifier's fits."""
    weighted = [
        layer for layer in layers.values() if layer.kind in ("convolution", "inner_product")
    ]
    main = [slot for slot in wanted if not slot.auxiliary and slot.trained]
    if len(weighted) != len(main):
        return {}
    pairs = list(zip(main, weighted, strict=True))
    fits = all(slot.source_shape == layer.shape for slot, layer in pairs[:-1])
    return {slot.name: layer for slot, layer in pairs} if fits else {}


def looks_like(
    layers: Mapping[str, Layer], norm_before_pool: bool | None = None, asked: str = ""
) -> str | None:
    """The network most of whose layers the file holds, by name and shape; `asked` wins a tie."""
    weighted = sum(layer.weights.ndim > 1 for layer in layers.values())
    scores = {}
    for name in networks.NETWORKS:
        network = networks.get(name)
        if in_other_order(network, norm_before_pool):
            continue
        *body, head = main_slots(network)  # the head may have any number of classes
        matched = match(layers, network).layers
        found = len(fitting(matched, body)) + (head.name in matched)
        scores[name] = found / max(len(body) + 1, weighted)
    best = max(scores, key=lambda name: (scores[name], name == asked))
    return best if scores[best] > 0.5 else None


def main_slots(network: Network) -> list[Slot]:
    return [slot for slot in slots(network) if not slot.auxiliary]


def in_other_order(network: Network, norm_before_pool: bool | None) -> bool:
    """Whether norm and pooling come the other way round: all that tells some networks apart."""
    ends = [layer for stage in network.stages for layer in stage.then]
    return lrn in ends and norm_before_pool == (ends[0] is not lrn)


def fitting(matched: Mapping[str, Layer], wanted: Sequence[Slot]) -> list[Slot]:
    return [s for s in wanted if s.name in matched and matched[s.name].shape == s.source_shape]
