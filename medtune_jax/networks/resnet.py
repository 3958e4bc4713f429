"""ResNet-18 and ResNet-50 (He et al. 2016, Table 1) as torchvision and timm have them: stride 2 in a block's 3x3."""

from __future__ import annotations

from flax import linen as nn
from jax import Array

from medtune_jax.networks.layers import Conv, Dense, relu
from medtune_jax.networks.norms import BatchNorm
from medtune_jax.networks.pooling import floor_max_pool, global_average_pool
from medtune_jax.networks.preprocessing import imagenet_rgb
from medtune_jax.networks.sources import Format, Release, Sources
from medtune_jax.networks.stages import Network, Stage

_WIDTHS = (64, 128, 256, 512)


class Stem(nn.Module):
    """7x7 of stride 2, norm, ReLU: [N,H,W,3] -> [N,H/2,W/2,64]."""

    @nn.compact
    def __call__(self, x: Array, counts: Array | None = None) -> Array:
        x = Conv(64, 7, 2, 3, bias=None, relu=False, name="conv1")(x)
        return relu(BatchNorm(name="bn1")(x, counts))


class Residual(nn.Module):
    """A residual block: the sum of its input and of convolutions, each with its norm, then ReLU.

    convolutions: (features, size) of each; the first 3x3 has the stride. Where the sum needs it, the input goes
    through a 1x1 convolution and a norm (`downsample`).
    """

    convolutions: tuple[tuple[int, int], ...]
    stride: int = 1

    @nn.compact
    def __call__(self, x: Array, counts: Array | None = None) -> Array:
        y, last = x, len(self.convolutions)
        first3 = [size for _, size in self.convolutions].index(3) + 1
        for n, (features, size) in enumerate(self.convolutions, 1):
            stride = self.stride if n == first3 else 1
            y = Conv(features, size, stride, size // 2, bias=None, relu=False, name=f"conv{n}")(y)
            y = BatchNorm(name=f"bn{n}")(y, counts)
            y = relu(y) if n < last else y
        if y.shape != x.shape:
            x = Conv(y.shape[-1], 1, self.stride, bias=None, relu=False, name="downsample_conv")(x)
            x = BatchNorm(name="downsample_bn")(x, counts)
        return relu(x + y)


def _basic(width: int) -> tuple[tuple[int, int], ...]:
    return (width, 3), (width, 3)


def _bottleneck(width: int) -> tuple[tuple[int, int], ...]:
    return (width, 1), (width, 3), (4 * width, 1)


def _pool(x: Array) -> Array:
    return floor_max_pool(x, 3, 2, 1)


def _release(file: str, accuracy: str) -> Release:
    """One of torchvision's, whose names end with the first digits of their sha256."""
    name, _, sha256 = file.partition("-")
    url = f"https://download.pytorch.org/models/{file}.pth"
    licence = "BSD-3-Clause (torchvision)"
    return Release(name, f"{file}.pth", url, "", sha256, None, licence, accuracy)


def _network(
    name: str, classes: int, counts: tuple[int, ...], bottleneck: bool, release: Release
) -> Network:
    block = _bottleneck if bottleneck else _basic
    last = f"layer4_{counts[-1] - 1}"
    names = {"conv1/conv1": "conv1", "conv1/bn1": "bn1"}
    stages = [Stage("conv1", Stem(), (_pool,))]
    for layer, (width, count) in enumerate(zip(_WIDTHS, counts, strict=True), 1):
        for n in range(count):
            stage, file = f"layer{layer}_{n}", f"layer{layer}.{n}"
            convolutions = block(width)
            module = Residual(convolutions, 2 if layer > 1 and n == 0 else 1)
            stages.append(Stage(stage, module, (global_average_pool,) if stage == last else ()))
            names |= {
                f"{stage}/{kind}{i}": f"{file}.{kind}{i}"
                for kind in ("conv", "bn")
                for i in range(1, len(convolutions) + 1)
            }
            names[f"{stage}/downsample_conv"] = f"{file}.downsample.0"
            names[f"{stage}/downsample_bn"] = f"{file}.downsample.1"
    return Network(
        name=name,
        classes=classes,
        stages=(*stages, Stage("fc", Dense(classes, relu=False))),
        preprocessing=imagenet_rgb(224),
        initializer="msra",
        smallest=32,
        sources=Sources({"torchvision": Format(names), "timm": Format(names)}, (release,)),
    )


def resnet18(classes: int = 1000) -> Network:
    """Eight blocks of two 3x3 convolutions."""
    return _network(
        "resnet18", classes, (2, 2, 2, 2), False, _release("resnet18-f37072fd", "69.8% top-1")
    )


def resnet50(classes: int = 1000) -> Network:
    """Sixteen bottlenecks of 1x1, 3x3 and 1x1 convolutions."""
    return _network(
        "resnet50", classes, (3, 4, 6, 3), True, _release("resnet50-0676ba61", "76.1% top-1")
    )
