"""Bringing layers that a reader returned into one of our networks, and saying what went where.

Layouts: convolutions (out, in / group, kH, kW) -> (kH, kW, in / group, out); inner products
(out, in) -> (in, out), where `in` is the map before it, flattened as C,H,W in the source and as
H,W,C here. Weights are never edited for the channel order of the image: BGR or RGB is part of the
preprocessing record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from flax.traverse_util import unflatten_dict

from medtune_jax import networks
from medtune_jax.errors import UserError
from medtune_jax.networks import Network, Params, Preprocessing
from medtune_jax.networks.norms import STATISTICS
from medtune_jax.weights.columns import aligned
from medtune_jax.weights.formats.layer import Layer
from medtune_jax.weights.match import Match, main_slots, match
from medtune_jax.weights.norms import bring_norms, fold_norms
from medtune_jax.weights.refusals import (
    refuse_another_network,
    refuse_copies,
    refuse_foreign,
    refuse_gaps,
    refuse_other_strides,
    refuse_relatives,
)
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
    refuse_relatives(layers, target, where)
    refuse_another_network(layers, matched, target, norm_before_pool, where)
    refuse_copies(found, where)
    target = _with_classes(target, matched)
    notes = fold_norms(layers, matched, network, found.format.epsilon, where)
    refuse_gaps(target, matched, where)
    refuse_foreign(layers, found, target, where)

    refuse_other_strides(target, matched, where)
    preprocessing = preprocess(target.preprocessing, found, stated, where)
    wanted = slots(target)
    notes = (*notes, *bring_norms(matched, wanted, found.format.more_epsilon))
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


def _with_classes(target: Network, matched: Mapping[str, Layer]) -> Network:
    """The network with as many classes as the file's classifier has outputs."""
    head = main_slots(target)[-1].name
    classes = matched[head].shape[0] if head in matched else target.classes
    return target if classes == target.classes else networks.get(target.name, classes)


def _doubts(loaded: Mapping[Slot, Layer]) -> Iterator[str]:
    """What no trained network has, though it may be meant."""
    bare = [la.name for slot, la in loaded.items() if "bias" in slot.kinds and la.bias is None]
    if bare:
        yield f"{len(bare)} layers have no bias in the file ({bare[0]}, ...): theirs is 0."
    zero = [la.name for slot, la in loaded.items() if slot.trained and not la.weights.any()]
    if zero:
        yield f"{len(zero)} layers are 0 everywhere ({zero[0]}, ...): nothing passes them."


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
