"""Forms of a convolution of each channel alone: forward, and with both gradients (docs/networks.md)."""

from __future__ import annotations

import time
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from medtune_jax.networks import forms
from medtune_jax.networks.convolutions import convolution

CASES = ((56, 128, 1), (28, 256, 1), (14, 512, 1), (28, 256, 2))  # side, channels, stride
BATCH, TRIES = 16, 7


def milliseconds(side: int, channels: int, stride: int, products: bool) -> list[float]:
    """Forward, and with gradients; the best of several."""
    backend = jax.default_backend()
    forms.BY_BACKEND[backend] = replace(forms.BY_BACKEND[backend], depthwise_products=products)
    x = np.random.default_rng(0).normal(size=(BATCH, side, side, channels)).astype(np.float32)
    kernel = jnp.ones((3, 3, 1, channels))

    def forward(x, kernel):
        return convolution(x, kernel, stride, 1, channels)

    def cost(x, kernel):
        return (forward(x, kernel) ** 2).sum()

    programs = jax.jit(forward), jax.jit(jax.value_and_grad(cost, (0, 1)))
    return [best(program, jnp.asarray(x), kernel) for program in programs]


def best(program, *arguments) -> float:
    jax.block_until_ready(program(*arguments))
    seconds = []
    for _ in range(TRIES):
        began = time.perf_counter()
        jax.block_until_ready(program(*arguments))
        seconds.append(time.perf_counter() - began)
    return 1e3 * min(seconds)


if __name__ == "__main__":
    for case in CASES:
        for name, products in (("products", True), ("the compiler's own", False)):
            forward, both = milliseconds(*case, products)
            print(f"{case}  {name:<20}{forward:8.1f} / {both:.1f} ms", flush=True)
