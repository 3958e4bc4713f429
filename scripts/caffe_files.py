"""Caffe nets to compare with: a deploy prototxt and a caffemodel with seeded random weights.

The layers are written down from BVLC's and the authors' deploy files, not derived from our
networks, so that a mistake in ours shows. `write` makes the caffemodel in V0, V1 or V2 form.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil, prod
from pathlib import Path
from typing import Any

import numpy as np

from medtune_jax.weights.formats import caffe_pb2

pb: Any = caffe_pb2
V1_TYPES = {
    "Concat": 3,
    "Convolution": 4,
    "Dropout": 6,
    "InnerProduct": 14,
    "LRN": 15,
    "Pooling": 17,
    "ReLU": 18,
    "Softmax": 20,
}
V0_TYPES = {
    "Convolution": "conv",
    "InnerProduct": "innerproduct",
    "LRN": "lrn",
    "Pooling": "pool",
    "ReLU": "relu",
    "Dropout": "dropout",
}


@dataclass
class CaffeLayer:
    name: str
    kind: str
    bottoms: list[str]
    settings: dict[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] = ()
    """Of the weights, empty if it has none."""
    top: str = ""
    """What it writes, if not under its own name."""


@dataclass
class CaffeNet:
    """Layers in order. `at` holds (channels, side) of every layer's output."""

    name: str
    size: int
    layers: list[CaffeLayer] = field(default_factory=list)
    at: dict[str, tuple[int, int]] = field(default_factory=dict)
    stages: dict[str, str] = field(default_factory=dict)
    """Our stage name -> the Caffe layer whose output it is."""

    def __post_init__(self) -> None:
        self.at["data"] = (3, self.size)

    def _add(self, name, kind, bottoms, settings, out, shape=()) -> str:
        self.layers.append(CaffeLayer(name, kind, list(bottoms), settings, shape))
        self.at[name] = out
        return name

    def conv(self, name, x, out, k, s=1, p=0, g=1) -> str:
        channels, side = self.at[x]
        settings = {"num_output": out, "kernel_size": k, "stride": s, "pad": p, "group": g}
        shape = (out, channels // g, k, k)
        after = (out, (side + 2 * p - k) // s + 1)
        self._add(name, "Convolution", [x], settings, after, shape)
        return self._add(f"{name}/relu", "ReLU", [name], {}, after)

    def fc(self, name, x, out, relu=True) -> str:
        channels, side = self.at[x]
        shape = (out, channels * side * side)
        self._add(name, "InnerProduct", [x], {"num_output": out}, (out, 1), shape)
        return self._add(f"{name}/relu", "ReLU", [name], {}, (out, 1)) if relu else name

    def lrn(self, name, x) -> str:
        settings = {"local_size": 5, "alpha": 0.0001, "beta": 0.75}
        return self._add(name, "LRN", [x], settings, self.at[x])

    def pool(self, name, x, k=3, s=2, p=0, how="MAX") -> str:
        channels, side = self.at[x]
        settings = {"pool": how, "kernel_size": k, "stride": s, "pad": p}
        out = ceil((side + 2 * p - k) / s) + 1
        out -= bool(p) and (out - 1) * s >= side + p
        return self._add(name, "Pooling", [x], settings, (channels, out))

    def concat(self, name, xs) -> str:
        out = (sum(self.at[x][0] for x in xs), self.at[xs[0]][1])
        return self._add(name, "Concat", xs, {}, out)

    def prototxt(self) -> str:
        parts = [f'name: "{self.name}"\ninput: "data"\n']
        parts += [f"input_dim: {n}\n" for n in (1, 3, self.size, self.size)]
        parts += [_text(layer) for layer in self.layers]
        return "".join(parts)

    def weights(self, seed: int = 0) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Layer -> weights and bias that keep activations near 1 (MSRA; small positive biases)."""
        generator = np.random.default_rng(seed)
        result = {}
        for layer in self.layers:
            if layer.shape:
                scale = np.float32(np.sqrt(2 / prod(layer.shape[1:])))
                draw = generator.standard_normal(layer.shape, np.float32) * scale
                bias = generator.uniform(-0.1, 0.3, layer.shape[0]).astype(np.float32)
                result[layer.name] = draw, bias
        return result


_PARAMETER = {
    "Convolution": "convolution_param",
    "InnerProduct": "inner_product_param",
    "LRN": "lrn_param",
    "ReLU": "relu_param",
    "BatchNorm": "batch_norm_param",
    "Scale": "scale_param",
    "Pooling": "pooling_param",
}


def _text(layer: CaffeLayer) -> str:
    lines = [f'name: "{layer.name}"', f'type: "{layer.kind}"', f'top: "{layer.top or layer.name}"']
    lines += [f'bottom: "{bottom}"' for bottom in layer.bottoms]
    if layer.settings:
        inner = " ".join(f"{key}: {_word(value)}" for key, value in layer.settings.items())
        lines.append(f"{_PARAMETER[layer.kind]} {{ {inner} }}")
    return "layer {\n  " + "\n  ".join(lines) + "\n}\n"


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def alexnet(caffenet: bool = False) -> CaffeNet:
    net = CaffeNet("CaffeNet" if caffenet else "AlexNet", 227)

    def end(n, x):
        if caffenet:
            return net.lrn(f"norm{n}", net.pool(f"pool{n}", x))
        return net.pool(f"pool{n}", net.lrn(f"norm{n}", x))

    x = net.stages["conv1"] = end(1, net.conv("conv1", "data", 96, 11, s=4))
    x = net.stages["conv2"] = end(2, net.conv("conv2", x, 256, 5, p=2, g=2))
    x = net.stages["conv3"] = net.conv("conv3", x, 384, 3, p=1)
    x = net.stages["conv4"] = net.conv("conv4", x, 384, 3, p=1, g=2)
    x = net.stages["conv5"] = net.pool("pool5", net.conv("conv5", x, 256, 3, p=1, g=2))
    x = net.stages["fc6"] = net.fc("fc6", x, 4096)
    x = net.stages["fc7"] = net.fc("fc7", x, 4096)
    net.stages["fc8"] = net.fc("fc8", x, 1000, relu=False)
    return net


def caffenet() -> CaffeNet:
    return alexnet(caffenet=True)


def vgg16() -> CaffeNet:
    net = CaffeNet("VGG_ILSVRC_16_layers", 224)
    x = "data"
    for block, (width, count) in enumerate([(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)], 1):
        for n in range(1, count + 1):
            x = net.stages[f"conv{block}_{n}"] = net.conv(f"conv{block}_{n}", x, width, 3, p=1)
        x = net.stages[f"conv{block}_{count}"] = net.pool(f"pool{block}", x, k=2, s=2)
    x = net.stages["fc6"] = net.fc("fc6", x, 4096)
    x = net.stages["fc7"] = net.fc("fc7", x, 4096)
    net.stages["fc8"] = net.fc("fc8", x, 1000, relu=False)
    return net


def squeezenet() -> CaffeNet:
    net = CaffeNet("SqueezeNet", 227)

    def fire(n, x, squeeze, expand):
        x = net.conv(f"fire{n}/squeeze1x1", x, squeeze, 1)
        one = net.conv(f"fire{n}/expand1x1", x, expand, 1)
        three = net.conv(f"fire{n}/expand3x3", x, expand, 3, p=1)
        net.stages[f"fire{n}"] = net.concat(f"fire{n}/concat", [one, three])
        return net.stages[f"fire{n}"]

    x = net.stages["conv1"] = net.pool("pool1", net.conv("conv1", "data", 96, 7, s=2))
    x = fire(3, fire(2, x, 16, 64), 16, 64)
    x = net.stages["fire4"] = net.pool("pool4", fire(4, x, 32, 128))
    x = fire(7, fire(6, fire(5, x, 32, 128), 48, 192), 48, 192)
    x = net.stages["fire8"] = net.pool("pool8", fire(8, x, 64, 256))
    x = net.conv("conv10", fire(9, x, 64, 256), 1000, 1)
    net.stages["conv10"] = net.pool("pool10", x, k=13, s=1, how="AVE")
    return net


def googlenet(auxiliary: bool = False) -> CaffeNet:
    net = CaffeNet("GoogleNet", 224)

    def inception(name, x, one, reduce3, three, reduce5, five, pooled):
        at = f"inception_{name}"
        branches = [
            net.conv(f"{at}/1x1", x, one, 1),
            net.conv(f"{at}/3x3", net.conv(f"{at}/3x3_reduce", x, reduce3, 1), three, 3, p=1),
            net.conv(f"{at}/5x5", net.conv(f"{at}/5x5_reduce", x, reduce5, 1), five, 5, p=2),
            net.conv(f"{at}/pool_proj", net.pool(f"{at}/pool", x, 3, 1, 1), pooled, 1),
        ]
        net.stages[at] = net.concat(f"{at}/output", branches)
        return net.stages[at]

    def side(name, x):
        x = net.conv(f"{name}/conv", net.pool(f"{name}/ave_pool", x, 5, 3, how="AVE"), 128, 1)
        net.stages[name] = net.fc(
            f"{name}/classifier", net.fc(f"{name}/fc", x, 1024), 1000, relu=False
        )

    x = net.pool("pool1/3x3_s2", net.conv("conv1/7x7_s2", "data", 64, 7, s=2, p=3))
    x = net.stages["conv1"] = net.lrn("pool1/norm1", x)
    x = net.conv("conv2/3x3", net.conv("conv2/3x3_reduce", x, 64, 1), 192, 3, p=1)
    x = net.stages["conv2"] = net.pool("pool2/3x3_s2", net.lrn("conv2/norm2", x))
    x = inception("3a", x, 64, 96, 128, 16, 32, 32)
    x = inception("3b", x, 128, 128, 192, 32, 96, 64)
    x = net.stages["inception_3b"] = net.pool("pool3/3x3_s2", x)
    x = inception("4a", x, 192, 96, 208, 16, 48, 64)
    if auxiliary:
        side("loss1", x)
    x = inception("4b", x, 160, 112, 224, 24, 64, 64)
    x = inception("4c", x, 128, 128, 256, 24, 64, 64)
    x = inception("4d", x, 112, 144, 288, 32, 64, 64)
    if auxiliary:
        side("loss2", x)
    x = inception("4e", x, 256, 160, 320, 32, 128, 128)
    x = net.stages["inception_4e"] = net.pool("pool4/3x3_s2", x)
    x = inception("5a", x, 256, 160, 320, 32, 128, 128)
    x = inception("5b", x, 384, 192, 384, 48, 128, 128)
    x = net.stages["inception_5b"] = net.pool("pool5/7x7_s1", x, 7, 1, how="AVE")
    net.stages["classifier"] = net.fc("loss3/classifier", x, 1000, relu=False)
    return net


NETS = {
    "alexnet": alexnet,
    "caffenet": caffenet,
    "googlenet": googlenet,
    "squeezenet": squeezenet,
    "vgg16": vgg16,
}


def blob(
    values: np.ndarray, old_shape: bool = True, packed: bool = True, double: bool = False
) -> bytes:
    """One BlobProto. The old shape has four axes, filled with ones from the left."""
    message = pb.PackedBlob() if packed else pb.UnpackedBlob()
    values = values.astype("<f8" if double else "<f4")
    target = message.double_data if double else message.data
    if packed:
        target.append(values.tobytes())
    else:
        target.extend(values.ravel().tolist())
    shape = pb.PackedBlob()
    if old_shape:
        sides = (1,) * (4 - values.ndim) + values.shape
        shape.num, shape.channels, shape.height, shape.width = sides
    else:
        shape.shape.dim.extend(values.shape)
    return shape.SerializeToString() + message.SerializeToString()


def field_bytes(number: int, payload: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def caffemodel(
    layers: list[CaffeLayer],
    weights: dict[str, tuple[np.ndarray, ...]],
    version: int = 1,
    linked: bool = True,
    **blob_settings: bool,
) -> Iterator[bytes]:
    """A caffemodel, layer by layer. `version` is 0, 1 or 2; blob settings as in `blob`.

    linked: whether layers say what they read and write, as Caffe's own files do and those of other writers may not.
    """
    blob_settings.setdefault("old_shape", version < 2)
    yield field_bytes(1, b"net")
    for layer in layers:
        blobs = [blob(values, **blob_settings) for values in weights.get(layer.name, ())]
        message = _message(layer, blobs, version, linked)
        yield field_bytes(100 if version == 2 else 2, message.SerializeToString())


def _message(layer: CaffeLayer, blobs: list[bytes], version: int, linked: bool) -> Any:
    numbers = layer.settings
    if version == 0:
        message = pb.V1LayerParameter()
        if linked:
            message.bottom.extend(layer.bottoms)
            message.top.append(layer.top or layer.name)
        inner = message.layer
        inner.name, inner.type = layer.name, V0_TYPES.get(layer.kind, layer.kind)
        inner.blobs.extend(blobs)
        if layer.kind == "Convolution":
            inner.num_output, inner.kernelsize = numbers["num_output"], numbers["kernel_size"]
            inner.group, inner.stride = numbers.get("group", 1), numbers.get("stride", 1)
        return message
    message = pb.V1LayerParameter() if version == 1 else pb.LayerParameter()
    message.name = layer.name
    if linked:
        message.bottom.extend(layer.bottoms)
        message.top.append(layer.top or layer.name)
    message.type = V1_TYPES[layer.kind] if version == 1 else layer.kind
    message.blobs.extend(blobs)
    if layer.kind == "Convolution":
        parameter = message.convolution_param
        parameter.num_output = numbers["num_output"]
        parameter.kernel_size.append(numbers["kernel_size"])
        parameter.stride.append(numbers.get("stride", 1))
        parameter.group = numbers.get("group", 1)
    elif layer.kind == "InnerProduct":
        message.inner_product_param.num_output = numbers["num_output"]
    elif layer.kind in _PARAMETER and version == 2 and layer.kind not in ("LRN", "Pooling"):
        parameter = getattr(message, _PARAMETER[layer.kind])
        for key, value in numbers.items():
            if hasattr(parameter, key):
                setattr(parameter, key, value)
    return message


def write(
    net: CaffeNet, folder: Path, version: int = 1, seed: int = 0, **settings: bool
) -> tuple[Path, Path]:
    """Write NAME.prototxt and NAME.caffemodel with random weights; returns both paths."""
    prototxt, model = folder / f"{net.name}.prototxt", folder / f"{net.name}.caffemodel"
    prototxt.write_text(net.prototxt())
    weights = net.weights(seed)
    with model.open("wb") as file:
        file.writelines(caffemodel(net.layers, weights, version, **settings))
    return prototxt, model
