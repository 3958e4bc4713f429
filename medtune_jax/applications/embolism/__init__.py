"""Pulmonary embolism detection in CT angiography (Tajbakhsh et al. 2016, study section 2)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from medtune_jax.applications.protocol import Application, Dataset, Words

# The readers of medical formats are slow to import: other applications must not wait for them.


def load(config: ConfigDict, size: int) -> Dataset:
    """See `embolism.task.load`."""
    from medtune_jax.applications.embolism import task

    return task.load(config, size)


def evaluate(dataset: Dataset, scores: np.ndarray) -> dict[str, Any]:
    """See `embolism.task.evaluate`."""
    from medtune_jax.applications.embolism import task

    return task.evaluate(dataset, scores)


def sections() -> Sequence[Any]:
    """See `embolism.report`."""
    from medtune_jax.applications.embolism.report import SECTIONS

    return SECTIONS


def show(directory: str | Path, path: str | Path | None = None) -> Any:
    """See `embolism.montage.show`."""
    from medtune_jax.applications.embolism import montage

    return montage.show(directory, path)


EMBOLISM = Application("embolism", load, evaluate, sections, words=Words("patient", "candidate"))
