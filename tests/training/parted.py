"""Run by test_mesh.py, as one process or as one of two: the toy on inputs of which each process holds its part."""

from __future__ import annotations

import json

import jax
import numpy as np

from medtune_jax.training import Capacity, Memory, fit, predict
from medtune_jax.training.devices import hosts
from medtune_jax.training.devices.mesh import Layout
from tests.training import toy

ROOM = 2**30
CAPACITY = Capacity.of(60, 20, toy.SETTINGS)


def trained(first, memory):
    """A run tuned from a stage on: rows that this process kept, rows on each of its devices, figures."""
    images, labels = toy.task()
    run = toy.run(first, count=47)
    inputs = toy.cache(images, labels, memory, run.params).inputs(first)
    runner = toy.runner(inputs, first)
    fitted = fit(runner, [run], inputs, toy.SETTINGS, CAPACITY, toy.auc)[0]
    scores = predict(runner, {**run.params, **fitted.params}, inputs, np.arange(33), toy.SETTINGS)
    (kept,) = inputs.arrays.values()
    (laid,) = Layout.of(1).inputs(inputs).arrays.values()
    return {
        "patches": len(labels),
        "kept": len(kept),
        "a_device": [shard.data.shape[0] for shard in laid.addressable_shards],
        "losses": [epoch.loss for epoch in fitted.history],
        "scores": np.asarray(scores).tolist(),
    }


def main():
    hosts.join()
    pixels, features = trained("first", Memory()), trained("second", Memory(device=ROOM))
    print(json.dumps({"devices": jax.device_count(), "pixels": pixels, "features": features}))
    hosts.leave()


if __name__ == "__main__":
    main()
