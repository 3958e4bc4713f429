"""A finished run to export, and the same run with other networks of random weights."""

from collections.abc import Callable
from dataclasses import replace

import jax
import numpy as np
import pytest

from medtune_jax import networks
from medtune_jax.applications.protocol import Trained
from medtune_jax.export.run import FinishedRun, load
from medtune_jax.study import default_config, sweep
from medtune_jax.weights import Checkpoint


@pytest.fixture(scope="session")
def study(tmp_path_factory, write_images):
    """Of one run that kept its weights."""
    config = default_config()
    config.data.dir = str(write_images(tmp_path_factory.mktemp("images"), 10, 4, 64))
    config.image_size = 64
    config.sweep.depths, config.sweep.seeds, config.training.epochs = "conv10", 1, 1
    config.training.keep_weights = True
    return sweep(config, tmp_path_factory.mktemp("study"), quiet=True)


@pytest.fixture(scope="session")
def run_dir(study):
    return next((study / "runs").glob("conv10-*"))


@pytest.fixture(scope="session")
def finished(run_dir) -> FinishedRun:
    return load(run_dir)


@pytest.fixture(scope="session")
def with_network(finished) -> Callable[[str], FinishedRun]:
    """The run as if it had trained a network of that name: random weights of He et al., of the network's own size."""

    def make(name: str) -> FinishedRun:
        network, rng = networks.get(name, 2), np.random.default_rng(0)

        def drawn(shape: jax.ShapeDtypeStruct) -> np.ndarray:
            fan_in = np.prod(shape.shape[:-1])
            spread = (2 / fan_in) ** 0.5 if len(shape.shape) > 1 else 0.05
            return rng.normal(0, spread, shape.shape).astype(np.float32)

        params = jax.tree.map(drawn, network.abstract_params())
        kept = Checkpoint(name, params, network.preprocessing, {"source": "random"}, 2)
        return replace(finished, trained=Trained(kept, {"image_size": 0}))

    return make
