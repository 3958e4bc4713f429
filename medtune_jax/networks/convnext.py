"""ConvNeXt-T (Liu et al. 2022) as torchvision has it."""

from __future__ import annotations

import numpy as np
from flax import linen as nn
from jax import Array

from medtune_jax.networks.layers import Conv, Dense, LayerScale, Positionwise, gelu, residual
from medtune_jax.networks.norms import LayerNorm
from medtune_jax.networks.preprocessing import imagenet_rgb
from medtune_jax.networks.sources import Format, Release, Sources
from medtune_jax.networks.stages import Network, Stage

_LAYERS = ((96, 3), (192, 3), (384, 9), (768, 3))  # width and number of blocks
_STOCHASTIC_DEPTH = 0.1  # of the last block; block n of 18, from 0, is passed by with 0.1 n / 17


class Stem(nn.Module):
    """Patches of 4 x 4 pixels: [N,H,W,3] -> [N,H/4,W/4,96], then the norm."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = Conv(_LAYERS[0][0], 4, 4, relu=False, name="conv")(x)
        return LayerNorm(name="norm")(x)


class Downsample(nn.Module):
    """Norm, then 2x2 of stride 2 to `features` channels."""

    features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = LayerNorm(name="norm")(x)
        return Conv(self.features, 2, 2, relu=False, name="conv")(x)


class Block(nn.Module):
    """x + scaled(7x7 of each channel alone, norm, to four times the channels, GELU, and back).

    final: whether the means over pixels and the network's last norm follow.
    """

    final: bool = False

    @nn.compact
    def __call__(self, x: Array, kept: Array | None = None) -> Array:
        width = x.shape[-1]
        y = Conv(width, 7, pad=3, groups=width, relu=False, name="dwconv")(x)
        y = LayerNorm(name="norm")(y)
        y = gelu(Positionwise(4 * width, name="fc1")(y))
        y = LayerScale(1e-6, name="layer_scale")(Positionwise(width, name="fc2")(y))
        x = residual(x, y, kept)
        return LayerNorm(name="last_norm")(x.mean((1, 2))) if self.final else x


def _names() -> dict[str, str]:
    names = {"stem/conv": "features.0.0", "stem/norm": "features.0.1", "classifier": "classifier.2"}
    names[f"stage4_{_LAYERS[-1][1] - 1}/last_norm"] = "classifier.0"
    parts = {"dwconv": "block.0", "norm": "block.2", "fc1": "block.3", "fc2": "block.5"}
    parts["layer_scale"] = "layer_scale"
    for stage, (_, count) in enumerate(_LAYERS, 1):
        for n in range(count):
            at = f"features.{2 * stage - 1}.{n}"
            names |= {f"stage{stage}_{n}/{own}": f"{at}.{part}" for own, part in parts.items()}
        if stage > 1:
            at = f"features.{2 * stage - 2}"
            names |= {f"downsample{stage}/norm": f"{at}.0", f"downsample{stage}/conv": f"{at}.1"}
    return names


_RELEASE = Release(
    name="convnext_tiny",
    file="convnext_tiny-983f1562.pth",
    url="https://download.pytorch.org/models/convnext_tiny-983f1562.pth",
    sha256="983f1562",
    licence="BSD-3-Clause (torchvision)",
    accuracy="82.5% top-1",
)


def convnext_tiny(classes: int = 1000) -> Network:
    """3, 3, 9 and 3 blocks, and what halves the map between them."""
    stages = [Stage("stem", Stem())]
    rates = iter(np.linspace(0, _STOCHASTIC_DEPTH, sum(count for _, count in _LAYERS)))
    for layer, (width, count) in enumerate(_LAYERS, 1):
        if layer > 1:
            stages.append(Stage(f"downsample{layer}", Downsample(width)))
        last = layer == len(_LAYERS)
        stages += [
            Stage(
                f"stage{layer}_{n}",
                Block(last and n == count - 1),
                stochastic_depth=float(next(rates)),
            )
            for n in range(count)
        ]
    return Network(
        name="convnext_tiny",
        classes=classes,
        stages=(*stages, Stage("classifier", Dense(classes, relu=False))),
        preprocessing=imagenet_rgb(224),
        initializer="xavier",
        smallest=32,
        sources=Sources({"torchvision": Format(_names())}, (_RELEASE,)),
    )
