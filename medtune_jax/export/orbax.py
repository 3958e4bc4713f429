"""Orbax: the parameters as JAX users read them, {stage: {layer: {kernel, bias}}}."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medtune_jax import weights
from medtune_jax.export.run import FinishedRun

FOLDER = "orbax"
USE = """import orbax.checkpoint

with orbax.checkpoint.StandardCheckpointer() as reader:
    params = reader.restore(path / "orbax" / "params")    # path: absolute, of this directory
"""


def write(run: FinishedRun, folder: Path) -> None:
    """orbax/: a checkpoint of this package, whose params/ are Orbax's."""
    kept = run.trained.checkpoint
    weights.write_into(
        folder / FOLDER, run.params, kept.network, kept.preprocessing, kept.provenance
    )


def outputs(run: FinishedRun, folder: Path, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the run's network makes of images with the parameters read back."""
    return run.outputs_with(weights.load(folder / FOLDER).params, images)
