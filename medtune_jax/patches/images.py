"""Patches that are whole images of one size, kept once as bytes, in memory or on disk."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from jax import Array

from medtune_jax.patches.records import Records


@dataclass(frozen=True)
class Images:
    """One patch per image: uint8 [N,S,S,3] RGB."""

    pixels: np.ndarray | Records

    bulk: ClassVar[str] = "pixels"

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def size(self) -> int:
        return self.pixels.shape[1]

    def arrays(self) -> dict[str, Any]:
        """What the compiled step reads."""
        return {"pixels": self.pixels}

    def subset(self, index: np.ndarray, at: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """at: nothing in an image's row says where it lies."""
        del at
        return {"pixels": self.pixels[index]}

    @staticmethod
    def take(arrays: dict[str, Array], index: Array) -> Array:
        """index int32 [B] -> RGB [B,S,S,3], 0..255."""
        return arrays["pixels"][index]

    def fingerprint(self) -> str:
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        for image in self.pixels:
            digest.update(image.tobytes())
        return digest.hexdigest()
