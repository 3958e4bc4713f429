"""Files that would give another network than the one asked for: each kind refused in one sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Set

from medtune_jax.errors import UserError
from medtune_jax.networks import Network
from medtune_jax.networks.layers import Conv
from medtune_jax.weights.formats.layer import Layer
from medtune_jax.weights.match import Match, fitting, in_other_order, looks_like, main_slots
from medtune_jax.weights.slots import slots


def refuse_relatives(layers: Mapping[str, Layer], target: Network, where: str) -> None:
    threes = Counter(
        layer.shape[:2]
        for layer in layers.values()
        if layer.weights.ndim == 4 and layer.shape[2:] == (3, 3)
    )
    for relative in target.sources.relatives:
        if threes == Counter(relative.threes):
            raise UserError(f"{where} holds {relative.name}, not {target.name}: {relative.advice}.")


def refuse_another_network(
    layers: Mapping[str, Layer],
    matched: Mapping[str, Layer],
    network: Network,
    norm_before_pool: bool | None,
    where: str,
) -> None:
    other_order = in_other_order(network, norm_before_pool)
    body = main_slots(network)[:-1]
    if not other_order and len(fitting(matched, body)) == len(body):
        return
    likely = looks_like(layers, norm_before_pool, network.name)
    if likely is not None and likely != network.name:
        raise UserError(
            f"{where} does not hold {network.name}: it looks like {likely}; pass --network {likely}."
        )
    if other_order or not matched:
        listed = ", ".join(list(layers)[:4]) + (", ..." if len(layers) > 4 else "")
        raise UserError(
            f"{where} does not hold {network.name} nor another network known here (its layers: {listed}); the "
            f"formats known for {network.name} are {', '.join(network.sources.formats)}."
        )


def refuse_copies(found: Match, where: str) -> None:
    if found.rivals and len(found.layers) > 1:
        listed = ", ".join(repr(prefix) for prefix in (found.prefix, *found.rivals))
        raise UserError(
            f"{where} holds the network more than once (under {listed}); save the state dict of the one you mean."
        )


def refuse_gaps(target: Network, matched: Mapping[str, Layer], where: str) -> None:
    """Only a whole tail of stages may be absent."""
    main = main_slots(target)
    last = max(target.index(slot.stage) for slot in main if slot.name in matched)
    missing = [s.name for s in main if s.name not in matched and target.index(s.stage) <= last]
    if missing:
        listed = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise UserError(
            f"{where} lacks {len(missing)} of {target.name}'s layers ({listed}); use the complete file."
        )


def refuse_foreign(layers: Mapping[str, Layer], found: Match, target: Network, where: str) -> None:
    """No layer that the network lacks may lie between, or on the result of, those that are loaded.

    The file's graph says which do. A state dict has none: there it is every layer without a known use, and every
    other one of the same part (``features``, ``classifier``) as a loaded layer.
    """
    used = {layer.name for layer in found.layers.values()}
    in_graph = _foreign_in_graph(found, target, used)
    by_name = _foreign_by_name(found, target, used)
    for name, layer in layers.items():
        foreign = by_name if layer.after is None else in_graph
        if name not in used and foreign(name, layer):
            kind = f" ({layer.type or layer.kind})"
            raise UserError(
                f"{where} holds the layer {name!r}{kind}, which {target.name} does not have, so these weights would "
                "give other results; use weights trained without it."
            )


def _foreign_in_graph(
    found: Match, target: Network, used: Set[str]
) -> Callable[[str, Layer], bool]:
    head = found.layers.get(main_slots(target)[-1].name)
    bodies = used - ({head.name} if head else set())
    between = frozenset[str]().union(*(layer.after or () for layer in found.layers.values()))

    def foreign(name: str, layer: Layer) -> bool:
        hosts = used if layer.weights.size else bodies
        return name in between or (layer.kind == "other" and layer.follows in hosts)

    return foreign


def _foreign_by_name(found: Match, target: Network, used: Set[str]) -> Callable[[str, Layer], bool]:
    new = tuple(f"{found.prefix}{name}." for name in _absent(found, target))
    parts = {_part(name, found.prefix) for name in used}

    def foreign(name: str, layer: Layer) -> bool:
        trained = layer.kind in ("convolution", "inner_product")
        inside = name.startswith(found.prefix) and not name.startswith(new)
        return inside and (not trained or _part(name, found.prefix) in parts)

    return foreign


def _absent(found: Match, target: Network) -> list[str]:
    """The file's names of the layers that it lacks."""
    names = found.format.names
    return [names.get(s.name, s.name) for s in slots(target) if s.name not in found.layers]


def _part(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).split(".")[0]


def refuse_other_strides(target: Network, matched: Mapping[str, Layer], where: str) -> None:
    for stage in target.stages:
        layer, module = matched.get(stage.name), stage.module
        if layer is None or not isinstance(module, Conv) or layer.stride is None:
            continue
        if layer.stride != (module.stride, module.stride):
            raise UserError(
                f"{where}: layer {layer.name!r} has stride {layer.stride[0]} but {stage.name!r} of "
                f"{target.name} has {module.stride}; the file belongs to another network."
            )
        if layer.group not in (None, module.groups):
            raise UserError(
                f"{where}: layer {layer.name!r} has {layer.group} groups but {stage.name!r} of "
                f"{target.name} has {module.groups}; the file belongs to another network."
            )
