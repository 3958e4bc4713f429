"""Keras' .h5 files, as keras-applications names and lays out their layers."""

import sys

import jax
import numpy as np
import pytest

from medtune_jax import networks
from medtune_jax.errors import UserError
from medtune_jax.weights.convert import convert
from medtune_jax.weights.files import read
from medtune_jax.weights.formats import keras

ORDER = ("kernel", "depthwise_kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")
NORM = {"scale": "gamma", "bias": "beta", "mean": "moving_mean", "variance": "moving_variance"}


def written(path, layers, root=""):
    """A file of {layer: {name: array}}; root: the group of a whole model's weights. -> the path."""
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    with h5py.File(path, "w") as file:
        group = file.create_group(root) if root else file
        group.attrs["layer_names"] = [name.encode() for name in layers]
        for name, arrays in layers.items():
            keys = [f"{name}/{key}:0" for key in sorted(arrays, key=ORDER.index)]
            own = group.create_group(name)
            own.attrs["weight_names"] = [key.encode() for key in keys]
            for key, array in zip(keys, sorted(arrays, key=ORDER.index), strict=True):
                own[key] = arrays[array]
    return path


def as_keras(params, name, depthwise="depthwise_kernel", kind="Keras"):
    """Our parameters by Keras' names in Keras' layout: of its kernels only those of single channels differ.

    depthwise: what those are called.
    """
    layers = {"input_1": {}}
    for ours, theirs in networks.get(name).sources.formats[kind].names.items():
        stage, _, layer = ours.partition("/")
        if stage not in params or (layer and layer not in params[stage]):
            continue
        held = params[stage][layer] if layer else params[stage]
        if "scale" in held:
            layers[theirs] = {NORM[key]: array for key, array in held.items()}
        elif "depthwise" in ours:
            layers[theirs] = {depthwise: np.swapaxes(held["kernel"], 2, 3)}
        elif theirs == "conv_preds":
            layers[theirs] = {"kernel": held["kernel"][None, None], "bias": held["bias"]}
        else:
            layers[theirs] = dict(held)
    return layers


def drawn(name, stages, classes):
    """Random parameters of some stages, variances among them positive."""
    rng = np.random.default_rng(0)
    shapes = networks.get(name, classes).abstract_params()
    return jax.tree.map(
        lambda leaf: rng.uniform(0.1, 1, leaf.shape).astype(np.float32),
        {stage: shapes[stage] for stage in stages},
    )


@pytest.mark.parametrize(
    ("head", "root", "depthwise"),
    [(True, "", "depthwise_kernel"), (False, "model_weights", "kernel")],
    ids=["weights of Keras 2", "whole model of Keras 3, no head"],
)
def test_mobilenet_is_read_whole(tmp_path, head, root, depthwise):
    names = networks.get("mobilenet_v1").names
    params = drawn("mobilenet_v1", names if head else names[:-1], 1000)
    file = written(tmp_path / "net.h5", as_keras(params, "mobilenet_v1", depthwise), root)
    conversion = convert(read(file).layers, "mobilenet_v1")
    assert conversion.names("new") == (() if head else ("fc",))
    assert not conversion.names("left out")
    assert conversion.network.classes == (1000 if head else 1001)
    jax.tree.map(np.testing.assert_array_equal, conversion.params, params)


def test_convolutions_of_vgg16_are_read(tmp_path):
    params = drawn("vgg16", networks.get("vgg16").names[:13], 1000)
    file = written(tmp_path / "net.h5", as_keras(params, "vgg16"))
    conversion = convert(read(file).layers, "vgg16")
    assert conversion.names("new") == ("fc6", "fc7", "fc8")
    jax.tree.map(np.testing.assert_array_equal, conversion.params, params)
    assert conversion.preprocessing == networks.get("vgg16").preprocessing


def test_biases_of_resnet50_go_into_the_means_of_their_norms(tmp_path):
    """Keras' convolutions have them: norm(conv + bias) is our norm(conv), whose mean is less by the bias."""
    params = drawn("resnet50_keras", networks.get("resnet50_keras").names, 7)
    layers = as_keras(params, "resnet50_keras")
    biases, rng = {}, np.random.default_rng(1)
    for name in [name for name in layers if name.endswith("_conv")]:
        biases[name] = rng.uniform(-1, 1, layers[name]["kernel"].shape[-1]).astype(np.float32)
        layers[name]["bias"] = biases[name]
    conversion = convert(read(written(tmp_path / "net.h5", layers)).layers, "resnet50_keras")
    assert not conversion.names("new") and not conversion.names("left out")
    assert conversion.notes == (
        "53 biases of convolutions are in the means of the norms that follow them.",
    )
    for ours, theirs in networks.get("resnet50_keras").sources.formats["Keras"].names.items():
        if theirs in biases:
            stage, _, layer = ours.partition("/")
            norm = layer.replace("conv", "bn")
            expected = params[stage][norm]["mean"] - biases[theirs]
            np.testing.assert_array_equal(conversion.params[stage][norm]["mean"], expected)
            params[stage][norm]["mean"] = expected
    jax.tree.map(np.testing.assert_array_equal, conversion.params, params)


@pytest.mark.parametrize("kind", ["Keras", "Keras 2", "Keras' release"])
def test_densenet121_is_read_with_its_epsilon(tmp_path, kind):
    """Its head reads the map of all channels, of which the last convolution made but 32."""
    params = drawn("densenet121", networks.get("densenet121").names, 7)
    params["transition1"]["norm"]["variance"] *= 1e-5  # so small that the epsilon decides
    file = written(tmp_path / "net.h5", as_keras(params, "densenet121", kind=kind))
    conversion = convert(read(file).layers, "densenet121")
    assert not conversion.names("new") and not conversion.names("left out")
    np.testing.assert_array_equal(
        conversion.params["classifier"]["kernel"], params["classifier"]["kernel"]
    )
    found, small = conversion.params["transition1"]["norm"], params["transition1"]["norm"]
    gain = found["scale"] / np.sqrt(found["variance"].astype(float) + 1e-5)
    np.testing.assert_allclose(
        gain, small["scale"] / np.sqrt(small["variance"].astype(float) + 1.001e-5), rtol=1e-6
    )
    np.testing.assert_array_equal(found["mean"], small["mean"])


def test_an_inner_product_reads_the_map_as_keras_flattens_it(tmp_path):
    """Ours is C,H,W: the same products of a map of 2 x 3 pixels and 4 channels; the second reads no map."""
    rng = np.random.default_rng(0)
    kernel, second = rng.normal(size=(2 * 3 * 4, 8)), rng.normal(size=(8, 5))
    layers = {
        "conv": {"kernel": rng.normal(size=(3, 3, 7, 4)), "bias": np.zeros(4)},
        "fc1": {"kernel": kernel, "bias": np.zeros(8)},
        "fc2": {"kernel": second, "bias": np.zeros(5)},
    }
    found = keras.read(written(tmp_path / "net.h5", layers))
    image = rng.normal(size=(2, 3, 4))
    np.testing.assert_allclose(
        found["fc1"].weights @ image.transpose(2, 0, 1).ravel(), image.ravel() @ kernel, rtol=1e-5
    )
    np.testing.assert_allclose(found["fc2"].weights, second.T, rtol=1e-6)


def test_without_h5py_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "net.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(600))
    with pytest.raises(UserError, match=r"an HDF5 file .*pip install 'medtune-jax\[keras\]'"):
        read(tmp_path / "net.h5")


def test_other_files_are_refused_in_one_sentence(tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    with h5py.File(tmp_path / "caffe.h5", "w") as file:
        file["data/conv1/0"] = np.zeros((2, 3))
    with pytest.raises(UserError, match=r"not of Keras 1 or 2.*\.caffemodel"):
        read(tmp_path / "caffe.h5")
    norm = {"gamma": np.ones(3), "moving_mean": np.ones(3), "moving_variance": np.ones(3)}
    with pytest.raises(UserError, match="batch norm 'bn' lacks beta"):
        read(written(tmp_path / "norm.h5", {"bn": norm}))
    with pytest.raises(UserError, match="'lstm' are no convolution's"):
        read(written(tmp_path / "odd.h5", {"lstm": {"kernel": np.ones((2, 3, 4))}}))


@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_truncated_file_is_refused(tmp_path, kept):
    file = written(tmp_path / "net.h5", {"conv": {"kernel": np.ones((3, 3, 8, 16))}})
    data = file.read_bytes()
    file.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(UserError, match="damaged or truncated"):
        read(file)
