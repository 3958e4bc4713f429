"""Reader of Caffe's files: `.caffemodel` in its three forms, and the `.binaryproto` mean image.

Caffe changed its format twice. The layers of a file are in `layers` (V1; V0 is wrapped in it) or in
`layer` (V2); numbers are packed or not, float or double; a shape is four old fields or `shape`.
Memory stays near twice the largest layer plus what is returned: one layer is decoded at a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medtune_jax.errors import UserError
from medtune_jax.weights.formats import caffe_pb2
from medtune_jax.weights.formats.flow import Flow, Role
from medtune_jax.weights.formats.layer import Kind, Layer
from medtune_jax.weights.formats.source import named, opened, quoted, shaped
from medtune_jax.weights.formats.wire import damage_reported, messages

_V1_LAYERS, _V2_LAYER = 2, 100  # field numbers in NetParameter
_OLD_TYPES: dict[int | str, str] = {  # V1's numbers and V0's words -> V2's words
    **{1: "Accuracy", 2: "BNLL", 3: "Concat", 4: "Convolution", 5: "Data", 6: "Dropout"},
    **{7: "EuclideanLoss", 8: "Flatten", 9: "HDF5Data", 10: "HDF5Output", 11: "Im2col"},
    **{12: "ImageData", 13: "InfogainLoss", 14: "InnerProduct", 15: "LRN"},
    **{16: "MultinomialLogisticLoss", 17: "Pooling", 18: "ReLU", 19: "Sigmoid", 20: "Softmax"},
    **{21: "SoftmaxWithLoss", 22: "Split", 23: "TanH", 24: "WindowData", 25: "Eltwise"},
    **{26: "Power", 27: "SigmoidCrossEntropyLoss", 28: "HingeLoss", 29: "MemoryData"},
    **{30: "ArgMax", 31: "Threshold", 32: "DummyData", 33: "Slice", 34: "MVN", 35: "AbsVal"},
    **{36: "Silence", 37: "ContrastiveLoss", 38: "Exp", 39: "Deconvolution"},
    **{"conv": "Convolution", "innerproduct": "InnerProduct", "relu": "ReLU", "pool": "Pooling"},
    **{"lrn": "LRN", "dropout": "Dropout", "concat": "Concat", "softmax": "Softmax"},
    **{"flatten": "Flatten", "split": "Split", "padding": "Padding", "softmax_loss": "Loss"},
}
_PLAIN = re.compile(  # what every network may have between its trained layers, or after them
    "ReLU|Pooling|LRN|Concat|Dropout|Softmax|Split|Flatten|Reshape|Silence|Padding|Input|Accuracy|ArgMax"
    "|.*Data|.*Output|.*Loss"
)
_TRAINED = ("Convolution", "InnerProduct")
_CHAIN = ""  # the blob of layers that do not say what they read: each reads the one before it in the file

pb: Any = caffe_pb2  # the generated module declares its messages at run time only


def read(path: str | Path) -> dict[str, Layer]:
    """Read the trained layers of a caffemodel, and those of kinds unknown here, in the file's order.

    Weights come as (out, in / group, kH, kW) or (out, in), biases as (out,), float32.

    Raises:
        UserError: unreadable, truncated or damaged file, another kind of file, a shape that does
            not fit its numbers, a name that is not text, or no trained layer in it.
    """
    layers: dict[str, Layer] = {}
    flow = Flow()
    with opened(path) as file:
        for number, length in messages(file, (_V1_LAYERS, _V2_LAYER), str(path)):
            with damage_reported(str(path)):
                layer = _parse(file.read(length), number, str(path), flow)
            if layer is None:
                continue
            if layer.name in layers:
                raise UserError(f"{path} holds two trained layers named {quoted(layer.name)}.")
            layers[layer.name] = layer
    if not any(layer.weights.size for layer in layers.values()):
        raise UserError(
            f"{path} holds no trained layer, so it is not a caffemodel with weights (a prototxt, a "
            "solver state or a mean image are other files)."
        )
    return {
        name: replace(layer, after=flow.after(name), follows=flow.follows(name))
        for name, layer in layers.items()
    }


def norm_before_pool(path: str | Path) -> bool | None:
    """Whether the first LRN comes before the first pooling; None if the file does not say.

    It is all that tells some networks apart: their layers have the same names and shapes.
    """
    with opened(path) as file:
        for number, length in messages(file, (_V1_LAYERS, _V2_LAYER), str(path)):
            with damage_reported(str(path)):
                kind = _type(file.read(length), number)
            if kind in ("LRN", "Pooling"):
                return kind == "LRN"
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


def _parse(message: bytes, number: int, path: str, flow: Flow) -> Layer | None:
    """One layer message -> Layer, or None for a layer that any network may have and that has no weights."""
    outer = (pb.V1LayerParameter if number == _V1_LAYERS else pb.LayerParameter).FromString(message)
    del message
    old = number == _V1_LAYERS and outer.HasField("layer")
    record = outer.layer if old else outer
    name, type_ = named(record.name, path), _type_of(record)
    where = f"{path}: layer {quoted(name)}"
    if len(record.blobs) and not name:
        raise UserError(f"{path} holds a trained layer without a name; the file is damaged.")
    kind = _kind(record, type_) if len(record.blobs) else "other"
    inputs, outputs = list(outer.bottom), list(outer.top)
    if not inputs and not outputs:
        inputs = outputs = [_CHAIN]
    source = not inputs and not len(record.blobs)  # of data, whatever it calls itself
    plain = source or (not len(record.blobs) and _is_plain(record, type_))
    roles: dict[Kind, Role] = {"batch_norm": "norm", "other": "plain" if plain else "foreign"}
    flow.add(name, inputs, outputs, roles.get(kind, "linear"))
    if plain or (type_ in _TRAINED and not len(record.blobs)):
        return None
    if not len(record.blobs):
        return Layer(name, kind, np.zeros(0, np.float32), type=_described(record, type_))
    if kind in ("batch_norm", "other"):
        return _unlike_a_convolution(record, kind, type_, where)
    settings = dict(_settings_v0(record) if old else _settings(record, kind))
    declared, transposed = settings.pop("outputs"), settings.pop("transposed")
    blobs = list(record.blobs)
    del outer, record  # each holds a copy of the weights

    arrays = []
    while blobs:
        arrays.append(_array(blobs.pop(0), where))
    if len(arrays) > 2:
        raise UserError(f"{where} holds {len(arrays)} arrays instead of weights and bias.")
    weights = _convolution(arrays[0], where) if kind == "convolution" else _matrix(arrays[0], where)
    weights = np.ascontiguousarray(weights.T) if transposed else weights
    bias = arrays[1].reshape(-1) if len(arrays) == 2 else None
    _check(weights, bias, declared, settings, where)
    return Layer(name, kind, weights, bias, type=type_, **settings)


def _unlike_a_convolution(record: Any, kind: Kind, type_: str, where: str) -> Layer:
    """Batch norms and scales, and the trained layers of kinds that no network here has."""
    first, *more = (_array(blob, where) for blob in record.blobs)
    if kind == "other":
        extra = {f"blob{i}": blob for i, blob in enumerate(more, 1)}
        return Layer(record.name, kind, first, extra=extra, type=_described(record, type_))
    channels = first.size
    zeros, ones = np.zeros(channels, np.float32), np.ones(channels, np.float32)
    if type_ == "Scale":
        bias = more[0].reshape(-1) if more else None
        extra = {"mean": zeros, "variance": ones, "epsilon": np.zeros((), np.float32)}
        return Layer(record.name, kind, first.reshape(-1), bias, extra=extra, type=type_)
    if [blob.size for blob in more] != [channels, 1]:
        raise UserError(
            f"{where} is a BatchNorm but does not hold a mean, a variance and a factor of the moving averages."
        )
    # The sums of the moving averages and of their weights, as Caffe's batch_norm_layer.cpp divides them.
    factor = float(more[1].reshape(-1)[0])
    factor = 1 / factor if factor else 0.0
    extra = {
        "mean": first.reshape(-1).astype(np.float64) * factor,
        "variance": more[0].reshape(-1).astype(np.float64) * factor,
        "epsilon": np.asarray(record.batch_norm_param.eps, np.float32),
    }
    return Layer(record.name, kind, ones, extra=extra, type=type_)


def _type(message: bytes, number: int) -> str:
    if number == _V2_LAYER:
        return _type_of(pb.LayerParameter.FromString(message))
    outer = pb.V1LayerParameter.FromString(message)
    return _type_of(outer.layer if outer.HasField("layer") else outer)


def _type_of(record: Any) -> str:
    """V2's word for a layer's type, whatever the form."""
    return _OLD_TYPES.get(record.type) or str(record.type)


def _kind(record: Any, type_: str) -> Kind:
    """What a layer with weights is. A norm that this reader could not fold exactly is ``other``."""
    if type_ == "Convolution":
        return "convolution"
    if type_ == "InnerProduct":
        return "inner_product"
    if type_ == "BatchNorm":
        return "other" if _by_batch(record) else "batch_norm"
    by_channel = type_ == "Scale" and (record.scale_param.axis, record.scale_param.num_axes) == (
        1,
        1,
    )
    return "batch_norm" if by_channel and len(record.blobs) <= 2 else "other"


def _by_batch(record: Any) -> bool:
    norm = record.batch_norm_param
    return norm.HasField("use_global_stats") and not norm.use_global_stats


def _is_plain(record: Any, type_: str) -> bool:
    leaky = type_ == "ReLU" and hasattr(record, "relu_param") and record.relu_param.negative_slope
    return bool(_PLAIN.fullmatch(type_)) and not leaky


def _described(record: Any, type_: str) -> str:
    """A layer's type and what about it is unusual."""
    if type_ == "BatchNorm" and _by_batch(record):
        return "BatchNorm with use_global_stats: false"
    if type_ == "ReLU":
        return f"ReLU with a negative slope of {record.relu_param.negative_slope:g}"
    return type_


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
