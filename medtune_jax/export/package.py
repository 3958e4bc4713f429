"""One directory for whoever takes the network: files in the formats asked for, each checked against the run."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from medtune_jax import __version__
from medtune_jax.errors import UserError
from medtune_jax.export import onnx, orbax, safetensors, stablehlo
from medtune_jax.export.card import CARD, Packed, card
from medtune_jax.export.run import FinishedRun, load
from medtune_jax.paths import seal
from medtune_jax.weights.checkpoint import refuse_existing, written_whole

FORMATS: dict[str, ModuleType] = {
    "stablehlo": stablehlo,
    "onnx": onnx,
    "orbax": orbax,
    "safetensors": safetensors,
}
"""Each has `write(run, folder)`, `outputs(run, folder, images)` of what was written, and `USE`, how to load it."""
LIMIT = 1e-4
CHECKED = 64
RECORD = "model.json"


class Difference(NamedTuple):
    """The largest over the images: of a probability, and of a logit, by the largest logit where that is above 1."""

    probability: float
    logit: float

    @property
    def refused(self) -> bool:
        """NaN is refused as well."""
        return not all(value <= LIMIT for value in self)


@dataclass(frozen=True)
class Exported:
    """The directory, and by format how far it is from the run."""

    directory: Path
    differences: dict[str, Difference]

    def __str__(self) -> str:
        lines = [
            f"{name}: largest difference from the run on {CHECKED} images: probabilities {d.probability:.1e}, "
            f"logits {d.logit:.1e}"
            for name, d in self.differences.items()
        ]
        return "\n".join([*lines, f"model card: {self.directory / CARD}"])


def export(run: str | Path, formats: Sequence[str], output: str | Path) -> Exported:
    """Write the network of STUDY/runs/NAME into a new directory, with model.json, MODEL_CARD.md and SHA256SUMS.

    formats: of FORMATS. Every file is loaded again and run on 64 images beside the run itself. UserError, and nothing
    is written, where a difference exceeds 1e-4, for an unknown format, a run without weights, a directory that exists,
    and without the packages that ONNX needs.
    """
    for name in formats:
        _check(name)
    if not formats:
        raise UserError(f"no format given: add --format={','.join(FORMATS)}, or some of these")
    refuse_existing(output)
    finished = load(run)
    images = check_images(finished.size)
    wanted = finished.outputs(images)
    differences: dict[str, Difference] = {}
    with written_whole(output) as folder:
        for name in dict.fromkeys(formats):
            format_ = FORMATS[name]
            format_.write(finished, folder)
            outputs = partial(format_.outputs, finished, folder)
            found = in_two_batches(outputs, images)
            differences[name] = differences_of(wanted, found)
            if differences[name].refused:
                raise UserError(
                    f"{name} differs from the run by {max(differences[name]):.1e}, more than {LIMIT:g}: nothing was "
                    "written; export another format, and please report this"
                )
        record = record_of(finished, differences)
        (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        uses = {name: FORMATS[name].USE for name in differences}
        text = card(finished, Packed(record, uses))
        (folder / CARD).write_text(text, encoding="utf-8")
        seal(folder)
    return Exported(Path(output), differences)


def _check(name: str) -> None:
    if name not in FORMATS:
        near = get_close_matches(name, FORMATS, 1, 0)[0]
        raise UserError(
            f"unknown format '{name}'; did you mean '{near}'? (formats: {', '.join(FORMATS)})"
        )


def check_images(size: int, count: int = CHECKED) -> np.ndarray:
    """uint8 [count,size,size,3], always the same: from soft blobs to noise of single pixels, dark to bright."""
    rng = np.random.default_rng(0)
    sides = [max(2, round(size ** (i / (count - 1)))) for i in range(count)]
    images = []
    for side in sides:
        low, high = np.sort(rng.integers(0, 256, 2))
        coarse = rng.integers(low, high + 1, (side, side, 3)).astype(np.uint8)
        images.append(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))
    return np.stack([np.asarray(image) for image in images])


def in_two_batches(
    outputs: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]], images: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Of one image, and of the others: the number of images is free."""
    one, others = outputs(images[:1]), outputs(images[1:])
    return np.concatenate([one[0], others[0]]), np.concatenate([one[1], others[1]])


def differences_of(
    wanted: tuple[np.ndarray, np.ndarray], found: tuple[np.ndarray, np.ndarray]
) -> Difference:
    """Arguments: probabilities and logits [N,C] each."""
    probability, logit = (float(abs(a - b).max()) for a, b in zip(wanted, found, strict=True))
    return Difference(probability, logit / max(1.0, float(abs(wanted[1]).max())))


def record_of(run: FinishedRun, differences: dict[str, Difference]) -> dict[str, Any]:
    """All that a program needs to use the files, as JSON says it."""
    preprocessing = run.trained.checkpoint.preprocessing
    mean = np.asarray(preprocessing.mean)
    return {
        "run": run.run.run,
        "study": run.study.manifest.get("identity"),
        "network": run.network.name,
        "classes": run.classes,
        "findings": run.study.findings,
        "input": {"shape": ["batch", run.size, run.size, 3], "dtype": "uint8", "channels": "RGB"},
        "preprocessing": {
            "order": preprocessing.order,
            "scale": preprocessing.scale,
            "mean": (mean if mean.ndim == 1 else mean.reshape(-1, 3).mean(0)).tolist(),
            "mean_image": mean.ndim == 3,
            "std": list(preprocessing.std),
        },
        "formats": {
            name: {"difference": d._asdict(), "images": CHECKED} for name, d in differences.items()
        },
        "thresholds": None if run.run.thresholds is None else run.run.thresholds.tolist(),
        "versions": {**run.run.versions, "exported by medtune_jax": __version__},
    }
