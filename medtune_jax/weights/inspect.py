"""Looking into a checkpoint: what it holds, and what it makes of one image."""

from __future__ import annotations

from math import prod
from pathlib import Path

import jax
import numpy as np
from jax import Array
from PIL import Image

from medtune_jax.errors import UserError
from medtune_jax.images import eight_bit
from medtune_jax.networks import Network, Params, parameter_count
from medtune_jax.weights.checkpoint import Checkpoint, load
from medtune_jax.weights.columns import aligned
from medtune_jax.weights.slots import Slot, slots
from medtune_jax.weights.transplant import transplant

_TOP = 5


def show(directory: str | Path) -> str:
    """A checkpoint in words: network, every layer with its kernel, preprocessing, provenance."""
    stored = load(directory)
    network = stored.build()
    _check_fit(stored, network)
    count = parameter_count(stored.params)
    lines = [
        f"network        {stored.network}, {_classes(stored, network)}, {count:,} parameters",
        f"preprocessing  {stored.preprocessing}",
        *(f"{key:<13}  {_value(value)}" for key, value in stored.provenance.items() if value),
        "",
        *_table(stored, network),
    ]
    return "\n".join(lines)


def run_image(
    directory: str | Path, image: str | Path, output: str | Path, names: str | Path = ""
) -> str:
    """Run one image through the stored preprocessing and network; the way to check a conversion.

    Writes to `output` (.npz) the network's input as `input` [1,S,S,3] and every stage's output by
    the stage's name ([1,H,W,C] or [1,C]), all float32. A partial checkpoint runs as far as its
    stages reach.

    Args:
        names: a text file with one class name a line, in the order of the classes.

    Returns:
        The five most probable classes, or which stages are absent.

    Raises:
        UserError: no checkpoint, stages that do not fit their network, an image or file of names
            that cannot be read, an output that cannot be written.
    """
    stored = load(directory)
    network = stored.build()
    _check_fit(stored, network)
    stop = next((name for name in network.names if name not in stored.params), None)
    if stop == network.names[0]:
        raise UserError(
            f"{directory} lacks {stop}, the first stage of {network.name}: nothing runs"
        )
    labels = _labels(names, network.classes) if names else None
    pixels = _read(image, stored.preprocessing.size)
    taps = _taps(network, stored, pixels, stop)
    written = _write(output, taps)
    if stop:
        last = network.names[network.index(stop) - 1]
        return f"Ran up to {last}; the checkpoint lacks {stop}, so there are no classes. {written}"
    return "\n".join([*_top(taps[network.head], labels), written])


def _check_fit(stored: Checkpoint, network: Network) -> None:
    """Transplanting checks every shape; the result is not needed."""
    initial = network.abstract_params(auxiliary=True)
    transplant(stored.params, initial, network, keep_head=True)


def _classes(stored: Checkpoint, network: Network) -> str:
    if stored.classes:
        return f"{stored.classes} classes"
    return f"without {network.head}"


def _value(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _table(stored: Checkpoint, network: Network) -> list[str]:
    outputs = network.shapes(stored.preprocessing.size)
    rows = [("layer", "kernel", "parameters", "stage output")]
    wanted = slots(network)
    for slot, after in zip(wanted, (*wanted[1:], None), strict=True):
        if slot.auxiliary and slot.stage not in stored.params:
            continue
        ends = after is None or after.stage != slot.stage
        output = _times(outputs.get(slot.stage, ())) if ends else ""
        rows.append(_row(slot, slot.stage in stored.params, output))
    return aligned(rows, right=(2,))


def _row(slot: Slot, held: bool, output: str) -> tuple[str, str, str, str]:
    if not held:
        return slot.name, "not in the checkpoint", "", output
    return slot.name, _times(slot.shape), f"{prod(slot.shape) + slot.shape[-1]:,}", output


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _read(path: str | Path, size: int) -> np.ndarray:
    """An image file as uint8 [1,size,size,3] RGB, resized bilinearly."""
    picture = eight_bit(Path(path)).convert("RGB")
    return np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR))[None]


def _taps(
    network: Network, stored: Checkpoint, pixels: np.ndarray, stop: str | None
) -> dict[str, np.ndarray]:
    @jax.jit
    def run(params: Params, pixels: Array) -> dict[str, Array]:
        taps = {"input": stored.preprocessing(pixels)}
        network.apply(params, taps["input"], stop=stop, taps=taps)
        return taps

    taps = run(stored.params, pixels)
    order = ("input", *network.names)
    return {name: np.asarray(taps[name], np.float32) for name in order if name in taps}


def _write(output: str | Path, taps: dict[str, np.ndarray]) -> str:
    path = Path(output)
    path = path if path.suffix == ".npz" else path.with_name(path.name + ".npz")
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            np.savez(file, **taps)  # type: ignore[arg-type]
        part.replace(path)
    except OSError as error:
        raise UserError(
            f"could not write {path} ({error.strerror or error}): choose another place"
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return f"Input and the outputs of {len(taps) - 1} stages written to {path}."


def _labels(path: str | Path, classes: int) -> list[str]:
    try:
        labels = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the class names {path}: give a UTF-8 text file") from error
    if len(labels) != classes:
        raise UserError(
            f"{path} has {len(labels)} lines but the network {classes} classes: give one a line"
        )
    return labels


def _top(scores: np.ndarray, labels: list[str] | None) -> list[str]:
    probabilities = np.asarray(jax.nn.softmax(scores.reshape(-1)))
    best = np.argsort(-probabilities, kind="stable")[:_TOP]
    name = labels.__getitem__ if labels else (lambda index: "")
    return [f"class {i:>4}  {probabilities[i]:.4f}  {name(i)}".rstrip() for i in best]
