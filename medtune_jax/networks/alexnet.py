"""AlexNet and CaffeNet as released with Caffe, and torchvision's one-tower variant."""

from medtune_jax.networks.layers import Conv, Dense, lrn
from medtune_jax.networks.pooling import max_pool
from medtune_jax.networks.preprocessing import Preprocessing, imagenet_rgb
from medtune_jax.networks.sources import BERKELEY, IN_ORDER, Format, Release, Sources
from medtune_jax.networks.stages import Layers, Network, Stage


def alexnet(classes: int = 1000) -> Network:
    """The network of Tajbakhsh et al. 2016, Table I: norm before pool, two groups in conv2, conv4 and conv5."""
    release = Release(
        name="bvlc_alexnet",
        file="bvlc_alexnet.caffemodel",
        url=f"{BERKELEY}bvlc_alexnet.caffemodel",
        sha1="9116a64c0fbe4459d18f4bb6b56d647b63920377",
        licence="unrestricted use",
        accuracy="57.1% top-1, 80.2% top-5",
    )
    return _two_groups("alexnet", classes, (lrn, max_pool), 0.1, release)


def caffenet(classes: int = 1000) -> Network:
    """Caffe's reference network: AlexNet with pool before norm, and biases that start at 1."""
    release = Release(
        name="bvlc_reference_caffenet",
        file="bvlc_reference_caffenet.caffemodel",
        url=f"{BERKELEY}bvlc_reference_caffenet.caffemodel",
        sha1="4c8d77deb20ea792f84eb5e6d0a11ca0a8660a46",
        licence="unrestricted use",
        accuracy="57.4% top-1, 80.4% top-5",
    )
    return _two_groups("caffenet", classes, (max_pool, lrn), 1.0, release)


def _two_groups(name: str, classes: int, ends: Layers, bias: float, release: Release) -> Network:
    return Network(
        name=name,
        classes=classes,
        stages=(
            Stage("conv1", Conv(96, 11, stride=4), ends),
            Stage("conv2", Conv(256, 5, pad=2, groups=2, bias=bias), ends),
            Stage("conv3", Conv(384, 3, pad=1)),
            Stage("conv4", Conv(384, 3, pad=1, groups=2, bias=bias)),
            Stage("conv5", Conv(256, 3, pad=1, groups=2, bias=bias), (max_pool,)),
            Stage("fc6", Dense(4096, std=0.005, bias=bias)),
            Stage("fc7", Dense(4096, std=0.005, bias=bias), dropout=0.5),
            Stage("fc8", Dense(classes, relu=False), dropout=0.5),
        ),
        preprocessing=Preprocessing(227),
        initializer="gaussian",
        smallest=63,
        sources=Sources({"Caffe": Format(), "ONNX": IN_ORDER}, (release,)),
    )


_TORCHVISION = {
    **{f"conv{n}": f"features.{i}" for n, i in enumerate((0, 3, 6, 8, 10), 1)},
    **{f"fc{n}": f"classifier.{i}" for n, i in enumerate((1, 4, 6), 6)},
}


def alexnet_torchvision(classes: int = 1000) -> Network:
    """The one-tower AlexNet of Krizhevsky 2014 as torchvision ships it: no norm, no groups, RGB in [0, 1]."""
    preprocessing = imagenet_rgb(224)
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
        preprocessing=preprocessing,
        initializer="msra",
        smallest=63,
        sources=Sources(
            {
                "torchvision": Format(_TORCHVISION),
                "Gluon": Format(ordered=True, prefix="alexnet0_", preprocessing=preprocessing),
                "ONNX": IN_ORDER,
            }
        ),
    )
