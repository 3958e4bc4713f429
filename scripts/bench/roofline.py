"""How near every stage comes to this machine's own ceilings.

    taskset -c 0,1 python scripts/bench/roofline.py --networks alexnet --batch 32 --json out.json

Ceilings are measured here: a large matrix product and a large copy. A stage's attainable time is the longer of its
FLOPs at the first and its bytes at the second, both from XLA's cost analysis of the compiled stage;
`ratio` is attainable over measured time. Above 1 the analysis counted bytes that stayed in a processor's cache.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import common
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from medtune_jax import compilation
from medtune_jax.networks import Params, Stage

GIGA = 1e9
Timing = Callable[[Callable[[], object]], tuple[float, float]]


def main() -> None:
    options = common.parser(__doc__, "alexnet,squeezenet,googlenet").parse_args()
    flops, touched = ceilings(options)
    rows = [
        common.Row("", "ceiling: matrix product", flops / GIGA, None, None, "GFLOP/s"),
        common.Row("", "ceiling: copy", touched / GIGA, None, None, "GB/s"),
    ]
    for name in options.networks.split(","):
        rows += rows_of(name, options, flops, touched)
    common.report(f"Roofline, batch {options.batch}", rows, options.json)


def ceilings(options) -> tuple[float, float]:
    """(FLOP/s, bytes/s) that this machine reaches."""
    timing = _timing_of(options)
    return _matmul_ceiling(timing), _copy_ceiling(timing)


def rows_of(name: str, options, flops_ceiling: float, bytes_ceiling: float) -> list[common.Row]:
    """Every stage of a network, forward and with gradients."""
    timing = _timing_of(options)
    network, params, size = common.network_and_params(name, options.size)
    shapes = network.shapes(size)
    rows = []
    for depth in common.depths_of(network, options.depths):
        position = network.index(depth)
        stage = network.stages[position]
        shape = shapes[network.names[position - 1]] if position else (size, size, 3)
        x = np.random.default_rng(0).random((options.batch, *shape), np.float32)
        x = jnp.asarray(x, common.dtype())
        own = jax.device_put(params[stage.name])
        for label, run in (("forward", _forward), ("gradient", _gradient)):
            function = partial(run, stage, first=stage.name == network.names[0])
            program = jax.jit(function, compiler_options=compilation.options())
            compiled = program.lower(own, x).compile()
            cost = compiled.cost_analysis()
            flops, touched = cost.get("flops", 0.0), cost.get("bytes accessed", 0.0)
            middle, spread = timing(partial(compiled, own, x))
            attainable = max(flops / flops_ceiling, touched / bytes_ceiling)
            note = f"{flops / GIGA:.2f} GFLOP, {touched / GIGA:.2f} GB, {1e3 * middle:.3g} ms"
            rows.append(
                common.Row(
                    name,
                    f"{stage.name}, {label}",
                    flops / middle / GIGA,
                    None,
                    attainable / middle,
                    "GFLOP/s",
                    options.repeats,
                    spread,
                    note,
                )
            )
    return rows


def _forward(stage: Stage, params: Params, x: Array, first: bool) -> Array:
    return stage(params, x)


def _gradient(stage: Stage, params: Params, x: Array, first: bool):
    """Forward and the gradients of the parameters and, but for the first stage, of the input."""
    return jax.grad(lambda p, a: (stage(p, a) ** 2).sum(), 0 if first else (0, 1))(params, x)


def _timing_of(options) -> Timing:
    """On an accelerator ten dispatches at a time, or else they would count."""
    clock = common.CLOCKS[options.clock](common.use_all_allowed_cores())
    inner = 1 if jax.default_backend() == "cpu" else 10
    return partial(common.dispatched, repeats=options.repeats, clock=clock, inner=inner)


def _matmul_ceiling(timing: Timing) -> float:
    """FLOP/s of a square matrix product in the dtype of a study's activations."""
    side = 2048 if jax.default_backend() == "cpu" else 8192
    a = jax.random.normal(jax.random.key(0), (side, side), common.dtype())
    product = jax.jit(jnp.matmul, compiler_options=compilation.options())
    return 2 * side**3 / timing(lambda: product(a, a))[0]


def _copy_ceiling(timing: Timing) -> float:
    """Bytes/s read and written by a scaled copy of an array beyond every processor cache."""
    count = 2**26 if jax.default_backend() == "cpu" else 2**30
    scale = jax.jit(lambda a: 2 * a, donate_argnums=0)
    held = [jnp.ones(count)]

    def call():
        held[0] = scale(held[0])  # in place: no new pages to be mapped
        return held[0]

    return 2 * 4 * count / timing(call)[0]


if __name__ == "__main__":
    main()
