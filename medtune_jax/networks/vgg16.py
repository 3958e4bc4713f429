"""VGG-16 (Simonyan and Zisserman 2015, configuration D) as released for Caffe."""

from jax import Array

from medtune_jax.networks.layers import Conv, Dense
from medtune_jax.networks.pooling import max_pool
from medtune_jax.networks.preprocessing import Preprocessing, imagenet_rgb
from medtune_jax.networks.sources import IN_ORDER, Format, Relative, Release, Sources
from medtune_jax.networks.stages import Network, Rates, Stage

_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
_RELEASE = Release(
    name="VGG_ILSVRC_16_layers",
    file="VGG_ILSVRC_16_layers.caffemodel",
    url="http://www.robots.ox.ac.uk/~vgg/software/very_deep/caffe/VGG_ILSVRC_16_layers.caffemodel",
    sha1="9363e1f6d65f7dba68c4f27a1e62105cdf6c4e24",
    size=553_432_081,
    licence="Creative Commons Attribution",
    accuracy="91.9% top-5 (dense evaluation at 384 px)",
)
_KERAS = {
    f"conv{block}_{n}": f"block{block}_conv{n}"
    for block, widths in enumerate(_BLOCKS, 1)
    for n in range(1, len(widths) + 1)
} | {"fc6": "fc1", "fc7": "fc2", "fc8": "predictions"}
_TORCHVISION = (
    *(f"features.{i}" for i in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)),
    *(f"classifier.{i}" for i in (0, 3, 6)),
)


def _other_depth(layers: int, counts: tuple[int, ...]) -> Relative:
    """VGG-11, 13 or 19: the same blocks of 3x3 convolutions, fewer or more in each."""
    widths = [
        widths[0] for widths, count in zip(_BLOCKS, counts, strict=True) for _ in range(count)
    ]
    threes = tuple(zip(widths, (3, *widths), strict=False))
    return Relative(f"VGG-{layers}", threes, "only VGG-16 is known here, so take its file")


_RELATIVES = (
    _other_depth(11, (1, 1, 2, 2, 2)),
    _other_depth(13, (2, 2, 2, 2, 2)),
    _other_depth(19, (2, 2, 4, 4, 4)),
)


def _halve(x: Array) -> Array:
    return max_pool(x, 2, 2)


def _convolutions() -> tuple[Stage, ...]:
    """3x3 convolutions, a stage each; the last of a block ends with its pooling."""
    return tuple(
        Stage(f"conv{block}_{n}", Conv(width, 3, pad=1), (_halve,) if n == len(widths) else ())
        for block, widths in enumerate(_BLOCKS, 1)
        for n, width in enumerate(widths, 1)
    )


def vgg16(classes: int = 1000) -> Network:
    """Thirteen convolutions in five blocks, then three fully connected layers."""
    rgb = imagenet_rgb(224)
    stages = (
        *_convolutions(),
        Stage("fc6", Dense(4096)),
        Stage("fc7", Dense(4096), dropout=0.5),
        Stage("fc8", Dense(classes, relu=False), dropout=0.5),
    )
    in_torchvision = dict(zip((stage.name for stage in stages), _TORCHVISION, strict=True))
    return Network(
        name="vgg16",
        classes=classes,
        stages=stages,
        preprocessing=Preprocessing(224, mean=(103.939, 116.779, 123.68)),
        # Its pixels are not divided: msra, which keeps their size, begins with logits near 100 and diverges. The
        # authors name Glorot and Bengio's as the initialisation that needs no shallower network (section 3.1).
        initializer="xavier",
        smallest=32,
        rates=Rates(tuned=1e-4, head=1e-3, scratch=1e-3, source="docs/rates.md"),
        sources=Sources(
            formats={
                "Caffe": Format(),
                "torchvision": Format(in_torchvision, preprocessing=rgb),
                "Keras": Format(_KERAS),
                "Gluon": Format(ordered=True, prefix="vgg0_", preprocessing=rgb),
                "ONNX": IN_ORDER,
            },
            releases=(_RELEASE,),
            relatives=_RELATIVES,
        ),
    )
