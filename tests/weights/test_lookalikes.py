"""Files of other kinds, unusual but sound ones, and names that are no text: read right or named as what they are."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import tarfile
import zipfile
from collections import OrderedDict

import caffe_files
import fuzz_readers as fuzz
import numpy as np
import pytest
from fuzz_readers import _Call, _Named, _Pickler, _Storage

from medtune_jax import networks
from medtune_jax.errors import UserError
from medtune_jax.weights.files import convert_file, read
from medtune_jax.weights.formats import caffe, onnx, torch
from medtune_jax.weights.slots import slots


def _refusal(path, data: bytes, reader=read) -> str:
    path.write_bytes(data)
    with pytest.raises(UserError) as caught:
        reader(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("net.caffemodel"))
    return buffer.getvalue()


def _saved(save, *things, **named) -> bytes:
    buffer = io.BytesIO()
    save(buffer, *things, **named)
    return buffer.getvalue()


def _zip(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    return buffer.getvalue()


_SMALL = b"".join(caffe_files.caffemodel(*fuzz.small_layers(), 2))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x89HDF\r\n\x1a\n" + bytes(600), "an HDF5 file (a snapshot of Caffe's HDF5 form, or Keras weights)"),
        (gzip.compress(_SMALL), "compressed with gzip, so unpack it"),
        (bz2.compress(_SMALL), "compressed with bzip2, so unpack it"),
        (lzma.compress(_SMALL), "compressed with xz, so unpack it"),
        (_tar(), "a tar archive, so unpack it"),
        (_saved(np.save, np.zeros(3)), "a NumPy array file (.npy), which is not read as weights"),
        (_saved(np.savez, conv1=np.zeros(3)), "NumPy's .npz, whose layers' layout is not stated"),
        (_zip("net/data.pkl", "net/constants.pkl"), "a TorchScript program; save its weights alone"),
        (b"MATLAB 5.0 MAT-file, Platform: GLNXA64" + bytes(600), "a MATLAB file (as of MatConvNet)"),
        (b"\x1c\0\0\0TFL3" + bytes(600), "a TensorFlow Lite file"),
        (b'name: "AlexNet"\nlayer {\n  name: "data"\n}\n', "a text file, not a weight file (a prototxt"),
        (pickle.dumps({"param values": [1.0]}, 2), "a pickle that torch.save did not write"),
    ],
    ids=lambda value: value.split(",")[0] if isinstance(value, str) else "",
)  # fmt: skip
@pytest.mark.parametrize("name", ["net.caffemodel", "net.pth", "net"])
def test_other_kinds_are_named(tmp_path, data, says, name):
    assert says in _refusal(tmp_path / name, data)


@pytest.mark.parametrize(
    "low", [b"\x08", b"\x0a", b"\x80", b"PK", b"\x1f\x8b", b"BZh", b"<!--"[:2]]
)
def test_safetensors_whose_headers_length_looks_like_another_format(tmp_path, low):
    sound = fuzz.safetensors_file()
    length = int.from_bytes(sound[:8], "little")
    header, data = sound[8 : 8 + length], sound[8 + length :]
    size = int.from_bytes(low.ljust(2, b"\x04"), "little")
    padded = json.dumps(
        {"__metadata__": {"pad": "x" * max(0, size - length - 60)}, **json.loads(header)}
    )
    padded = padded.encode().ljust(size)
    assert len(padded) == size
    for name in ("net", "net.safetensors", "net.onnx"):
        (tmp_path / name).write_bytes(size.to_bytes(8, "little") + padded + data)
        source = read(tmp_path / name)
        assert source.format == "PyTorch"
        np.testing.assert_array_equal(source.layers["fc"].weights, fuzz.small_layers()[1]["fc"][0])


def _version_11() -> dict[str, tuple[int, ...]]:
    shapes = {slot.name: slot.source_shape for slot in slots(networks.get("squeezenet"))}
    return shapes | {"conv1": (64, 3, 3, 3), "fire2/squeeze1x1": (16, 64, 1, 1)}


@pytest.mark.parametrize("kind", ["caffemodel", "onnx", "safetensors"])
def test_squeezenet_11_is_named(tmp_path, kind):
    """The ONNX zoo's squeezenet1.0 files hold 1.1: onnx/models#578."""
    shapes, path = _version_11(), tmp_path / f"squeezenet1.0-12.{kind}"
    arrays = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    if kind == "caffemodel":
        layers = [
            caffe_files.CaffeLayer(n, "Convolution", [], {"num_output": s[0], "kernel_size": s[2]})
            for n, s in shapes.items()
        ]
        weights = {name: (array, np.zeros(len(array))) for name, array in arrays.items()}
        path.write_bytes(b"".join(caffe_files.caffemodel(layers, weights, 2)))
    elif kind == "onnx":
        model = fuzz.onnx_pb2.ModelProto()
        for name, array in arrays.items():
            model.graph.initializer.add(
                name=f"{name}_w_0", data_type=1, dims=array.shape, raw_data=array.tobytes()
            )
            model.graph.node.add(op_type="Conv", input=["x", f"{name}_w_0"], output=["x"])
        path.write_bytes(b"\x08\x08" + model.SerializeToString())
    else:
        parts = ("squeeze", "expand1x1", "expand3x3")
        at = [f"features.{i}.{part}" for i in (3, 4, 6, 7, 9, 10, 11, 12) for part in parts]
        names = ["features.0", *at, "classifier.1"]
        tensors = {f"{n}.weight": a for n, a in zip(names, arrays.values(), strict=True)}
        pytest.importorskip("safetensors.numpy").save_file(tensors, path)
    with pytest.raises(
        UserError, match=r"holds SqueezeNet 1\.1, not squeezenet: .*onnx/models#578"
    ):
        convert_file(path, "squeezenet", tmp_path / "out")


# --- PyTorch ---


def _tensor(key: str, values: np.ndarray, kind: str = "FloatStorage", tail=()) -> _Call:
    strides = tuple(n // values.itemsize for n in values.strides)
    return _Call(
        _Named("torch._utils", "_rebuild_tensor_v2"),
        *(_TypedStorage(key, values.size, kind, tail), 0, values.shape, strides, False, {}),
    )


class _TypedStorage(_Storage):
    def __init__(self, key: str, count: int, kind: str, tail: tuple) -> None:
        super().__init__(key, count)
        self.kind, self.tail = kind, tail


class _LegacyPickler(_Pickler):
    def persistent_id(self, obj):
        if isinstance(obj, _TypedStorage):
            return ("storage", _Named("torch", obj.kind), obj.key, "cpu", obj.count, *obj.tail)
        return super().persistent_id(obj)


def _legacy(keys=("7", "11", "13"), little: bool = True) -> bytes:
    """What torch.save wrote before 1.6 (or writes with _use_new_zipfile_serialization=False)."""
    kernel = np.arange(12, dtype="<f4").reshape(3, 4)
    arrays = {"7": (kernel, "FloatStorage"), "11": (np.ones(3, "<f2"), "HalfStorage")}
    arrays["13"] = (np.array([5], "<i8"), "LongStorage")
    tensors = {key: _tensor(key, values, kind, (None,)) for key, (values, kind) in arrays.items()}
    state = {
        "fc.weight": tensors["7"],
        "fc.bias": tensors["11"],
        "n.num_batches_tracked": tensors["13"],
    }
    out = io.BytesIO()
    out.write(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2))
    out.write(
        pickle.dumps(
            {"protocol_version": 1001, "little_endian": little, "type_sizes": {"int": 4}}, 2
        )
    )
    _LegacyPickler(out, 2).dump({"epoch": 3, "state_dict": state})
    out.write(pickle.dumps(list(keys), 2))
    for key in keys:
        values, _ = arrays[key]
        out.write(values.size.to_bytes(8, "little") + values.tobytes())
    return out.getvalue()


@pytest.mark.parametrize("keys", [("7", "11", "13"), ("13", "11", "7")])
def test_the_form_before_pytorch_16(tmp_path, keys):
    path = tmp_path / "net.pth"
    path.write_bytes(_legacy(keys))
    (layer,) = read(path).layers.values()
    np.testing.assert_array_equal(layer.weights, np.arange(12).reshape(3, 4))
    np.testing.assert_array_equal(layer.bias, np.ones(3))


def test_damaged_files_of_the_old_form(tmp_path):
    path, whole = tmp_path / "net.pth", _legacy()
    assert "truncated: it ends inside its numbers" in _refusal(path, whole[:-3])
    assert "list of tensors" in _refusal(path, whole[:60])
    assert "list of storages is damaged" in _refusal(path, _legacy(("7", "11")))
    assert "big-endian" in _refusal(path, _legacy(little=False))


def _pth(thing) -> bytes:
    """A .pth whose pickle is `thing`; storage 0 is the first of `fuzz.pth_file`."""
    program = io.BytesIO()
    _LegacyPickler(program, 2).dump(thing)
    return fuzz.pth_file(program.getvalue())


_STATE = {"conv1.weight": _tensor("0", fuzz.small_layers()[1]["conv1"][0])}


@pytest.mark.parametrize(
    "checkpoint",
    [
        {"state_dict": _STATE, "best_acc1": _Call(_Named("numpy.core.multiarray", "scalar"), 1, b"?")},
        {"state_dict": _STATE, "args": _Call(_Named("argparse", "Namespace")), "epoch": 90},
        {"epoch": 1, "callbacks": OrderedDict(a=1), "network": {"weights": 3}, "my_net": _STATE},
        {"model": {"state_dict": _STATE}, "optimizer": {"state": {0: {"momentum_buffer": _STATE["conv1.weight"]}}}},
        {"seen": {1, 2}, "state_dict": _STATE, ("a", 1): "a key that is no text"},
    ],
    ids=["accuracy", "options", "unusual name", "wrapped twice", "set"],
)  # fmt: skip
def test_what_else_a_checkpoint_holds_does_not_matter(tmp_path, checkpoint):
    path = tmp_path / "net.pth"
    path.write_bytes(_pth(checkpoint))
    (layer,) = torch.read(path).values()
    np.testing.assert_array_equal(layer.weights, fuzz.small_layers()[1]["conv1"][0])


@pytest.mark.parametrize(
    ("thing", "says"),
    [
        (_Call(_Named("my.models", "Net")), "an object of my.models.Net instead of a state dict"),
        ({"model": _Call(_Named("my.models", "Net"))}, "no state dict but an object of my.models.Net"),
        ({"net": _STATE, "ema": _STATE}, "several state dicts ('net', 'ema'); save the one you mean"),
        ({**_STATE, "fc.weight": _Call(_Named("my", "Lazy"))}, "'fc.weight' is an object of my.Lazy instead"),
        ({"epoch": 3}, "holds no state dict"),
    ],
)  # fmt: skip
def test_what_is_no_state_dict(tmp_path, thing, says):
    assert says in _refusal(tmp_path / "net.pth", _pth(thing))


def test_a_dict_that_holds_itself(tmp_path):
    endless: dict = {}
    endless["model"] = endless
    assert "holds no state dict" in _refusal(tmp_path / "net.pth", _pth(endless))


# --- names ---


@pytest.mark.parametrize("version", [0, 1, 2])
@pytest.mark.parametrize("name", [b"co\xffv1", b"\xc4\xe3" * 60 + b"conv1", b"con\n1"])
def test_a_name_that_is_no_text(tmp_path, version, name):
    layers, weights = fuzz.small_layers()
    long = "c" * len(name)  # of the same length, so that its bytes can be replaced
    layers[0].name, weights[long] = long, weights.pop("conv1")
    data = b"".join(caffe_files.caffemodel(layers, weights, version)).replace(long.encode(), name)
    message = _refusal(tmp_path / "net.caffemodel", data, caffe.read)
    assert "whose name is not printable UTF-8 text" in message and len(message) < 500


def test_a_name_of_onnx_that_is_no_text(tmp_path):
    data = fuzz.onnx_model().replace(b"conv1_w_0", b"conv\xff_w_0")
    assert "whose name is not printable UTF-8" in _refusal(tmp_path / "net.onnx", data, onnx.read)


def test_a_name_of_pytorch_that_is_no_text(tmp_path):
    state = {"a\nb.weight": _STATE["conv1.weight"]}
    assert "whose name is not printable" in _refusal(tmp_path / "net.pth", _pth(state), torch.read)
