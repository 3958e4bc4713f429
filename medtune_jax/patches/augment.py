"""Augmentation: pictures moved, turned and lit otherwise, inside the compiled step, by a key a patch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from medtune_jax.errors import UserError
from medtune_jax.patches.protocol import PatchSet
from medtune_jax.patches.sampler import sample

FLIPS = ("none", "horizontal", "vertical", "both")
_LIMITS = {"rotation": 180.0, "scale": 10.0, "shift": 1.0, "brightness": 1.0, "contrast": 10.0}
_ROWS = "views"  # the name of the array that `Views` adds


@dataclass(frozen=True)
class Augment:
    """How far a picture may be changed; each amount is drawn evenly from its range, anew for every key.

    flip: one of FLIPS, each axis with probability 1/2. rotation: degrees either way. scale: 0.1 magnifies by 1/1.1 to
    1.1 (evenly on a logarithmic scale), contrast: the same for the distance to the picture's mean. shift: the share of
    a side, in each direction. brightness: the share of white (255) that is added or taken off. What comes from beyond
    the border has the value of the border. Raises UserError, by config field, for what is out of range.
    """

    flip: str = "none"
    rotation: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0

    def __post_init__(self) -> None:
        if self.flip not in FLIPS:
            raise UserError(f"augment.flip is '{self.flip}': give one of {', '.join(FLIPS)}")
        for name, most in _LIMITS.items():
            if not 0 <= getattr(self, name) <= most:
                raise UserError(f"augment.{name} is {getattr(self, name):g}: give 0 to {most:g}")

    def __call__(self, pixels: Array, keys: Array) -> Array:
        """pixels [B, S, S, C], 0..255, keys [B] -> the same pictures changed, float32, 0..255."""
        pixels = pixels.astype(jnp.float32)
        draws = jax.vmap(lambda key: jax.random.uniform(key, (8,), minval=-1, maxval=1))(keys)
        points = jax.vmap(lambda draw: self._points(draw, pixels.shape[1]))(draws)
        shapes = jnp.full((len(pixels), 2), pixels.shape[1], jnp.int32)
        moved = sample(pixels, shapes, jnp.arange(len(pixels)), points)
        contrast, brightness = (draws[:, n, None, None, None] for n in (6, 7))
        mean = moved.mean((1, 2, 3), keepdims=True)
        lit = mean + (moved - mean) * (1 + self.contrast) ** contrast
        return jnp.clip(lit + 255 * self.brightness * brightness, 0, 255)

    def _points(self, draw: Array, side: int) -> Array:
        """Where each pixel comes from: (row, col) of the picture, [S, S, 2]. draw: [8], -1..1."""
        middle = (side - 1) / 2
        turn = jnp.deg2rad(self.rotation) * draw[0]
        cosine, sine = jnp.cos(turn), jnp.sin(turn)
        rotation = jnp.array([[cosine, -sine], [sine, cosine]])
        linear = rotation * (1 + self.scale) ** draw[1]
        axes = jnp.array([self.flip in ("vertical", "both"), self.flip in ("horizontal", "both")])
        mirror = jnp.where(axes & (draw[2:4] > 0), -1.0, 1.0)
        grid = jnp.asarray(np.moveaxis(np.mgrid[:side, :side], 0, -1) - middle, jnp.float32)
        return (grid * mirror) @ linear.T + middle + side * self.shift * draw[4:6]

    def __str__(self) -> str:
        """'rotation 10, scale 0.1': what is changed, and how far."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        told = (f"{name} {value}" for name, value in values.items() if value not in (0, "none"))
        return ", ".join(told) or "nothing"


@dataclass(frozen=True)
class Views:
    """A patch set with `copies` fixed views of every patch: patch n as it is, then N + n, 2N + n ... changed.

    What a view looks like depends on its number and the patch's, so that features of it can be kept.
    """

    patches: PatchSet
    augment: Augment
    copies: int

    @property
    def bulk(self) -> str:
        return self.patches.bulk

    def __len__(self) -> int:
        return len(self.patches) * self.copies

    def arrays(self) -> dict[str, Any]:
        index = np.arange(len(self))
        patch = index % len(self.patches)
        return {**self.patches.arrays(), _ROWS: self._rows(index, patch)}

    def subset(self, index: np.ndarray, at: np.ndarray | None = None) -> dict[str, np.ndarray]:
        inside = self.patches.subset(index % len(self.patches), at)
        rows = np.arange(len(index)) if at is None else at
        return {**inside, _ROWS: self._rows(index, rows)}

    def _rows(self, index: np.ndarray, patch: np.ndarray) -> np.ndarray:
        """int32 [n, 3]: where the patch lies among the arrays, its number, the view's."""
        view, number = np.divmod(index, len(self.patches))
        return np.stack([patch, number, view], -1).astype(np.int32)

    def take(self, arrays: dict[str, Array], index: Array) -> Array:
        """index int32 [B] -> [B,S,S,3], 0..255, float32."""
        patch, number, view = jnp.moveaxis(arrays[_ROWS][index], -1, 0)
        inside = {name: array for name, array in arrays.items() if name != _ROWS}
        pixels = self.patches.take(inside, patch)
        start = jax.random.key(0)
        keys = jax.vmap(lambda n, v: jax.random.fold_in(jax.random.fold_in(start, v), n))(
            number, view
        )
        as_it_is = (view == 0)[:, None, None, None]
        return jnp.where(as_it_is, pixels.astype(jnp.float32), self.augment(pixels, keys))

    def fingerprint(self) -> str:
        told = f"{self.patches.fingerprint()} {self.augment!r} {self.copies}"
        return hashlib.sha256(told.encode()).hexdigest()
