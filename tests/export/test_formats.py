"""Every format of every network says what the run says."""

import subprocess
import sys

import numpy as np
import pytest

from medtune_jax.export import safetensors, stablehlo
from medtune_jax.export.package import FORMATS, LIMIT, check_images, differences_of

NETWORKS = ("squeezenet", "googlenet", "alexnet")
TORCHVISION = ("squeezenet", "googlenet_torchvision", "alexnet_torchvision")


def difference(name, run, folder, count):
    images = check_images(run.size)[:: 64 // count]
    FORMATS[name].write(run, folder)
    return differences_of(run.outputs(images), FORMATS[name].outputs(run, folder, images))


@pytest.mark.parametrize("name", ["stablehlo", "orbax", "safetensors"])
def test_a_small_network_agrees(name, finished, tmp_path):
    assert max(difference(name, finished, tmp_path, 64)) <= LIMIT


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", ["stablehlo", "safetensors"])
def test_the_paper_s_networks_agree_on_64_images(name, network, with_network, tmp_path):
    assert max(difference(name, with_network(network), tmp_path, 64)) <= LIMIT


def test_onnx_agrees_and_has_the_layers_by_name(finished, tmp_path):
    pytest.importorskip("jax2onnx", reason="jax2onnx is not installed: pip install '.[onnx]'")
    onnx = pytest.importorskip("onnx")
    assert max(difference("onnx", finished, tmp_path, 64)) <= LIMIT
    nodes = [node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node]
    assert nodes.count("Conv") == 26 and nodes.count("MaxPool") == 6


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_onnx_of_the_paper_s_networks_agrees_on_64_images(network, with_network, tmp_path):
    pytest.importorskip("jax2onnx", reason="jax2onnx is not installed: pip install '.[onnx]'")
    assert max(difference("onnx", with_network(network), tmp_path, 64)) <= LIMIT


ALONE = """
import sys, jax, numpy
images = numpy.load(sys.argv[2])
model = jax.export.deserialize(bytearray(open(sys.argv[1], "rb").read()))
probabilities, logits = model.call(images)
numpy.save(sys.argv[3], probabilities)
assert not any(name.startswith(("medtune", "flax")) for name in sys.modules)
"""


def test_stablehlo_runs_without_this_package_for_any_number_of_images(finished, tmp_path):
    stablehlo.write(finished, tmp_path)
    for count in (1, 5):
        images = check_images(finished.size, 8)[:count]
        np.save(tmp_path / "in.npy", images)
        files = [str(tmp_path / name) for name in (stablehlo.FILE, "in.npy", "out.npy")]
        subprocess.run([sys.executable, "-c", ALONE, *files], check=True)
        wanted = finished.outputs(images)[0]
        np.testing.assert_allclose(np.load(tmp_path / "out.npy"), wanted, atol=LIMIT)


def test_findings_are_probabilities_of_their_own(finished, tmp_path):
    finished.study.manifest["findings"] = True
    try:
        stablehlo.write(finished, tmp_path)
        probabilities, logits = stablehlo.outputs(
            finished, tmp_path, check_images(finished.size, 4)
        )
    finally:
        del finished.study.manifest["findings"]
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-logits)), atol=1e-6)
    assert abs(probabilities.sum(axis=1) - 1).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("network", TORCHVISION)
def test_torchvision_s_networks_take_the_state_dict(network, with_network, tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[bench]'")
    torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed")
    from safetensors.torch import load_file

    run = with_network(network)
    safetensors.write(run, tmp_path)
    space = {"torchvision": torchvision, "torch": torch}
    exec("model = " + safetensors.MODELS[network].replace("CLASSES", "2"), space)
    model = space["model"].eval()
    model.load_state_dict(load_file(tmp_path / safetensors.FILE))
    images = check_images(run.size)
    x = np.array(run.trained.checkpoint.preprocessing(images))
    with torch.no_grad():
        logits = model(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()))
        found = logits.softmax(1).numpy(), logits.numpy()
    assert max(differences_of(run.outputs(images), found)) <= LIMIT


def test_other_networks_take_the_names_of_the_stages(with_network):
    run = with_network("googlenet")
    state = safetensors.state_dict(run.network, run.params)
    assert state["inception_3a/5x5_reduce.weight"].shape == (16, 192, 1, 1)
    assert state["classifier.weight"].shape == (2, 1024)
