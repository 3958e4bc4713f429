"""SqueezeNet 1.0 (Iandola et al. 2016) as released for Caffe."""

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from medtune_jax.networks.layers import Conv, global_average_pool, max_pool
from medtune_jax.networks.stages import Network, Preprocessing, Rates, Stage


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


def squeezenet(classes: int = 1000) -> Network:
    """The released network ends in a ReLU on its 1000 scores; a new head goes without it.

    With a handful of classes that ReLU zeroes every score of an image together and the gradient with them: in a tuning
    study on chest X-rays all test images ended at a probability of exactly one half.
    """
    released = classes == 1000
    return Network(
        name="squeezenet",
        classes=classes,
        stages=(
            Stage("conv1", Conv(96, 7, stride=2), (max_pool,)),
            Stage("fire2", Fire(16, 64)),
            Stage("fire3", Fire(16, 64)),
            Stage("fire4", Fire(32, 128), (max_pool,)),
            Stage("fire5", Fire(32, 128)),
            Stage("fire6", Fire(48, 192)),
            Stage("fire7", Fire(48, 192)),
            Stage("fire8", Fire(64, 256), (max_pool,)),
            Stage("fire9", Fire(64, 256)),
            Stage(
                "conv10",
                Conv(classes, 1, relu=released),
                (global_average_pool,),
                dropout=0.5,
            ),
        ),
        preprocessing=Preprocessing(227),
        filler="xavier",
        rates=Rates(1e-4, 1e-4, 3e-3, "range test in docs/rates.md"),
        smallest=63,
    )
