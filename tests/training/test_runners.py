"""Which runner a task gets on which machine."""

from types import SimpleNamespace

import jax
import pytest

from medtune_jax.training import Memory, StageByStage, StepByStep, WholeEpoch
from tests.training import toy


@pytest.fixture(scope="module")
def data():
    return toy.task()


def chosen(data, first, memory, runs=1):
    inputs = toy.cache(*data, memory).inputs(first)
    return toy.chosen(inputs, first, runs)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="the choice of a CPU")
@pytest.mark.parametrize(
    ("first", "memory", "kind"),
    [
        ("second", Memory(device=2**30), StageByStage),  # a convolution
        ("head", Memory(device=2**30), WholeEpoch),
        ("head", Memory(), StageByStage),  # no features: every stage runs
        ("head", Memory(host=2**30), StageByStage),
    ],
)
def test_a_cpu_convolves_and_streams_stage_by_stage(data, first, memory, kind):
    assert type(chosen(data, first, memory)) is kind


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="the choice of a CPU")
def test_a_stack_pays_on_a_cpu_where_little_is_tuned(data, monkeypatch):
    features = Memory(device=2**30)
    assert chosen(data, "head", features, runs=3).stacks
    assert not chosen(data, "head", features).stacks
    assert not chosen(data, "second", features, runs=3).stacks
    monkeypatch.setattr("medtune_jax.training.runners._CPU_PARAMETERS", 10)
    assert not chosen(data, "head", features, runs=3).stacks


def test_a_stack_pays_on_an_accelerator_where_it_fits(data, monkeypatch):
    """Judged by the memory that the device says it has free; streamed data are never stacked."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    resident, streamed = (toy.cache(*data, m).inputs("first") for m in (0, Memory(patches=0)))
    for free, expected in ((2**30, True), (2**16, False)):
        device = SimpleNamespace(memory_stats=lambda free=free: {"bytes_limit": free})
        monkeypatch.setattr(jax, "local_devices", lambda device=device: [device])
        runner = toy.chosen(resident, runs=3)
        assert type(runner) is WholeEpoch and runner.stacks is expected
        runner = toy.chosen(streamed, runs=3)
        assert type(runner) is StepByStep and not runner.stacks
