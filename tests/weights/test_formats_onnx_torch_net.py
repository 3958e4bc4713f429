"""The readers of ONNX, PyTorch and Deep Compression files."""

import os
import pickle
from pathlib import Path

import fuzz_readers as fuzz
import numpy as np
import pytest

from medtune_jax.errors import UserError
from medtune_jax.weights.formats import deep_compression, onnx, torch

SHARED = Path(
    os.environ.get("MEDTUNE_SHARED", Path(__file__).resolve().parents[2].parent / "shared")
)
DATA = SHARED / "data"


def _same(layers, names=("conv1", "fc")):
    _, weights = fuzz.small_layers()
    for name in names:
        np.testing.assert_array_equal(layers[name].weights, weights[name][0])
        np.testing.assert_array_equal(layers[name].bias, weights[name][1])


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("trans_b", [True, False])
def test_onnx_forms(tmp_path, raw, trans_b):
    path = tmp_path / "net.onnx"
    path.write_bytes(fuzz.onnx_model(raw, trans_b))
    layers = onnx.read(path)
    assert list(layers) == ["conv1", "fc"]
    assert layers["conv1"].stride == (2, 2)
    _same(layers)


def test_onnx_library_agrees(tmp_path):
    """A model the onnx library writes: MatMul + Add, a constant, half precision, alpha, a norm."""
    official = pytest.importorskip("onnx")
    helper, numpy_helper = official.helper, official.numpy_helper
    generator = np.random.default_rng(0)
    arrays = {
        "features.0.weight": generator.standard_normal((4, 2, 3, 3)).astype(np.float16),
        "m_w": generator.standard_normal((8, 5)).astype(np.float32),
        "m_b": generator.standard_normal(5).astype(np.float32),
        "g.weight": generator.standard_normal((3, 5)).astype(np.float64),
    }
    constant = generator.standard_normal((2, 2, 1, 1)).astype(np.float32)
    nodes = [
        helper.make_node("Constant", [], ["c_w_0"], value=numpy_helper.from_array(constant)),
        helper.make_node("Conv", ["x", "c_w_0"], ["a"]),
        helper.make_node("LRN", ["a"], ["n"], size=5),
        helper.make_node("MaxPool", ["n"], ["p"], kernel_shape=[3, 3]),
        helper.make_node("Conv", ["p", "features.0.weight"], ["b"], group=1, strides=[1, 1]),
        helper.make_node("MatMul", ["b", "m_w"], ["d"]),
        helper.make_node("Add", ["d", "m_b"], ["e"]),
        helper.make_node("Gemm", ["e", "g.weight"], ["y"], transB=1, alpha=2.0),
    ]
    tensors = [numpy_helper.from_array(v, k) for k, v in arrays.items()]
    value = [helper.make_tensor_value_info(n, 1, None) for n in ("x", "y", "m_w")]
    graph = helper.make_graph(nodes, "g", [value[0], value[2]], [value[1]], tensors)
    path = tmp_path / "net.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    layers = onnx.read(path)
    assert list(layers) == ["c", "features.0", "m", "g"]
    np.testing.assert_array_equal(layers["c"].weights, constant)
    np.testing.assert_array_equal(layers["features.0"].weights, arrays["features.0.weight"])
    np.testing.assert_array_equal(layers["m"].weights, arrays["m_w"].T)
    np.testing.assert_array_equal(layers["m"].bias, arrays["m_b"])
    np.testing.assert_allclose(layers["g"].weights, 2 * arrays["g.weight"], rtol=1e-6)
    assert onnx.norm_before_pool(path) is True


def test_onnx_refusals(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(fuzz.onnx_model()[:-50])
    with pytest.raises(UserError, match="damaged or truncated"):
        onnx.read(path)
    path.write_bytes(b"\x08\x08")
    with pytest.raises(UserError, match="no layer with weights"):
        onnx.read(path)
    model = fuzz.onnx_pb2.ModelProto.FromString(fuzz.onnx_model())
    model.graph.initializer[0].data_location = 1
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match="another file"):
        onnx.read(path)


@pytest.mark.parametrize("make", [fuzz.safetensors_file, fuzz.pth_file])
def test_torch_files(tmp_path, make):
    path = tmp_path / "weights"
    path.write_bytes(make())
    layers = torch.read(path)
    _same(layers, ("conv1", "conv2", "fc"))
    assert [layer.kind for layer in layers.values()].count("convolution") == 2


def test_natural_order_of_safetensors(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    names = [f"features.{i}" for i in (0, 3, 10)]
    tensors = {f"{name}.weight": np.zeros((2, 2), np.float32) for name in names[::-1]}
    numpy.save_file(tensors, tmp_path / "w.safetensors")
    assert list(torch.read(tmp_path / "w.safetensors")) == names


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize("form", ["pth", "safetensors"])
def test_what_pytorch_writes(tmp_path, dtype, form):
    library = pytest.importorskip("torch")
    nn = library.nn
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 2))
    state = module.to(getattr(library, dtype)).state_dict()
    path = tmp_path / "net"
    if form == "pth":
        library.save(state, path)
    else:
        pytest.importorskip("safetensors.torch").save_file(state, path)
    layers = torch.read(path)
    assert [layer.kind for layer in layers.values()] == [
        "convolution",
        "batch_norm",
        "inner_product",
    ]
    np.testing.assert_array_equal(layers["0"].weights, state["0.weight"].float().numpy())
    np.testing.assert_array_equal(layers["2"].bias, state["2.bias"].float().numpy())


def test_pytorch_views_and_wrappers(tmp_path):
    library = pytest.importorskip("torch")
    weight, bias = library.arange(12.0).reshape(3, 4).T, library.arange(10.0)[2:6]
    path = tmp_path / "net.pth"
    library.save(
        {"state_dict": {"module.x.weight": weight, "module.x.bias": bias}, "epoch": 3}, path
    )
    layer = torch.read(path)["module.x"]
    np.testing.assert_array_equal(layer.weights, weight.numpy())
    np.testing.assert_array_equal(layer.bias, bias.numpy())


class _Attack:
    def __reduce__(self):
        return os.mkdir, ("run-by-the-pickle",)


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "net.pth"
    for protocol in (2, 4):
        path.write_bytes(fuzz.pth_file(pickle.dumps({"a.weight": _Attack()}, protocol)))
        with pytest.raises(UserError, match=r"posix\.mkdir"):
            torch.read(path)
    assert not Path("run-by-the-pickle").exists()
    library = pytest.importorskip("torch")
    library.save(library.nn.Linear(2, 2), path)
    with pytest.raises(UserError, match=r"Linear.*model\.state_dict"):
        torch.read(path)


def test_the_form_before_pytorch_16(tmp_path):
    library = pytest.importorskip("torch")
    module = library.nn.Sequential(library.nn.Conv2d(3, 8, 3), library.nn.BatchNorm2d(8))
    path = tmp_path / "net.pth"
    library.save(module.state_dict(), path, _use_new_zipfile_serialization=False)
    layers = torch.read(path)
    np.testing.assert_array_equal(layers["0"].weights, module[0].weight.detach().numpy())
    assert layers["1"].kind == "batch_norm"


def test_tensor_must_stay_in_its_storage(tmp_path):
    """Strides and sizes that would read beyond the stored numbers."""
    path = tmp_path / "net.pth"
    sound = fuzz.state_program()
    index = sound.index(b"K\x04K\x03K\x03")  # conv1's size (4, 3, 3, 3)
    path.write_bytes(fuzz.pth_file(sound[:index] + b"K\x7f" + sound[index + 2 :]))
    with pytest.raises(UserError, match=r"conv1\.weight"):
        torch.read(path)


def test_deep_compression(tmp_path):
    data, path = fuzz.net_file(), tmp_path / "small.net"
    path.write_bytes(data)
    layers = deep_compression.read(path, fuzz._SHAPES)
    for name, shape in fuzz._SHAPES.items():
        flat = layers[name].weights.reshape(-1)
        assert layers[name].shape == shape
        assert (flat[0::2] == 0).all()  # the file stores every second weight
        assert (flat[1::2] != 0).all()
    first_code = data[8 + 1024 + 16]
    codebook = np.frombuffer(data, "<f4", 256, 8)
    assert layers["conv1"].weights.reshape(-1)[1] == codebook[first_code]
    for damaged, says in (
        (data + b"\0", "1 bytes are left"),
        (data[:-1], "ends inside the gaps of layer 'conv2'"),
        (data[:40], "ends inside the codebook"),
        (data[:5], "table of stored weights"),
        (b"\xff" * 4 + data[4:], "stores 4294967295 weights"),
        (data[:-1] + b"\xff", "places a weight at position"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=says):
            deep_compression.read(path, fuzz._SHAPES)
    with pytest.raises(UserError, match="Cannot read"):
        deep_compression.read(tmp_path / "absent", fuzz._SHAPES)


@pytest.mark.skipif(
    not (DATA / "alexnet-torchvision").is_dir(), reason="shared/data/alexnet-torchvision is absent"
)
def test_real_torchvision_convolutions():
    layers = torch.read(DATA / "alexnet-torchvision" / "features.safetensors")
    assert list(layers) == [f"features.{i}" for i in (0, 3, 6, 8, 10)]
    assert layers["features.3"].shape == (192, 64, 5, 5)


def test_mutated_files():
    """2,000 of what scripts/fuzz_readers.py does with 200,000."""
    counts, defects, memory = fuzz.run(2000, seed=1)
    assert not defects
    assert sum(counts.values()) == 2000
    assert counts["caffemodel read"] and counts["caffemodel refused"]
    assert memory < 2**28
