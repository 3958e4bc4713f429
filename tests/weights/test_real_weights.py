"""Real ImageNet weights, converted: GoogLeNet against OpenCV and real photographs, AlexNet's convolutions."""

import csv
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from medtune_jax import networks
from medtune_jax.errors import UserError
from medtune_jax.weights import checkpoint
from medtune_jax.weights.files import convert_file
from medtune_jax.weights.formats import caffe


def _folder(shared: Path, name: str) -> Path:
    if not (shared / name).is_dir():
        pytest.skip(f"{name} is absent from {shared}")
    return shared / name


@pytest.fixture(scope="module")
def caffemodel(shared):
    return _folder(shared, "googlenet") / "bvlc_googlenet_main.caffemodel"


@pytest.fixture(scope="module")
def googlenet(caffemodel, tmp_path_factory):
    """BVLC GoogLeNet as (conversion, stored checkpoint)."""
    directory = tmp_path_factory.mktemp("googlenet") / "out"
    _, conversion = convert_file(caffemodel, "googlenet", directory)
    return conversion, checkpoint.load(directory)


def test_googlenet_converts(googlenet):
    conversion, stored = googlenet
    assert len(conversion.names("loaded")) == 58
    assert {name.split("/")[0] for name in conversion.names("new")} == {"loss1", "loss2"}
    assert networks.parameter_count(stored.params) == 6_998_552
    expected = networks.get("googlenet").abstract_params()
    assert jax.tree.map(np.shape, stored.params) == jax.tree.map(np.shape, expected)


@pytest.mark.slow
def test_every_stage_of_googlenet_agrees_with_opencv_on_photographs(shared, caffemodel, tmp_path):
    """One small natural image, one endoscopic frame, one gray X-ray: from the file to every stage."""
    pytest.importorskip("cv2")
    import parity

    folders = [_folder(shared, n) for n in ("tiny-imagenet-val", "kvasir-seg", "chest-xray")]
    images = [sorted((folder / "images").iterdir())[0] for folder in folders]
    errors = dict(parity.compare("googlenet", 1, tmp_path, images, caffemodel))
    assert len(errors) == 12
    assert max(errors.values()) < parity.LIMIT, errors


@pytest.mark.slow
def test_googlenet_knows_natural_images(shared, googlenet):
    """The first 400 images among the set's 202 classes: OpenCV with the same file scores 42.5% and 69.8% top-5."""
    folder = _folder(shared, "tiny-imagenet-val")
    with (folder / "labels.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    classes = np.unique([int(row["imagenet_index"]) for row in rows])
    truth = np.array([int(row["imagenet_index"]) for row in rows[:400]])
    assert len(classes) == 202

    network, stored = networks.get("googlenet"), googlenet[1]
    score = jax.jit(lambda params, x: network.apply(params, stored.preprocessing(x)))
    pixels = np.stack([_read(folder / row["image"]) for row in rows[:400]])
    parts = np.split(pixels, 16)
    scores = np.concatenate([np.asarray(score(stored.params, part)) for part in parts])
    ranked = classes[np.argsort(-scores[:, classes], axis=1)]
    top1, top5 = ((ranked[:, :n] == truth[:, None]).any(1).mean() for n in (1, 5))
    assert top1 >= 0.40, f"top-1 {top1:.3f}"
    assert top5 >= 0.67, f"top-5 {top5:.3f}"


def _read(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR))


def test_caffes_mean_image_goes_into_the_checkpoint(shared, caffemodel, tmp_path):
    mean = _folder(shared, "caffe") / "imagenet_mean.binaryproto"
    convert_file(caffemodel, "googlenet", tmp_path / "out", mean)
    stored = np.asarray(checkpoint.load(tmp_path / "out").preprocessing.mean)
    np.testing.assert_array_equal(stored, caffe.read_mean(mean)[16:240, 16:240])
    blue, green, red = stored.mean((0, 1))
    assert 100 < blue < 110 < green < 120 < red


def test_torchvision_alexnet_features_leave_the_classifier_new(shared, tmp_path):
    file = _folder(shared, "alexnet-torchvision") / "features.safetensors"
    _, conversion = convert_file(file, "alexnet_torchvision", tmp_path / "out")
    assert conversion.names("loaded") == ("conv1", "conv2", "conv3", "conv4", "conv5")
    assert conversion.names("new") == ("fc6", "fc7", "fc8")
    stored = checkpoint.load(tmp_path / "out")
    assert stored.classes is None and stored.preprocessing.order == "RGB"
    with pytest.raises(UserError, match="looks like alexnet_torchvision"):
        convert_file(file, "alexnet", tmp_path / "other")
