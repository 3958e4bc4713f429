"""MobileNet v1 (Howard et al. 2017, Table 1) as released by TF-slim: 1.0, 224 px."""

from __future__ import annotations

from flax import linen as nn
from jax import Array

from medtune_jax.networks.layers import SAME, Conv, Dense, relu6
from medtune_jax.networks.norms import BatchNorm
from medtune_jax.networks.pooling import global_average_pool
from medtune_jax.networks.preprocessing import Preprocessing
from medtune_jax.networks.sources import Format, Sources
from medtune_jax.networks.stages import Network, Stage

_EPSILON = 1e-3
# Output channels and stride of the separable convolutions.
_BLOCKS = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1),) * 5,
    *((1024, 2), (1024, 1)),
)


class First(nn.Module):
    """3x3 of stride 2, norm, ReLU6: [N,H,W,3] -> [N,H/2,W/2,32]."""

    @nn.compact
    def __call__(self, x: Array, counts: Array | None = None) -> Array:
        x = Conv(32, 3, 2, SAME, bias=None, relu=False, name="conv")(x)
        return relu6(BatchNorm(_EPSILON, name="bn")(x, counts))


class Separable(nn.Module):
    """3x3 of each channel alone, then 1x1 over channels, each with norm and ReLU6."""

    features: int
    stride: int

    @nn.compact
    def __call__(self, x: Array, counts: Array | None = None) -> Array:
        wide = x.shape[-1]
        x = Conv(wide, 3, self.stride, SAME, wide, bias=None, relu=False, name="depthwise_conv")(x)
        x = relu6(BatchNorm(_EPSILON, name="depthwise_bn")(x, counts))
        x = Conv(self.features, 1, bias=None, relu=False, name="pointwise_conv")(x)
        return relu6(BatchNorm(_EPSILON, name="pointwise_bn")(x, counts))


def _slim() -> dict[str, str]:
    at = "MobilenetV1"
    names = {"conv0/conv": f"{at}/Conv2d_0", "conv0/bn": f"{at}/Conv2d_0/BatchNorm"}
    for n in range(1, len(_BLOCKS) + 1):
        for part in ("depthwise", "pointwise"):
            names[f"conv{n}/{part}_conv"] = f"{at}/Conv2d_{n}_{part}"
            names[f"conv{n}/{part}_bn"] = f"{at}/Conv2d_{n}_{part}/BatchNorm"
    return names | {"fc": f"{at}/Logits/Conv2d_1c_1x1"}


def _keras() -> dict[str, str]:
    """The names of keras-applications."""
    names = {"conv0/conv": "conv1", "conv0/bn": "conv1_bn", "fc": "conv_preds"}
    for n in range(1, len(_BLOCKS) + 1):
        for part, short in (("depthwise", "dw"), ("pointwise", "pw")):
            names[f"conv{n}/{part}_conv"] = f"conv_{short}_{n}"
            names[f"conv{n}/{part}_bn"] = f"conv_{short}_{n}_bn"
    return names


def mobilenet_v1(classes: int = 1001) -> Network:
    """Thirteen separable convolutions, a stage each. The released head has 1,001 outputs, of which the first is none of
    ImageNet's classes.
    """
    last = len(_BLOCKS)
    separable = (
        Stage(f"conv{n}", Separable(*block), (global_average_pool,) if n == last else ())
        for n, block in enumerate(_BLOCKS, 1)
    )
    return Network(
        name="mobilenet_v1",
        classes=classes,
        stages=(
            Stage("conv0", First()),
            *separable,
            Stage("fc", Dense(classes, relu=False), dropout=0.001),
        ),
        preprocessing=Preprocessing(224, "RGB", (1.0, 1.0, 1.0), 1 / 127.5),
        initializer="msra",
        smallest=32,
        sources=Sources({"TF-slim": Format(_slim()), "Keras": Format(_keras())}),
    )
