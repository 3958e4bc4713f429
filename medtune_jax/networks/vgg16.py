"""VGG-16 (Simonyan and Zisserman 2015, configuration D) as released for Caffe."""

from jax import Array

from medtune_jax.networks.layers import Conv, Dense, max_pool
from medtune_jax.networks.stages import Network, Preprocessing, Stage

_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


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
    return Network(
        name="vgg16",
        classes=classes,
        stages=(
            *_convolutions(),
            Stage("fc6", Dense(4096)),
            Stage("fc7", Dense(4096), dropout=0.5),
            Stage("fc8", Dense(classes, relu=False), dropout=0.5),
        ),
        preprocessing=Preprocessing(224, mean=(103.939, 116.779, 123.68)),
        filler="msra",
    )
