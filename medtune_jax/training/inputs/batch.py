"""What a step reads, and where it comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jax import Array

if TYPE_CHECKING:
    from medtune_jax.training.inputs.stream import Streamed

AnyArray = Array | np.ndarray
Arrays = dict[str, Any]
"""Of numpy or JAX."""
Take = Callable[[Arrays, Array], Array]
"""A pure function from arrays and row numbers int32 [B] to those rows as the input of a stage, [B, ...]."""


Augmented = Callable[[Arrays, Array, Array], Array]
"""As `Take`, with a key [B] for each row, by which its pixels are changed."""


class Batch(NamedTuple):
    """The data of one step: arrays, labels int32 [N], and the rows int32 [B] of both that it takes (-1 is padding).

    numbers: int32 [N], of all patches which ones the arrays hold; None: all, in order. draw: the key of the epoch by
    which patches are augmented; None: they are not. weights: of the classes (`Objective.weights`), which are the run's
    own; None: all count alike.
    """

    arrays: Arrays
    labels: AnyArray
    rows: AnyArray
    numbers: AnyArray | None = None
    draw: Array | None = None
    weights: AnyArray | None = None


@dataclass(frozen=True)
class Inputs:
    """What the steps of a depth read.

    arrays: on the device, or streamed to it. labels: int32 [N] of all patches. start: the stage that reads them, by
    `take`. parted: the name of the array of which each of several processes has the rows `hosts.part`, until
    `Layout.inputs` joins them.
    """

    arrays: Arrays | Streamed
    labels: AnyArray
    start: str
    take: Take
    parted: str = ""

    @property
    def streamed(self) -> bool:
        return not isinstance(self.arrays, dict)

    def batches(self, rows: np.ndarray) -> Iterator[Batch]:
        """What the steps on rows of patches int32 [S, B] read, one after another."""
        if isinstance(self.arrays, dict):
            return (Batch(self.arrays, self.labels, row) for row in rows)
        return self.arrays.batches(rows)
