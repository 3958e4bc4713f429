"""torchvision's GoogLeNet and AlexNet, written out in PyTorch, against our variants."""

import jax
import numpy as np
import pytest

from medtune_jax import networks
from medtune_jax.weights import checkpoint
from medtune_jax.weights.files import convert_file
from medtune_jax.weights.slots import slots

torch = pytest.importorskip("torch")
functional = torch.nn.functional


def _state(network: str, batch_norm: bool) -> dict:
    """A state dict under torchvision's names with seeded weights."""
    torch.manual_seed(0)
    target = networks.get(network)
    theirs = target.sources.formats["torchvision"].names
    state = {}
    for slot in slots(target):
        name, shape = theirs[slot.name], slot.source_shape
        state[f"{name}.weight"] = torch.randn(shape) * (2 / np.prod(shape[1:])) ** 0.5
        if not (batch_norm and name.endswith("conv")):
            state[f"{name}.bias"] = torch.rand(shape[0]) - 0.5
            continue
        norm = name.removesuffix("conv") + "bn"
        state[f"{norm}.weight"] = torch.rand(shape[0]) + 0.5
        state[f"{norm}.bias"] = torch.rand(shape[0]) - 0.3
        state[f"{norm}.running_mean"] = torch.randn(shape[0]) * 0.1
        state[f"{norm}.running_var"] = torch.rand(shape[0]) + 0.5
        state[f"{norm}.num_batches_tracked"] = torch.tensor(7)
    return state


def _normalised(pixels: np.ndarray) -> "torch.Tensor":
    x = torch.tensor(pixels).permute(0, 3, 1, 2) / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (x - mean[:, None, None]) / std[:, None, None]


def _googlenet(state: dict, pixels: np.ndarray) -> np.ndarray:
    def conv(name, x, **settings):
        x = functional.conv2d(x, state[f"{name}.conv.weight"], **settings)
        keys = ("running_mean", "running_var", "weight", "bias")
        x = functional.batch_norm(x, *(state[f"{name}.bn.{key}"] for key in keys), eps=0.001)
        return functional.relu(x)

    def pool(x, size=3, stride=2, padding=0):
        return functional.max_pool2d(x, size, stride, padding, ceil_mode=True)

    def inception(name, x):
        at = f"inception{name}"
        branches = [
            conv(f"{at}.branch1", x),
            conv(f"{at}.branch2.1", conv(f"{at}.branch2.0", x), padding=1),
            conv(f"{at}.branch3.1", conv(f"{at}.branch3.0", x), padding=1),
            conv(f"{at}.branch4.1", pool(x, 3, 1, 1)),
        ]
        return torch.cat(branches, 1)

    x = _normalised(pixels)
    old_mean, old_std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    channels = [  # torchvision's transform_input: from ImageNet's statistics to [-1, 1]
        x[:, i] * (old_std[i] / 0.5) + (old_mean[i] - 0.5) / 0.5 for i in range(3)
    ]
    x = pool(conv("conv1", torch.stack(channels, 1), stride=2, padding=3))
    x = pool(conv("conv3", conv("conv2", x), padding=1))
    x = pool(inception("3b", inception("3a", x)))
    for name in ("4a", "4b", "4c", "4d", "4e"):
        x = inception(name, x)
    x = inception("5b", inception("5a", pool(x, 2)))
    return functional.linear(x.mean((2, 3)), state["fc.weight"], state["fc.bias"]).numpy()


def _alexnet(state: dict, pixels: np.ndarray) -> np.ndarray:
    x = _normalised(pixels)
    for index, stride, padding in ((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1)):
        weight, bias = state[f"features.{index}.weight"], state[f"features.{index}.bias"]
        x = functional.relu(functional.conv2d(x, weight, bias, stride, padding))
        x = functional.max_pool2d(x, 3, 2) if index in (0, 3, 10) else x
    x = x.flatten(1)
    for index in (1, 4, 6):
        x = functional.linear(
            x, state[f"classifier.{index}.weight"], state[f"classifier.{index}.bias"]
        )
        x = functional.relu(x) if index != 6 else x
    return x.numpy()


@pytest.mark.parametrize(
    ("network", "reference"),
    [("googlenet_torchvision", _googlenet), ("alexnet_torchvision", _alexnet)],
)
def test_scores_agree(tmp_path, network, reference):
    state = _state(network, network.startswith("googlenet"))
    torch.save(state, tmp_path / "net.pth")
    _, conversion = convert_file(tmp_path / "net.pth", network, tmp_path / "out")
    assert not conversion.names("new") and not conversion.names("left out")
    stored = checkpoint.load(tmp_path / "out")
    pixels = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), np.uint8)
    with torch.no_grad():
        expected = reference(state, pixels)
    apply = jax.jit(networks.get(network).apply)
    ours = np.asarray(apply(stored.params, stored.preprocessing(pixels)))
    assert np.linalg.norm(ours - expected) < 1e-4 * np.linalg.norm(expected)
