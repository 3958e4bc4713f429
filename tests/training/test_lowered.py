"""What compilers of accelerators are given: an epoch of training in bfloat16, lowered for devices that are not here."""

import re
from functools import partial

import jax
import pytest
from bench import abstract

from medtune_jax import networks
from medtune_jax.training.runners import train_and_validate

BATCH = 10  # no other dimension's length


@pytest.fixture(params=[("gpu", "cuda"), ("tpu", "tpu")], ids=["gpu", "tpu"])
def platform(request, monkeypatch):
    """A platform to lower for; the package traces the forms of its backend."""
    backend, platform = request.param
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    return platform


def epoch(name: str, size: int, platform: str) -> str:
    task, arguments = abstract.epoch(networks.get(name, 2), size, 8, (2, BATCH), (2, BATCH))
    traced = jax.jit(partial(train_and_validate, task)).trace(*arguments)
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
