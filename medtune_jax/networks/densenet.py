"""DenseNet-121 (Huang et al. 2017, Table 1) as torchvision has it; CheXNet's network."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from medtune_jax.networks.layers import Conv, Dense, relu
from medtune_jax.networks.norms import BatchNorm
from medtune_jax.networks.pooling import floor_max_pool, global_average_pool, halve_by_average
from medtune_jax.networks.preprocessing import imagenet_rgb
from medtune_jax.networks.sources import Format, Release, Sources
from medtune_jax.networks.stages import Network, Stage

_GROWTH, _LAYERS = 32, (6, 12, 24, 16)


class Stem(nn.Module):
    """7x7 of stride 2, norm, ReLU: [N,H,W,3] -> [N,H/2,W/2,64]."""

    @nn.compact
    def __call__(self, x: Array, counts: Array | None = None) -> Array:
        x = Conv(64, 7, 2, 3, bias=None, relu=False, name="conv0")(x)
        return relu(BatchNorm(name="norm0")(x, counts))


class DenseBlock(nn.Module):
    """Layers of norm, ReLU, 1x1, norm, ReLU, 3x3, each of which reads the input and the results of all before it.

    [N,H,W,C] -> [N,H,W,C + 32 * layers]. final: whether the network's last norm and ReLU follow.
    """

    layers: int
    final: bool = False

    @nn.compact
    def __call__(self, x: Array, counts: Array | None = None) -> Array:
        for n in range(1, self.layers + 1):
            y = relu(BatchNorm(name=f"layer{n}_norm1")(x, counts))
            y = Conv(4 * _GROWTH, 1, bias=None, relu=False, name=f"layer{n}_conv1")(y)
            y = relu(BatchNorm(name=f"layer{n}_norm2")(y, counts))
            y = Conv(_GROWTH, 3, pad=1, bias=None, relu=False, name=f"layer{n}_conv2")(y)
            x = jnp.concatenate([x, y], -1)
        return relu(BatchNorm(name="norm5")(x, counts)) if self.final else x


class Transition(nn.Module):
    """Norm, ReLU and 1x1 to half of the channels."""

    @nn.compact
    def __call__(self, x: Array, counts: Array | None = None) -> Array:
        x = relu(BatchNorm(name="norm")(x, counts))
        return Conv(x.shape[-1] // 2, 1, bias=None, relu=False, name="conv")(x)


def _pool(x: Array) -> Array:
    return floor_max_pool(x, 3, 2, 1)


def _names() -> dict[str, str]:
    last = len(_LAYERS)
    names = {"conv0/conv0": "features.conv0", "conv0/norm0": "features.norm0"}
    names[f"denseblock{last}/norm5"] = "features.norm5"
    for block, layers in enumerate(_LAYERS, 1):
        for n in range(1, layers + 1):
            for part in ("norm1", "conv1", "norm2", "conv2"):
                file = f"features.denseblock{block}.denselayer{n}.{part}"
                names[f"denseblock{block}/layer{n}_{part}"] = file
        if block < last:
            for part in ("norm", "conv"):
                names[f"transition{block}/{part}"] = f"features.transition{block}.{part}"
    return names


def _keras(stem: str, head: str) -> Format:
    """Of keras-applications, which counts blocks from conv2. stem, head: what begins the first names, and the last."""
    last = len(_LAYERS)
    names = {"conv0/conv0": f"{stem}conv", "conv0/norm0": f"{stem}bn"}
    parts = {"norm1": "0_bn", "conv1": "1_conv", "norm2": "1_bn", "conv2": "2_conv"}
    for block, layers in enumerate(_LAYERS, 1):
        for n in range(1, layers + 1):
            for ours, theirs in parts.items():
                names[f"denseblock{block}/layer{n}_{ours}"] = f"conv{block + 1}_block{n}_{theirs}"
        if block < last:
            names[f"transition{block}/norm"] = f"pool{block + 1}_bn"
            names[f"transition{block}/conv"] = f"pool{block + 1}_conv"
    names |= {f"denseblock{last}/norm5": "bn", "classifier": head}
    return Format(names, more_epsilon=1e-8)  # 1.001e-5 for our 1e-5


_RELEASE = Release(
    name="densenet121",
    file="densenet121-a639ec97.pth",
    url="https://download.pytorch.org/models/densenet121-a639ec97.pth",
    sha256="a639ec97",
    licence="BSD-3-Clause (torchvision)",
    accuracy="74.4% top-1",
)


def densenet121(classes: int = 1000) -> Network:
    """Four dense blocks of 6, 12, 24 and 16 layers, and what halves the map between them."""
    formats = {
        "torchvision": Format(_names()),
        "Keras": _keras("conv1_", "predictions"),
        "Keras 2": _keras("conv1/", "predictions"),
        "Keras' release": _keras("conv1/", "fc1000"),
    }
    last, stages = len(_LAYERS), [Stage("conv0", Stem(), (_pool,))]
    for n, layers in enumerate(_LAYERS, 1):
        end = (global_average_pool,) if n == last else ()
        stages.append(Stage(f"denseblock{n}", DenseBlock(layers, final=n == last), end))
        if n < last:
            stages.append(Stage(f"transition{n}", Transition(), (halve_by_average,)))
    return Network(
        name="densenet121",
        classes=classes,
        stages=(*stages, Stage("classifier", Dense(classes, relu=False))),
        preprocessing=imagenet_rgb(224),
        initializer="msra",
        smallest=32,
        sources=Sources(formats, (_RELEASE,)),
    )
