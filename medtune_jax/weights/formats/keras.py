"""Reader of Keras' `.h5` files, weights alone or whole models, as keras-applications releases them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from medtune_jax.errors import UserError
from medtune_jax.weights.formats.layer import Layer, kind_of
from medtune_jax.weights.formats.source import named, quoted, shaped

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MOST = 2**32  # bytes unpacked
_HDF5 = "an HDF5 file (a snapshot of Caffe's HDF5 form, or Keras weights)"
_ELSE = "of Caffe take the .caffemodel in its binary form (snapshot_format: BINARYPROTO)"


def is_hdf5(path: str | Path) -> bool:
    """Whether a file begins as HDF5 does."""
    try:
        with Path(path).open("rb") as file:
            return file.read(len(_SIGNATURE)) == _SIGNATURE
    except OSError:
        return False


def read(path: str | Path) -> dict[str, Layer]:
    """The layers of a file in the order of its `layer_names`, each with the arrays of its `weight_names`: a kernel and
    maybe a bias, or gamma, beta, mean and variance.

    The first inner product after a convolution reads a map that Keras flattens as H,W,C; here it is brought to C,H,W.

    Raises UserError: h5py is not installed, a damaged file, another program's, or an array that is no layer's.
    """
    try:
        import h5py
    except ImportError:
        raise UserError(
            f"{path} is {_HDF5}: to read Keras weights, pip install 'medtune-jax[keras]'; {_ELSE}."
        ) from None
    layers: dict[str, Layer] = {}
    channels = 0
    try:
        with h5py.File(path, "r") as file:
            for name, arrays in _arrays(file, path):
                layer = _layer(name, arrays, channels, path)
                # What an inner product puts out is no map. A norm may read several maps joined into one.
                if layer.kind != "batch_norm" or channels:
                    channels = 0 if layer.kind == "inner_product" else len(layer.weights)
                layers[name] = layer
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is {_HDF5} that is damaged or truncated; fetch it again."
        ) from error
    return layers


def _arrays(file: Any, path: str | Path) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """(layer, {the last part of an array's name: array}) of every layer that has arrays."""
    root = file.get("model_weights", file)
    if "layer_names" not in root.attrs:
        raise UserError(
            f"{path} is an HDF5 file without Keras' 'layer_names', so it is not of Keras 1 or 2: of Keras 3 save the "
            f"model as .h5, {_ELSE}."
        )
    left = _MOST
    for name in map(_text, root.attrs["layer_names"]):
        group = root[named(name, str(path))]
        keys = [_text(key) for key in group.attrs["weight_names"]]
        left -= sum(group[key].nbytes for key in keys)
        if left < 0:
            raise UserError(f"{path} claims to unpack to more than 4 GiB; fetch it again.")
        if keys:
            yield name, {_last(key): _array(group[key], f"{path}: {quoted(key)}") for key in keys}


def _layer(name: str, arrays: dict[str, np.ndarray], channels: int, path: str | Path) -> Layer:
    """channels: of the map that an inner product may read; 0: it reads none."""
    if "gamma" in arrays or "moving_mean" in arrays:
        missing = [
            k for k in ("gamma", "beta", "moving_mean", "moving_variance") if k not in arrays
        ]
        if missing:
            raise UserError(f"{path}: the batch norm {quoted(name)} lacks {missing[0]}.")
        extra = {"mean": arrays["moving_mean"], "variance": arrays["moving_variance"]}
        return Layer(name, "batch_norm", arrays["gamma"], arrays["beta"], extra=extra)
    kernel, *rest = arrays.values()
    bias = rest[0] if rest else None
    if kernel.ndim not in (2, 4) or len(rest) > 1 or (bias is not None and bias.ndim != 1):
        raise UserError(
            f"{path}: the arrays of {quoted(name)} are no convolution's, inner product's or batch norm's."
        )
    if kernel.ndim == 4:
        # Keras 3 calls a depthwise kernel, H x W x channels x 1, a kernel like any other.
        depthwise = next(iter(arrays)).startswith("depthwise") or kernel.shape[3] == 1
        weights = kernel.transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))
    else:
        weights = kernel.T
        if channels and weights.shape[1] % channels == 0:
            maps = weights.reshape(len(weights), -1, channels)
            weights = maps.transpose(0, 2, 1).reshape(weights.shape)
    return Layer(name, kind_of(weights), np.ascontiguousarray(weights), bias)


def _array(dataset: Any, where: str) -> np.ndarray:
    values = np.asarray(dataset[()])
    return shaped(values, values.shape, where)


def _last(key: str) -> str:
    """`block1_conv1/kernel:0` -> `kernel`."""
    return key.rpartition("/")[2].partition(":")[0]


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
