"""What every reader of a weight file returns: one record a layer, in the source's own layout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Kind = Literal["convolution", "inner_product", "batch_norm", "other"]


@dataclass(frozen=True, eq=False)
class Layer:
    """The parameters of one layer as the file stores them; converting is another room's work.

    Attributes:
        name: the file's own name, for example ``conv2/3x3`` or ``features.0``.
        kind: ``convolution``, ``inner_product``, ``batch_norm`` (weights and bias are its scale and
            shift; Caffe's Scale is one with mean 0, variance 1, epsilon 0) or ``other``.
        weights: float32, (out, in / group, kH, kW) or (out, in); empty in a layer that has none but is of a kind
            that no network here has.
        bias: float32, (out,), or None if the file has none.
        group, kernel, stride: what the file says about them; None if it does not say.
        extra: further arrays by name (a batch norm: ``mean``, ``variance`` and maybe ``epsilon``).
        type: the file's own word for its kind.
        after: the layers that its input went through (`flow.Flow.after`); None if the file does not say.
        follows: the convolution or inner product whose result it alone reads; empty if there is none or the file
            does not say.
    """

    name: str
    kind: Kind
    weights: np.ndarray
    bias: np.ndarray | None = None
    group: int | None = None
    kernel: tuple[int, int] | None = None
    stride: tuple[int, int] | None = None
    extra: dict[str, np.ndarray] | None = None
    type: str = ""
    after: frozenset[str] | None = None
    follows: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weights in the source layout."""
        return self.weights.shape


def kind_of(weights: np.ndarray) -> Kind:
    """Tell a convolution (4 axes) from an inner product (2 axes) by its weights."""
    if weights.ndim == 4:
        return "convolution"
    return "inner_product" if weights.ndim == 2 else "other"
