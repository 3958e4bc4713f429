"""An epoch of training by shapes alone: what compilers are given where nothing is to run."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medtune_jax import tuning
from medtune_jax.networks import Network
from medtune_jax.patches import Images
from medtune_jax.training import EpochPlan, Task, TrainState


def epoch(
    network: Network, size: int, images: int, train: tuple[int, int], valid: tuple[int, int]
) -> tuple[Task, tuple[Any, ...]]:
    """The task and arguments of `train_and_validate`: every stage tuned, in bfloat16.

    images: of `size` pixels a side. train, valid: (steps, batch).
    """
    depth = tuning.parse(network, network.names[0])

    def take(arrays, rows):
        return network.preprocessing(Images.take(arrays, rows), jnp.bfloat16)

    task = Task(network, depth.tuned, network.names[0], take, jnp.bfloat16)
    state = jax.eval_shape(partial(TrainState.of, task), network.abstract_params(size))
    integers = partial(jax.ShapeDtypeStruct, dtype=np.int32)
    one = jax.ShapeDtypeStruct((), np.float32)
    rates = jax.tree.map(lambda _: one, tuning.stage_rates(network, depth))
    pixels = jax.ShapeDtypeStruct((images, size, size, 3), np.uint8)
    key = jax.eval_shape(lambda: jax.random.key(0))
    plan = EpochPlan(integers(train), integers(valid), key)
    return task, (state, {}, rates, {"pixels": pixels}, integers((images,)), plan)
