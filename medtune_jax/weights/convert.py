"""Bringing layers that a reader returned into one of our networks, and saying what went where.

Layouts: convolutions (out, in / group, kH, kW) -> (kH, kW, in / group, out); inner products
(out, in) -> (in, out), where `in` is the map before it, flattened as C,H,W in the source and as
H,W,C here. Weights are never edited for the channel order of the image: BGR or RGB is part of the
preprocessing record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from flax.traverse_util import unflatten_dict

from medtune_jax import networks
from medtune_jax.errors import UserError
from medtune_jax.networks import Network, Params, Preprocessing
from medtune_jax.networks.layers import Conv, lrn
from medtune_jax.networks.norms import STATISTICS
from medtune_jax.networks.sources import Format
from medtune_jax.weights.columns import aligned
from medtune_jax.weights.formats.layer import Layer
from medtune_jax.weights.slots import Slot, slots
from medtune_jax.weights.stated import Stated


@dataclass(frozen=True)
class Row:
    """One line of the table: a layer of the file, a layer of the network, or both."""

    ours: str
    source: str
    shape: tuple[int, ...]
    state: str  # loaded | new | left out


@dataclass(frozen=True)
class Conversion:
    """A network's parameters from a file. `params` holds the loaded stages only."""

    network: Network
    params: Params
    preprocessing: Preprocessing
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def names(self, state: str) -> tuple[str, ...]:
        """The layers that were ``loaded``, are ``new`` (ours) or were ``left out`` (the file's)."""
        return tuple(row.ours or row.source for row in self.rows if row.state == state)

    def __str__(self) -> str:
        cells = [("network", "file", "shape in the file", "")]
        for row in self.rows:
            shape = " x ".join(map(str, row.shape))
            cells.append((row.ours or "-", row.source or "-", shape or "-", row.state))
        return "\n".join([*aligned(cells), *self.notes])


def convert(
    layers: dict[str, Layer],
    network: str,
    norm_before_pool: bool | None = None,
    stated: Stated | None = None,
    where: str = "the file",
) -> Conversion:
    """Put a file's layers into the named network, with as many classes as its classifier has.

    Stages that the file lacks from some stage on to the end are listed as new; a gap before a stage
    that it holds is an error.

    Args:
        layers: what a reader returned. It is emptied on the way, so that memory holds the weights
            once; give a copy of the dict to keep them.
        network: a name of `networks.NETWORKS`.
        norm_before_pool: what the file says about it (`caffe.norm_before_pool`), None if nothing.
        stated: what the user says of the preprocessing, instead of what the layers' names imply.
        where: the file's name, for messages.

    Raises:
        UserError: another network's file, a missing layer, a wrong shape, norms that cannot be folded exactly, a layer
            in between that the network does not have, a preprocessing that nothing tells.
    """
    target = networks.get(network)
    found = match(layers, target)
    matched = found.layers
    _refuse_relatives(layers, target, where)
    _refuse_another_network(layers, matched, target, norm_before_pool, where)
    _refuse_copies(found, where)
    target = _with_classes(target, matched)
    notes = _fold(layers, matched, network, found.format.epsilon, where)
    _refuse_gaps(target, matched, where)
    _refuse_foreign(layers, found, target, where)

    _check_strides(target, matched, where)
    preprocessing = preprocess(target.preprocessing, found, stated, where)
    wanted = slots(target)
    partial = {slot.stage for slot in wanted if slot.auxiliary and slot.name not in matched}
    loaded = [slot for slot in wanted if slot.name in matched and slot.stage not in partial]
    rows = _rows(layers, wanted, loaded, matched)
    notes = (*notes, *_doubts({slot: matched[slot.name] for slot in loaded}))
    layers.clear()
    flat = {}
    for slot in loaded:
        for kind, array in place(matched.pop(slot.name), slot, where).items():
            flat[(*slot.path, kind)] = array
    return Conversion(target, unflatten_dict(flat), preprocessing, rows, notes)


def _doubts(loaded: Mapping[Slot, Layer]) -> Iterator[str]:
    """What no trained network has, though it may be meant."""
    bare = [
        layer.name for slot, layer in loaded.items() if "bias" in slot.kinds and layer.bias is None
    ]
    if bare:
        yield f"{len(bare)} layers have no bias in the file ({bare[0]}, ...): theirs is 0."
    zero = [
        layer.name for slot, layer in loaded.items() if slot.trained and not layer.weights.any()
    ]
    if zero:
        yield f"{len(zero)} layers are 0 everywhere ({zero[0]}, ...): nothing passes them."


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


def place(layer: Layer, slot: Slot, where: str) -> dict[str, np.ndarray]:
    """The parameters of one layer by name, in our layout, float32."""
    weights = layer.weights
    if slot.trained and layer.kind not in ("convolution", "inner_product"):
        raise UserError(
            f"{where}: layer {layer.name!r} is a {layer.type or layer.kind}, but {slot.name!r} is a convolution or an "
            "inner product; the file belongs to another network."
        )
    if len(slot.shape) == 2 and weights.ndim == 4:  # a dense layer written as a convolution
        weights = weights.reshape(weights.shape[0], -1)
    if weights.shape != slot.source_shape:
        raise UserError(
            f"{where}: layer {layer.name!r} has the shape {_text(layer.shape)} but {slot.name!r} "
            f"takes {_text(slot.source_shape)}; the file belongs to another network."
        )
    bias = np.zeros(weights.shape[0], np.float32) if layer.bias is None else layer.bias
    held = {slot.kinds[0]: weights, "bias": bias, **_statistics(layer)}
    if not all(np.isfinite(array).all() for array in held.values()):
        raise UserError(f"{where}: layer {layer.name!r} holds numbers that are not finite.")
    foreign = [kind for kind in held if kind not in slot.kinds and held[kind].any()]
    missing = [kind for kind in slot.kinds if kind not in held]
    if foreign or missing:
        what = f"has a {foreign[0]}, which" if foreign else f"has no {missing[0]}, but"
        lacks = "has none" if foreign else "has one"
        raise UserError(
            f"{where}: layer {layer.name!r} {what} {slot.name!r} {lacks}; the file belongs to another network."
        )
    held[slot.kinds[0]] = _laid_out(weights, slot)
    return {kind: np.array(held[kind]) for kind in slot.kinds}


def _statistics(layer: Layer) -> dict[str, np.ndarray]:
    """The averages of a batch norm; none of another layer."""
    extra = layer.extra or {}
    return {kind: extra[kind] for kind in STATISTICS if kind in extra}


def _laid_out(weights: np.ndarray, slot: Slot) -> np.ndarray:
    if not slot.trained:
        return weights
    if weights.ndim == 4:
        return np.ascontiguousarray(weights.transpose(2, 3, 1, 0))
    if slot.flattened:
        maps = weights.reshape(-1, *slot.flattened)
        return np.ascontiguousarray(maps.transpose(2, 3, 1, 0).reshape(slot.shape))
    return np.ascontiguousarray(weights.T)


def looks_like(
    layers: Mapping[str, Layer], norm_before_pool: bool | None = None, asked: str = ""
) -> str | None:
    """The network most of whose layers the file holds, by name and shape; `asked` wins a tie."""
    weighted = sum(layer.weights.ndim > 1 for layer in layers.values())
    scores = {}
    for name in networks.NETWORKS:
        network = networks.get(name)
        if _in_other_order(network, norm_before_pool):
            continue
        *body, head = _main(network)  # the head may have any number of classes
        matched = match(layers, network).layers
        fitting = len(_fitting(matched, body)) + (head.name in matched)
        scores[name] = fitting / max(len(body) + 1, weighted)
    best = max(scores, key=lambda name: (scores[name], name == asked))
    return best if scores[best] > 0.5 else None


def _main(network: Network) -> list[Slot]:
    return [slot for slot in slots(network) if not slot.auxiliary]


def _in_other_order(network: Network, norm_before_pool: bool | None) -> bool:
    """Whether norm and pooling come the other way round: all that tells some networks apart."""
    ends = [layer for stage in network.stages for layer in stage.then]
    return lrn in ends and norm_before_pool == (ends[0] is not lrn)


def _fitting(matched: Mapping[str, Layer], wanted: Sequence[Slot]) -> list[Slot]:
    return [s for s in wanted if s.name in matched and matched[s.name].shape == s.source_shape]


def _refuse_another_network(
    layers: Mapping[str, Layer],
    matched: Mapping[str, Layer],
    network: Network,
    norm_before_pool: bool | None,
    where: str,
) -> None:
    other_order = _in_other_order(network, norm_before_pool)
    body = _main(network)[:-1]
    if not other_order and len(_fitting(matched, body)) == len(body):
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


def _with_classes(target: Network, matched: Mapping[str, Layer]) -> Network:
    """The network with as many classes as the file's classifier has outputs."""
    head = _main(target)[-1].name
    classes = matched[head].shape[0] if head in matched else target.classes
    return target if classes == target.classes else networks.get(target.name, classes)


def _refuse_gaps(target: Network, matched: Mapping[str, Layer], where: str) -> None:
    """Only a whole tail of stages may be absent."""
    main = _main(target)
    last = max(target.index(slot.stage) for slot in main if slot.name in matched)
    missing = [s.name for s in main if s.name not in matched and target.index(s.stage) <= last]
    if missing:
        listed = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise UserError(
            f"{where} lacks {len(missing)} of {target.name}'s layers ({listed}); use the complete file."
        )


def _fold(
    layers: dict[str, Layer],
    matched: dict[str, Layer],
    network: str,
    epsilon: float | None,
    where: str,
) -> tuple[str, ...]:
    """Fold each norm and scale into the layer whose result it reads: exact with stored statistics.

    Which layer that is the file's graph says or, without one, torchvision's names (``conv`` and ``bn`` of one block).
    """
    own = {layer.name for layer in matched.values()}  # norms that the network has itself
    norms = {n: norm for n, norm in layers.items() if norm.kind == "batch_norm" and n not in own}
    pairs = {name.removesuffix("conv") + "bn": name for name in layers if name.endswith(".conv")}
    folded = 0
    for name, norm in norms.items():
        host = norm.follows or (pairs.get(name, "") if norm.after is None else "")
        known = (norm.extra or {}).get("epsilon", epsilon)
        if norm.after is not None and host not in layers:
            if _concerns(name, layers, matched):
                raise UserError(
                    f"{where}: {name!r} ({norm.type}) does not directly follow one convolution or inner product alone, "
                    "so it cannot be folded into one exactly; use weights trained without it."
                )
            continue
        if host not in layers or known is None:
            raise UserError(
                f"{where} holds batch norms ({name}, ...), which {network} does not have, "
                "so these weights would give other results; use weights trained without them."
            )
        if norm.weights.size != layers[host].shape[0]:
            raise UserError(
                f"{where}: {name!r} has {norm.weights.size} channels but {host!r} before it has "
                f"{layers[host].shape[0]} outputs; the file is damaged."
            )
        layers[host] = fold(layers[host], layers.pop(name), float(known))
        folded += 1
    matched.update({slot: layers[layer.name] for slot, layer in matched.items()})
    note = f"{folded} norms and scales folded into the layers before them (statistics as stored)."
    return (note,) if folded else ()


def _concerns(name: str, layers: Mapping[str, Layer], matched: Mapping[str, Layer]) -> bool:
    """Whether a layer that is loaded lies behind the layer of that name, or directly before it."""
    loaded = {layer.name for layer in matched.values()}
    behind = any(name in (layer.after or ()) for layer in matched.values())
    return behind or bool((layers[name].after or frozenset()) & loaded)


def _refuse_foreign(layers: Mapping[str, Layer], found: Match, target: Network, where: str) -> None:
    """No layer that the network lacks may lie between, or on the result of, those that are loaded.

    The file's graph says which do. A state dict has none: there it is every layer without a known use, and every
    other one of the same part (``features``, ``classifier``) as a loaded layer.
    """
    matched = found.layers
    used = {layer.name for layer in matched.values()}
    head = matched.get(_main(target)[-1].name)
    bodies = used - ({head.name} if head else set())
    between = frozenset[str]().union(*(layer.after or () for layer in matched.values()))
    new = tuple(f"{found.prefix}{name}." for name in _absent(found, target))
    parts = {_part(name, found.prefix) for name in used}
    for name, layer in layers.items():
        if name in used:
            continue
        if layer.after is not None:
            other = layer.kind == "other"
            foreign = name in between or (other and layer.follows in bodies)
            foreign |= other and layer.weights.size > 0 and layer.follows in used
        else:
            inside = name.startswith(found.prefix) and not name.startswith(new)
            trained = layer.kind in ("convolution", "inner_product")
            foreign = inside and (not trained or _part(name, found.prefix) in parts)
        if foreign:
            kind = f" ({layer.type or layer.kind})"
            raise UserError(
                f"{where} holds the layer {name!r}{kind}, which {target.name} does not have, so these weights would "
                "give other results; use weights trained without it."
            )


def _absent(found: Match, target: Network) -> list[str]:
    """The file's names of the layers that it lacks."""
    names = found.format.names
    return [names.get(s.name, s.name) for s in slots(target) if s.name not in found.layers]


def _part(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).split(".")[0]


def _refuse_copies(found: Match, where: str) -> None:
    if found.rivals and len(found.layers) > 1:
        listed = ", ".join(repr(prefix) for prefix in (found.prefix, *found.rivals))
        raise UserError(
            f"{where} holds the network more than once (under {listed}); save the state dict of the one you mean."
        )


def _refuse_relatives(layers: Mapping[str, Layer], target: Network, where: str) -> None:
    threes = Counter(
        layer.shape[:2]
        for layer in layers.values()
        if layer.weights.ndim == 4 and layer.shape[2:] == (3, 3)
    )
    for relative in target.sources.relatives:
        if threes == Counter(relative.threes):
            raise UserError(f"{where} holds {relative.name}, not {target.name}: {relative.advice}.")


def fold(convolution: Layer, norm: Layer, epsilon: float) -> Layer:
    """The convolution or inner product that equals it followed by the batch norm in inference."""
    statistics = norm.extra or {}
    with np.errstate(
        invalid="ignore", divide="ignore"
    ):  # numbers that are not finite are refused in placing
        gain = norm.weights / np.sqrt(statistics["variance"].astype(np.float64) + epsilon)
    before = 0 if convolution.bias is None else convolution.bias
    shift = 0 if norm.bias is None else norm.bias
    weights = convolution.weights * gain.reshape(-1, *(1,) * (convolution.weights.ndim - 1))
    bias = (before - statistics["mean"]) * gain + shift
    return replace(convolution, weights=weights.astype(np.float32), bias=bias.astype(np.float32))


def _check_strides(target: Network, matched: Mapping[str, Layer], where: str) -> None:
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


def _rows(
    layers: Mapping[str, Layer],
    wanted: Sequence[Slot],
    loaded: list[Slot],
    matched: Mapping[str, Layer],
) -> tuple[Row, ...]:
    rows = [
        Row(slot.name, matched[slot.name].name, matched[slot.name].shape, "loaded")
        if slot in loaded
        else Row(slot.name, "", (), "new")
        for slot in wanted
    ]
    used = {row.source for row in rows}
    unused = [layer for name, layer in layers.items() if name not in used and layer.weights.size]
    return (*rows, *(Row("", layer.name, layer.shape, "left out") for layer in unused))


def preprocess(
    own: Preprocessing, found: Match, stated: Stated | None, where: str
) -> Preprocessing:
    """What the user states or else what the layers' names imply: a format's own or the network's, `own`."""
    implied = None if found.by_order else found.format.preprocessing or own
    if stated is not None:
        return stated.preprocessing(own, implied)
    if implied is None:
        raise UserError(
            f"{where} has names of layers that are unknown, so their order was followed, and the preprocessing "
            "they were trained with is unknown too: state it with --order, --mean, --std and --scale."
        )
    return implied


def _text(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
