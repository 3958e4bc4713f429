"""What the compiled step needs of patches."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from jax import Array


class PatchSet(Protocol):
    """A fixed, numbered set of patches.

    arrays: what goes to the device once, or Records, which are streamed to it. bulk: the name of the one that is large,
    of which several processes hold a part of the rows each. subset: the arrays of patches int [B] only, each with B
    rows, numbered in that order, for data that are larger than the device's memory; at: int [B], the places of these
    rows in the arrays of a larger batch, where they are a part of it. take: a pure function from those arrays and
    indices int32 [B] to pixels [B,S,S,3], RGB, 0..255. fingerprint: sha256 of all that decides the pixels.
    """

    @property
    def bulk(self) -> str: ...

    def __len__(self) -> int: ...

    def arrays(self) -> dict[str, Any]: ...

    def subset(self, index: np.ndarray, at: np.ndarray | None = None) -> dict[str, np.ndarray]: ...

    def take(self, arrays: dict[str, Array], index: Array) -> Array: ...

    def fingerprint(self) -> str: ...
