"""Layers into networks: layouts, names, what is refused, and that nothing half-written stays."""

import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import caffe_files
import jax
import numpy as np
import pytest

from medtune_jax import networks
from medtune_jax.errors import UserError
from medtune_jax.weights import checkpoint, pretrained
from medtune_jax.weights.convert import convert
from medtune_jax.weights.files import convert_file
from medtune_jax.weights.formats.layer import Layer, kind_of
from medtune_jax.weights.norms import fold
from medtune_jax.weights.slots import slots
from medtune_jax.weights.stated import crop_mean, stated

ROOT = Path(__file__).resolve().parents[2]
BUNDLED = ROOT / "medtune_jax/weights/data/squeezenet/compressed_SqueezeNet.net"


def _layers(network: str, torchvision: bool = False, seed: int = 0) -> dict[str, Layer]:
    """A layer for every slot, under Caffe's or torchvision's names; zeros unless seeded."""
    generator = np.random.default_rng(seed) if seed else None
    target = networks.get(network)
    format_ = target.sources.formats["torchvision" if torchvision else "Caffe"]
    result = {}
    for slot in slots(target):
        if torchvision and slot.auxiliary:
            continue
        name = format_.names.get(slot.name, slot.name)
        weights = np.zeros(slot.source_shape, np.float32)
        bias = np.zeros(slot.source_shape[0], np.float32)
        if generator:
            weights = generator.standard_normal(weights.shape, np.float32)
            bias = generator.standard_normal(bias.shape, np.float32)
        result[name] = Layer(name, kind_of(weights), weights, bias)
    return result


def test_layouts():
    """One weight of each kind followed from the file's index to ours."""
    layers = _layers("alexnet", seed=1)
    params = convert(dict(layers), "alexnet").params
    assert params["conv2"]["kernel"].shape == (5, 5, 48, 256)
    assert params["conv2"]["kernel"][1, 2, 7, 200] == layers["conv2"].weights[200, 7, 1, 2]
    channel, row, column = 17, 4, 2
    theirs = layers["fc6"].weights[9, channel * 36 + row * 6 + column]
    assert params["fc6"]["kernel"][(row * 6 + column) * 256 + channel, 9] == theirs
    np.testing.assert_array_equal(params["fc7"]["kernel"], layers["fc7"].weights.T)
    np.testing.assert_array_equal(params["fc8"]["bias"], layers["fc8"].bias)


@pytest.mark.parametrize("network", ["alexnet", "squeezenet", "googlenet"])
def test_every_layer_of_a_caffe_file_is_loaded(network):
    layers = _layers(network)
    conversion = convert(dict(layers), network)
    assert not conversion.names("new") and not conversion.names("left out")
    assert len(conversion.names("loaded")) == len(layers)
    assert conversion.preprocessing.order == "BGR"
    expected = networks.get(network).abstract_params(auxiliary=True)
    assert jax.tree.map(np.shape, conversion.params) == jax.tree.map(np.shape, expected)


@pytest.mark.parametrize(
    "network", ["alexnet_torchvision", "squeezenet", "vgg16", "googlenet_torchvision"]
)
def test_torchvision_names_bring_their_preprocessing(network):
    conversion = convert(_layers(network, torchvision=True), network)
    assert not conversion.names("left out")
    assert conversion.preprocessing.order == "RGB"
    assert conversion.preprocessing.scale == pytest.approx(1 / 255)


def test_torchvision_names_are_torchvisions():
    """Against the shapes that modules of these names have in torchvision's sources."""
    theirs = networks.get("googlenet_torchvision").sources.formats["torchvision"].names
    assert theirs["conv2/3x3"] == "conv3.conv"
    assert theirs["inception_4b/5x5"] == "inception4b.branch3.1.conv"
    assert theirs["classifier"] == "fc"
    vgg = networks.get("vgg16").sources.formats["torchvision"].names
    assert (vgg["conv5_3"], vgg["fc8"]) == ("features.28", "classifier.6")


def test_unknown_names_in_graph_order():
    """Only a graph has an order; without known names nobody knows the preprocessing, so it must be stated."""
    plain = list(_layers("squeezenet").values())

    def renamed(prefix: str, **changes) -> dict[str, Layer]:
        names = [f"{prefix}{i}" for i in range(len(plain))]
        return {n: replace(x, name=n, **changes) for n, x in zip(names, plain, strict=True)}

    conversion = convert(renamed("squeezenet0_layer", after=frozenset()), "squeezenet")
    assert conversion.preprocessing.order == "RGB"  # Gluon's
    other = renamed("layer", after=frozenset())
    with pytest.raises(
        UserError, match=r"names of layers that are unknown.* state it with --order"
    ):
        convert(dict(other), "squeezenet")
    said = stated(order="RGB", mean="0.5", scale="1/255", std="0.5")
    assert convert(other, "squeezenet", stated=said).preprocessing.order == "RGB"
    with pytest.raises(UserError, match="does not hold squeezenet"):
        convert(renamed("layer"), "squeezenet")


def test_batch_norm_is_folded_exactly():
    torch = pytest.importorskip("torch")
    conv, norm = torch.nn.Conv2d(3, 5, 3, bias=False), torch.nn.BatchNorm2d(5, eps=1e-3)
    with torch.no_grad():
        for parameter in (norm.weight, norm.bias, norm.running_mean):
            parameter.uniform_(-2, 2)
        norm.running_var.uniform_(0.1, 3)
        x = torch.randn(2, 3, 8, 8)
        expected = norm.eval()(conv(x)).numpy()
        statistics = {"mean": norm.running_mean.numpy(), "variance": norm.running_var.numpy()}
        layer = Layer("c", "convolution", conv.weight.numpy())
        layer = fold(
            layer,
            Layer("b", "batch_norm", norm.weight.numpy(), norm.bias.numpy(), extra=statistics),
            1e-3,
        )
        result = torch.nn.functional.conv2d(
            x, torch.tensor(layer.weights), torch.tensor(layer.bias)
        )
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-5)


def test_batch_norm_where_there_is_none():
    layers = _layers("vgg16", torchvision=True)
    ones = np.ones(64, np.float32)
    statistics = {"mean": ones, "variance": ones}
    layers["features.1"] = Layer("features.1", "batch_norm", ones, ones, extra=statistics)
    with pytest.raises(UserError, match=r"batch norms .* vgg16 does not have"):
        convert(layers, "vgg16")


def test_other_number_of_classes_and_missing_bias():
    layers = _layers("squeezenet")
    head = layers["conv_final"]
    layers["conv_final"] = replace(head, weights=head.weights[:7], bias=None)
    conversion = convert(layers, "squeezenet")
    assert conversion.network.classes == 7
    assert (conversion.params["conv10"]["bias"] == 0).all()


def test_absent_tail_is_new_and_gap_is_refused():
    layers = _layers("alexnet")
    tail = {name: layers[name] for name in ("conv1", "conv2", "conv3")}
    conversion = convert(tail, "alexnet")
    assert conversion.names("new") == ("conv4", "conv5", "fc6", "fc7", "fc8")
    assert list(conversion.params) == ["conv1", "conv2", "conv3"]
    del layers["conv3"]
    with pytest.raises(UserError, match=r"lacks 1 of alexnet's layers \(conv3\)"):
        convert(layers, "alexnet")


def test_half_an_auxiliary_head_is_left_out():
    layers = _layers("googlenet")
    del layers["loss1/fc"]
    conversion = convert(layers, "googlenet")
    assert conversion.names("left out") == ("loss1/conv", "loss1/classifier")
    assert "loss1" not in conversion.params and "loss2" in conversion.params


def test_wrong_shape_names_layer_and_shapes():
    layers = _layers("alexnet")
    layers["conv3"] = replace(layers["conv3"], weights=np.zeros((384, 256, 5, 5), np.float32))
    with pytest.raises(UserError, match=r"'conv3' has the shape 384 x 256 x 5 x 5 .* 3 x 3"):
        convert(layers, "alexnet")
    layers = _layers("alexnet")
    layers["fc7"].weights[0, 0] = np.nan
    with pytest.raises(UserError, match="'fc7' holds numbers that are not finite"):
        convert(layers, "alexnet")
    layers = _layers("alexnet")
    layers["conv1"] = replace(layers["conv1"], stride=(2, 2))
    with pytest.raises(UserError, match="'conv1' has stride 2"):
        convert(layers, "alexnet")


@pytest.mark.parametrize(
    ("file", "asked"),
    [
        ("vgg16", "alexnet"),
        ("googlenet", "alexnet"),
        ("squeezenet", "googlenet"),
        ("alexnet", "vgg16"),
        ("alexnet_torchvision", "alexnet"),
    ],
)
def test_wrong_network_says_which_it_looks_like(file, asked):
    layers = _layers(file, torchvision=file.endswith("torchvision"))
    with pytest.raises(UserError, match=rf"does not hold {asked}: it looks like {file}; pass"):
        convert(layers, asked)


def test_only_the_order_tells_alexnet_from_caffenet():
    with pytest.raises(UserError, match="looks like caffenet"):
        convert(_layers("alexnet"), "alexnet", norm_before_pool=False)
    with pytest.raises(UserError, match="looks like alexnet"):
        convert(_layers("alexnet"), "caffenet", norm_before_pool=True)
    assert convert(_layers("alexnet"), "caffenet", norm_before_pool=False).params


def test_a_file_of_no_known_network():
    layers = {"ip1": Layer("ip1", "inner_product", np.zeros((3, 4), np.float32))}
    says = r"nor another network known here \(its layers: ip1\); .* alexnet are Caffe, ONNX\.$"
    with pytest.raises(UserError, match=says):
        convert(layers, "alexnet")


def test_mean_image_is_cropped_in_the_centre():
    mean = np.arange(8 * 6 * 3.0).reshape(8, 6, 3)
    np.testing.assert_array_equal(crop_mean(mean, 4), mean[2:6, 1:5])
    with pytest.raises(UserError, match="8 x 6 but the network takes 7 x 7"):
        crop_mean(mean, 7)


# --- from file to checkpoint ---


def test_bundled_file_to_checkpoint(tmp_path):
    """The Deep Compression file gives what the package's own loader gives."""
    convert_file(BUNDLED, "squeezenet", tmp_path / "out")
    stored = checkpoint.load(tmp_path / "out")
    jax.tree.map(np.testing.assert_array_equal, stored.params, pretrained("squeezenet").params)
    assert stored.provenance["format"] == "Deep Compression"
    with pytest.raises(UserError, match="exists already"):
        convert_file(BUNDLED, "squeezenet", tmp_path / "out")


def _command(*arguments: str) -> subprocess.CompletedProcess:
    script = ROOT / "tools" / "convert_caffe_weights" / "convert.py"
    command = [sys.executable, script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)


def test_command(tmp_path):
    out = tmp_path / "out"
    done = _command(f"--weights={BUNDLED}", "--network=squeezenet", f"--output={out}")
    assert done.returncode == 0, done.stderr
    assert "26 loaded, 0 new, 0 left out" in done.stdout
    page = tmp_path / "net.caffemodel"
    page.write_text("<html>404</html>")
    done = _command(f"--weights={page}", "--network=alexnet", f"--output={tmp_path / 'o'}")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "web page" in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.caffemodel", "out"]


def test_command_help_has_an_example():
    spec = importlib.util.find_spec("absl")
    assert spec is not None
    done = _command("--help")
    assert "--weights bvlc_alexnet.caffemodel" in done.stdout


def test_full_disk_leaves_nothing(tmp_path):
    """A limit on the size of a file fails a write halfway, as a full disk does."""
    folder = tmp_path / "folder"
    folder.mkdir()
    script = (
        "import resource, signal, sys\n"
        "from absl import logging; logging.set_verbosity(logging.FATAL)\n"
        "from medtune_jax.errors import UserError\n"
        "from medtune_jax.weights.files import convert_file\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
        f"try: convert_file({str(BUNDLED)!r}, 'squeezenet', {str(folder / 'out')!r})\n"
        "except UserError as error: print(error); sys.exit(2)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2, done.stderr[-2000:]
    assert "could not write" in done.stdout and done.stdout.count("\n") == 1
    assert not list(folder.iterdir())


def test_deep_compression_of_another_network(tmp_path):
    with pytest.raises(
        UserError, match=r"Compression file, .* alexnet; its formats are Caffe, ONNX\.$"
    ):
        convert_file(BUNDLED, "alexnet", tmp_path / "out")


def _caffemodel(change=lambda weights: None) -> bytes:
    net = caffe_files.squeezenet()
    weights = net.weights()
    change(weights)
    return b"".join(caffe_files.caffemodel(net.layers, weights))


def _narrow(weights):
    weights["fire5/expand3x3"] = (np.ones((128, 31, 3, 3), np.float32), np.ones(128, np.float32))


@pytest.mark.parametrize(
    ("network", "make", "says"),
    [
        ("squeezenet", lambda: _caffemodel()[:2_000_000], "truncated"),
        ("alexnet", _caffemodel, "does not hold alexnet: it looks like squeezenet; pass"),
        ("squeezenet", lambda: _caffemodel(lambda w: w.pop("fire5/expand3x3")), "lacks 1 of"),
        (
            "squeezenet",
            lambda: _caffemodel(_narrow),
            "'fire5/expand3x3' has the shape 128 x 31 x 3",
        ),
        ("squeezenet", lambda: b"<!DOCTYPE html><html>Sign in</html>", "web page"),
    ],
    ids=["truncated", "another network", "missing layer", "wrong shape", "web page"],
)
def test_a_bad_file_is_one_sentence_and_leaves_nothing(tmp_path, network, make, says):
    model = tmp_path / "net.caffemodel"
    model.write_bytes(make())
    with pytest.raises(UserError) as caught:
        convert_file(model, network, tmp_path / "deep" / "out")
    message = str(caught.value)
    assert says in message and str(model) in message and "\n" not in message
    assert list(tmp_path.iterdir()) == [model]
