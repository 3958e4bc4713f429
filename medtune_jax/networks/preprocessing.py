"""From the pixels of an image to the input of a network."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike


@dataclass(frozen=True)
class Preprocessing:
    """How 8-bit RGB pixels become a network's input: channel order, then (x * scale - mean) / std per channel.

    mean and std are in the order of the network's own channels; `mean` may also be an image [size,size,3].
    """

    size: int
    order: str = "BGR"
    mean: tuple[float, float, float] | np.ndarray = (104.007, 116.669, 122.679)
    scale: float = 1.0
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __call__(self, x: Array, dtype: DTypeLike = jnp.float32) -> Array:
        """x [N,H,W,3] RGB, 0..255 of any dtype -> network input [N,H,W,3] of `dtype`."""
        x = x.astype(jnp.float32)
        x = jnp.flip(x, -1) if self.order == "BGR" else x
        x = x * self.scale - self._mean_for(x.shape[1:3])
        return (x / jnp.asarray(self.std, jnp.float32)).astype(dtype)

    def __str__(self) -> str:
        mean = np.asarray(self.mean)
        kind = "a mean image, on average " if mean.ndim == 3 else ""
        text = f"{self.size} x {self.size} {self.order}, mean {kind}{_numbers(mean.reshape(-1, 3).mean(0))}"
        if self.scale != 1:
            text += f", scale {self.scale:g}"
        if any(value != 1 for value in self.std):
            text += f", std {_numbers(np.asarray(self.std))}"
        return text

    def _mean_for(self, shape: tuple[int, ...]) -> Array:
        mean = np.asarray(self.mean, np.float32)
        if mean.ndim == 3 and mean.shape[:2] != shape:
            mean = mean.mean((0, 1))  # a mean image only fits its own size
        return jnp.asarray(mean)


def _numbers(values: np.ndarray) -> str:
    return " ".join(f"{value:g}" for value in np.round(values.astype(float), 3))


def imagenet_rgb(size: int) -> Preprocessing:
    """torchvision's and Gluon's: RGB in [0, 1], ImageNet's mean and deviation."""
    return Preprocessing(size, "RGB", (0.485, 0.456, 0.406), 1 / 255, (0.229, 0.224, 0.225))
