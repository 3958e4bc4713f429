"""A small network and a separable task for the tests of training."""

from __future__ import annotations

import jax
import numpy as np
from sklearn.metrics import roc_auc_score

from medtune_jax import networks, tuning
from medtune_jax.networks.layers import Conv, Dense
from medtune_jax.networks.pooling import max_pool
from medtune_jax.networks.stages import Network, Preprocessing, Stage
from medtune_jax.patches import Images
from medtune_jax.training import (
    Capacity,
    Memory,
    PrefixCache,
    Run,
    Settings,
    Task,
    WholeEpoch,
    runner_for,
)
from medtune_jax.tuning import StageRates

SIZE = 12
NETWORK = Network(
    name="toy",
    classes=2,
    stages=(
        Stage("first", Conv(4, 3, std=0.3), (max_pool,)),
        Stage("second", Conv(6, 3, std=0.3)),
        Stage("head", Dense(2, std=0.1, relu=False), dropout=0.2),
    ),
    preprocessing=Preprocessing(SIZE, "RGB", (2.0,) * 3, 1 / 64),
    initializer="gaussian",
)


SETTINGS = Settings(batch=8, score_batch=16, epochs=8, patience=4, rate_decay=0.95)


def task(count=80, seed=0):
    """Dark and bright noise: (images, labels)."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    pixels = rng.normal(110 + 36 * labels[:, None, None, None], 40, (count, SIZE, SIZE, 3))
    return Images(pixels.clip(0, 255).astype(np.uint8)), labels.astype(np.int32)


def cache(images, labels, budget=0, params=None, network=NETWORK):
    params = params or start(network=network)
    memory = budget if isinstance(budget, Memory) else Memory(device=budget)
    return PrefixCache(network, params, images, labels, SIZE, memory, batch=32)


def start(seed=0, network=NETWORK):
    return networks.initial_params(network, jax.random.key(seed), "gaussian", SIZE)


def task_of(inputs, first="first", network=NETWORK, **more):
    return Task(network, tuning.parse(network, first).tuned, inputs.start, inputs.take, **more)


def runner(inputs, first="first", kind=WholeEpoch, **more):
    """By default an epoch in one dispatch, as on an accelerator."""
    return kind(task_of(inputs, first, **more))


def chosen(inputs, first="first", runs=1, **more):
    """What a user's machine would take."""
    return runner_for(task_of(inputs, first), start(), inputs, runs, SETTINGS.batch, **more)


def run(first="first", rate=0.02, count=60, seed=0, params=None, index=None, network=NETWORK):
    """A run on the first `count` patches, validated on the last 20."""
    depth = tuning.parse(network, first)
    rates = dict.fromkeys(depth.tuned, StageRates(rate, rate))
    train = np.arange(count) if index is None else index
    return Run(params or start(), rates, train, np.arange(60, 80), seed)


CAPACITY = Capacity.of(60, 20, SETTINGS)


def auc(labels, probabilities):
    return float(roc_auc_score(labels, probabilities[:, 1]))
