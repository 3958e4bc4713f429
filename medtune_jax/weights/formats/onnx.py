"""Reader of ONNX files: the weights of a graph's convolutions and inner products, in graph order.

Exporters name weights as they like (`conv1_w_0`, `net0_conv0_weight`, `features.0.weight`) and may
or may not list them among the graph's inputs. So the graph is followed instead: each Conv, Gemm or
MatMul node leads to its weights, and the layer's name is the weight's name less its ending.
"""

from __future__ import annotations

import re
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from medtune_jax.errors import UserError
from medtune_jax.weights.formats import onnx_pb2
from medtune_jax.weights.formats.flow import Flow, Role
from medtune_jax.weights.formats.layer import Layer
from medtune_jax.weights.formats.source import named, opened, quoted, shaped
from medtune_jax.weights.formats.wire import damage_reported

_FLOAT, _FLOAT16, _DOUBLE, _BFLOAT16 = 1, 10, 11, 16  # TensorProto.DataType
_RAW_TYPES = {_FLOAT: "<f4", _FLOAT16: "<f2", _DOUBLE: "<f8", _BFLOAT16: "<u2"}
_EXTERNAL = 1  # TensorProto.DataLocation
# What every network may have between its trained layers, and what merely moves numbers or shapes about.
_PLAIN = {
    *("Relu", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "LRN"),
    *(
        "Concat",
        "Dropout",
        "Softmax",
        "LogSoftmax",
        "ArgMax",
        "Constant",
        "ConstantOfShape",
        "Cast",
    ),
    *(
        "Identity",
        "Shape",
        "Flatten",
        "Reshape",
        "Squeeze",
        "Unsqueeze",
        "Transpose",
        "Gather",
        "Slice",
        "Pad",
    ),
}
_ARITHMETIC = ("Add", "Sub", "Mul", "Div")
_ENDING = re.compile(r"(_w_0|_w|[._/]weights?|[._/]kernel)$")

pb: Any = onnx_pb2  # the generated module declares its messages at run time only


def read(path: str | Path) -> dict[str, Layer]:
    """Read the trained layers of an ONNX file, and the nodes of kinds unknown here, in graph order.

    Weights come as (out, in / group, kH, kW) or (out, in) whatever `transB` says, biases as (out,).

    Raises:
        UserError: unreadable or damaged file, weights kept outside the file, a number type that is
            not floating point, or no layer with weights in it.
    """
    with opened(path) as file, damage_reported(str(path)):
        graph = pb.ModelProto.FromString(file.read()).graph
        layers = _Graph(graph, str(path)).layers()
    if not any(layer.weights.size for layer in layers.values()):
        raise UserError(
            f"{path} holds no layer with weights, so it is not an ONNX model to convert."
        )
    return layers


def norm_before_pool(path: str | Path) -> bool | None:
    """Whether the first LRN node comes before the first pooling; None if there is neither."""
    with opened(path) as file, damage_reported(str(path)):
        for node in pb.ModelProto.FromString(file.read()).graph.node:
            if node.op_type in ("LRN", "MaxPool", "AveragePool"):
                return node.op_type == "LRN"
    return None


class _Graph:
    """Looks up what a node's inputs are; every initialiser is decoded once and then let go."""

    def __init__(self, graph: Any, path: str) -> None:
        self.path = path
        self.nodes = graph.node
        self.tensors = {tensor.name: tensor for tensor in graph.initializer}
        self.users: dict[str, Any] = {}
        self.makers = {name: node.op_type for node in graph.node for name in node.output}
        for node in graph.node:
            attributes = _attributes(node)
            if node.op_type == "Constant" and "value" in attributes and node.output:
                self.tensors[node.output[0]] = attributes["value"].t
            elif node.op_type == "Identity" and node.input and node.output:
                self._alias(node.output[0], node.input[0])
            for name in node.input:
                self.users.setdefault(name, node)

    def _alias(self, new: str, old: str) -> None:
        if old in self.tensors:
            self.tensors[new] = self.tensors[old]

    def layers(self) -> dict[str, Layer]:
        readers = {
            "Conv": self._convolution,
            "Gemm": self._gemm,
            "MatMul": self._matmul,
            "BatchNormalization": self._batch_norm,
        }
        flow, layers = Flow(), dict[str, Layer]()
        for node in self.nodes:
            trained = node.op_type in readers and self._has_weights(node)
            plain = not trained and self._is_plain(node)
            layer = readers[node.op_type](node) if trained else _foreign(node)
            inputs = [name for name in node.input if name and name not in self.tensors]
            flow.add(layer.name, inputs, node.output, _role(layer, plain))
            if plain:
                continue
            if layer.name in layers:
                raise UserError(f"{self.path} uses the weights of {quoted(layer.name)} twice.")
            layers[layer.name] = layer
        return {
            named(name, self.path): replace(
                layer, after=flow.after(name), follows=flow.follows(name)
            )
            for name, layer in layers.items()
        }

    def _is_plain(self, node: Any) -> bool:
        """Whether any network may have the node: a MatMul's bias and sums with one number count in."""
        if node.op_type not in _ARITHMETIC:
            return node.op_type in _PLAIN
        stored = [name for name in node.input if name in self.tensors]
        if any(prod(self.tensors[name].dims) == 1 for name in stored):
            return True
        makers = [self.makers.get(name, "") for name in node.input if name not in self.tensors]
        return node.op_type == "Add" and len(stored) == 1 and makers == ["MatMul"]

    def _has_weights(self, node: Any) -> bool:
        return len(node.input) > 1 and node.input[1] in self.tensors

    def _name(self, node: Any) -> str:
        return _ENDING.sub("", named(node.input[1], self.path)) or named(node.name, self.path)

    def _array(self, name: str) -> np.ndarray:
        if name not in self.tensors:
            raise UserError(
                f"{self.path}: {quoted(name)} is computed by the graph, not stored in the file."
            )
        return _tensor(self.tensors[name], f"{self.path}: {quoted(name)}")

    def _optional(self, node: Any, position: int) -> np.ndarray | None:
        present = len(node.input) > position and node.input[position]
        return self._array(node.input[position]).reshape(-1) if present else None

    def _convolution(self, node: Any) -> Layer:
        weights = self._array(node.input[1])
        if weights.ndim != 4:
            raise UserError(
                f"{self.path}: the convolution {quoted(node.input[1])} has the shape "
                f"{weights.shape} instead of (out, in, height, width)."
            )
        attributes = _attributes(node)
        return Layer(
            self._name(node),
            "convolution",
            weights,
            self._bias(node, weights.shape[0], self._optional(node, 2)),
            group=attributes["group"].i if "group" in attributes else 1,
            kernel=(weights.shape[2], weights.shape[3]),
            stride=_pair(attributes.get("strides")),
        )

    def _gemm(self, node: Any) -> Layer:
        """y = alpha x W (+ beta b); W is stored (in, out) unless transB."""
        attributes = _attributes(node)
        weights = self._matrix(node)
        transposed = "transB" in attributes and attributes["transB"].i
        weights = weights if transposed else np.ascontiguousarray(weights.T)
        bias = self._optional(node, 2)
        alpha = attributes["alpha"].f if "alpha" in attributes else 1.0
        beta = attributes["beta"].f if "beta" in attributes else 1.0
        weights = weights if alpha == 1 else weights * np.float32(alpha)
        bias = bias if bias is None or beta == 1 else bias * np.float32(beta)
        bias = self._bias(node, weights.shape[0], bias)
        return Layer(self._name(node), "inner_product", weights, bias)

    def _matmul(self, node: Any) -> Layer:
        """y = x W; the bias, if any, is a following Add."""
        weights = np.ascontiguousarray(self._matrix(node).T)
        after = self.users.get(node.output[0]) if node.output else None
        bias = None
        if after is not None and after.op_type == "Add":
            stored = [name for name in after.input if name in self.tensors]
            bias = self._array(stored[0]).reshape(-1) if stored else None
        bias = self._bias(node, weights.shape[0], bias)
        return Layer(self._name(node), "inner_product", weights, bias)

    def _batch_norm(self, node: Any) -> Layer:
        if len(node.input) < 5:
            raise UserError(
                f"{self.path}: the batch norm {quoted(node.name)} lacks its statistics."
            )
        attributes = _attributes(node)
        epsilon = attributes["epsilon"].f if "epsilon" in attributes else 1e-5
        extra = {
            "mean": self._array(node.input[3]).reshape(-1),
            "variance": self._array(node.input[4]).reshape(-1),
            "epsilon": np.asarray(epsilon, np.float32),
        }
        weights = self._array(node.input[1]).reshape(-1)
        return Layer(self._name(node), "batch_norm", weights, self._optional(node, 2), extra=extra)

    def _matrix(self, node: Any) -> np.ndarray:
        weights = self._array(node.input[1])
        if weights.ndim != 2:
            raise UserError(
                f"{self.path}: the matrix {quoted(node.input[1])} has the shape "
                f"{weights.shape} instead of two axes."
            )
        return weights

    def _bias(self, node: Any, outputs: int, bias: np.ndarray | None) -> np.ndarray | None:
        if bias is not None and bias.size != outputs:
            raise UserError(
                f"{self.path}: {quoted(node.input[1])} has {outputs} outputs but "
                f"{bias.size} biases."
            )
        return bias


def _foreign(node: Any) -> Layer:
    """A node that holds no weights of a known kind."""
    name = node.name or (node.output[0] if node.output else "")
    return Layer(name or node.op_type, "other", np.zeros(0, np.float32), type=str(node.op_type))


def _role(layer: Layer, plain: bool) -> Role:
    if plain:
        return "plain"
    return {"batch_norm": "norm", "other": "foreign"}.get(layer.kind, "linear")  # type: ignore[return-value]


def _attributes(node: Any) -> dict[str, Any]:
    return {attribute.name: attribute for attribute in node.attribute}


def _pair(attribute: Any) -> tuple[int, int]:
    sizes = list(attribute.ints) if attribute is not None else []
    return (sizes[0], sizes[1]) if len(sizes) == 2 else (1, 1)


def _tensor(tensor: Any, where: str) -> np.ndarray:
    """A tensor as float32; raw bytes and packed typed fields are read in place."""
    if tensor.data_location == _EXTERNAL:
        raise UserError(
            f"{where} is kept in another file beside the model; save the model as one file "
            "(onnx.save(..., save_as_external_data=False))."
        )
    kind = tensor.data_type
    if kind not in _RAW_TYPES:
        raise UserError(f"{where} is not a floating point tensor (ONNX type {kind}).")
    typed = {_FLOAT: tensor.float_data, _DOUBLE: tensor.double_data}.get(kind, [])
    raw = tensor.raw_data if tensor.HasField("raw_data") else b"".join(typed)
    if len(raw) % np.dtype(_RAW_TYPES[kind]).itemsize:
        raise UserError(f"{where} holds a broken number at its end; the file is damaged.")
    values = np.frombuffer(raw, _RAW_TYPES[kind])
    if kind == _BFLOAT16:
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return shaped(values, tuple(tensor.dims) or (1,), where)
