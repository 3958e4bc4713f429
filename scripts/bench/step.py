"""Images a second of a whole network, forward and training, against PyTorch's best settings.

    taskset -c 0,1 python scripts/bench/step.py --networks alexnet --batch 32 --json out.json

Training is one epoch of `medtune_jax.training.fit` with every stage tuned, forward is `predict`;
PyTorch runs such patches in turn, in a process of its own. `--torch-compile` and `--torch-amp` add those
settings on a CPU; on a GPU they are always tried.
"""

from __future__ import annotations

import common
import numpy as np
import torch_side

from medtune_jax import tuning
from medtune_jax.training import Settings, predict


def main() -> None:
    arguments = common.parser(__doc__, "alexnet,caffenet,squeezenet,googlenet,vgg16")
    arguments.add_argument("--steps", type=int, default=2, help="steps an epoch that is timed")
    arguments.add_argument("--cases", default="forward,training")
    arguments.add_argument("--torch-compile", action="store_true")
    arguments.add_argument("--torch-amp", action="store_true")
    options = arguments.parse_args()
    clock = common.CLOCKS[options.clock](common.use_all_allowed_cores())
    rows = []
    for name in options.networks.split(","):
        network, params, size = common.network_and_params(name, options.size)
        patches, labels = common.random_patches(options.batch * options.steps, size)
        cache = common.cache_of(network, params, patches, labels, size, 0)
        case = f"batch {options.batch}, {size} px"
        asked = (options.torch_compile, options.torch_amp)
        first, count = network.names[0], len(patches)
        for kind in options.cases.split(","):
            with torch_side.Apart(
                options.clock,
                torch_side.calls,
                kind,
                name,
                size,
                first,
                options.batch,
                count,
                *asked,
                keep_memory=options.torch_keeps_memory,
            ) as others:
                if kind == "forward":
                    ours = _forward(network, params, cache, options.batch)
                    seconds = common.alternate({"medtune": ours, **others}, options.repeats, clock)
                else:
                    seconds = common.epochs_of_fit(
                        network,
                        params,
                        first,
                        cache,
                        options.batch,
                        options.repeats,
                        others,
                        clock,
                    )
            rows.append(common.compare(name, f"{kind}, {case}", count, seconds))
    common.report("One step of a whole network", rows, options.json)


def _forward(network, params, cache, batch):
    """`predict` of all patches."""
    inputs = cache.inputs(network.names[0])
    runner = common.runner_of(network, params, tuning.parse(network, network.names[0]), inputs)
    index, settings = np.arange(len(cache.patches)), Settings(score_batch=batch)
    return lambda: predict(runner, params, inputs, index, settings)


if __name__ == "__main__":
    main()
