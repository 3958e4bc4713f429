"""The layers of a network that want weights, in the order in which the network defines them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import isqrt

from flax.traverse_util import flatten_dict

from medtune_jax.networks import Network


@dataclass(frozen=True)
class Slot:
    """One layer of a network that wants weights.

    path: the stage and, where it has several layers, which.
    kinds: the names of its parameters, the first of which `shape` is of.
    shape: of our kernel, (kH, kW, in / group, out) or (in, out); of a norm's scale, (channels,); of an embedding.
    flattened: (C, H, W) of the map that a dense layer flattens, None if it has no positions.
    """

    path: tuple[str, ...]
    kinds: tuple[str, ...]
    shape: tuple[int, ...]
    flattened: tuple[int, int, int] | None = None
    auxiliary: bool = False

    @property
    def stage(self) -> str:
        return self.path[0]

    @property
    def name(self) -> str:
        return "/".join(self.path)

    @property
    def trained(self) -> bool:
        """Whether it is a convolution or an inner product."""
        return self.kinds[0] == "kernel"

    @property
    def source_shape(self) -> tuple[int, ...]:
        """The shape in the layout of Caffe, ONNX and PyTorch."""
        if not self.trained:
            return self.shape
        if len(self.shape) == 2:
            return self.shape[::-1]
        height, width, inputs, outputs = self.shape
        return outputs, inputs, height, width


@lru_cache(maxsize=32)
def slots(network: Network) -> tuple[Slot, ...]:
    """The network's layers, auxiliary heads last."""
    inputs = {name: shape for name, (_, shape) in network.inputs(auxiliary=True).items()}
    result: list[Slot] = []
    for path, leaves in _layers(network).items():
        stage, (kind, *_) = path[0], leaves
        before = result[-1] if result and result[-1].stage == stage else None
        shape = leaves[kind]
        flattened = _flattened(shape, inputs[stage], before) if kind == "kernel" else None
        result.append(Slot(path, tuple(leaves), shape, flattened, stage not in network.names))
    return tuple(result)


def _layers(network: Network) -> dict[tuple[str, ...], dict[str, tuple[int, ...]]]:
    """Layer -> name of each parameter -> shape, in the order in which the network defines them."""
    layers: dict[tuple[str, ...], dict[str, tuple[int, ...]]] = {}
    for (*path, kind), leaf in flatten_dict(network.abstract_params(auxiliary=True)).items():
        layers.setdefault(tuple(path), {})[kind] = leaf.shape
    return layers


def _flattened(
    kernel: tuple[int, ...], stage_input: tuple[int, ...], before: Slot | None
) -> tuple[int, int, int] | None:
    """The map under a dense kernel: its stage's input or the convolution's output before it."""
    if len(kernel) != 2:
        return None
    if before is not None and len(before.shape) == 4:
        side = isqrt(kernel[0] // before.shape[-1])
        return before.shape[-1], side, side
    if before is None and len(stage_input) == 3:
        height, width, channels = stage_input
        return channels, height, width
    return None
