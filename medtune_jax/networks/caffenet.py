"""CaffeNet (`bvlc_reference_caffenet`): AlexNet with pool before norm."""

from medtune_jax.networks.layers import Conv, Dense, lrn, max_pool
from medtune_jax.networks.preprocessing import Preprocessing
from medtune_jax.networks.sources import BERKELEY, IN_ORDER, Format, Release, Sources
from medtune_jax.networks.stages import Network, Stage


def caffenet(classes: int = 1000) -> Network:
    """Caffe's reference network; layer names and shapes are AlexNet's, only the order differs."""
    return Network(
        name="caffenet",
        classes=classes,
        stages=(
            Stage("conv1", Conv(96, 11, stride=4), (max_pool, lrn)),
            Stage("conv2", Conv(256, 5, pad=2, groups=2, bias=1.0), (max_pool, lrn)),
            Stage("conv3", Conv(384, 3, pad=1)),
            Stage("conv4", Conv(384, 3, pad=1, groups=2, bias=1.0)),
            Stage("conv5", Conv(256, 3, pad=1, groups=2, bias=1.0), (max_pool,)),
            Stage("fc6", Dense(4096, std=0.005, bias=1.0)),
            Stage("fc7", Dense(4096, std=0.005, bias=1.0), dropout=0.5),
            Stage("fc8", Dense(classes, relu=False), dropout=0.5),
        ),
        preprocessing=Preprocessing(227),
        initializer="gaussian",
        sources=Sources(
            formats={"Caffe": Format(), "ONNX": IN_ORDER},
            releases=(
                Release(
                    name="bvlc_reference_caffenet",
                    file="bvlc_reference_caffenet.caffemodel",
                    url=f"{BERKELEY}bvlc_reference_caffenet.caffemodel",
                    sha1="4c8d77deb20ea792f84eb5e6d0a11ca0a8660a46",
                    licence="unrestricted use",
                    accuracy="57.4% top-1, 80.4% top-5",
                ),
            ),
        ),
    )
