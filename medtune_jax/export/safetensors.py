"""safetensors: a state dict in PyTorch's layout, under torchvision's names where it has the network."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from flax.traverse_util import flatten_dict

from medtune_jax import weights
from medtune_jax.export.run import FinishedRun
from medtune_jax.networks import Network, Params
from medtune_jax.networks.sources import Format
from medtune_jax.weights.files import convert_file
from medtune_jax.weights.slots import Slot, slots

FILE = "model.safetensors"
MODELS = {
    "alexnet_torchvision": "torchvision.models.alexnet(num_classes=CLASSES)",
    "googlenet_torchvision": (
        "torchvision.models.googlenet(num_classes=CLASSES, aux_logits=False, transform_input=False, init_weights=False)"
    ),
    "squeezenet": "torchvision.models.squeezenet1_0(num_classes=CLASSES)\nmodel.classifier[2] = torch.nn.Identity()",
    "vgg16": "torchvision.models.vgg16(num_classes=CLASSES)",
}
"""The torchvision network that takes the file. SqueezeNet: a new head goes without the ReLU of the released one."""
USE = """from safetensors.torch import load_file

model.load_state_dict(load_file("model.safetensors"))    # see the card for `model`, and for the preprocessing
"""


def names_of(network: Network) -> Format | None:
    """torchvision's names of the layers; None where it has no such network, and ours are used, "stage/layer"."""
    return network.sources.formats.get("torchvision")


def state_dict(network: Network, params: Params) -> dict[str, np.ndarray]:
    """Kernels (out, in, kH, kW) and (out, in), whose `in` is flattened as C,H,W; batch norms that were folded into
    their convolutions are there as the identity.
    """
    found, flat = {}, flatten_dict(params)
    torchvision = names_of(network) or Format()
    for slot in slots(network):
        if slot.auxiliary:
            continue
        name = torchvision.names.get(slot.name, slot.name)
        bias = np.asarray(flat[(*slot.path, "bias")], np.float32)
        found[f"{name}.weight"] = _kernel(flat[(*slot.path, "kernel")], slot)
        if torchvision.epsilon is not None and name.endswith(".conv"):
            norm = name.removesuffix("conv") + "bn"
            found |= {f"{norm}.{key}": v for key, v in _identity(bias, torchvision.epsilon).items()}
        else:
            found[f"{name}.bias"] = bias
    return found


def _kernel(kernel: np.ndarray, slot: Slot) -> np.ndarray:
    kernel = np.asarray(kernel, np.float32)
    if kernel.ndim == 4:
        return np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
    if slot.flattened is not None:
        channels, height, width = slot.flattened
        kernel = kernel.reshape(height, width, channels, -1).transpose(2, 0, 1, 3)
    return np.ascontiguousarray(kernel.reshape(-1, kernel.shape[-1]).T)


def _identity(bias: np.ndarray, epsilon: float) -> dict[str, np.ndarray]:
    """A batch norm that adds a bias."""
    return {
        "weight": np.ones_like(bias),
        "bias": bias,
        "running_mean": np.zeros_like(bias),
        "running_var": np.full_like(bias, 1 - epsilon),
        "num_batches_tracked": np.array(0, np.int64),
    }


def write(run: FinishedRun, folder: Path) -> None:
    """model.safetensors; its metadata state the network."""
    from safetensors.numpy import save_file

    metadata = {"network": run.network.name, "run": run.run.run}
    save_file(state_dict(run.network, run.params), folder / FILE, metadata)
    (folder / FILE).chmod(0o644)  # the library makes it the owner's alone


def outputs(run: FinishedRun, folder: Path, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the run's network makes of images with the file as `medtune weights convert` reads it."""
    with tempfile.TemporaryDirectory() as scratch:
        read = Path(scratch) / "read"
        convert_file(folder / FILE, run.network.name, read)
        return run.outputs_with(weights.load(read).params, images)
