"""Networks inside other modules: found under any prefix, with the preprocessing of the names found."""

import fuzz_readers as fuzz
import numpy as np
import pytest

from medtune_jax import networks
from medtune_jax.errors import UserError
from medtune_jax.weights.convert import convert
from medtune_jax.weights.formats import torch
from medtune_jax.weights.formats.layer import Layer, kind_of
from medtune_jax.weights.slots import slots

numpy = pytest.importorskip("safetensors.numpy")
_PREFIXES = (
    *("", "module.", "model.", "backbone.", "net.", "module.model.", "model.backbone.net."),
    *("_orig_mod.", "student.encoder."),
)


def _state(network: str = "squeezenet", prefix: str = "", names: str = "torchvision") -> dict:
    target = networks.get(network)
    theirs = target.sources.formats[names].names
    state = {}
    for slot in slots(target):
        name = prefix + theirs.get(slot.name, slot.name)
        state[f"{name}.weight"] = np.full(slot.source_shape, 0.5, np.float32)
        state[f"{name}.bias"] = np.zeros(slot.source_shape[0], np.float32)
    return state


def _read(folder, state: dict) -> dict[str, Layer]:
    numpy.save_file(state, folder / "net.safetensors")
    return torch.read(folder / "net.safetensors")


@pytest.mark.parametrize("prefix", _PREFIXES)
def test_any_prefix(tmp_path, prefix):
    conversion = convert(_read(tmp_path, _state(prefix=prefix)), "squeezenet")
    assert len(conversion.names("loaded")) == 26 and not conversion.names("left out")
    assert conversion.rows[0].source == f"{prefix}features.0"
    assert conversion.preprocessing.order == "RGB"
    assert conversion.preprocessing.std == (0.229, 0.224, 0.225)


def test_pth_with_a_prefix():
    """In a .pth the tensors have an order, which must not count: it would bring Caffe's BGR."""
    state = _state(prefix="model.")
    layers = {}
    for key, weights in state.items():
        if key.endswith(".weight"):
            name = key.removesuffix(".weight")
            layers[name] = Layer(name, kind_of(weights), weights, state[f"{name}.bias"])
    assert convert(layers, "squeezenet").preprocessing.order == "RGB"


def test_batch_norms_under_a_prefix_are_folded():
    names = networks.get("googlenet_torchvision").sources.formats["torchvision"].names
    layers = {}
    for slot in slots(networks.get("googlenet_torchvision")):
        name = f"model.{names[slot.name]}"
        weights, width = np.ones(slot.source_shape, np.float32), slot.source_shape[0]
        layers[name] = Layer(name, kind_of(weights), weights)
        if name.endswith(".conv"):
            norm, ones = f"{name.removesuffix('conv')}bn", np.ones(width, np.float32)
            extra = {"mean": 0 * ones, "variance": ones * 4 - 1e-3}
            layers[norm] = Layer(norm, "batch_norm", ones, ones, extra=extra)
    conversion = convert(layers, "googlenet_torchvision")
    np.testing.assert_allclose(conversion.params["conv1"]["kernel"], 0.5)
    assert "57 norms and scales folded" in str(conversion)


def test_names_of_another_format_bring_that_ones_preprocessing(tmp_path):
    """Caffe's names in safetensors, as converters of caffemodels write them."""
    conversion = convert(_read(tmp_path, _state(prefix="net.", names="Caffe")), "squeezenet")
    assert conversion.preprocessing == networks.get("squeezenet").preprocessing
    assert conversion.preprocessing.order == "BGR"


def test_two_copies_are_refused(tmp_path):
    state = _state(prefix="student.") | _state(prefix="teacher.")
    with pytest.raises(UserError, match=r"more than once \(under 'student.', 'teacher.'\)"):
        convert(_read(tmp_path, state), "squeezenet")


def test_what_else_a_trainer_saves_is_left_out(tmp_path):
    state = _state(prefix="model.") | {"criterion.weight": np.ones(2, np.float32)}
    assert convert(_read(tmp_path, state), "squeezenet").names("left out") == ("criterion",)


def test_what_changes_the_weights_beside_them_is_refused(tmp_path):
    state = _state() | {"features.0.weight_scale": np.ones(96, np.float32)}
    with pytest.raises(UserError, match=r"beside the weights of 'features\.0' lies 'weight_scale'"):
        _read(tmp_path, state)


def test_a_new_head_in_the_place_of_the_old(tmp_path):
    state = _state(prefix="model.")
    for end in ("weight", "bias"):
        state[f"model.classifier.1.0.{end}"] = state.pop(f"model.classifier.1.{end}")
    conversion = convert(_read(tmp_path, state), "squeezenet")
    assert conversion.names("new") == ("conv10",)
    assert conversion.names("left out") == ("model.classifier.1.0",)


@pytest.mark.parametrize("prefix", ["", "model."])
@pytest.mark.parametrize("shape", [(96,), (64, 64, 3, 3), (1,)])
def test_layers_in_between_are_refused_by_name(tmp_path, prefix, shape):
    """A PReLU, a further convolution, a PReLU with one slope."""
    state = _state(prefix=prefix) | {f"{prefix}features.1.weight": np.ones(shape, np.float32)}
    with pytest.raises(
        UserError, match=rf"the layer '{prefix}features\.1' .*which squeezenet does"
    ):
        convert(_read(tmp_path, state), "squeezenet")


@pytest.mark.parametrize("layers", [11, 13, 19])
def test_vgg_of_another_depth_is_named(layers):
    """VGG-19 holds all of VGG-16's names, and three layers in between."""
    relative = next(r for r in networks.get("vgg16").sources.relatives if r.name == f"VGG-{layers}")
    assert len(relative.threes) == layers - 3
    made = {}
    for n, (outputs, inputs) in enumerate(relative.threes):
        weights = np.zeros((outputs, inputs, 3, 3), np.float32)
        made[f"features.{n}"] = Layer(f"features.{n}", "convolution", weights)
    with pytest.raises(UserError, match=rf"holds VGG-{layers}, not vgg16: only VGG-16 is known"):
        convert(made, "vgg16")


def test_the_small_seed_file_has_no_prefix(tmp_path):
    (tmp_path / "w").write_bytes(fuzz.safetensors_file())
    assert list(torch.read(tmp_path / "w")) == ["conv1", "conv2", "fc"]


def test_what_no_trained_network_has_is_told_of(tmp_path):
    state = {k: v for k, v in _state().items() if not k.endswith(".bias")}
    state["features.3.squeeze.weight"] *= 0
    notes = convert(_read(tmp_path, state), "squeezenet").notes
    assert notes == (
        "26 layers have no bias in the file (features.0, ...): theirs is 0.",
        "1 layers are 0 everywhere (features.3.squeeze, ...): nothing passes them.",
    )


def test_a_layer_of_another_kind_in_the_place_of_a_convolution():
    layers = {}
    for slot in slots(networks.get("squeezenet")):
        kind = "other" if slot.name == "conv10" else "convolution"
        weights = np.ones(slot.source_shape, np.float32)
        layers[slot.name] = Layer(slot.name, kind, weights, type="Deconvolution")
    with pytest.raises(
        UserError, match="layer 'conv10' is a Deconvolution, but 'conv10' is a conv"
    ):
        convert(layers, "squeezenet")
