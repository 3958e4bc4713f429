"""Reader of PyTorch state dicts: safetensors, and `.pth` files without unpickling anything.

A `.pth` file (PyTorch 1.6 and newer) is an uncompressed zip: one member a storage, and a pickle
that says which tensor is which slice of which storage. Before 1.6 it was that pickle between others, and the
storages after them. A pickle is a program; this reader follows only the instructions that build data, so nothing
in the file is ever run.
"""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from safetensors import SafetensorError, deserialize

from medtune_jax.errors import UserError
from medtune_jax.weights.formats.layer import Layer, kind_of
from medtune_jax.weights.formats.source import is_safetensors, named, opened, quoted, shaped
from medtune_jax.weights.formats.state_pickle import Opaque, TensorRecord, interpret

_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # torch.serialization.MAGIC_NUMBER
_SAFETENSORS_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "bfloat16"}
_REGISTERS = ("reg_token", "register_tokens")  # timm's name, and DINOv2's own
# Tensors that are a layer by themselves.
_BARE = ("cls_token", "pos_embed", "layer_scale", "gamma", *_REGISTERS)
_DEPTH = 4  # of wrappers in wrappers; a damaged file may hold itself
_WRAPPERS = ("state_dict", "model", "model_state_dict")


def read(path: str | Path) -> dict[str, Layer]:
    """Read the layers of a `.safetensors` or `.pth` file.

    `X.weight` and `X.bias` become the layer X; with `X.running_mean` it is a batch norm. A position embedding, a class
    token, a layer scale and register tokens are layers by themselves. The order is the file's for `.pth`, and the
    names' natural order (features.2 before features.10) for safetensors, which does not keep any.

    Raises:
        UserError: unreadable or damaged file, a whole module or another pickle instead of a state dict, or a tensor
            that does not fit its data.
    """
    with opened(path) as file:
        head = file.read(9)
        file.seek(0)
        if is_safetensors(head):
            tensors = _read_safetensors(file, str(path))
        elif head.startswith(_ZIP):
            tensors = _read_pth(file, str(path))
        elif head.startswith(_PICKLE):
            tensors = _read_legacy(file, str(path))
        else:
            tensors = _read_safetensors(file, str(path))
    layers = _layers(tensors, str(path))
    if not layers:
        raise UserError(f"{path} holds no layer with weights (no tensor is named '....weight').")
    return layers


def _read_safetensors(file: BinaryIO, path: str) -> dict[str, np.ndarray]:
    try:
        records = dict(deserialize(file.read()))
    except SafetensorError as error:
        raise UserError(
            f"{path} is neither a safetensors nor a .pth file, or it is damaged or truncated "
            f"({error}); fetch it again."
        ) from error
    tensors = {}
    for name in sorted(records, key=_natural):
        record = records.pop(name)
        dtype = _SAFETENSORS_TYPES.get(record["dtype"])
        if dtype is not None:  # integers are counters, not weights
            where = f"{path}: {quoted(name)}"
            tensors[named(name, path)] = shaped(
                _numbers(record["data"], dtype), _shape(record["shape"]), where
            )
    return tensors


def _natural(name: str) -> list[tuple[bool, int, str]]:
    parts = re.split(r"([0-9]+)", name)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]


def _read_pth(file: BinaryIO, path: str) -> dict[str, np.ndarray]:
    # In memory, because zipfile asks a file on disk for as many bytes as a damaged header claims.
    data = file.read()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _tensors(_Archive(archive, path, len(data)), path)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, ValueError) as error:
        raise UserError(f"{path} is a damaged or truncated .pth file; fetch it again.") from error


class _Archive:
    """The members of a `.pth` zip, which are stored uncompressed, so never larger than the file."""

    def __init__(self, archive: zipfile.ZipFile, path: str, size: int) -> None:
        self.archive, self.path, self.size = archive, path, size
        pickles = [n for n in archive.namelist() if n.endswith("/data.pkl") or n == "data.pkl"]
        if any(n.endswith("constants.pkl") for n in archive.namelist()):
            raise UserError(
                f"{path} is a TorchScript program; save its weights alone with "
                "torch.save(torch.jit.load(path).state_dict(), new_path)."
            )
        if any(n.endswith(".npy") for n in archive.namelist()):
            raise UserError(
                f"{path} is NumPy's .npz, whose layers' layout is not stated; take the .caffemodel, ONNX, .pth or "
                ".safetensors file of the same weights."
            )
        if len(pickles) != 1:
            raise UserError(f"{path} is a zip but not a state dict saved by torch.save.")
        self.folder = pickles[0].removesuffix("data.pkl")
        names = archive.namelist()
        if f"{self.folder}byteorder" in names and self.member("byteorder") != b"little":
            raise UserError(f"{path} was saved on a big-endian machine; resave it on another one.")

    def member(self, name: str) -> bytes:
        try:
            info = self.archive.getinfo(self.folder + name)
        except KeyError as error:
            raise UserError(
                f"{self.path} lacks its part {quoted(name)}; fetch it again."
            ) from error
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise UserError(f"{self.path} was compressed or encrypted; unpack and save it again.")
        if info.file_size > self.size:
            raise UserError(
                f"{self.path}: its part {quoted(name)} claims to be larger than the file."
            )
        return self.archive.read(info)


def _tensors(archive: _Archive, path: str) -> dict[str, np.ndarray]:
    state = interpret(archive.member("data.pkl"), path)
    return _cut(state, lambda key: archive.member(f"data/{key}"), path)


def _read_legacy(file: BinaryIO, path: str) -> dict[str, np.ndarray]:
    """The form before PyTorch 1.6: five pickles (magic number, version, machine, state, keys), then the keys' storages.

    A storage is its count of elements (int64), then the elements.
    """
    size = os.fstat(file.fileno()).st_size
    if interpret(file, path) != _LEGACY_MAGIC:
        raise UserError(
            f"{path} is a pickle that torch.save did not write, so it is not read; take the .caffemodel, ONNX, .pth "
            "or .safetensors file of the same weights."
        )
    types: dict[str, str] = {}
    _version, machine, state, keys = (interpret(file, path, types) for _ in range(4))
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise UserError(f"{path} was saved on a big-endian machine; resave it on another one.")
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(types):
        raise UserError(f"{path}: its list of storages is damaged; fetch it again.")
    storages = {}
    for key in keys:
        length = int.from_bytes(file.read(8), "little") * _width(types[key])
        if length > size - file.tell():
            raise UserError(f"{path} is truncated: it ends inside its numbers; fetch it again.")
        storages[key] = file.read(length)
    return _cut(state, storages.__getitem__, path)


def _width(dtype: str) -> int:
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def _cut(state: Any, storage: Callable[[str], bytes], path: str) -> dict[str, np.ndarray]:
    """The tensors of the state dict that `state` is or holds, by name."""
    return {
        named(name, path): _tensor(storage, record, f"{path}: {quoted(name)}")
        for name, record in _state_dict(state, path).items()
        if isinstance(name, str) and isinstance(record, TensorRecord) and record.trained
    }


def _state_dict(state: Any, path: str) -> dict[Any, Any]:
    """Under the usual names of wrappers, however deep, or in the only entry that holds weights."""
    if isinstance(state, Opaque):
        raise UserError(
            f"{path} holds an object of {state.text} instead of a state dict; save model.state_dict() and convert that."
        )
    for _ in range(_DEPTH):
        if not isinstance(state, dict) or _is_state_dict(state):
            break
        inner = _unwrapped(state, path)
        if inner is None:
            break
        state = inner
    if not isinstance(state, dict) or not _is_state_dict(state):
        strange = [v.text for v in _values(state) if isinstance(v, Opaque)]
        what = f" but an object of {strange[0]}" if strange else ""
        raise UserError(
            f"{path} holds no state dict{what}; save model.state_dict() and convert that."
        )
    for name, value in state.items():
        if isinstance(value, Opaque) and str(name).endswith((".weight", ".bias")):
            raise UserError(
                f"{path}: {quoted(str(name))} is an object of {value.text} instead of a tensor; save "
                "model.state_dict() and convert that."
            )
    return state


def _unwrapped(state: dict[Any, Any], path: str) -> dict[Any, Any] | None:
    """What lies one layer deeper; None where nothing there looks like weights."""
    inner = {key: value for key, value in state.items() if isinstance(value, dict)}
    wrapper = next((key for key in _WRAPPERS if key in inner), None)
    if wrapper is not None:
        return inner[wrapper]
    holding = [key for key, value in inner.items() if _is_state_dict(value)]
    if len(holding) > 1:
        listed = ", ".join(map(quoted, map(str, holding)))
        raise UserError(f"{path} holds several state dicts ({listed}); save the one you mean.")
    return inner[holding[0]] if holding else None


def _values(state: Any) -> list[Any]:
    return list(state.values()) if isinstance(state, dict) else []


def _is_state_dict(state: Mapping[Any, Any]) -> bool:
    return any(
        isinstance(record, TensorRecord) and str(k).endswith("weight")
        for k, record in state.items()
    )


def _tensor(read: Callable[[str], bytes], record: TensorRecord, where: str) -> np.ndarray:
    """Cut a tensor out of its storage; its size and strides must stay inside."""
    storage = _numbers(read(record.key), record.dtype)
    size, stride, offset = record.size, record.stride, record.offset
    count = prod(size)
    if len(size) != len(stride) or min(*size, *stride, offset, 0) < 0:
        raise UserError(f"{where} has an impossible shape or strides; the file is damaged.")
    if len(size) > 8 or count > storage.size:
        raise UserError(f"{where} has the shape {size[:8]} but {storage.size} numbers are stored.")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if last >= storage.size and count:
        raise UserError(f"{where} reaches beyond its stored numbers; the file is damaged.")
    steps = [step * storage.itemsize for step in stride]
    view = np.lib.stride_tricks.as_strided(storage[offset:], size, steps, writeable=False)
    return shaped(np.ascontiguousarray(view), size or (1,), where)


def _numbers(data: Any, dtype: str) -> np.ndarray:
    if dtype == "bfloat16":
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(data, dtype)


def _shape(shape: list[int]) -> tuple[int, ...]:
    return tuple(shape) or (1,)


def _layers(tensors: Mapping[str, np.ndarray], path: str) -> dict[str, Layer]:
    layers = {}
    for key, weights in tensors.items():
        name, _, field = key.rpartition(".")
        if field in _BARE:
            type_ = "register tokens" if field in _REGISTERS else _type(weights)
            layers[key] = Layer(key, "other", _bare(weights), type=type_)
        if field.startswith("weight_") and f"{name}.weight" in tensors:
            raise UserError(
                f"{path}: beside the weights of {quoted(name)} lies '{field}', which changes them (quantisation?): "
                "save the weights as they are applied."
            )
        if field != "weight":
            continue
        mean, variance = (tensors.get(f"{name}.running_{what}") for what in ("mean", "var"))
        bias = tensors.get(f"{name}.bias")
        if bias is not None and bias.shape != weights.shape[:1]:
            raise UserError(
                f"{path}: layer {quoted(name)} has {weights.shape[0]} outputs but a bias "
                f"of {bias.shape}."
            )
        if mean is not None and variance is not None:
            extra = {"mean": mean, "variance": variance}
            layers[name] = Layer(name, "batch_norm", weights, bias, extra=extra)
        else:
            layers[name] = Layer(name, kind_of(weights), weights, bias, type=_type(weights))
    return layers


def _bare(weights: np.ndarray) -> np.ndarray:
    """torchvision keeps a layer scale as (channels, 1, 1)."""
    return weights.reshape(-1) if weights.shape[1:] == (1, 1) else weights


def _type(weights: np.ndarray) -> str:
    """What a layer may be that is neither convolution nor inner product."""
    one = "a vector, as PReLU and the norms without statistics have one"
    return one if weights.ndim == 1 else f"an array of {weights.ndim} axes"
