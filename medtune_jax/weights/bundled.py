"""The ImageNet weights that come with the package: SqueezeNet 1.0, Deep Compression form (BSD licence beside it)."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from medtune_jax import networks
from medtune_jax.weights.checkpoint import Checkpoint
from medtune_jax.weights.formats import deep_compression

_FILE = files("medtune_jax.weights") / "data" / "squeezenet" / "compressed_SqueezeNet.net"
_SOURCE = "SqueezeNet 1.0 by its authors (Deep Compression release), ImageNet ILSVRC-2012"
_LAYER_ORDER = ("squeeze1x1", "expand1x1", "expand3x3")
BUNDLED = ("squeezenet",)


@cache
def squeezenet() -> Checkpoint:
    """SqueezeNet's weights, decoded once a process (about 10 ms)."""
    network = networks.get("squeezenet")
    data = _FILE.read_bytes()
    kernels = {
        path[:-1]: leaf.shape
        for path, leaf in flatten_dict(network.abstract_params()).items()
        if path[-1] == "kernel"
    }
    ordered = sorted(kernels, key=lambda path: _file_position(network.names, path))
    shapes = {"/".join(path): _caffe_shape(kernels[path]) for path in ordered}
    layers = deep_compression.decode(data, shapes)
    flat: dict[tuple[str, ...], np.ndarray | None] = {}
    for path in ordered:
        layer = layers["/".join(path)]
        flat[(*path, "kernel")] = layer.weights.transpose(2, 3, 1, 0)
        flat[(*path, "bias")] = layer.bias
    digest = hashlib.sha256(data).hexdigest()
    return Checkpoint(
        network="squeezenet",
        params=unflatten_dict(flat),
        preprocessing=network.preprocessing,
        provenance={"source": _SOURCE, "sha256": digest, "licence": "BSD-2-Clause"},
        classes=network.classes,
    )


def _file_position(stages: tuple[str, ...], path: tuple[str, ...]) -> tuple[int, int]:
    layer = _LAYER_ORDER.index(path[1]) if len(path) > 1 else 0
    return stages.index(path[0]), layer


def _caffe_shape(kernel: tuple[int, ...]) -> tuple[int, ...]:
    height, width, inputs, outputs = kernel
    return outputs, inputs, height, width
