"""Milliseconds of every stage, forward and gradient, against PyTorch in channels_last: where a step's time goes.

taskset -c 0 python scripts/bench/stages.py --networks alexnet --batch 4 --clock cpu --json out.json
"""

from __future__ import annotations

import statistics

import common
import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch_networks

from medtune_jax import compilation
from medtune_jax.networks import Params, Stage


def main() -> None:
    options = common.parser(__doc__, "alexnet,squeezenet,googlenet").parse_args()
    clock = common.CLOCKS[options.clock](common.use_all_allowed_cores())
    rows = []
    for name in options.networks.split(","):
        network, params, size = common.network_and_params(name, options.size)
        model = torch_networks.build(network, params, size).to(memory_format=torch.channels_last)
        shapes = network.shapes(size)
        for depth in common.depths_of(network, options.depths):
            position = network.index(depth)
            shape = shapes[network.names[position - 1]] if position else (size, size, 3)
            x = np.random.default_rng(0).random((options.batch, *shape), np.float32)
            ours = _ours(network.stages[position], params[depth], x, position == 0)
            theirs = _theirs(model.get_submodule(depth).eval(), x, position == 0)
            for kind in ours:
                pair = {"medtune": ours[kind], "torch": theirs[kind]}
                seconds = common.alternate(pair, options.repeats, clock)
                one, other = (1e3 * statistics.median(values) for values in seconds.values())
                wide = max(common.spread(values) for values in seconds.values())
                rows.append(
                    common.Row(
                        name,
                        f"{depth}, {kind}",
                        one,
                        other,
                        other / one,
                        "ms",
                        options.repeats,
                        wide,
                    )
                )
        rows += _totals(name, rows)
    common.report(f"Stages, batch {options.batch}", rows, options.json)


def _totals(name: str, rows: list[common.Row]) -> list[common.Row]:
    result = []
    for kind in ("forward", "gradient"):
        own = [row for row in rows if row.network == name and row.case.endswith(kind)]
        one, other = sum(row.medtune for row in own), sum(row.torch or 0 for row in own)
        result.append(common.Row(name, f"sum, {kind}", one, other, other / one, "ms"))
    return result


def _ours(stage: Stage, params: Params, x: np.ndarray, first: bool):
    """Gradients of the parameters and, but for a first stage, of the input, from a random gradient of the output."""
    forward = jax.jit(stage.__call__, compiler_options=compilation.options())
    wanted = 0 if first else (0, 1)
    total = lambda p, a, g: jnp.vdot(stage(p, a), g)  # noqa: E731
    gradient = jax.jit(jax.grad(total, wanted), compiler_options=compilation.options())
    image = jnp.asarray(x)
    behind = jax.random.normal(jax.random.key(0), forward(params, image).shape)
    return {
        "forward": lambda: jax.block_until_ready(forward(params, image)),
        "gradient": lambda: jax.block_until_ready(gradient(params, image, behind)),
    }


def _theirs(stage: torch.nn.Module, x: np.ndarray, first: bool):
    image = torch.tensor(x)
    if image.ndim == 4:
        image = image.permute(0, 3, 1, 2)  # channels_last as it is
    leaf = image.clone().requires_grad_(not first)
    wanted = [*stage.parameters()] + ([] if first else [leaf])
    behind = torch.randn_like(stage(image))

    def forward():
        with torch.inference_mode():
            stage(image)

    return {
        "forward": forward,
        "gradient": lambda: torch.autograd.grad(stage(leaf), wanted, behind),
    }


if __name__ == "__main__":
    main()
