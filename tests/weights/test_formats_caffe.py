"""The Caffe reader: every form it may meet, files Caffe wrote, files that are something else."""

import os
from pathlib import Path

import caffe_files
import fuzz_readers as fuzz
import numpy as np
import pytest

from medtune_jax.errors import UserError
from medtune_jax.weights.formats import caffe

SHARED = Path(
    os.environ.get("MEDTUNE_SHARED", Path(__file__).resolve().parents[2].parent / "shared")
)
DATA = SHARED / "data"


def _write(path: Path, version: int = 2, **settings: bool) -> dict[str, tuple[np.ndarray, ...]]:
    layers, weights = fuzz.small_layers()
    path.write_bytes(b"".join(caffe_files.caffemodel(layers, weights, version, **settings)))
    return weights


@pytest.mark.parametrize("version", [0, 1, 2])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("old_shape", [True, False])
def test_reads_every_form(tmp_path, version, packed, double, old_shape):
    path = tmp_path / "net.caffemodel"
    weights = _write(path, version, packed=packed, double=double, old_shape=old_shape)
    layers = caffe.read(path)
    assert list(layers) == list(weights)
    for name, (kernel, bias) in weights.items():
        assert layers[name].weights.dtype == np.float32
        np.testing.assert_array_equal(layers[name].weights, kernel)
        np.testing.assert_array_equal(layers[name].bias, bias)
    conv1, conv2, fc = layers.values()
    assert (conv1.kind, conv1.kernel, conv1.stride, conv1.group) == (
        "convolution",
        (3, 3),
        (2, 2),
        1,
    )
    assert conv2.group == 2
    assert fc.kind == "inner_product"


@pytest.mark.parametrize("net", ["alexnet", "caffenet"])
@pytest.mark.parametrize("version", [0, 1, 2])
def test_order_of_norm_and_pool(tmp_path, net, version):
    layers = caffe_files.NETS[net]().layers[:8]
    path = tmp_path / "net.caffemodel"
    path.write_bytes(b"".join(caffe_files.caffemodel(layers, {}, version)))
    assert caffe.norm_before_pool(path) is (net == "alexnet")


def test_numbers_in_several_packed_pieces(tmp_path):
    """Protobuf allows a packed field to arrive in pieces."""
    message = caffe_files.pb.PackedBlob(num=1, channels=3, height=1, width=2)
    values = np.arange(6, dtype="<f4")
    message.data.extend([values[:4].tobytes(), values[4:].tobytes()])
    path = tmp_path / "mean.binaryproto"
    path.write_bytes(message.SerializeToString())
    np.testing.assert_array_equal(caffe.read_mean(path), values.reshape(3, 1, 2).transpose(1, 2, 0))


def _refused(path: Path, data: bytes, reader=caffe.read) -> str:
    path.write_bytes(data)
    with pytest.raises(UserError) as caught:
        reader(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    return message


def _one_blob(shape: tuple[int, ...], values: int, **more: bytes) -> bytes:
    blob = caffe_files.pb.PackedBlob(data=[np.zeros(values, "<f4").tobytes()])
    blob.shape.dim.extend(shape)
    layer = caffe_files.pb.LayerParameter(name="ip", type="InnerProduct")
    layer.blobs.append(blob.SerializeToString())
    return caffe_files.field_bytes(100, layer.SerializeToString())


def test_what_is_not_a_caffemodel(tmp_path):
    path = tmp_path / "net.caffemodel"
    _write(path)
    whole = path.read_bytes()
    assert "web page" in _refused(path, b"\n<!DOCTYPE html><html>Not found</html>")
    assert "Git LFS" in _refused(path, b"version https://git-lfs.github.com/spec/v1\noid sha256:0")
    assert "empty" in _refused(path, b"")
    assert "truncated" in _refused(path, whole[: len(whole) // 2])
    assert "not a file of this format" in _refused(path, b"\x7fELF" + bytes(range(200)))
    assert "no trained layer" in _refused(path, caffe_files.field_bytes(1, b"only a name"))
    assert "two trained layers" in _refused(path, whole + whole)
    with pytest.raises(UserError, match="Cannot read"):
        caffe.read(tmp_path / "absent")
    with pytest.raises(UserError, match="Cannot read"):
        caffe.read(tmp_path)


@pytest.mark.parametrize(
    ("shape", "values", "says"),
    [
        ((3, 4), 11, "takes 12 numbers, but the file holds 11"),
        ((-3, -4), 12, "impossible shape"),
        ((0, 4), 0, "impossible shape"),
        ((2**40, 2**40), 12, "holds 12"),
        ((12,), 12, "inner product"),
        ((1,) * 40, 1, "impossible shape"),
    ],
)
def test_absurd_shapes(tmp_path, shape, values, says):
    assert says in _refused(tmp_path / "net", _one_blob(shape, values))


def test_mean_must_be_an_image(tmp_path):
    blob = caffe_files.blob(np.zeros((2, 5, 4)))
    assert "three channels" in _refused(tmp_path / "mean", blob, caffe.read_mean)
    nan = caffe_files.blob(np.full((3, 2, 2), np.nan))
    assert "not finite" in _refused(tmp_path / "mean", nan, caffe.read_mean)


def test_reading_takes_less_than_twice_the_file(tmp_path):
    """One large layer dominates, as fc6 does in AlexNet."""
    import tracemalloc

    path = tmp_path / "net"
    layer = caffe_files.CaffeLayer("fc", "InnerProduct", [], {"num_output": 1000})
    weights = {"fc": (np.ones((1000, 4000), np.float32), np.ones(1000, np.float32))}
    path.write_bytes(b"".join(caffe_files.caffemodel([layer], weights)))
    tracemalloc.start()
    layers = caffe.read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert layers["fc"].shape == (1000, 4000)
    assert peak < 2 * path.stat().st_size


@pytest.mark.skipif(not (DATA / "caffe").is_dir(), reason="shared/data/caffe is absent")
def test_files_that_caffe_wrote():
    lenet = {"conv1": (20, 1, 5, 5), "conv2": (50, 20, 5, 5), "ip1": (500, 800), "ip2": (10, 500)}
    one = caffe.read(DATA / "caffe" / "lenet_iter_10000.v1.caffemodel")
    two = caffe.read(DATA / "caffe" / "lenet_iter_10000.v2.caffemodel")
    for layers in (one, two):
        assert {name: layer.shape for name, layer in layers.items()} == lenet
        assert 0.01 < np.std(layers["conv1"].weights) < 1
    cifar = caffe.read(DATA / "caffe" / "cifar10_full_iter_70000.v1.caffemodel")
    assert cifar["conv3"].shape == (64, 32, 5, 5)
    assert cifar["ip1"].shape == (10, 1024)
    mean = caffe.read_mean(DATA / "caffe" / "imagenet_mean.binaryproto")
    assert mean.shape == (256, 256, 3)
    np.testing.assert_allclose(mean.mean((0, 1)), [104.007, 116.669, 122.679], atol=0.01)
