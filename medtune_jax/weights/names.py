"""What others call the layers of our networks, and in which order they list them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import isqrt

from flax.traverse_util import flatten_dict

from medtune_jax import networks
from medtune_jax.networks import Network, Preprocessing

_WITHIN_STAGE = (
    *("squeeze1x1", "expand1x1", "expand3x3"),
    *("1x1", "3x3_reduce", "3x3", "5x5_reduce", "5x5", "pool_proj"),
    *("conv", "fc", "classifier"),
)
"""The order of parallel layers in every Caffe file; parameter trees do not keep one."""

_CAFFE_ALIASES = {
    "googlenet": {"conv1": ("conv1/7x7_s2",), "classifier": ("loss3/classifier",)},
    "squeezenet": {"conv10": ("conv_final",)},
}
_FIRE_ALIASES = {"squeeze1x1": "conv1x1_1", "expand1x1": "conv1x1_2", "expand3x3": "conv3x3_2"}

_VGG16_CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
_INCEPTIONS = ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
_BRANCHES = ("branch1", "branch2.0", "branch2.1", "branch3.0", "branch3.1", "branch4.1")
_TORCHVISION = {
    "alexnet_torchvision": (
        *(f"features.{i}" for i in (0, 3, 6, 8, 10)),
        *(f"classifier.{i}" for i in (1, 4, 6)),
    ),
    "vgg16": (
        *(f"features.{i}" for i in _VGG16_CONVOLUTIONS),
        *(f"classifier.{i}" for i in (0, 3, 6)),
    ),
    "squeezenet": (
        "features.0",
        *(
            f"features.{i}.{layer}"
            for i in (3, 4, 5, 7, 8, 9, 10, 12)
            for layer in ("squeeze", "expand1x1", "expand3x3")
        ),
        "classifier.1",
    ),
    "googlenet_torchvision": (
        *("conv1.conv", "conv2.conv", "conv3.conv"),
        *(f"inception{name}.{branch}.conv" for name in _INCEPTIONS for branch in _BRANCHES),
        "fc",
    ),
}

_RGB_MEAN, _RGB_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Slot:
    """One layer of a network that wants weights.

    shape: of our kernel, (kH, kW, in / group, out) or (in, out).
    flattened: (C, H, W) of the map that a dense layer flattens, None if it has no positions.
    """

    stage: str
    layer: str
    shape: tuple[int, ...]
    flattened: tuple[int, int, int] | None = None
    auxiliary: bool = False

    @property
    def path(self) -> tuple[str, ...]:
        return (self.stage, *self.layer.split("/")) if self.layer else (self.stage,)

    @property
    def name(self) -> str:
        return "/".join(self.path)

    @property
    def source_shape(self) -> tuple[int, ...]:
        """The kernel's shape in the layout of Caffe, ONNX and PyTorch."""
        if len(self.shape) == 2:
            return self.shape[::-1]
        height, width, inputs, outputs = self.shape
        return outputs, inputs, height, width


@cache
def slots(name: str, classes: int = 1000) -> tuple[Slot, ...]:
    """The named network's layers in the order of Caffe's files, auxiliary heads last."""
    network = networks.get(name, classes)
    inputs = _inputs(network)
    kernels = {
        path[:-1]: tuple(leaf.shape)
        for path, leaf in flatten_dict(network.abstract_params(auxiliary=True)).items()
        if path[-1] == "kernel"
    }
    order = [*network.names, *(side.stage.name for side in network.auxiliary)]
    result: list[Slot] = []
    for stage in order:
        paths = sorted((p for p in kernels if p[0] == stage), key=_rank)
        for path in paths:
            before = result[-1] if result and result[-1].stage == stage else None
            flattened = _flattened(kernels[path], inputs.get(stage), before)
            auxiliary = stage not in network.names
            result.append(Slot(stage, "/".join(path[1:]), kernels[path], flattened, auxiliary))
    return tuple(result)


def _rank(path: tuple[str, ...]) -> int:
    return _WITHIN_STAGE.index(path[-1]) if path[-1] in _WITHIN_STAGE else -1


def _inputs(network: Network) -> dict[str, tuple[int, ...]]:
    """Shape of what each stage receives from the stage before it."""
    outputs = network.shapes()
    return {
        stage: tuple(outputs[before])
        for before, stage in zip(network.names, network.names[1:], strict=False)
    }


def _flattened(
    kernel: tuple[int, ...], stage_input: tuple[int, ...] | None, before: Slot | None
) -> tuple[int, int, int] | None:
    """The map under a dense kernel: its stage's input or the convolution's output before it."""
    if len(kernel) != 2:
        return None
    if before is not None and len(before.shape) == 4:
        side = isqrt(kernel[0] // before.shape[-1])
        return before.shape[-1], side, side
    if before is None and stage_input is not None and len(stage_input) == 3:
        height, width, channels = stage_input
        return (channels, height, width) if height * width * channels == kernel[0] else None
    return None


def caffe_names(network: str, slot: Slot) -> tuple[str, ...]:
    """The names Caffe files and ONNX files made from them give a layer."""
    aliases = _CAFFE_ALIASES.get(network, {}).get(slot.name, ())
    fire = _FIRE_ALIASES.get(slot.layer)
    return (slot.name, *aliases, *((f"{slot.stage}/{fire}",) if fire else ()))


def torchvision_names(network: str, network_slots: Sequence[Slot]) -> dict[str, str]:
    """Slot name -> torchvision's name for it; empty if torchvision has no such network."""
    main = [slot for slot in network_slots if not slot.auxiliary]
    names = _TORCHVISION.get(network, ())
    return {slot.name: name for slot, name in zip(main, names, strict=False)}


def torchvision_preprocessing(network: Network) -> Preprocessing:
    """What torchvision's weights want: RGB in [0, 1], ImageNet's mean and deviation.

    A network that exists only as torchvision's has its own already.
    """
    if network.name.endswith("_torchvision"):
        return network.preprocessing
    return Preprocessing(network.preprocessing.size, "RGB", _RGB_MEAN, 1 / 255, _RGB_STD)
