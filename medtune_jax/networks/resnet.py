"""ResNet-18 and ResNet-50 (He et al. 2016, Table 1).

torchvision and timm have stride 2 in a block's 3x3; Keras, as the paper, in the 1x1 before it.
"""

from __future__ import annotations

from flax import linen as nn
from jax import Array

from medtune_jax.networks.layers import Conv, Dense, relu
from medtune_jax.networks.norms import BatchNorm
from medtune_jax.networks.pooling import floor_max_pool, global_average_pool
from medtune_jax.networks.preprocessing import Preprocessing, imagenet_rgb
from medtune_jax.networks.sources import Format, Release, Sources
from medtune_jax.networks.stages import Network, Stage

_WIDTHS = (64, 128, 256, 512)
_BLOCKS_OF_50 = (3, 4, 6, 3)
_TORCH, _KERAS = 1e-5, 1.001e-5  # epsilon of their batch norms


class Stem(nn.Module):
    """7x7 of stride 2, norm, ReLU: [N,H,W,3] -> [N,H/2,W/2,64]."""

    epsilon: float = _TORCH

    @nn.compact
    def __call__(self, x: Array, counts: Array | None = None) -> Array:
        x = Conv(64, 7, 2, 3, bias=None, relu=False, name="conv1")(x)
        return relu(BatchNorm(self.epsilon, name="bn1")(x, counts))


class Residual(nn.Module):
    """A residual block: the sum of its input and of convolutions, each with its norm, then ReLU.

    convolutions: (features, size) of each. strided: the size of that which has the stride, the first of them. Where the
    sum needs it, the input goes through a 1x1 convolution and a norm (`downsample`).
    """

    convolutions: tuple[tuple[int, int], ...]
    stride: int = 1
    strided: int = 3
    epsilon: float = _TORCH

    @nn.compact
    def __call__(self, x: Array, counts: Array | None = None) -> Array:
        y, last = x, len(self.convolutions)
        strided = [size for _, size in self.convolutions].index(self.strided) + 1
        for n, (features, size) in enumerate(self.convolutions, 1):
            stride = self.stride if n == strided else 1
            y = Conv(features, size, stride, size // 2, bias=None, relu=False, name=f"conv{n}")(y)
            y = BatchNorm(self.epsilon, name=f"bn{n}")(y, counts)
            y = relu(y) if n < last else y
        if y.shape != x.shape:
            x = Conv(y.shape[-1], 1, self.stride, bias=None, relu=False, name="downsample_conv")(x)
            x = BatchNorm(self.epsilon, name="downsample_bn")(x, counts)
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


def _stages(
    classes: int,
    counts: tuple[int, ...],
    bottleneck: bool,
    strided: int = 3,
    epsilon: float = _TORCH,
) -> tuple[Stage, ...]:
    """counts: blocks of each of the four widths."""
    block = _bottleneck if bottleneck else _basic
    stages, last = [Stage("conv1", Stem(epsilon), (_pool,))], f"layer4_{counts[-1] - 1}"
    for layer, (width, count) in enumerate(zip(_WIDTHS, counts, strict=True), 1):
        for n in range(count):
            stage, stride = f"layer{layer}_{n}", 2 if layer > 1 and n == 0 else 1
            module = Residual(block(width), stride, strided, epsilon)
            stages.append(Stage(stage, module, (global_average_pool,) if stage == last else ()))
    return (*stages, Stage("fc", Dense(classes, relu=False)))


def _names_in_torch(counts: tuple[int, ...], convolutions: int) -> dict[str, str]:
    names = {"conv1/conv1": "conv1", "conv1/bn1": "bn1"}
    for layer, count in enumerate(counts, 1):
        for n in range(count):
            stage, file = f"layer{layer}_{n}", f"layer{layer}.{n}"
            names |= {
                f"{stage}/{kind}{i}": f"{file}.{kind}{i}"
                for kind in ("conv", "bn")
                for i in range(1, convolutions + 1)
            }
            names[f"{stage}/downsample_conv"] = f"{file}.downsample.0"
            names[f"{stage}/downsample_bn"] = f"{file}.downsample.1"
    return names


def _names_in_keras() -> dict[str, str]:
    """Of keras-applications since Keras 2.3: layers are counted from conv2, blocks from 1; 0 is our `downsample`."""
    names = {"conv1/conv1": "conv1_conv", "conv1/bn1": "conv1_bn"}
    for layer, count in enumerate(_BLOCKS_OF_50, 1):
        for n in range(count):
            file = f"conv{layer + 1}_block{n + 1}"
            for kind in ("conv", "bn"):
                names |= {f"layer{layer}_{n}/{kind}{i}": f"{file}_{i}_{kind}" for i in (1, 2, 3)}
                names[f"layer{layer}_{n}/downsample_{kind}"] = f"{file}_0_{kind}"
    return names | {"fc": "predictions"}


def _of_torch(
    name: str, classes: int, counts: tuple[int, ...], bottleneck: bool, release: Release
) -> Network:
    form = Format(_names_in_torch(counts, 3 if bottleneck else 2))
    return Network(
        name=name,
        classes=classes,
        stages=_stages(classes, counts, bottleneck),
        preprocessing=imagenet_rgb(224),
        initializer="msra",
        smallest=32,
        sources=Sources({"torchvision": form, "timm": form}, (release,)),
    )


def resnet18(classes: int = 1000) -> Network:
    """Eight blocks of two 3x3 convolutions."""
    release = _release("resnet18-f37072fd", "69.8% top-1")
    return _of_torch("resnet18", classes, (2, 2, 2, 2), False, release)


def resnet50(classes: int = 1000) -> Network:
    """Sixteen bottlenecks of 1x1, 3x3 and 1x1 convolutions, the 3x3 with the stride."""
    release = _release("resnet50-0676ba61", "76.1% top-1")
    return _of_torch("resnet50", classes, _BLOCKS_OF_50, True, release)


def resnet50_keras(classes: int = 1000) -> Network:
    """The same with the stride in the first 1x1, as keras-applications has it."""
    return Network(
        name="resnet50_keras",
        classes=classes,
        stages=_stages(classes, _BLOCKS_OF_50, bottleneck=True, strided=1, epsilon=_KERAS),
        preprocessing=Preprocessing(224, mean=(103.939, 116.779, 123.68)),
        initializer="msra",
        smallest=32,
        sources=Sources({"Keras": Format(_names_in_keras())}),
    )
