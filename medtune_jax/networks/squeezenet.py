"""SqueezeNet 1.0 (Iandola et al. 2016) as released for Caffe."""

from collections.abc import Iterable
from functools import partial

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from medtune_jax.networks.layers import Conv
from medtune_jax.networks.pooling import global_average_pool, max_pool
from medtune_jax.networks.preprocessing import Preprocessing, imagenet_rgb
from medtune_jax.networks.sources import IN_ORDER, Format, Relative, Release, Sources
from medtune_jax.networks.stages import Network, Rates, Stage


class Fire(nn.Module):
    """A 1x1 squeeze, then a 1x1 and a 3x3 expansion side by side: [N,H,W,C] -> [N,H,W,2 * expand]."""

    squeeze: int
    expand: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = Conv(self.squeeze, 1, name="squeeze1x1")(x)
        wide = Conv(self.expand, 1, name="expand1x1")(x)
        tall = Conv(self.expand, 3, pad=1, name="expand3x3")(x)
        return jnp.concatenate([wide, tall], -1)


def _named(prefixes: Iterable[str], squeeze: str, one: str, three: str) -> dict[str, str]:
    """Our names of the layers of fire2 to fire9 -> those of others."""
    layers = {"squeeze1x1": squeeze, "expand1x1": one, "expand3x3": three}
    return {
        f"fire{n}/{ours}": prefix + theirs
        for n, prefix in enumerate(prefixes, 2)
        for ours, theirs in layers.items()
    }


_CAFFE = {
    **_named((f"fire{n}/" for n in range(2, 10)), "conv1x1_1", "conv1x1_2", "conv3x3_2"),
    "conv10": "conv_final",
}
_FEATURES = (f"features.{i}." for i in (3, 4, 5, 7, 8, 9, 10, 12))
_TORCHVISION = {
    **_named(_FEATURES, "squeeze", "expand1x1", "expand3x3"),
    **{"conv1": "features.0", "conv10": "classifier.1"},
}


_RELEASE = Release(
    name="squeezenet",
    file="compressed_SqueezeNet.net",
    size=675_763,
    licence="BSD-2-Clause",
    accuracy="57.5% top-1, 80.3% top-5 before compression",
    credit="SqueezeNet 1.0 by its authors (Deep Compression release), ImageNet ILSVRC-2012",
)


_SQUEEZES = (16, 16, 32, 32, 48, 48, 64, 64)
_VERSION_11 = Relative(
    "SqueezeNet 1.1",
    ((64, 3), *((4 * squeeze, squeeze) for squeeze in _SQUEEZES)),
    "only 1.0 is known here, whose first convolution has 96 filters of 7 x 7 (the ONNX zoo's squeezenet1.0 files hold "
    "1.1 all the same, onnx/models#578), so take the authors' SqueezeNet_v1.0 or torchvision's squeezenet1_0",
)


_stage = partial(Stage, plain_loops=True)


def _head(classes: int, relu: bool) -> Stage:
    return _stage("conv10", Conv(classes, 1, relu=relu), (global_average_pool,), dropout=0.5)


def squeezenet(classes: int = 1000) -> Network:
    """The released network ends in a ReLU on its 1000 scores; a new head goes without it.

    With a handful of classes that ReLU zeroes every score of an image together and the gradient with them: in a tuning
    study on chest X-rays all test images ended at a probability of exactly one half.
    """
    rgb = imagenet_rgb(227)
    return Network(
        name="squeezenet",
        classes=classes,
        stages=(
            Stage("conv1", Conv(96, 7, stride=2), (max_pool,)),
            _stage("fire2", Fire(16, 64)),
            _stage("fire3", Fire(16, 64)),
            _stage("fire4", Fire(32, 128), (max_pool,)),
            _stage("fire5", Fire(32, 128)),
            _stage("fire6", Fire(48, 192)),
            _stage("fire7", Fire(48, 192)),
            _stage("fire8", Fire(64, 256), (max_pool,)),
            _stage("fire9", Fire(64, 256)),
            _head(classes, relu=False),
        ),
        released_head=_head(1000, relu=True),
        preprocessing=Preprocessing(227),
        initializer="xavier",
        rates=Rates(1e-4, 1e-4, 3e-3, "range test in docs/rates.md"),
        smallest=63,
        sources=Sources(
            formats={
                "Caffe": Format(_CAFFE),
                "torchvision": Format(_TORCHVISION, preprocessing=rgb),
                "Gluon": Format(ordered=True, prefix="squeezenet0_", preprocessing=rgb),
                "ONNX": IN_ORDER,
                "Deep Compression": IN_ORDER,
            },
            releases=(_RELEASE,),
            relatives=(_VERSION_11,),
        ),
    )
