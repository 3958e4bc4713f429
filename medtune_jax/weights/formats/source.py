"""Opening a weight file: the mistakes that come before its format matters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np

from medtune_jax.errors import UserError

_HEAD = 512


@contextmanager
def opened(path: str | Path) -> Iterator[BinaryIO]:
    """Open a weight file for reading; UserError if that cannot be done or it is no weight file.

    What it looks for is what downloads leave behind: an empty file, a web page, a Git LFS pointer.
    """
    try:
        with Path(path).open("rb") as file:
            _refuse_lookalikes(path, file.read(_HEAD))
            file.seek(0)
            yield file
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}.") from error


# What a file of another kind begins with -> what it is and what to do with it.
_LOOKALIKES = (
    (
        b"\x89HDF\r\n\x1a\n",
        "an HDF5 file (a snapshot of Caffe's HDF5 form, or Keras weights), {hdf5}",
    ),
    (b"\x93NUMPY", "a NumPy array file (.npy), {npy}"),
    (b"\x1f\x8b", "compressed with gzip, so unpack it first"),
    (b"BZh", "compressed with bzip2, so unpack it first"),
    (b"\xfd7zXZ\x00", "compressed with xz, so unpack it first"),
    (b"(\xb5/\xfd", "compressed with zstd, so unpack it first"),
    (b"7z\xbc\xaf'\x1c", "a 7z archive, so unpack it first"),
    (b"Rar!", "a RAR archive, so unpack it first"),
    (b"MATLAB 5.0 MAT-file", "a MATLAB file (as of MatConvNet), {other}"),
)
_WORDS = {
    "hdf5": "which is not read: take the release's .caffemodel in Caffe's binary form (snapshot_format: BINARYPROTO)",
    "npy": "which is not read as weights: take the .caffemodel or ONNX file it was made from; as a mean image give it "
    "by --mean",
    "other": "which is not read: take the .caffemodel, ONNX, .pth or .safetensors file of the same weights",
}
_TAR, _TAR_AT = b"ustar", 257
_TFLITE, _TFLITE_AT = b"TFL3", 4


def is_safetensors(head: bytes) -> bool:
    """Whether a file that begins so is safetensors: 8 bytes with the header's length, then the header, a JSON object.

    The length's bytes may look like the beginning of any other format.
    """
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**40


def _refuse_lookalikes(path: str | Path, head: bytes) -> None:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        raise UserError(f"{path} is empty; fetch it again.")
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<!--")):
        raise UserError(
            f"{path} is a web page, not a weight file: the download address showed a page instead "
            "of the file, so download the file itself."
        )
    if start.startswith(b"version https://git-lfs"):
        raise UserError(
            f"{path} is a Git LFS pointer, not the weight file itself; run 'git lfs pull' for that."
        )
    if is_safetensors(head):
        return
    for signature, what in _LOOKALIKES:
        if head.startswith(signature):
            raise UserError(f"{path} is {what.format(**_WORDS)}.")
    if head[_TAR_AT:].startswith(_TAR):
        raise UserError(f"{path} is a tar archive, so unpack it first.")
    if head[_TFLITE_AT:].startswith(_TFLITE):
        raise UserError(f"{path} is a TensorFlow Lite file, {_WORDS['other']}.")
    if _is_text(head):
        raise UserError(
            f"{path} is a text file, not a weight file (a prototxt describes a network; its weights are in the "
            ".caffemodel beside it)."
        )


def _is_text(head: bytes) -> bool:
    return len(head) >= 20 and all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head)


def named(name: str | bytes, where: str) -> str:
    """A layer's name as the file has it; UserError if it is no printable text.

    Protobuf hands broken UTF-8 on as bytes.
    """
    if isinstance(name, str) and (name.isprintable() or not name):
        return name
    raise UserError(
        f"{where} has a layer whose name is not printable UTF-8 text ({quoted(name)}); the file is damaged or was "
        "saved with another encoding, so save it again with plain names."
    )


def shaped(values: np.ndarray, shape: tuple[int, ...], where: str) -> np.ndarray:
    """`values` as float32 in `shape`; UserError if the shape is absurd or the counts disagree.

    `where` names the file and the layer.
    """
    if any(n <= 0 for n in shape) or not len(shape) <= 8:
        raise UserError(f"{where} has the impossible shape {_short(shape)}; the file is damaged.")
    if prod(shape) != values.size:
        raise UserError(
            f"{where} has the shape {_short(shape)}, which takes {prod(shape)} numbers, but the "
            f"file holds {values.size}; it is damaged or truncated."
        )
    with np.errstate(over="ignore", invalid="ignore"):  # inf and nan are refused in converting
        return values.astype(np.float32, copy=False).reshape(shape)


def quoted(name: str | bytes) -> str:
    """A name from a file for a message: one line, of bearable length."""
    text = repr(name)
    return text if len(text) <= 82 else f"{text[:78]}...{text[-1]}"


def _short(shape: tuple[int, ...]) -> str:
    listed = " x ".join(map(str, shape[:8]))
    return f"{listed} x ... ({len(shape)} axes)" if len(shape) > 8 else listed or "()"
