"""AlexNet as released with Caffe (`bvlc_alexnet`), and torchvision's one-tower variant."""

from medtune_jax.networks.layers import Conv, Dense, lrn, max_pool
from medtune_jax.networks.stages import Network, Preprocessing, Rates, Stage


def alexnet(classes: int = 1000) -> Network:
    """The network of Tajbakhsh et al. 2016, Table I: norm before pool, two groups in conv2, conv4 and conv5."""
    return Network(
        name="alexnet",
        classes=classes,
        stages=(
            Stage("conv1", Conv(96, 11, stride=4), (lrn, max_pool)),
            Stage("conv2", Conv(256, 5, pad=2, groups=2, bias=0.1), (lrn, max_pool)),
            Stage("conv3", Conv(384, 3, pad=1)),
            Stage("conv4", Conv(384, 3, pad=1, groups=2, bias=0.1)),
            Stage("conv5", Conv(256, 3, pad=1, groups=2, bias=0.1), (max_pool,)),
            Stage("fc6", Dense(4096, std=0.005, bias=0.1)),
            Stage("fc7", Dense(4096, std=0.005, bias=0.1), dropout=0.5),
            Stage("fc8", Dense(classes, relu=False), dropout=0.5),
        ),
        preprocessing=Preprocessing(227),
        filler="gaussian",
    )


def alexnet_torchvision(classes: int = 1000) -> Network:
    """The one-tower AlexNet of Krizhevsky 2014 as torchvision ships it: no norm, no groups, RGB in [0, 1]."""
    return Network(
        name="alexnet_torchvision",
        classes=classes,
        stages=(
            Stage("conv1", Conv(64, 11, stride=4, pad=2), (max_pool,)),
            Stage("conv2", Conv(192, 5, pad=2), (max_pool,)),
            Stage("conv3", Conv(384, 3, pad=1)),
            Stage("conv4", Conv(256, 3, pad=1)),
            Stage("conv5", Conv(256, 3, pad=1), (max_pool,)),
            Stage("fc6", Dense(4096, std=0.005), dropout=0.5),
            Stage("fc7", Dense(4096, std=0.005), dropout=0.5),
            Stage("fc8", Dense(classes, relu=False)),
        ),
        preprocessing=Preprocessing(
            224, "RGB", (0.485, 0.456, 0.406), 1 / 255, (0.229, 0.224, 0.225)
        ),
        filler="msra",
        rates=Rates(),
    )
