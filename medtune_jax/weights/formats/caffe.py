"""Reader of Caffe's files: `.caffemodel` in its three forms, and the `.binaryproto` mean image.

Caffe changed its format twice. The layers of a file are in `layers` (V1; V0 is wrapped in it) or in
`layer` (V2); numbers are packed or not, float or double; a shape is four old fields or `shape`.
Memory stays near twice the largest layer plus what is returned: one layer is decoded at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from medtune_jax.errors import UserError
from medtune_jax.weights.formats import caffe_pb2
from medtune_jax.weights.formats.layer import Kind, Layer
from medtune_jax.weights.formats.source import opened, quoted, shaped
from medtune_jax.weights.formats.wire import damage_reported, messages

_V1_LAYERS, _V2_LAYER = 2, 100  # field numbers in NetParameter
_CONVOLUTIONS = {4, "Convolution", "conv"}  # V1's number, V2's and V0's word
_INNER_PRODUCTS = {14, "InnerProduct", "innerproduct"}
_NORMS: set[int | str] = {15, "LRN", "lrn"}
_POOLS: set[int | str] = {17, "Pooling", "pool"}

pb: Any = caffe_pb2  # the generated module declares its messages at run time only


def read(path: str | Path) -> dict[str, Layer]:
    """Read the trained layers of a caffemodel, in the file's order.

    Weights come as (out, in / group, kH, kW) or (out, in), biases as (out,), float32.

    Raises:
        UserError: unreadable, truncated or damaged file, another kind of file, a shape that does
            not fit its numbers, or no trained layer in it.
    """
    layers: dict[str, Layer] = {}
    with opened(path) as file:
        for number, length in messages(file, (_V1_LAYERS, _V2_LAYER), str(path)):
            with damage_reported(str(path)):
                layer = _parse(file.read(length), number, str(path))
            if layer is None:
                continue
            if layer.name in layers:
                raise UserError(f"{path} holds two trained layers named {quoted(layer.name)}.")
            layers[layer.name] = layer
    if not layers:
        raise UserError(
            f"{path} holds no trained layer, so it is not a caffemodel with weights (a prototxt, a "
            "solver state or a mean image are other files)."
        )
    return layers


def norm_before_pool(path: str | Path) -> bool | None:
    """Whether the first LRN comes before the first pooling; None if the file does not say.

    It is all that tells some networks apart: their layers have the same names and shapes.
    """
    with opened(path) as file:
        for number, length in messages(file, (_V1_LAYERS, _V2_LAYER), str(path)):
            with damage_reported(str(path)):
                kind = _type(file.read(length), number)
            if kind in _NORMS | _POOLS:
                return kind in _NORMS
    return None


def read_mean(path: str | Path) -> np.ndarray:
    """Read a mean image (`.binaryproto`) as float32 [height, width, channels], BGR as Caffe has it.

    Raises:
        UserError: unreadable or damaged file, or not one image of three channels.
    """
    with opened(path) as file, damage_reported(str(path)):
        mean = _array(file.read(), f"{path}: the mean image")
    if mean.ndim == 4 and mean.shape[0] == 1:
        mean = mean[0]
    if mean.ndim != 3 or mean.shape[0] != 3:
        raise UserError(f"{path} is not a mean image of three channels: its shape is {mean.shape}.")
    if not np.isfinite(mean).all():
        raise UserError(f"{path}: the mean image holds numbers that are not finite.")
    return np.ascontiguousarray(mean.transpose(1, 2, 0))


def _parse(message: bytes, number: int, path: str) -> Layer | None:
    """One layer message -> Layer, or None for a layer without weights."""
    outer = (pb.V1LayerParameter if number == _V1_LAYERS else pb.LayerParameter).FromString(message)
    del message
    old = number == _V1_LAYERS and outer.HasField("layer")
    record = outer.layer if old else outer
    if not len(record.blobs):
        return None
    name, kind = record.name, _kind(record.type)
    where = f"{path}: layer {quoted(name)}"
    if not name:
        raise UserError(f"{path} holds a trained layer without a name; the file is damaged.")
    settings = dict(_settings_v0(record) if old else _settings(record, kind))
    outputs, transposed = settings.pop("outputs"), settings.pop("transposed")
    blobs = list(record.blobs)
    del outer, record  # each holds a copy of the weights

    arrays = []
    while blobs:
        arrays.append(_array(blobs.pop(0), where))
    if kind == "other":
        extra = {f"blob{i}": blob for i, blob in enumerate(arrays[1:], 1)}
        return Layer(name, kind, arrays[0], extra=extra)
    if len(arrays) > 2:
        raise UserError(f"{where} holds {len(arrays)} arrays instead of weights and bias.")
    weights = _convolution(arrays[0], where) if kind == "convolution" else _matrix(arrays[0], where)
    weights = np.ascontiguousarray(weights.T) if transposed else weights
    bias = arrays[1].reshape(-1) if len(arrays) == 2 else None
    _check(weights, bias, outputs, settings, where)
    return Layer(name, kind, weights, bias, **settings)


def _type(message: bytes, number: int) -> int | str:
    if number == _V2_LAYER:
        return pb.LayerParameter.FromString(message).type
    outer = pb.V1LayerParameter.FromString(message)
    return outer.layer.type if outer.HasField("layer") else outer.type


def _kind(layer_type: int | str) -> Kind:
    if layer_type in _CONVOLUTIONS:
        return "convolution"
    return "inner_product" if layer_type in _INNER_PRODUCTS else "other"


def _settings(record: Any, kind: Kind) -> Iterator[tuple[str, Any]]:
    """What V1 and V2 say about a layer beside its weights."""
    convolution, product = record.convolution_param, record.inner_product_param
    is_convolution = kind == "convolution"
    yield "outputs", (convolution if is_convolution else product).num_output
    yield "transposed", not is_convolution and product.transpose
    if is_convolution and record.HasField("convolution_param"):
        yield "group", convolution.group or 1
        yield "kernel", _pair(convolution, "kernel")
        yield "stride", _pair(convolution, "stride") or (1, 1)


def _pair(parameter: Any, which: str) -> tuple[int, int] | None:
    """(height, width) of `kernel_size` or `stride`: one number, two, or `_h` and `_w`."""
    height, width = getattr(parameter, f"{which}_h"), getattr(parameter, f"{which}_w")
    if height and width:
        return height, width
    sizes = list(parameter.kernel_size if which == "kernel" else parameter.stride)
    return (sizes[0], sizes[-1]) if sizes else None


def _settings_v0(record: Any) -> Iterator[tuple[str, Any]]:
    yield "outputs", record.num_output
    yield "transposed", False
    if record.kernelsize:
        yield "group", record.group or 1
        yield "kernel", (record.kernelsize, record.kernelsize)
        yield "stride", (record.stride or 1,) * 2


def _array(data: bytes, where: str) -> np.ndarray:
    """One blob -> float32 array; packed numbers are read in place, unpacked ones one by one."""
    blob = pb.PackedBlob.FromString(data)
    if blob.HasField("shape"):
        shape = tuple(blob.shape.dim)
    else:
        shape = (blob.num, blob.channels, blob.height, blob.width)
    if not len(blob.data) and not len(blob.double_data):
        loose = pb.UnpackedBlob.FromString(data)
        numbers, dtype = (loose.data, "<f4") if len(loose.data) else (loose.double_data, "<f8")
        return shaped(np.fromiter(numbers, dtype, len(numbers)), shape, where)
    del data  # before the next copy is made
    chunks, dtype = (blob.data, "<f4") if len(blob.data) else (blob.double_data, "<f8")
    packed = chunks[0] if len(chunks) == 1 else b"".join(chunks)
    if len(packed) % np.dtype(dtype).itemsize:
        raise UserError(f"{where} holds a broken number at its end; the file is damaged.")
    return shaped(np.frombuffer(packed, dtype), shape, where)


def _convolution(weights: np.ndarray, where: str) -> np.ndarray:
    if weights.ndim != 4:
        raise UserError(f"{where} is a convolution but its weights have the shape {weights.shape}.")
    return weights


def _matrix(weights: np.ndarray, where: str) -> np.ndarray:
    """(out, in) of an inner product; the old form is 1 x 1 x out x in."""
    if weights.ndim == 4 and weights.shape[:2] == (1, 1):
        return weights[0, 0]
    if weights.ndim != 2:
        raise UserError(
            f"{where} is an inner product but its weights have the shape {weights.shape}."
        )
    return weights


def _check(
    weights: np.ndarray,
    bias: np.ndarray | None,
    outputs: int,
    settings: dict[str, Any],
    where: str,
) -> None:
    """What a layer says about itself agrees with the numbers it holds."""
    out = weights.shape[0]
    if bias is not None and bias.size != out:
        raise UserError(f"{where} has {out} outputs but {bias.size} biases; the file is damaged.")
    if outputs and outputs != out:
        raise UserError(f"{where} declares {outputs} outputs but holds weights for {out}.")
    kernel = settings.get("kernel")
    if kernel and kernel != weights.shape[2:]:
        raise UserError(f"{where} declares a kernel of {kernel} but holds {weights.shape[2:]}.")
    if out % settings.get("group", 1):
        raise UserError(
            f"{where} has {out} outputs, which {settings['group']} groups do not divide."
        )
