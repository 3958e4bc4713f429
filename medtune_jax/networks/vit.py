"""Vision transformers (Dosovitskiy et al. 2021, Table 1) as timm has them: ViT-S/16 and ViT-B/16."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from medtune_jax.networks.layers import Conv, Positionwise, gelu
from medtune_jax.networks.norms import LayerNorm
from medtune_jax.networks.preprocessing import Preprocessing
from medtune_jax.networks.sources import Format, Sources
from medtune_jax.networks.stages import Network, Stage

_PATCH, _GRID, _DEPTH = 16, 14, 12


class PatchEmbedding(nn.Module):
    """[N,H,W,3] -> [N, 1 + H/16 * W/16, width]: a vector for each patch of 16 x 16 pixels and, first, the class token.

    Positions are stored for 14 x 14 patches, and interpolated for any other grid (bicubic, as timm does). A rest of the
    image that is no whole patch is left out.
    """

    width: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = Conv(self.width, _PATCH, _PATCH, relu=False, name="proj")(x)
        rows, columns = x.shape[1:3]
        positions = Embedding(1 + _GRID**2, self.width, name="pos_embed")()
        token = Embedding(1, self.width, name="cls_token")()
        x = x.reshape(x.shape[0], rows * columns, self.width)
        first = jnp.broadcast_to(token.astype(x.dtype), (x.shape[0], 1, self.width))
        grid = _interpolated(positions, rows, columns).astype(x.dtype)
        return jnp.concatenate([first, x], 1) + grid


def _interpolated(positions: Array, rows: int, columns: int) -> Array:
    """[1, 1 + 14 * 14, width] -> [1, 1 + rows * columns, width]."""
    if (rows, columns) == (_GRID, _GRID):
        return positions
    width = positions.shape[-1]
    grid = positions[:, 1:].reshape(1, _GRID, _GRID, width)
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
        query, key, value = (qkv[:, :, n] for n in range(3))
        y = jax.nn.dot_product_attention(query, key, value)
        return Positionwise(width, name="proj")(y.reshape(x.shape))


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)). final: whether the network's last norm follows."""

    heads: int
    final: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        width = x.shape[-1]
        x = x + Attention(self.heads, name="attn")(LayerNorm(name="norm1")(x))
        y = gelu(Positionwise(4 * width, name="fc1")(LayerNorm(name="norm2")(x)))
        x = x + Positionwise(width, name="fc2")(y)
        return LayerNorm(name="norm")(x) if self.final else x


def _class_token(x: Array) -> Array:
    return x[:, 0]


def _names() -> dict[str, str]:
    names = {"patch_embed/proj": "patch_embed.proj", f"block{_DEPTH - 1}/norm": "norm"}
    names |= {f"patch_embed/{name}": name for name in ("pos_embed", "cls_token")}
    parts = {"norm1": "norm1", "norm2": "norm2", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}
    parts |= {f"attn/{part}": f"attn.{part}" for part in ("qkv", "proj")}
    for n in range(_DEPTH):
        names |= {f"block{n}/{ours}": f"blocks.{n}.{theirs}" for ours, theirs in parts.items()}
    return names


def _network(name: str, classes: int, width: int) -> Network:
    last = _DEPTH - 1
    blocks = (
        Stage(
            f"block{n}", Block(width // 64, final=n == last), (_class_token,) if n == last else ()
        )
        for n in range(_DEPTH)
    )
    return Network(
        name=name,
        classes=classes,
        stages=(
            Stage("patch_embed", PatchEmbedding(width)),
            *blocks,
            Stage("head", Positionwise(classes)),
        ),
        preprocessing=Preprocessing(224, "RGB", (0.5,) * 3, 1 / 255, (0.5,) * 3),
        initializer="xavier",
        smallest=_PATCH,
        adapted=(("attn", "qkv"), ("attn", "proj")),
        sources=Sources({"timm": Format(_names())}),
    )


def vit_small_patch16(classes: int = 1000) -> Network:
    """Width 384, six heads."""
    return _network("vit_small_patch16", classes, 384)


def vit_base_patch16(classes: int = 1000) -> Network:
    """Width 768, twelve heads."""
    return _network("vit_base_patch16", classes, 768)
