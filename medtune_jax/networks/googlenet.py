"""GoogLeNet (Szegedy et al. 2015) as released with Caffe (`bvlc_googlenet`), and torchvision's."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from medtune_jax.networks.layers import Conv, Dense, dropout, lrn
from medtune_jax.networks.pooling import average_pool, global_average_pool, max_pool
from medtune_jax.networks.preprocessing import Preprocessing
from medtune_jax.networks.sources import BERKELEY, IN_ORDER, Format, Release, Sources
from medtune_jax.networks.stages import Auxiliary, Layers, Network, Rates, Stage

_BIAS = 0.2  # of every layer but the classifiers


class Reduced(nn.Module):
    """conv2: a 1x1 reduction to 64 channels, then 192 of 3x3."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = Conv(64, 1, bias=_BIAS, name="3x3_reduce")(x)
        return Conv(192, 3, pad=1, bias=_BIAS, name="3x3")(x)


class Inception(nn.Module):
    """Four branches side by side, concatenated: 1x1, 3x3, 5x5, pooled and projected.

    `wide` is the real size of the layer named 5x5; torchvision's trained network has 3 there.
    """

    one: int
    three: tuple[int, int]
    five: tuple[int, int]
    pooled: int
    wide: int = 5

    @nn.compact
    def __call__(self, x: Array) -> Array:
        one = Conv(self.one, 1, bias=_BIAS, name="1x1")(x)
        three = Conv(self.three[0], 1, bias=_BIAS, name="3x3_reduce")(x)
        three = Conv(self.three[1], 3, pad=1, bias=_BIAS, name="3x3")(three)
        five = Conv(self.five[0], 1, bias=_BIAS, name="5x5_reduce")(x)
        pad = self.wide // 2
        five = Conv(self.five[1], self.wide, pad=pad, bias=_BIAS, name="5x5")(five)
        pooled = Conv(self.pooled, 1, bias=_BIAS, name="pool_proj")(max_pool(x, 3, 1, 1))
        return jnp.concatenate([one, three, five, pooled], -1)


class Side(nn.Module):
    """An auxiliary classifier: pooled, 128 of 1x1, 1024 fully connected, dropout 0.7, classes.

    Dropout is on when the caller gives keys, one a row.
    """

    classes: int

    @nn.compact
    def __call__(self, x: Array, keys: Array | None = None) -> Array:
        x = Conv(128, 1, bias=_BIAS, name="conv")(average_pool(x, 5, 3))
        x = Dense(1024, bias=_BIAS, name="fc")(x)
        if keys is not None:
            x = dropout(x, 0.7, keys)
        return Dense(self.classes, relu=False, name="classifier")(x)


_INCEPTIONS = {
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

_CAFFE = {"conv1": "conv1/7x7_s2", "classifier": "loss3/classifier"}
_BRANCHES = {
    "1x1": "branch1",
    "3x3_reduce": "branch2.0",
    "3x3": "branch2.1",
    "5x5_reduce": "branch3.0",
    "5x5": "branch3.1",
    "pool_proj": "branch4.1",
}
_TORCHVISION = {
    "conv1": "conv1.conv",
    "conv2/3x3_reduce": "conv2.conv",
    "conv2/3x3": "conv3.conv",
    **{
        f"inception_{name}/{ours}": f"inception{name}.{theirs}.conv"
        for name in _INCEPTIONS
        for ours, theirs in _BRANCHES.items()
    },
    "classifier": "fc",
}

_RELEASE = Release(
    name="bvlc_googlenet",
    file="bvlc_googlenet.caffemodel",
    url=f"{BERKELEY}bvlc_googlenet.caffemodel",
    sha1="405fc5acd08a3bb12de8ee5e23a96bec22f08204",
    size=53_533_754,
    licence="unrestricted use",
    accuracy="68.7% top-1, 88.9% top-5",
)


def _halve(x: Array) -> Array:
    return max_pool(x, 2, 2)


def _stages(
    classes: int, ends: dict[str, Layers], dropout: float, wide: int = 5
) -> tuple[Stage, ...]:
    """ends: what ends a stage beside its convolutions."""
    return (
        Stage("conv1", Conv(64, 7, stride=2, pad=3, bias=_BIAS), ends["conv1"]),
        Stage("conv2", Reduced(), ends["conv2"]),
        *(
            Stage(f"inception_{name}", Inception(*widths, wide=wide), ends.get(name, ()))
            for name, widths in _INCEPTIONS.items()
        ),
        Stage("classifier", Dense(classes, relu=False), dropout=dropout),
    )


def googlenet(classes: int = 1000) -> Network:
    """Szegedy et al. 2015, Table 1; the two auxiliary heads act in training only."""
    pools: dict[str, Layers] = {"3b": (max_pool,), "4e": (max_pool,), "5b": (global_average_pool,)}
    norms: dict[str, Layers] = {"conv1": (max_pool, lrn), "conv2": (lrn, max_pool)}
    return Network(
        name="googlenet",
        classes=classes,
        stages=_stages(classes, norms | pools, dropout=0.4),
        preprocessing=Preprocessing(224, mean=(104.0, 117.0, 123.0)),
        initializer="xavier",
        rates=Rates(tuned=3e-3, head=1e-3, scratch=3e-3, source="range test, docs/rates.md"),
        auxiliary=(
            Auxiliary("inception_4a", Stage("loss1", Side(classes)), 0.3),
            Auxiliary("inception_4d", Stage("loss2", Side(classes)), 0.3),
        ),
        smallest=64,
        sources=Sources({"Caffe": Format(_CAFFE), "ONNX": IN_ORDER}, (_RELEASE,)),
    )


def googlenet_torchvision(classes: int = 1000) -> Network:
    """torchvision's: no norm, 3x3 where the paper has 5x5, RGB in [-1, 1], batch norms folded."""
    pools: dict[str, Layers] = {"3b": (max_pool,), "4e": (_halve,), "5b": (global_average_pool,)}
    pools |= {"conv1": (max_pool,), "conv2": (max_pool,)}
    return Network(
        name="googlenet_torchvision",
        classes=classes,
        stages=_stages(classes, pools, dropout=0.2, wide=3),
        preprocessing=Preprocessing(224, "RGB", (0.5, 0.5, 0.5), 1 / 255, (0.5, 0.5, 0.5)),
        initializer="xavier",
        smallest=64,
        # A state dict does not hold the epsilon of its batch norms.
        sources=Sources({"torchvision": Format(_TORCHVISION, epsilon=1e-3), "ONNX": IN_ORDER}),
    )
