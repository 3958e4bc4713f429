"""Forms of every distinct convolution of a network: forward and both gradients, in milliseconds.

`convolutions._cpu_form` follows from it.

taskset -c 1 python scripts/bench/forms.py --networks alexnet,squeezenet,googlenet --batch 8 --clock cpu
"""

from __future__ import annotations

import statistics
from functools import partial

import common
import jax
import numpy as np
import torch
from jax import Array

from medtune_jax import compilation
from medtune_jax.networks import Network, convolutions, layers

FORMS = {
    "direct": convolutions._convolve,
    "pixels": convolutions._convolve_pixels,
    "windows": convolutions._convolve_windows,
    "winograd": convolutions._convolve_winograd,
}


def _fits(form: str, side: int, size: int, stride: int) -> bool:
    if form == "pixels":
        return size == stride == 1
    if form == "windows":
        return size > 1 and side <= 2 * size  # of larger maps they are many times the map
    return form == "direct" or (size, stride) == (3, 1)


def main() -> None:
    arguments = common.parser(__doc__, "alexnet,squeezenet,googlenet")
    arguments.add_argument("--first", type=int, help="only the first so many convolutions")
    options = arguments.parse_args()
    cores = common.use_all_allowed_cores()
    clock = common.CLOCKS[options.clock](cores)
    rows = []
    for name in options.networks.split(","):
        network, _, size = common.network_and_params(name, options.size)
        for shape in distinct(network, size)[: options.first]:
            rows.append(_row(name, shape, options.batch, options.repeats, clock))
    common.report("Forms of a convolution, forward and gradients", rows, options.json)


def distinct(network: Network, size: int) -> list[tuple[int, ...]]:
    """(side, input channels, features, kernel size, stride, pad, first) of every distinct convolution, groups split."""
    found: dict[tuple[int, ...], None] = {}
    seen = layers.convolution

    def spy(x: Array, kernel: Array, stride: int = 1, pad: int = 0, groups: int = 1) -> Array:
        channels = x.shape[-1] // groups
        first = int(x.shape[-1] == 3)
        found[
            (x.shape[1], channels, kernel.shape[3] // groups, kernel.shape[0], stride, pad, first)
        ] = None
        return seen(x, kernel, stride, pad, groups)

    layers.convolution = spy
    try:
        x = jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
        jax.eval_shape(network.apply, network.abstract_params(size), x)
    finally:
        layers.convolution = seen
    return list(found)


def _row(network: str, shape: tuple[int, ...], batch: int, repeats: int, clock) -> common.Row:
    side, channels, features, size, stride, pad, first = shape
    generator = np.random.default_rng(0)
    x = generator.standard_normal((batch, side, side, channels), np.float32)
    kernel = generator.standard_normal((size, size, channels, features), np.float32)
    names = [n for n in FORMS if _fits(n, side, size, stride)]
    candidates = {n: _ours(FORMS[n], x, kernel, stride, pad, first) for n in names}
    candidates["torch"] = _torch(x, kernel, stride, pad, first)
    seconds = common.alternate(candidates, repeats, clock)
    middle = {n: 1e3 * statistics.median(values) for n, values in seconds.items()}
    chosen = convolutions._cpu_form(x, kernel, stride)
    name = next(n for n, form in FORMS.items() if form is chosen)
    note = ", ".join(f"{n} {middle[n]:.1f}" for n in names) + f"; chosen: {name}"
    case = f"{side}x{side}x{channels} -> {features}, {size}x{size}/{stride}, batch {batch}"
    spread = max(common.spread(seconds[name]), common.spread(seconds["torch"]))
    ratio = middle["torch"] / middle[name]
    return common.Row(
        network, case, middle[name], middle["torch"], ratio, "ms", repeats, spread, note
    )


def _ours(form, x, kernel, stride, pad, first):
    argument = (1,) if first else (0, 1)
    forward = partial(form, stride=stride, pad=pad)
    gradient = jax.value_and_grad(lambda a, b: (forward(a, b) ** 2).sum(), argument)
    run = jax.jit(gradient, compiler_options=compilation.options())
    x, kernel = jax.device_put((x, kernel))
    return lambda: jax.block_until_ready(run(x, kernel))


def _torch(x, kernel, stride, pad, first):
    last = torch.channels_last
    image = torch.tensor(x.transpose(0, 3, 1, 2).copy()).to(memory_format=last)
    weight = torch.tensor(kernel.transpose(3, 2, 0, 1).copy()).to(memory_format=last)
    wanted = (
        [weight.requires_grad_()] if first else [image.requires_grad_(), weight.requires_grad_()]
    )

    def run():
        y = torch.nn.functional.conv2d(image, weight, stride=stride, padding=pad)
        torch.autograd.grad((y**2).sum(), wanted)

    return run


if __name__ == "__main__":
    main()
