"""What the compilers of accelerators are given: an epoch of training in bfloat16, lowered for devices that are not here."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medtune_jax import networks, tuning
from medtune_jax.patches import Images
from medtune_jax.training import EpochPlan, Task, TrainState
from medtune_jax.training.runners import train_and_validate

BATCH = 10  # no other dimension's length


@pytest.fixture(params=[("gpu", "cuda"), ("tpu", "tpu")], ids=["gpu", "tpu"])
def platform(request, monkeypatch):
    """A platform to lower for; the package traces the forms of its backend."""
    backend, platform = request.param
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    return platform


def epoch(name: str, size: int, platform: str) -> str:
    network, dtype = networks.get(name, 2), jnp.bfloat16
    depth = tuning.parse(network, network.names[0])

    def take(arrays, rows):
        return network.preprocessing(Images.take(arrays, rows), dtype)

    task = Task(network, depth.tuned, network.names[0], take, dtype)
    state = jax.eval_shape(partial(TrainState.of, task), network.abstract_params(size))
    integers = partial(jax.ShapeDtypeStruct, dtype=np.int32)
    rates = jax.tree.map(np.float32, tuning.stage_rates(network, depth))
    pixels = jax.ShapeDtypeStruct((8, size, size, 3), np.uint8)
    key = jax.eval_shape(lambda: jax.random.key(0))
    plan = EpochPlan(integers((2, BATCH)), integers((2, BATCH)), key)
    program = jax.jit(partial(train_and_validate, task))
    traced = program.trace(state, {}, rates, {"pixels": pixels}, integers((8,)), plan)
    return traced.lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize(("name", "size"), [("alexnet", 227), ("googlenet", 64)])
def test_an_epoch_on_an_accelerator(name, size, platform):
    text = epoch(name, size, platform)
    convolutions = re.findall(r"stablehlo\.convolution.*-> tensor<[\dx]*x(\w+)>", text)
    assert set(convolutions) == {"bf16"}
    # Nothing goes to the host, and nothing is left to a library that only one platform has.
    assert "custom_call" not in text
    transposed = re.findall(r"stablehlo\.transpose.*-> tensor<(\d+)x([\dx]*)x\w+>", text)
    maps = [shape for rows, shape in transposed if int(rows) == BATCH]
    # Of maps none, but for the blocks of pixels that the first convolution reads, in training and in validation.
    assert [shape.count("x") for shape in maps] == [4, 4]
