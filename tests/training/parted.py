"""Run by test_mesh.py, as one process or as one of two: the toy on inputs of which each process holds its part."""

from __future__ import annotations

import json

import jax
import numpy as np

from medtune_jax.patches import Augment, Crops, Views, crop_affines, padded
from medtune_jax.training import Capacity, Memory, StepByStep, WholeEpoch, fit, predict
from medtune_jax.training.devices import hosts
from medtune_jax.training.devices.mesh import Layout
from tests.training import toy

ROOM = 2**30
CAPACITY = Capacity.of(60, 20, toy.SETTINGS)


def crops(images):
    """The same pictures, two of them side by side in a source."""
    side = toy.SIZE
    pairs = images.pixels.reshape(-1, 2, side, side, 3).transpose(0, 2, 1, 3, 4)
    sources, shapes = padded(list(pairs.reshape(-1, side, 2 * side, 3)))
    number, half = np.divmod(np.arange(len(images)), 2)
    middle = (side - 1) / 2
    centre = np.stack([np.full(len(half), middle), middle + side * half], -1)
    affines = crop_affines(centre, np.full(centre.shape, side), side)
    return Crops(sources, shapes, number.astype(np.int32), affines, side)


def trained(patches, labels, first="first", memory=None, kind=WholeEpoch):
    """A run tuned from a stage on: rows that this process keeps or reads for a batch, of these a device's; figures."""
    run = toy.run(first, count=47)
    inputs = toy.cache(patches, labels, memory or Memory(), run.params).inputs(first)
    runner = toy.runner(inputs, first, kind)
    fitted = fit(runner, [run], inputs, toy.SETTINGS, CAPACITY, toy.auc)[0]
    scores = predict(runner, {**run.params, **fitted.params}, inputs, np.arange(33), toy.SETTINGS)
    layout, name = Layout.of(1), "features" if first != "first" else patches.bulk
    if inputs.streamed:
        (batch,) = inputs.batches(np.arange(40, dtype=np.int32)[None])
        kept, laid = batch.arrays, layout.batch(batch).arrays
    else:
        kept, laid = inputs.arrays, layout.inputs(inputs).arrays
    return {
        "kept": len(kept[name]),
        "a_device": [shard.data.shape[0] for shard in laid[name].addressable_shards],
        "losses": [epoch.loss for epoch in fitted.history],
        "scores": np.asarray(scores).tolist(),
    }


def main():
    hosts.join()
    images, labels = toy.task()
    windows, steps = crops(images), {"memory": Memory(patches=0), "kind": StepByStep}
    views = Views(windows, Augment(rotation=10), 1)
    found = {
        "pixels": trained(images, labels),
        "features": trained(images, labels, "second", Memory(device=ROOM)),
        "crops": trained(windows, labels),
        "features of crops": trained(windows, labels, "second", Memory(device=ROOM)),
        "step by step": trained(windows, labels, kind=StepByStep),
        "streamed": trained(images, labels, **steps),
        "streamed crops": trained(windows, labels, **steps),
        "streamed views": trained(views, labels, **steps),
    }
    print(json.dumps({"devices": jax.device_count(), **found}))
    hosts.leave()


if __name__ == "__main__":
    main()
