"""Which of several forms of the same arithmetic a backend takes: one table, read while a program is traced.

A CPU's were measured, and a GPU's but for space_to_depth; that, and all of a TPU's, follow from a profile and from what
compilers say (docs/benchmarks.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

import jax


@dataclass(frozen=True)
class Forms:
    """products: convolutions of 1x1 and of maps smaller than the kernel as matrix products, and most 3x3 ones as
    Winograd's, in place of the compiler's own.
    split_groups: a convolution in groups as one for each group.
    depthwise_products: a convolution of each channel alone as a sum of products of shifted maps.
    space_to_depth: a strided convolution of few channels, as of an image's colours, as one of stride 1 over blocks of
    pixels: tensor cores multiply by eights, and three colours leave most of them idle.
    keep_powers: local response normalisation keeps its float32 powers for the gradient, or else computes them anew.
    window_products: its sums over channels as products with a matrix of ones beside the diagonal, which a compiler for
    matrix units merges with what comes before and after.
    pool_by_taps: the gradient of max pooling as a sum over the taps of its windows, or else gathered by every pixel,
    which makes one kernel of it.
    pool_in_halves: the gradient of max pooling by taps is made in two halves, or else XLA may make it anew in every
    use.
    pool_windows: max pooling as one operation over windows, which other programs know too; without a gradient of ours.
    """

    products: bool
    split_groups: bool
    depthwise_products: bool
    space_to_depth: bool
    keep_powers: bool
    window_products: bool
    pool_by_taps: bool
    pool_in_halves: bool
    pool_windows: bool = False


# A CPU is short of arithmetic, an accelerator of bandwidth.
CPU = Forms(
    products=True,
    split_groups=True,
    depthwise_products=True,
    space_to_depth=False,
    keep_powers=True,
    window_products=False,
    pool_by_taps=True,
    pool_in_halves=True,
)
ACCELERATOR = Forms(
    products=False,
    split_groups=True,
    depthwise_products=False,
    space_to_depth=True,
    keep_powers=False,
    window_products=False,
    pool_by_taps=False,
    pool_in_halves=False,
)
TPU = replace(ACCELERATOR, window_products=True)
# For a compiler that is not known yet: the layers by the names that all of them know.
PORTABLE = replace(TPU, split_groups=False, space_to_depth=False, pool_windows=True)
BY_BACKEND = {"cpu": CPU, "gpu": ACCELERATOR, "tpu": TPU}
_stated: ContextVar[Forms | None] = ContextVar("forms", default=None)


def forms() -> Forms:
    """Of the backend that programs are traced for, unless `traced_with` states others."""
    return _stated.get() or BY_BACKEND.get(jax.default_backend(), ACCELERATOR)


@contextmanager
def traced_with(stated: Forms) -> Iterator[None]:
    """What is traced for the first time inside takes these forms."""
    token = _stated.set(stated)
    try:
        yield
    finally:
        _stated.reset(token)
