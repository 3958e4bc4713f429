"""Run by test_mesh.py in a process of its own: the toy on eight simulated devices and on one of them."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

from medtune_jax.training import BATCH, Capacity, Memory, StageByStage, StepByStep, fit, predict
from medtune_jax.training.devices.mesh import Layout
from tests.training import programs, test_batch_norm, toy

SETTINGS = dataclasses.replace(toy.SETTINGS, batch=10, score_batch=13, epochs=2)
CAPACITY = Capacity.of(60, 20, SETTINGS)  # neither width divides by the devices


def results(runs, devices, memory=None, **form):
    of = Layout.of
    Layout.of = classmethod(lambda cls, count: of(count, devices))
    try:
        images, labels = toy.task()
        network = form.get("network", toy.NETWORK)
        cache = toy.cache(images, labels, memory or Memory(), runs[0].params, network)
        inputs = cache.inputs("first")
        runner = toy.runner(inputs, **form)
        with programs.compiled() as names:
            fitted = fit(runner, runs, inputs, SETTINGS, CAPACITY, toy.auc)
        scores = predict(runner, fitted[0].params, inputs, np.arange(33), SETTINGS)
        return fitted, scores, [name for name in names if name in (programs.EPOCH, programs.STEP)]
    finally:
        Layout.of = of


def compare(name, runs, **form):
    many, one = (results(runs, devices, **form) for devices in (None, jax.devices()[:1]))
    assert many[2] == one[2], "a mesh compiles no more programs than one device"
    np.testing.assert_allclose(many[1], one[1], atol=1e-5)
    for spread, single in zip(many[0], one[0], strict=True):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), spread.params, single.params
        )
        np.testing.assert_allclose(
            [e.loss for e in spread.history], [e.loss for e in single.history], atol=1e-5
        )
    print("equal:", name)


def main():
    assert len(jax.devices()) == 8
    assert dict(Layout.of(4).mesh.shape) == {"run": 4, "batch": 2}
    assert dict(Layout.of(3).mesh.shape) == {"run": 1, "batch": 8}
    compare("one run", [toy.run(count=47)])
    compare("four runs", [toy.run(count=n, seed=n) for n in (60, 47, 53, 31)])
    compare("step by step", [toy.run(count=23)], kind=StepByStep)
    compare("stage by stage", [toy.run(count=23)], kind=StageByStage)
    compare("streamed", [toy.run(count=23)], memory=Memory(patches=0), kind=StepByStep)
    normed = {"network": test_batch_norm.NETWORK, "norm": BATCH}
    compare("batch norms", [test_batch_norm.run(count=47)], **normed)


if __name__ == "__main__":
    main()
