"""From a weight file on disk to a checkpoint: which reader, which release, convert, save."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medtune_jax import networks
from medtune_jax.errors import UserError
from medtune_jax.networks.sources import Release
from medtune_jax.weights import catalog, checkpoint
from medtune_jax.weights.convert import Conversion, convert
from medtune_jax.weights.formats import caffe, deep_compression, keras, onnx, slim, torch
from medtune_jax.weights.formats.layer import Layer
from medtune_jax.weights.formats.source import is_safetensors, opened
from medtune_jax.weights.slots import slots
from medtune_jax.weights.stated import InWords, stated

_DEEP_COMPRESSION = "Deep Compression"
_SLIM = "TF-slim"
_KERAS = "Keras"
_READERS = {
    "Caffe": caffe.read,
    "ONNX": onnx.read,
    "PyTorch": torch.read,
    _SLIM: slim.read,
    _KERAS: keras.read,
}
_SAY_ORDER = {"Caffe": caffe.norm_before_pool, "ONNX": onnx.norm_before_pool}


@dataclass(frozen=True)
class WeightFile:
    """A file's layers, format and hashes. norm_before_pool: None if the format does not say."""

    path: Path
    format: str
    layers: dict[str, Layer]
    sha1: str
    sha256: str
    norm_before_pool: bool | None = None

    @property
    def release(self) -> tuple[str, Release] | None:
        """(network, release) if this is a released file, known by its hash."""
        return next((row for row in catalog.table() if row[1].sha1 == self.sha1), None)


def read(path: str | Path, network: str = "") -> WeightFile:
    """Read a weight file of any known format, told by its content.

    A Deep Compression file (`.net`) has no names or shapes, so it needs `network`.
    """
    path = Path(path)
    format_ = _format(path)
    says_order = _SAY_ORDER.get(format_)
    norm_before_pool = says_order(path) if says_order else None
    if format_ == _DEEP_COMPRESSION:
        layers = _read_deep_compression(path, network)
    else:
        layers = _READERS[format_](path)
    sha1, sha256 = (digest(path, algorithm) for algorithm in ("sha1", "sha256"))
    return WeightFile(path, format_, layers, sha1, sha256, norm_before_pool)


def convert_file(
    weights: str | Path,
    network: str,
    output: str | Path,
    mean: str | Path | None = None,
    in_words: InWords | None = None,
    origin: Mapping[str, object] | None = None,
) -> tuple[WeightFile, Conversion]:
    """Convert a weight file into a checkpoint directory, written whole or not at all.

    mean: a mean image. in_words: what the user says of the preprocessing, a mean image included.
    origin: what else the provenance should record, such as the address and licence.

    Raises:
        UserError: see the readers and `convert`; or `output` exists or cannot be written.
    """
    networks.get(network)
    checkpoint.refuse_existing(output)
    words: InWords = in_words or {}
    said = stated(**({"mean": str(mean), **words} if mean else words))
    source = read(weights, network)
    held, release = source.release or (network, None)
    if release and held != network:
        raise UserError(
            f"{weights} is the released {release.file}, which holds {held}; pass --network {held}."
        )
    conversion = convert(source.layers, network, source.norm_before_pool, said, where=str(weights))
    checkpoint.save(
        output,
        conversion.params,
        network=network,
        preprocessing=conversion.preprocessing,
        provenance={**_provenance(source, conversion), **(origin or {})},
        released=conversion.network == networks.get(network),
    )
    return source, conversion


def described(source: WeightFile, conversion: Conversion) -> str:
    """What went where, the preprocessing recorded, and which release the file is."""
    counts = {state: len(conversion.names(state)) for state in ("loaded", "new", "left out")}
    known = "not a known release"
    if source.release:
        _, release = source.release
        known = f"the released {release.file} ({release.accuracy})"
    return "\n".join(
        (
            str(conversion),
            f"preprocessing: {conversion.preprocessing}",
            ", ".join(f"{count} {state}" for state, count in counts.items()),
            f"{source.format} file, sha1 {source.sha1}: {known}.",
        )
    )


def _provenance(source: WeightFile, conversion: Conversion) -> dict[str, object]:
    return {
        "source": source.release[1].file if source.release else source.path.name,
        "format": source.format,
        "sha1": source.sha1,
        "sha256": source.sha256,
        **{state.replace(" ", "_"): conversion.names(state) for state in ("new", "left out")},
        "notes": conversion.notes,
    }


def _format(path: Path) -> str:
    if keras.is_hdf5(path):
        return _KERAS
    with opened(path) as file:
        head = file.read(9)
    if path.suffix == ".net":
        return _DEEP_COMPRESSION
    if head[:2] == b"PK" and slim.is_slim(path):
        return _SLIM
    if head[:2] == b"PK" or head[:1] == b"\x80" or is_safetensors(head):
        return "PyTorch"
    if head[:1] == b"\x08" or path.suffix == ".onnx":  # ONNX begins with ir_version, field 1
        return "ONNX"
    return "PyTorch" if path.suffix in (".safetensors", ".pth", ".pt") else "Caffe"


def _read_deep_compression(path: Path, network: str) -> dict[str, Layer]:
    target = networks.get(network)
    if _DEEP_COMPRESSION not in target.sources.formats:
        raise UserError(
            f"{path} is a {_DEEP_COMPRESSION} file, which is not known for {network}; its formats "
            f"are {', '.join(target.sources.formats)}."
        )
    shapes = {slot.name: slot.source_shape for slot in slots(target) if not slot.auxiliary}
    return deep_compression.read(path, shapes)


def digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
