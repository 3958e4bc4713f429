"""Patches that are whole images of one size, kept once as bytes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from jax import Array


@dataclass(frozen=True)
class Images:
    """One patch per image: uint8 [N,S,S,3] RGB."""

    pixels: np.ndarray

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def size(self) -> int:
        return self.pixels.shape[1]

    def arrays(self) -> dict[str, Any]:
        """What the compiled step reads."""
        return {"pixels": self.pixels}

    def subset(self, index: np.ndarray) -> dict[str, np.ndarray]:
        return {"pixels": self.pixels[index]}

    @staticmethod
    def take(arrays: dict[str, Array], index: Array) -> Array:
        """index int32 [B] -> RGB [B,S,S,3], 0..255."""
        return arrays["pixels"][index]

    def fingerprint(self) -> str:
        return hashlib.sha256(self.pixels.tobytes()).hexdigest()
