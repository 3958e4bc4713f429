"""Reader of PyTorch state dicts: safetensors, and `.pth` files without unpickling anything.

A `.pth` file (PyTorch 1.6 and newer) is an uncompressed zip: one member a storage, and a pickle
that says which tensor is which slice of which storage. A pickle is a program; this reader follows
only the few instructions that a state dict needs and refuses every other by name, so nothing in the
file is ever run.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from safetensors import SafetensorError, deserialize

from medtune_jax.errors import UserError
from medtune_jax.weights.formats.layer import Layer, kind_of
from medtune_jax.weights.formats.source import opened, quoted, shaped
from medtune_jax.weights.formats.state_pickle import TensorRecord, interpret

_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_SAFETENSORS_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "bfloat16"}
_WRAPPERS = ("state_dict", "model", "model_state_dict")


def read(path: str | Path) -> dict[str, Layer]:
    """Read the layers of a `.safetensors` or `.pth` file.

    `X.weight` and `X.bias` become the layer X; with `X.running_mean` it is a batch norm. The order
    is the file's for `.pth`, and the names' natural order (features.2 before features.10) for
    safetensors, which does not keep any.

    Raises:
        UserError: unreadable or damaged file, a pickle that holds more than a state dict, the old
            `.pth` form, or a tensor that does not fit its data.
    """
    with opened(path) as file:
        head = file.read(4)
        file.seek(0)
        if head == _ZIP:
            tensors = _read_pth(file, str(path))
        elif head[:1] == _PICKLE:
            raise UserError(
                f"{path} is in PyTorch's old form, before 1.6; resave it with "
                "torch.save(torch.load(path, weights_only=True), new_path)."
            )
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
            tensors[name] = shaped(_numbers(record["data"], dtype), _shape(record["shape"]), where)
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
    for wrapper in _WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict):
        raise UserError(f"{path} holds no state dict; save model.state_dict() and convert that.")
    return {
        str(name): _tensor(archive, value, f"{path}: {quoted(name)}")
        for name, value in state.items()
        if isinstance(value, TensorRecord) and value.dtype is not None
    }


def _tensor(archive: _Archive, record: TensorRecord, where: str) -> np.ndarray:
    """Cut a tensor out of its storage; its size and strides must stay inside."""
    storage = _numbers(archive.member(f"data/{record.key}"), str(record.dtype))
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
        if field != "weight":
            continue
        mean, variance = (tensors.get(f"{name}.running_{what}") for what in ("mean", "var"))
        bias = tensors.get(f"{name}.bias")
        if bias is not None and bias.shape != weights.shape[:1]:
            raise UserError(
                f"{path}: layer {quoted(name)} has {weights.shape[0]} outputs but a bias "
                f"of {bias.shape}."
            )
        plain = name.removeprefix("module.")  # DataParallel's prefix
        if mean is not None and variance is not None:
            extra = {"mean": mean, "variance": variance}
            layers[plain] = Layer(plain, "batch_norm", weights, bias, extra=extra)
        else:
            layers[plain] = Layer(plain, kind_of(weights), weights, bias)
    return layers
