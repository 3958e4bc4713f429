"""Bringing layers that a reader returned into one of our networks, and saying what went where.

Layouts: convolutions (out, in / group, kH, kW) -> (kH, kW, in / group, out); inner products
(out, in) -> (in, out), where `in` is the map before it, flattened as C,H,W in the source and as
H,W,C here. Weights are never edited for the channel order of the image: BGR or RGB is part of the
preprocessing record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from flax.traverse_util import unflatten_dict

from medtune_jax import networks
from medtune_jax.errors import UserError
from medtune_jax.networks import Network, Params, Preprocessing
from medtune_jax.networks.layers import Conv, lrn
from medtune_jax.networks.sources import Format
from medtune_jax.weights.columns import aligned
from medtune_jax.weights.formats.layer import Layer
from medtune_jax.weights.slots import Slot, slots

_BY_ORDER = (
    "Layers were matched by their order: their names are unknown, and so is the preprocessing "
    "they were trained with; {network}'s own ({order}) is recorded."
)


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
    mean: np.ndarray | None = None,
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
        mean: a mean image [height, width, 3] in BGR instead of the network's own mean.
        where: the file's name, for messages.

    Raises:
        UserError: another network's file, a missing layer, a wrong shape, batch norms that cannot
            be folded exactly.
    """
    target = networks.get(network)
    matched, format_ = match(layers, target)
    _refuse_another_network(layers, matched, target, norm_before_pool, where)
    target = _with_classes(target, matched)
    notes = _fold(layers, matched, network, format_.epsilon, where)
    _refuse_gaps(target, matched, where)

    _check_strides(target, matched, where)
    wanted = slots(target)
    partial = {slot.stage for slot in wanted if slot.auxiliary and slot.name not in matched}
    loaded = [slot for slot in wanted if slot.name in matched and slot.stage not in partial]
    rows = _rows(layers, wanted, loaded, matched)
    layers.clear()
    flat = {}
    for slot in loaded:
        kernel, bias = place(matched.pop(slot.name), slot, where)
        flat[(*slot.path, "kernel")], flat[(*slot.path, "bias")] = kernel, bias

    preprocessing = format_.preprocessing or target.preprocessing
    if format_.ordered and format_.preprocessing is None:
        order = target.preprocessing.order
        notes = (*notes, _BY_ORDER.format(network=network, order=order))
    if mean is not None:
        preprocessing = replace(preprocessing, mean=crop_mean(mean, preprocessing.size))
    return Conversion(target, unflatten_dict(flat), preprocessing, rows, notes)


def match(layers: Mapping[str, Layer], network: Network) -> tuple[dict[str, Layer], Format]:
    """Slot name -> layer, by the names of one of the network's formats or by the order, whichever finds most."""
    wanted, formats = slots(network), network.sources.formats.values()
    candidates = [(_by_name(layers, wanted, f.names), f) for f in (Format(), *formats)]
    ordered = [f for f in formats if f.ordered and all(n.startswith(f.prefix) for n in layers)]
    if ordered:
        candidates.append((_in_order(layers, wanted), max(ordered, key=lambda f: len(f.prefix))))
    return max(candidates, key=lambda candidate: len(candidate[0]))


def _by_name(
    layers: Mapping[str, Layer], wanted: Sequence[Slot], names: Mapping[str, str]
) -> dict[str, Layer]:
    """By the file's names of layers or, layer by layer, our own."""
    named = [(s.name, name) for s in wanted for name in (s.name, names.get(s.name, s.name))]
    return {ours: layers[name] for ours, name in named if name in layers}


def _in_order(layers: Mapping[str, Layer], wanted: Sequence[Slot]) -> dict[str, Layer]:
    """Pair layers and slots one to one in order, if every shape but the classifier's fits."""
    weighted = [layer for layer in layers.values() if layer.kind != "other"]
    main = [slot for slot in wanted if not slot.auxiliary]
    if len(weighted) != len(main):
        return {}
    pairs = list(zip(main, weighted, strict=True))
    fits = all(slot.source_shape == layer.shape for slot, layer in pairs[:-1])
    return {slot.name: layer for slot, layer in pairs} if fits else {}


def place(layer: Layer, slot: Slot, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias of one layer in our layout, float32."""
    weights = layer.weights
    if len(slot.shape) == 2 and weights.ndim == 4:  # a dense layer written as a convolution
        weights = weights.reshape(weights.shape[0], -1)
    if weights.shape != slot.source_shape:
        raise UserError(
            f"{where}: layer {layer.name!r} has the shape {_text(layer.shape)} but {slot.name!r} "
            f"takes {_text(slot.source_shape)}; the file belongs to another network."
        )
    bias = np.zeros(weights.shape[0], np.float32) if layer.bias is None else layer.bias
    if not (np.isfinite(weights).all() and np.isfinite(bias).all()):
        raise UserError(f"{where}: layer {layer.name!r} holds numbers that are not finite.")
    if weights.ndim == 4:
        kernel = weights.transpose(2, 3, 1, 0)
    elif slot.flattened:
        maps = weights.reshape(-1, *slot.flattened)
        kernel = maps.transpose(2, 3, 1, 0).reshape(slot.shape)
    else:
        kernel = weights.T
    return np.ascontiguousarray(kernel), np.array(bias)


def crop_mean(mean: np.ndarray, size: int) -> np.ndarray:
    """The centre of a mean image, as Caffe crops it in testing."""
    height, width = mean.shape[:2]
    if min(height, width) < size:
        raise UserError(
            f"The mean image is {height} x {width} but the network takes {size} x {size}; leave "
            "--mean out to use the network's own channel means."
        )
    top, left = (height - size) // 2, (width - size) // 2
    return np.ascontiguousarray(mean[top : top + size, left : left + size])


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
        matched, _ = match(layers, network)
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
    """Fold each batch norm into the convolution before it: exact with stored statistics."""
    norms = {name: layer for name, layer in layers.items() if layer.kind == "batch_norm"}
    if not norms:
        return ()
    pairs = {name.removesuffix("conv") + "bn": name for name in layers if name.endswith(".conv")}
    if epsilon is None or not norms.keys() <= pairs.keys():
        raise UserError(
            f"{where} holds batch norms ({next(iter(norms))}, ...), which {network} does not have, "
            "so these weights would give other results; use weights trained without them."
        )
    for name in norms:
        layers[pairs[name]] = fold(layers[pairs[name]], layers.pop(name), epsilon)
    matched.update({slot: layers[layer.name] for slot, layer in matched.items()})
    return (f"{len(norms)} batch norms folded into their convolutions (statistics as stored).",)


def fold(convolution: Layer, norm: Layer, epsilon: float) -> Layer:
    """The convolution that equals `convolution` followed by the batch norm in inference."""
    statistics = norm.extra or {}
    gain = norm.weights / np.sqrt(statistics["variance"].astype(np.float64) + epsilon)
    before = 0 if convolution.bias is None else convolution.bias
    shift = 0 if norm.bias is None else norm.bias
    weights = convolution.weights * gain[:, None, None, None]
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
    unused = [layer for name, layer in layers.items() if name not in used]
    return (*rows, *(Row("", layer.name, layer.shape, "left out") for layer in unused))


def _text(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
