"""What is checked before the first run: a study needs pre-trained weights only where a depth starts from them."""

import json

import numpy as np
import pytest

from medtune_jax import weights
from medtune_jax.errors import UserError
from medtune_jax.study import default_config
from medtune_jax.study.prepare import prepare
from medtune_jax.study.start import starting_params


@pytest.fixture(scope="module")
def images(tmp_path_factory, write_images):
    return write_images(tmp_path_factory.mktemp("images"), 10, 2, 67)


def config(images, network, depths, size=0):
    made = default_config()
    made.data.dir = str(images)
    made.network, made.image_size = network, size
    made.sweep.depths, made.sweep.seeds = depths, 1
    return made


def test_runs_from_scratch_need_no_weights(images, tmp_path):
    study = prepare(config(images, "alexnet", "scratch,scratch-xavier"), tmp_path)
    told = json.loads((tmp_path / "study.json").read_text())["network"]
    assert told["weights"] == {"source": "none: every run starts from scratch"}
    assert "new_stages" not in told
    assert study.source.preprocessing == study.network.preprocessing
    depth = study.plan.depths[0]
    inputs = study.cache.inputs(depth.tuned[0], pretrained=False)
    assert inputs.take(inputs.arrays, np.arange(2)).shape == (2, 227, 227, 3)
    params, new = starting_params(study.network, study.source, depth, 0, study.plan.size)
    assert tuple(params) == new == study.network.names


def test_an_unknown_optimizer_is_refused_before_the_first_run(images, tmp_path):
    asked = config(images, "squeezenet", "conv10", 67)
    asked.optimizer.name = "adam"
    with pytest.raises(UserError, match="did you mean 'adamw'"):
        prepare(asked, tmp_path / "study")
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize("share", [0.0, 1.0, -0.2])
def test_runs_without_images_to_validate_or_to_train_on_are_refused(images, tmp_path, share):
    asked = config(images, "squeezenet", "conv10", 67)
    asked.training.valid_fraction = share
    with pytest.raises(
        UserError, match=f"valid_fraction is {share}: give a number between 0 and 1"
    ):
        prepare(asked, tmp_path / "study")


def test_a_tuned_depth_without_weights_is_refused(images, tmp_path):
    with pytest.raises(UserError, match="no weights of alexnet come with the package"):
        prepare(config(images, "alexnet", "fc8,scratch"), tmp_path)


def test_scratch_of_a_network_with_weights_stays_comparable_with_its_other_depths(images, tmp_path):
    alone = prepare(config(images, "squeezenet", "scratch", 67), tmp_path / "a")
    among = prepare(config(images, "squeezenet", "conv10,scratch", 67), tmp_path / "b")
    assert alone.source.provenance == weights.pretrained("squeezenet").provenance
    assert alone.plan.runs[0] in among.plan.runs


def test_a_config_may_write_the_home_folder_as_a_tilde(images, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(images.parent))
    made = config(f"~/{images.name}", "squeezenet", "conv10", 67)
    study = prepare(made, tmp_path)
    assert study.config.data.dir == str(images) and made.data.dir == f"~/{images.name}"
