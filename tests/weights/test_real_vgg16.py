"""Oxford's VGG-16 without its classifier: torchvision's names, another preprocessing, which the user states."""

import csv

import pytest

from medtune_jax import networks
from medtune_jax.errors import UserError
from medtune_jax.report import SECTIONS, write_report
from medtune_jax.study import default_config, sweep
from medtune_jax.weights import checkpoint
from medtune_jax.weights.files import convert_file


@pytest.fixture(scope="module")
def vgg16(shared, tmp_path_factory):
    file = shared / "vgg16" / "features.safetensors"
    if not file.is_file():
        pytest.skip(f"{file} is absent")
    folder = tmp_path_factory.mktemp("vgg16") / "out"
    words = {"order": "RGB", "mean": "123.68,116.779,103.939"}
    _, conversion = convert_file(file, "vgg16", folder, in_words=words)
    assert conversion.names("new") == ("fc6", "fc7", "fc8")
    return folder


def test_the_stated_preprocessing_is_in_the_checkpoint(vgg16):
    said = checkpoint.load(vgg16).preprocessing
    assert (said.order, said.scale, said.std) == ("RGB", 1.0, (1.0, 1.0, 1.0))
    assert said.mean == (123.68, 116.779, 103.939)
    implied = networks.get("vgg16").sources.formats["torchvision"].preprocessing
    assert implied.scale != said.scale  # what the names alone would have brought


@pytest.mark.slow
def test_the_stated_preprocessing_is_the_right_one(vgg16, shared):
    """Against pixels / 255; docs/weights.md has others, on more images."""
    import probe_preprocessing as probe

    if not (shared / "tiny-imagenet-val").is_dir():
        pytest.skip(f"tiny-imagenet-val is absent from {shared}")
    stored = checkpoint.load(vgg16)
    pixels, truth = probe.photographs(shared / "tiny-imagenet-val", 8, 64)
    right = probe.accuracy(stored, stored.preprocessing, pixels, truth)
    wrong = dict(probe.others(stored.preprocessing))["pixels / 255 alone"]
    assert right > 0.5
    assert right > probe.accuracy(stored, wrong, pixels, truth) + 0.1


@pytest.mark.slow
def test_a_sweep_of_depths_that_tune_the_new_layers(vgg16, tmp_path, write_images):
    (tmp_path / "images").mkdir()
    config = default_config()
    config.data.dir = str(write_images(tmp_path / "images", 12, 1, 32))
    config.network, config.weights = "vgg16", str(vgg16)
    config.sweep.depths, config.sweep.seeds = "fc6", 1
    config.training.epochs, config.training.batch = 1, 8
    write_report(sweep(config, tmp_path / "study", quiet=True), SECTIONS)
    with (tmp_path / "study" / "results.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    assert (row["network"], row["depth"], row["status"]) == ("vgg16", "fc6", "done"), row
    config.sweep.depths = "fc7"
    with pytest.raises(UserError, match="depth 'fc7' would freeze stage 'fc6'"):
        sweep(config, tmp_path / "other", quiet=True)
