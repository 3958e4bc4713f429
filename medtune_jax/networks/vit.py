"""Vision transformers (Dosovitskiy et al. 2021, Table 1) as timm has them: ViT-S/16 and ViT-B/16, and those of DINOv2
(Oquab et al. 2024), which have patches of 14 px and layer scales.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from medtune_jax.networks.layers import Conv, LayerScale, Positionwise, gelu
from medtune_jax.networks.norms import LayerNorm
from medtune_jax.networks.preprocessing import Preprocessing, imagenet_rgb
from medtune_jax.networks.sources import Format, Sources
from medtune_jax.networks.stages import Network, Stage

_DEPTH = 12


@dataclass(frozen=True)
class Kind:
    """patch: its side in pixels. grid: patches a side that positions are stored for. scale: of the layer scales at
    first; 0: there are none.
    """

    patch: int
    grid: int
    scale: float
    preprocessing: Preprocessing


_PLAIN = Kind(16, 14, 0.0, Preprocessing(224, "RGB", (0.5,) * 3, 1 / 255, (0.5,) * 3))
_DINOV2 = Kind(14, 37, 1e-5, imagenet_rgb(224))


class PatchEmbedding(nn.Module):
    """[N,H,W,3] -> [N, 1 + H/P * W/P, width]: a vector for each patch of P x P pixels and, first, the class token.

    Positions are stored for `grid` x `grid` patches, and interpolated for any other (bicubic, as timm does). A rest of
    the image that is no whole patch is left out.
    """

    width: int
    patch: int
    grid: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = Conv(self.width, self.patch, self.patch, relu=False, name="proj")(x)
        rows, columns = x.shape[1:3]
        positions = Embedding(1 + self.grid**2, self.width, name="pos_embed")()
        token = Embedding(1, self.width, name="cls_token")()
        x = x.reshape(x.shape[0], rows * columns, self.width)
        first = jnp.broadcast_to(token.astype(x.dtype), (x.shape[0], 1, self.width))
        grid = _interpolated(positions, self.grid, rows, columns).astype(x.dtype)
        return jnp.concatenate([first, x], 1) + grid


def _interpolated(positions: Array, side: int, rows: int, columns: int) -> Array:
    """[1, 1 + side * side, width] -> [1, 1 + rows * columns, width]."""
    if (rows, columns) == (side, side):
        return positions
    width = positions.shape[-1]
    grid = positions[:, 1:].reshape(1, side, side, width)
    grid = jax.image.resize(grid, (1, rows, columns, width), "cubic", antialias=True)
    return jnp.concatenate([positions[:, :1], grid.reshape(1, rows * columns, width)], 1)


class Embedding(nn.Module):
    """Learned vectors [1, count, width]."""

    count: int
    width: int

    @nn.compact
    def __call__(self) -> Array:
        shape = (1, self.count, self.width)
        return self.param("embedding", nn.initializers.normal(0.02), shape)


class Attention(nn.Module):
    """Self-attention of [N,T,C] in heads of C / heads channels (Vaswani et al. 2017)."""

    heads: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        batch, tokens, width = x.shape
        shape = (batch, tokens, 3, self.heads, width // self.heads)
        qkv = Positionwise(3 * width, name="qkv")(x).reshape(shape)
        query, key, value = jnp.moveaxis(qkv, (2, 3), (0, 2))  # [N, heads, T, C / heads] each
        scores = (query * shape[-1] ** -0.5) @ key.swapaxes(-1, -2)
        y = jax.nn.softmax(scores.astype(jnp.float32)).astype(x.dtype) @ value
        return Positionwise(width, name="proj")(y.swapaxes(1, 2).reshape(x.shape))


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)). final: whether the network's last norm follows.

    scale: of the layer scales on what is added, at first; 0: there are none.
    """

    heads: int
    final: bool = False
    scale: float = 0.0

    @nn.compact
    def __call__(self, x: Array) -> Array:
        width = x.shape[-1]
        x = x + self._scaled("ls1", Attention(self.heads, name="attn")(LayerNorm(name="norm1")(x)))
        y = gelu(Positionwise(4 * width, name="fc1")(LayerNorm(name="norm2")(x)))
        x = x + self._scaled("ls2", Positionwise(width, name="fc2")(y))
        return LayerNorm(name="norm")(x) if self.final else x

    def _scaled(self, name: str, x: Array) -> Array:
        return LayerScale(self.scale, name=name)(x) if self.scale else x


def _class_token(x: Array) -> Array:
    return x[:, 0]


def _names(scaled: bool) -> dict[str, str]:
    names = {"patch_embed/proj": "patch_embed.proj", f"block{_DEPTH - 1}/norm": "norm"}
    names |= {f"patch_embed/{name}": name for name in ("pos_embed", "cls_token")}
    parts = {"norm1": "norm1", "norm2": "norm2", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}
    parts |= {f"attn/{part}": f"attn.{part}" for part in ("qkv", "proj")}
    parts |= {name: f"{name}.gamma" for name in ("ls1", "ls2")} if scaled else {}
    for n in range(_DEPTH):
        names |= {f"block{n}/{ours}": f"blocks.{n}.{theirs}" for ours, theirs in parts.items()}
    return names


def _network(name: str, classes: int, width: int, kind: Kind = _PLAIN) -> Network:
    last = _DEPTH - 1
    blocks = (
        Stage(
            f"block{n}",
            Block(width // 64, n == last, kind.scale),
            (_class_token,) if n == last else (),
        )
        for n in range(_DEPTH)
    )
    return Network(
        name=name,
        classes=classes,
        stages=(
            Stage("patch_embed", PatchEmbedding(width, kind.patch, kind.grid)),
            *blocks,
            Stage("head", Positionwise(classes)),
        ),
        preprocessing=kind.preprocessing,
        initializer="xavier",
        smallest=kind.patch,
        adapted=(("attn", "qkv"), ("attn", "proj")),
        sources=Sources({"timm": Format(_names(kind.scale > 0))}),
    )


def vit_small_patch16(classes: int = 1000) -> Network:
    """Width 384, six heads."""
    return _network("vit_small_patch16", classes, 384)


def vit_base_patch16(classes: int = 1000) -> Network:
    """Width 768, twelve heads."""
    return _network("vit_base_patch16", classes, 768)


def vit_small_patch14_dinov2(classes: int = 1000) -> Network:
    """ViT-S/14 of DINOv2 without registers; a release has no head, and the class token is what ours reads."""
    return _network("vit_small_patch14_dinov2", classes, 384, _DINOV2)


def vit_base_patch14_dinov2(classes: int = 1000) -> Network:
    """ViT-B/14 of DINOv2."""
    return _network("vit_base_patch14_dinov2", classes, 768, _DINOV2)
