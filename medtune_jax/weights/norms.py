"""What a file's norms and our network's do not share: norms folded into the layers before them, biases into norms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from medtune_jax.errors import UserError
from medtune_jax.weights.formats.layer import Layer
from medtune_jax.weights.slots import Slot


def fold_norms(
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
        if norm.after is not None and host not in layers and not _concerns(name, layers, matched):
            continue
        known = (norm.extra or {}).get("epsilon", epsilon)
        if norm.after is not None and host not in layers:
            raise UserError(
                f"{where}: {name!r} ({norm.type}) does not directly follow one convolution or inner product alone, "
                "so it cannot be folded into one exactly; use weights trained without it."
            )
        if host not in layers or known is None:
            raise UserError(
                f"{where} holds batch norms ({name}, ...), which {network} does not have, "
                "so these weights would give other results; use weights trained without them."
            )
        layers[host] = fold(layers[host], layers.pop(name), float(known), where)
        folded += 1
    matched.update({slot: layers[layer.name] for slot, layer in matched.items()})
    note = f"{folded} norms and scales folded into the layers before them (statistics as stored)."
    return (note,) if folded else ()


def _concerns(name: str, layers: Mapping[str, Layer], matched: Mapping[str, Layer]) -> bool:
    """Whether a layer that is loaded lies behind the layer of that name, or directly before it."""
    loaded = {layer.name for layer in matched.values()}
    behind = any(name in (layer.after or ()) for layer in matched.values())
    return behind or bool((layers[name].after or frozenset()) & loaded)


def fold(layer: Layer, norm: Layer, epsilon: float, where: str = "the file") -> Layer:
    """The convolution or inner product that equals it followed by the batch norm in inference."""
    if norm.weights.size != layer.shape[0]:
        raise UserError(
            f"{where}: {norm.name!r} has {norm.weights.size} channels but {layer.name!r} before it has "
            f"{layer.shape[0]} outputs; the file is damaged."
        )
    statistics = norm.extra or {}
    # Numbers that are not finite are refused when layers are placed.
    with np.errstate(invalid="ignore", divide="ignore"):
        gain = norm.weights / np.sqrt(statistics["variance"].astype(np.float64) + epsilon)
    before = 0 if layer.bias is None else layer.bias
    shift = 0 if norm.bias is None else norm.bias
    weights = layer.weights * gain.reshape(-1, *(1,) * (layer.weights.ndim - 1))
    bias = (before - statistics["mean"]) * gain + shift
    return replace(layer, weights=weights.astype(np.float32), bias=bias.astype(np.float32))


def bring_norms(
    matched: dict[str, Layer], wanted: Sequence[Slot], more_epsilon: float
) -> tuple[str, ...]:
    """Bring norms that the network has, too, to its own form: exact with stored statistics.

    Keras gives a convolution ``X_conv`` a bias before its norm ``X_bn``. Ours has none: it goes into the norm's mean.
    more_epsilon: what the file's norms add to a variance beyond what ours do.
    """
    slots = {matched[slot.name].name: slot for slot in wanted if slot.name in matched}
    brought = 0
    for name, slot in slots.items():
        layer = matched[slot.name]
        after = slots.get(name.removesuffix("_conv") + "_bn")
        if layer.bias is None or "bias" in slot.kinds or after is None:
            continue
        norm = matched[after.name]
        mean = (norm.extra or {})["mean"] - layer.bias
        matched[after.name] = replace(norm, extra={**(norm.extra or {}), "mean": mean})
        matched[slot.name] = replace(layer, bias=None)
        brought += 1
    for slot in slots.values():
        extra = matched[slot.name].extra or {}
        if more_epsilon and "variance" in extra:
            extra = {**extra, "variance": extra["variance"] + np.float32(more_epsilon)}
            matched[slot.name] = replace(matched[slot.name], extra=extra)
    note = f"{brought} biases of convolutions are in the means of the norms that follow them."
    return (note,) if brought else ()
