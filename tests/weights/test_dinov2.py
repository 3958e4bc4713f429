"""Files of DINOv2: by timm's names, which are those of its own release, and the ones that are refused."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from medtune_jax import networks
from medtune_jax.errors import UserError
from medtune_jax.weights.convert import convert
from medtune_jax.weights.formats import torch as reader
from medtune_jax.weights.slots import slots

NAME = "vit_small_patch14_dinov2"
PARTS = {"kernel": "weight", "scale": "weight", "bias": "bias"}


@pytest.fixture(scope="module")
def tensors():
    """A release's: no head, and a mask token that only its training needs."""
    network = networks.get(NAME)
    (format_,) = network.sources.formats.values()
    held = {"mask_token": np.zeros((1, 384), np.float32)}
    for number, slot in enumerate(slots(network)):
        name = format_.names.get(slot.name)
        if name is None:  # the head
            continue
        bare = slot.kinds[0] == "embedding" or slot.kinds == ("scale",)
        shapes = {slot.kinds[0]: slot.source_shape, "bias": slot.source_shape[:1]}
        for kind in slot.kinds:
            full = np.full(shapes[kind], 1e-3 * number, np.float32)
            held[name if bare else f"{name}.{PARTS[kind]}"] = full
    return held


def layers(tensors, folder):
    save_file(tensors, folder / "net.safetensors")
    return reader.read(folder / "net.safetensors")


def test_a_release_is_read_whole_but_for_its_head(tensors, tmp_path):
    conversion = convert(layers(tensors, tmp_path), NAME)
    assert conversion.names("new") == ("head",) and not conversion.names("left out")
    scale = conversion.params["block3"]["ls2"]["scale"]
    assert scale.shape == (384,)
    np.testing.assert_array_equal(scale, tensors["blocks.3.ls2.gamma"])
    assert conversion.params["patch_embed"]["pos_embed"]["embedding"].shape == (1, 1370, 384)
    assert conversion.preprocessing.mean == pytest.approx((0.485, 0.456, 0.406))


@pytest.mark.parametrize(("token", "places"), [("reg_token", 1369), ("register_tokens", 1370)])
def test_register_tokens_are_refused(tensors, tmp_path, token, places):
    with_registers = {
        **tensors,
        token: np.zeros((1, 4, 384), np.float32),
        "pos_embed": np.zeros((1, places, 384), np.float32),
    }
    with pytest.raises(UserError, match=f"'{token}' \\(register tokens\\).*without it"):
        convert(layers(with_registers, tmp_path), NAME)


def test_another_patch_size_is_told_by_name(tensors, tmp_path):
    with pytest.raises(UserError, match=f"looks like {NAME}"):
        convert(layers(tensors, tmp_path), "vit_small_patch16")
