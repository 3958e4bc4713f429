"""When runs of a depth train faster together than one after another: a measured rule."""

from __future__ import annotations

import jax
import numpy as np

from medtune_jax import tuning
from medtune_jax.networks import Params, parameter_count
from medtune_jax.training.fit import Settings
from medtune_jax.training.program import Inputs, Program
from medtune_jax.training.stream import Streamed

# Three seeds, batch 32, cached features, two CPU cores, seconds alone / together (scripts/bench/stacking.py):
#   AlexNet fc8 (8 thousand tuned parameters)            1.39
#   SqueezeNet conv10, 67 px (1 thousand)                1.15
#   SqueezeNet fire9, 67 px (190 thousand)               0.93
#   AlexNet fc7 (17 million)                             0.65
# A small head is all overhead, and a stack pays it once; with more parameters every run must stream its own.
_CPU_PARAMETERS = 2**16
_STATE = 4  # parameters, momentum, gradients, best snapshot
_ACTIVATIONS = 3  # forward, backward, workspace: a rough bound
_MEMORY_SHARE = 0.5


def stacking_pays(
    program: Program, params: Params, inputs: Inputs, runs: int, settings: Settings
) -> bool:
    """Whether `runs` runs that start as `params` should train together.

    On a CPU only where little is tuned and nothing is convolved; on an accelerator wherever they fit in memory.
    """
    if isinstance(inputs.arrays, Streamed):
        return False  # every run would move its own batches
    tuned, _ = tuning.split(params, program.tuned)
    if jax.default_backend() == "cpu":
        if parameter_count(tuned) > _CPU_PARAMETERS:
            return False
        return not program.dispatches_steps(params)
    memory = jax.devices()[0].memory_stats() or {}
    free = memory.get("bytes_limit", 0) - memory.get("bytes_in_use", 0)
    each = 4 * _STATE * parameter_count(tuned) + _activation_bytes(program, inputs, settings)
    return runs * each <= _MEMORY_SHARE * free


def _activation_bytes(program: Program, inputs: Inputs, settings: Settings) -> int:
    """Of the stages that run, for one batch in float32; only their outputs are known without compiling."""
    shape = jax.eval_shape(inputs.fetch, inputs.arrays, np.arange(settings.batch))
    outputs = shape.size
    names = program.network.names[program.network.index(inputs.start) :]
    if inputs.start == program.network.names[0]:
        sizes = program.network.shapes(shape.shape[1])
        outputs += settings.batch * sum(int(np.prod(sizes[name])) for name in names)
    return 4 * _ACTIVATIONS * outputs
