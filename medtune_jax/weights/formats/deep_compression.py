"""Reader of Deep Compression files: pruned, 8-bit coded convolution weights (Han et al., 2016).

The file holds no names and no shapes, so the caller gives both, in the order of the prototxt. All
numbers are little endian::

    one uint32 a layer            n, how many weights are stored
    then, layer after layer
        256 float32               codebook; entry 0 is 0.0
        out float32               bias
        n uint8                   codes
        ceil(n / 2) bytes         4-bit gaps, low nibble first

Stored weight i lies at position sum(gap[:i + 1] + 1) - 1 of the flattened (out, in, kH, kW)
weights; every other weight is 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path

import numpy as np

from medtune_jax.errors import UserError
from medtune_jax.weights.formats.layer import Layer, kind_of
from medtune_jax.weights.formats.source import opened

_CODES = 256


def read(path: str | Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Layer]:
    """Read a Deep Compression file.

    Args:
        shapes: layer name -> weight shape (out, in, kH, kW), in the file's (prototxt's) order.

    Returns:
        Layer name -> `Layer` with dense float32 weights and bias, in the same order.

    Raises:
        UserError: the file cannot be read, is shorter or longer than these shapes ask for, or
            places a weight outside its layer.
    """
    with opened(path) as file:
        cursor = _Cursor(file.read(), str(path))
    counts = cursor.take(np.dtype("<u4"), len(shapes), "the table of stored weights")
    layers = {
        name: _decode_layer(cursor, name, tuple(shape), int(count))
        for (name, shape), count in zip(shapes.items(), counts, strict=True)
    }
    if cursor.left:
        raise UserError(
            f"{path}: {cursor.left} bytes are left after the last layer, so this is not a Deep "
            f"Compression file of a network with these {len(shapes)} layers."
        )
    return layers


def _decode_layer(cursor: _Cursor, name: str, shape: tuple[int, ...], count: int) -> Layer:
    size = prod(shape)
    if count > size:
        raise UserError(
            f"{cursor.where}: layer {name!r} stores {count} weights but its shape {shape} has room "
            f"for {size}; the file is damaged or belongs to another network."
        )
    codebook = cursor.take(np.dtype("<f4"), _CODES, f"the codebook of layer {name!r}")
    bias = cursor.take(np.dtype("<f4"), shape[0], f"the bias of layer {name!r}")
    codes = cursor.take(np.dtype("u1"), count, f"the codes of layer {name!r}")
    nibbles = cursor.take(np.dtype("u1"), (count + 1) // 2, f"the gaps of layer {name!r}")

    gaps = np.stack([nibbles & 15, nibbles >> 4], axis=-1).reshape(-1)[:count]
    positions = np.cumsum(gaps.astype(np.int64) + 1) - 1
    if count and positions[-1] >= size:
        raise UserError(
            f"{cursor.where}: layer {name!r} places a weight at position {positions[-1]} of "
            f"{size}; the file is damaged or belongs to another network."
        )
    if not (np.isfinite(codebook).all() and np.isfinite(bias).all()):
        raise UserError(f"{cursor.where}: layer {name!r} holds numbers that are not finite.")
    weights = np.zeros(size, np.float32)
    weights[positions] = codebook[codes]
    weights = weights.reshape(shape)
    return Layer(name, kind_of(weights), weights, bias.astype(np.float32))


class _Cursor:
    """Reads arrays one after another and says where the file ended too early."""

    def __init__(self, data: bytes, where: str) -> None:
        self.data, self.where, self.at = data, where, 0

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def take(self, dtype: np.dtype, count: int, what: str) -> np.ndarray:
        if count * dtype.itemsize > self.left:
            raise UserError(
                f"{self.where}: the file ends inside {what}; it is truncated or not a Deep "
                "Compression file of this network, so fetch it again."
            )
        array = np.frombuffer(self.data, dtype, count, self.at)
        self.at += count * dtype.itemsize
        return array
