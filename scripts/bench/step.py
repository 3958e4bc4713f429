"""Images a second of a whole network, forward and training, against PyTorch's best settings.

    taskset -c 0,1 python scripts/bench/step.py --networks alexnet --batch 32 --json out.json

Training is one epoch of `medtune_jax.training.fit` with every stage tuned, forward is `predict`;
PyTorch runs such patches in turn, in a process of its own. `--torch-compile` and `--torch-amp` add those
settings on a CPU; on a GPU its likely fastest are tried, all of them with both options. Of resnet50,
efficientnet_lite0 and vit_small_patch16 PyTorch's are torchvision's and timm's (install both), batch norms with stored
statistics.
"""

from __future__ import annotations

from collections.abc import Iterator

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
    common.use_all_allowed_cores()
    rows = [row for name in options.networks.split(",") for row in rows_of(name, options)]
    common.report("One step of a whole network", rows, options.json)


def rows_of(name: str, options) -> Iterator[common.Row]:
    """The cases of a network, alternating with PyTorch's."""
    clock = common.CLOCKS[options.clock](common.use_all_allowed_cores())
    network, params, size = common.network_and_params(name, options.size)
    count, first = options.batch * options.steps, network.names[0]
    patches, labels = common.random_patches(count, size)
    cache = common.cache_of(network, params, patches, labels, size, 0)
    with torch_side.Apart(
        options.clock,
        torch_side.calls_by_case,
        options.cases,
        name,
        size,
        first,
        options.batch,
        count,
        options.torch_compile,
        options.torch_amp,
        keep_memory=options.torch_keeps_memory,
    ) as theirs:
        for kind in options.cases.split(","):
            prefix = f"{kind}: "
            others = {
                key.removeprefix(prefix): call
                for key, call in theirs.items()
                if key.startswith(prefix)
            }
            # On a GPU a row for each setting: PyTorch's compiler may take longer than the visit lasts.
            apart = [{key: call} for key, call in others.items()]
            for rivals in apart if torch_side.DEVICE == "cuda" else [others]:
                if kind == "forward":
                    ours = _forward(network, params, cache, options.batch)
                    seconds = common.alternate({"medtune": ours, **rivals}, options.repeats, clock)
                else:
                    seconds = common.epochs_of_fit(
                        network, params, first, cache, options.batch, options.repeats, rivals, clock
                    )
                case = f"{kind}, batch {options.batch}, {size} px"
                yield common.compare(name, case, count, seconds)


def _forward(network, params, cache, batch):
    """`predict` of all patches."""
    inputs = cache.inputs(network.names[0])
    runner = common.runner_of(network, params, tuning.parse(network, network.names[0]), inputs)
    index, settings = np.arange(len(cache.patches)), Settings(score_batch=batch)
    return lambda: predict(runner, params, inputs, index, settings)


if __name__ == "__main__":
    main()
