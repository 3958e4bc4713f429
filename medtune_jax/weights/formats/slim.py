"""Reader of TF-slim's variables in NumPy's `.npz`: arrays named as TensorFlow's checkpoint names them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from medtune_jax.errors import UserError
from medtune_jax.weights.formats.layer import Layer, kind_of
from medtune_jax.weights.formats.source import named, quoted, shaped

_WEIGHTS = ("weights", "depthwise_weights")
_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
_MOST = 2**32  # bytes unpacked


def is_slim(path: str | Path) -> bool:
    """Whether a file is a zip with arrays of those names."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/weights.npy") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False


def read(path: str | Path) -> dict[str, Layer]:
    """`X/weights` (kH, kW, in, out) or `X/depthwise_weights` (kH, kW, channels, 1), with `X/biases` if there are any,
    is the layer X; `X/BatchNorm/gamma` and so on are the batch norm X/BatchNorm.

    Raises UserError: a damaged file, or an array that is no layer's.
    """
    arrays = _arrays(Path(path))
    layers = {}
    for key in sorted(arrays):
        name, _, field = key.rpartition("/")
        if field in _WEIGHTS and arrays[key].ndim == 4:
            axes = (2, 3, 0, 1) if field == "depthwise_weights" else (3, 2, 0, 1)
            weights = np.ascontiguousarray(arrays[key].transpose(axes))
            layers[name] = Layer(name, kind_of(weights), weights, arrays.get(f"{name}/biases"))
        elif field == "gamma":
            gamma, beta, mean, variance = (_field(arrays, name, one, path) for one in _NORM)
            extra = {"mean": mean, "variance": variance}
            layers[name] = Layer(name, "batch_norm", gamma, beta, extra=extra)
        elif field not in (*_NORM, "biases"):
            raise UserError(
                f"{path}: {quoted(key)} is no array of a layer that TF-slim has; take the release's own arrays."
            )
    return layers


def _field(arrays: dict[str, np.ndarray], name: str, field: str, path: str | Path) -> np.ndarray:
    if f"{name}/{field}" not in arrays:
        raise UserError(f"{path}: the batch norm {quoted(name)} lacks {field}; fetch it again.")
    return arrays[f"{name}/{field}"]


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > _MOST:
                raise UserError(f"{path} claims to unpack to more than 4 GiB; fetch it again.")
        with np.load(path, allow_pickle=False) as held:
            return {
                named(key, str(path)): shaped(held[key], held[key].shape, f"{path}: {quoted(key)}")
                for key in held.files
            }
    except (zipfile.BadZipFile, OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} is a damaged or truncated .npz file; fetch it again.") from error
