"""What the compiled step needs of patches."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from jax import Array


class PatchSet(Protocol):
    """A fixed, numbered set of patches.

    arrays: what goes to the device once, or Records, which are streamed to it. subset: the same of patches int [B]
    only, numbered in that order, for data that are larger than the device's memory. take: a pure function from those
    arrays and indices int32 [B] to pixels [B,S,S,3], RGB, 0..255. fingerprint: sha256 of all that decides the pixels.
    """

    def __len__(self) -> int: ...

    def arrays(self) -> dict[str, Any]: ...

    def subset(self, index: np.ndarray) -> dict[str, np.ndarray]: ...

    def take(self, arrays: dict[str, Array], index: Array) -> Array: ...

    def fingerprint(self) -> str: ...
