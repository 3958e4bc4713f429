"""The package's networks as PyTorch users write them: the other side of every benchmark.

A model is an `nn.Sequential` of the same named stages, so that a tuning depth freezes a slice of it;
`build` gives it the package's own parameters.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medtune_jax.networks import Network


class Conv(nn.Conv2d):
    """Convolution + bias + ReLU."""

    def __init__(self, inputs, features, size, stride=1, pad=0, groups=1, relu=True) -> None:
        super().__init__(inputs, features, size, stride, pad, groups=groups)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        return nn.functional.relu_(x) if self.relu else x


class Dense(nn.Linear):
    def __init__(self, inputs: int, features: int, relu: bool = True) -> None:
        super().__init__(inputs, features)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x.flatten(1))
        return nn.functional.relu_(x) if self.relu else x


class Fire(nn.ModuleDict):
    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__(
            {
                "squeeze1x1": Conv(inputs, squeeze, 1),
                "expand1x1": Conv(squeeze, expand, 1),
                "expand3x3": Conv(squeeze, expand, 3, pad=1),
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self["squeeze1x1"](x)
        return torch.cat([self["expand1x1"](x), self["expand3x3"](x)], 1)


class Inception(nn.ModuleDict):
    def __init__(self, inputs: int, one: int, three, five, pooled: int) -> None:
        super().__init__(
            {
                "1x1": Conv(inputs, one, 1),
                "3x3_reduce": Conv(inputs, three[0], 1),
                "3x3": Conv(three[0], three[1], 3, pad=1),
                "5x5_reduce": Conv(inputs, five[0], 1),
                "5x5": Conv(five[0], five[1], 5, pad=2),
                "pool_proj": Conv(inputs, pooled, 1),
            }
        )
        self.width = one + three[1] + five[1] + pooled

    def forward(self, x: Tensor) -> Tensor:
        branches = [
            self["1x1"](x),
            self["3x3"](self["3x3_reduce"](x)),
            self["5x5"](self["5x5_reduce"](x)),
            self["pool_proj"](nn.functional.max_pool2d(x, 3, 1, 1)),
        ]
        return torch.cat(branches, 1)


def _lrn() -> nn.Module:
    return nn.LocalResponseNorm(5, 1e-4, 0.75, 1.0)


def _pool(window: int = 3) -> nn.Module:
    return nn.MaxPool2d(window, 2, ceil_mode=True)


def _alexnet(classes: int, size: int, norm_first: bool) -> OrderedDict[str, nn.Module]:
    def ends() -> tuple[nn.Module, nn.Module]:
        return (_lrn(), _pool()) if norm_first else (_pool(), _lrn())

    return OrderedDict(
        conv1=nn.Sequential(Conv(3, 96, 11, 4), *ends()),
        conv2=nn.Sequential(Conv(96, 256, 5, pad=2, groups=2), *ends()),
        conv3=Conv(256, 384, 3, pad=1),
        conv4=Conv(384, 384, 3, pad=1, groups=2),
        conv5=nn.Sequential(Conv(384, 256, 3, pad=1, groups=2), _pool()),
        fc6=Dense(9216, 4096),
        fc7=nn.Sequential(nn.Dropout(0.5), Dense(4096, 4096)),
        fc8=nn.Sequential(nn.Dropout(0.5), Dense(4096, classes, relu=False)),
    )


def alexnet(classes: int, size: int = 227) -> OrderedDict[str, nn.Module]:
    return _alexnet(classes, size, True)


def caffenet(classes: int, size: int = 227) -> OrderedDict[str, nn.Module]:
    return _alexnet(classes, size, False)


def squeezenet(classes: int, size: int = 227) -> OrderedDict[str, nn.Module]:
    fires = [(16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256)]
    stages: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Sequential(Conv(3, 96, 7, 2), _pool())
    )
    width = 96
    for number, (squeeze, expand) in enumerate(fires, 2):
        fire = Fire(width, squeeze, expand)
        stages[f"fire{number}"] = nn.Sequential(fire, _pool()) if number in (4, 8) else fire
        width = 2 * expand
    head = Conv(width, classes, 1, relu=classes == 1000)
    stages["conv10"] = nn.Sequential(nn.Dropout(0.5), head, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return stages


def googlenet(classes: int, size: int = 224) -> OrderedDict[str, nn.Module]:
    """Without the side heads, as the package trains every depth but scratch."""
    widths: dict[str, tuple[Any, ...]] = {
        "3a": (64, (96, 128), (16, 32), 32),
        "3b": (128, (128, 192), (32, 96), 64),
        "4a": (192, (96, 208), (16, 48), 64),
        "4b": (160, (112, 224), (24, 64), 64),
        "4c": (128, (128, 256), (24, 64), 64),
        "4d": (112, (144, 288), (32, 64), 64),
        "4e": (256, (160, 320), (32, 128), 128),
        "5a": (256, (160, 320), (32, 128), 128),
        "5b": (384, (192, 384), (48, 128), 128),
    }
    ends = {"3b": _pool(), "4e": _pool(), "5b": nn.AdaptiveAvgPool2d(1)}
    stages: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Sequential(Conv(3, 64, 7, 2, 3), _pool(), _lrn()),
        conv2=nn.Sequential(
            OrderedDict(
                {"3x3_reduce": Conv(64, 64, 1), "3x3": Conv(64, 192, 3, pad=1)}
                | {"norm": _lrn(), "pool": _pool()}
            )
        ),
    )
    inputs = 192
    for name, sizes in widths.items():
        block = Inception(inputs, *sizes)
        stages[f"inception_{name}"] = nn.Sequential(block, ends[name]) if name in ends else block
        inputs = block.width
    stages["classifier"] = nn.Sequential(nn.Dropout(0.4), Dense(inputs, classes, relu=False))
    return stages


def vgg16(classes: int, size: int = 224) -> OrderedDict[str, nn.Module]:
    stages: OrderedDict[str, nn.Module] = OrderedDict()
    inputs = 3
    blocks = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
    for block, widths in enumerate(blocks, 1):
        for number, width in enumerate(widths, 1):
            layers: list[nn.Module] = [Conv(inputs, width, 3, pad=1)]
            layers += [_pool(2)] if number == len(widths) else []
            stages[f"conv{block}_{number}"] = nn.Sequential(*layers)
            inputs = width
    stages["fc6"] = Dense(inputs * 49, 4096)
    stages["fc7"] = nn.Sequential(nn.Dropout(0.5), Dense(4096, 4096))
    stages["fc8"] = nn.Sequential(nn.Dropout(0.5), Dense(4096, classes, relu=False))
    return stages


NETWORKS = {
    "alexnet": alexnet,
    "caffenet": caffenet,
    "googlenet": googlenet,
    "squeezenet": squeezenet,
    "vgg16": vgg16,
}


# Those that torchvision and timm have: their own modules, with their own random weights, tuned from the first stage.
LIBRARY = {
    "resnet50": ("torchvision", "resnet50"),
    "efficientnet_lite0": ("timm", "tf_efficientnet_lite0"),
    "vit_small_patch16": ("timm", "vit_small_patch16_224"),
}


class Stored(nn.Sequential):
    """Batch norms use their stored statistics in training, as ours by default."""

    def train(self, mode: bool = True) -> Stored:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


def _of_library(network: Network, size: int) -> nn.Sequential:
    library, name = LIBRARY[network.name]
    if library == "torchvision":
        import torchvision

        return Stored(getattr(torchvision.models, name)(num_classes=network.classes))
    import timm

    sized = {"img_size": size} if name.startswith("vit") else {}
    return Stored(timm.create_model(name, num_classes=network.classes, **sized))


def build(network: Network, params: dict[str, Any], size: int) -> nn.Sequential:
    """The PyTorch twin of `network`: [N,3,H,W] -> [N,classes]; with the same parameters, but for those of `LIBRARY`,
    which are one module.
    """
    if network.name in LIBRARY:
        return _of_library(network, size)
    model = nn.Sequential(NETWORKS[network.name](network.classes, size))
    shapes = network.shapes(size)
    before = (size, size, 3)
    for name in network.names:
        _load_stage(model.get_submodule(name), params[name], before)
        before = shapes[name]
    return model


@torch.no_grad()
def _load_stage(stage: nn.Module, params: dict[str, Any], before: tuple[int, ...]) -> None:
    for path, module in stage.named_modules():
        if not isinstance(module, nn.Conv2d | nn.Linear):
            continue
        own = params if "kernel" in params else params[path.rpartition(".")[2]]
        kernel = np.asarray(own["kernel"])
        if kernel.ndim == 2 and len(before) == 3:  # flattened as H,W,C here and as C,H,W there
            kernel = kernel.reshape(*before, -1).transpose(2, 0, 1, 3).reshape(kernel.shape)
        axes = (3, 2, 0, 1) if kernel.ndim == 4 else (1, 0)
        module.weight.copy_(torch.tensor(kernel.transpose(axes).copy()))
        module.bias.copy_(torch.tensor(np.array(own["bias"])))
