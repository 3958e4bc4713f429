"""A layer-wise sweep from converted Caffe weights, file to report, with the paper's depth names."""

import csv

import caffe_files
import numpy as np
import pytest

from medtune_jax import networks
from medtune_jax.applications.predict import predict
from medtune_jax.errors import UserError
from medtune_jax.report import SECTIONS, write_report
from medtune_jax.study import default_config, sweep
from medtune_jax.weights import checkpoint
from medtune_jax.weights.files import convert_file
from medtune_jax.weights.inspect import show


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


def _rows(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


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
    (row,) = _rows(tmp_path / "study" / "results.csv")
    assert (row["network"], row["depth"], row["status"]) == (network, depth, "done"), row
    assert label in page


def _convolutions():
    """AlexNet without its fully connected layers."""
    net = caffe_files.alexnet()
    net.layers = net.layers[: [layer.name for layer in net.layers].index("fc6")]
    return net


def test_stages_without_weights_must_be_tuned(tmp_path, images):
    """As with torchvision's convolutions alone: fc6 and fc7 are new, so `only fc8` would freeze noise."""
    _, model = caffe_files.write(_convolutions(), tmp_path)
    convert_file(model, "alexnet", tmp_path / "weights")
    assert set(checkpoint.load(tmp_path / "weights").params) == {f"conv{n}" for n in range(1, 6)}
    config = _config(images, "alexnet", tmp_path / "weights", 227, "fc7")
    with pytest.raises(UserError, match="depth 'fc7' would freeze stage 'fc6'"):
        sweep(config, tmp_path / "study", quiet=True)


def test_a_phase_that_freezes_stages_without_weights(tmp_path, images):
    """LP-FT and gradual unfreezing begin with the head alone, behind fc6 and fc7 that are noise."""
    _, model = caffe_files.write(_convolutions(), tmp_path)
    convert_file(model, "alexnet", tmp_path / "weights")
    for way in ("lpft", "gradual"):
        config = _config(images, "alexnet", tmp_path / "weights", 67, f"{way}:conv5")
        with pytest.raises(UserError, match=f"'{way}:conv5' would freeze stage 'fc6'.*'conv5'"):
            sweep(config, tmp_path / "study", quiet=True)


def test_what_fits_images_of_another_size():
    """Fully connected stages fix the size, and what lies behind them is of no use either; convolutions do not."""
    for network, size, held in (("alexnet", 67, 5), ("alexnet", 227, 8), ("squeezenet", 67, 10)):
        params = networks.get(network).abstract_params()
        whole = checkpoint.Checkpoint(network, params, networks.get(network).preprocessing, {})
        assert list(whole.fitted(networks.get(network), size).params) == list(params)[:held]


@pytest.mark.slow
def test_images_of_another_size_leave_fully_connected_stages_out(tmp_path, images, capsys):
    """A whole AlexNet on patches of 67 px: its convolutions are used, fc6 to fc8 start anew; then the run predicts."""
    _, model = caffe_files.write(caffe_files.alexnet(), tmp_path)
    convert_file(model, "alexnet", tmp_path / "weights")
    config = _config(images, "alexnet", tmp_path / "weights", 67, "fc7")
    with pytest.raises(UserError, match=r"'fc7' would freeze stage 'fc6'.* at 67 px"):
        sweep(config, tmp_path / "study", quiet=True)
    config.sweep.depths = "fc6,scratch"
    page = write_report(sweep(config, tmp_path / "study"), SECTIONS).read_text()
    assert "none for fc6, fc7 at 67 px" in capsys.readouterr().err
    assert "fc6, fc7 (at 67 px) and the head start anew" in page

    (run,) = (tmp_path / "study" / "runs").glob("fc6-*")
    stored, whole = checkpoint.load(run / "weights"), checkpoint.load(tmp_path / "weights")
    assert stored.params["fc6"]["kernel"].shape == (256, 4096)
    np.testing.assert_array_equal(stored.params["conv5"]["kernel"], whole.params["conv5"]["kernel"])
    assert "256 x 4096" in show(run / "weights")
    predict(run, [images], tmp_path / "new")
    again = {row["image"]: row for row in _rows(tmp_path / "new" / "predictions.csv")}
    for row in _rows(run / "scores.csv"):
        for column in ("bright", "dark"):
            assert float(again[row["image"]][column]) == pytest.approx(float(row[column]), abs=1e-5)
