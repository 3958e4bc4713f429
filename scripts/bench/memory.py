"""Bytes that the compiled training step of every depth needs, by what they hold, from XLA's memory analysis.

    python scripts/bench/memory.py --networks alexnet --batch 32 --json out.json

arguments: parameters, momentum and inputs of the step; temporary: activations kept for the gradient, and gradients.
`medtune` is their sum in MiB, with the frozen prefix cached; the note gives the parts and the sum without the cache.
"""

from __future__ import annotations

from functools import partial

import common
import jax
import numpy as np

from medtune_jax import compilation, networks, tuning
from medtune_jax.networks import Network, Params
from medtune_jax.training import Batch, Task, TrainState, step
from medtune_jax.training.inputs.prefix import take

MIB = 2**20


def main() -> None:
    options = common.parser(__doc__, "alexnet,squeezenet,googlenet").parse_args()
    common.use_all_allowed_cores()
    rows = []
    for name in options.networks.split(","):
        network = networks.get(name, common.CLASSES)
        size = options.size or network.preprocessing.size
        params = network.abstract_params(size)
        for depth in reversed(common.depths_of(network, options.depths)):
            cached = _bytes(
                network, params, size, depth, network.deterministic_prefix(depth), options.batch
            )
            whole = _bytes(network, params, size, depth, network.names[0], options.batch)
            momentum = _momentum_bytes(network, params, depth)
            note = (
                f"arguments {cached[0] / MIB:.0f} (momentum {momentum / MIB:.0f}), temporary {cached[1] / MIB:.0f}; "
                f"without cache {sum(whole) / MIB:.0f}"
            )
            label = tuning.parse(network, depth).label
            rows.append(common.Row(name, label, sum(cached) / MIB, None, None, "MiB", note=note))
    common.report(f"Memory of a training step, batch {options.batch}", rows, options.json)


def _bytes(
    network: Network, params: Params, size: int, depth: str, start: str, batch: int
) -> tuple[int, int]:
    """(arguments, temporary) of the package's own step at `depth` from stage `start` on, with one batch of inputs."""
    chosen = tuning.parse(network, depth)
    needed = {n: p for n, p in params.items() if network.index(n) >= network.index(start)}
    task = Task(network, chosen.tuned, start, take)
    state = jax.eval_shape(partial(TrainState.of, task), needed)
    position = network.index(start)
    shape = network.shapes(size)[network.names[position - 1]] if position else (size, size, 3)
    integers = jax.ShapeDtypeStruct((batch,), np.int32)
    features = {"features": jax.ShapeDtypeStruct((batch, *shape), np.float32)}
    program = jax.jit(partial(step, task), donate_argnums=0, compiler_options=compilation.options())
    lowered = program.lower(
        state,
        tuning.split(needed, chosen.tuned)[1],
        tuning.stage_rates(network, chosen),
        Batch(features, integers, integers),
        jax.random.key(0),
    )
    analysis = lowered.compile().memory_analysis()
    return analysis.argument_size_in_bytes, analysis.temp_size_in_bytes


def _momentum_bytes(network: Network, params: Params, depth: str) -> int:
    """What the optimizer keeps: one number a tuned parameter."""
    tuned, _ = tuning.split(params, tuning.parse(network, depth).tuned)
    return 4 * networks.parameter_count(tuned)


if __name__ == "__main__":
    main()
