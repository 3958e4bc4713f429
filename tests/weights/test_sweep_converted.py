"""A layer-wise sweep from converted Caffe weights, file to report, with the paper's depth names."""

import csv

import caffe_files
import pytest

from medtune_jax.errors import UserError
from medtune_jax.report import SECTIONS, write_report
from medtune_jax.study import default_config, sweep
from medtune_jax.weights import checkpoint
from medtune_jax.weights.files import convert_file


@pytest.fixture(scope="module")
def images(tmp_path_factory, write_images):
    return write_images(tmp_path_factory.mktemp("images"), 12, 2, 64)


def _config(images, network, weights, size, depths):
    config = default_config()
    config.data.dir = str(images)
    config.network, config.weights, config.image_size = network, str(weights), size
    config.sweep.depths, config.sweep.seeds = depths, 1
    config.training.epochs, config.training.batch = 2, 8
    config.rates.tuned = config.rates.head = 1e-8  # random weights: large activations
    return config


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "size", "depth", "label"),
    [
        ("alexnet", 227, "conv4", "conv4-fc8"),
        ("googlenet", 64, "inception_5a", "inception_5a-classifier"),
    ],
)
def test_sweep_from_a_caffemodel(tmp_path, images, network, size, depth, label):
    """One depth of each, as compiling takes the time; docs/weights.md quotes all of them."""
    _, model = caffe_files.write(caffe_files.NETS[network](), tmp_path)
    convert_file(model, network, tmp_path / "weights")
    config = _config(images, network, tmp_path / "weights", size, depth)
    page = write_report(sweep(config, tmp_path / "study", quiet=True), SECTIONS).read_text()
    with (tmp_path / "study" / "results.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    assert (row["network"], row["depth"], row["status"]) == (network, depth, "done"), row
    assert label in page


def test_stages_without_weights_must_be_tuned(tmp_path, images):
    """As with torchvision's convolutions alone: fc6 and fc7 are new, so `only fc8` would freeze noise."""
    net = caffe_files.alexnet()
    net.layers = net.layers[: [layer.name for layer in net.layers].index("fc6")]
    _, model = caffe_files.write(net, tmp_path)
    convert_file(model, "alexnet", tmp_path / "weights")
    assert set(checkpoint.load(tmp_path / "weights").params) == {f"conv{n}" for n in range(1, 6)}
    config = _config(images, "alexnet", tmp_path / "weights", 227, "fc7")
    with pytest.raises(UserError, match="depth 'fc7' would freeze stage 'fc6'"):
        sweep(config, tmp_path / "study", quiet=True)
