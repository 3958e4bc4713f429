"""A study's network on new cases: the run says which application trained it, and that one predicts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medtune_jax import applications, weights
from medtune_jax.applications.protocol import Prediction, Trained
from medtune_jax.errors import UserError


def predict(
    run: str | Path | Trained,
    inputs: Sequence[str | Path],
    output: str | Path,
    **options: Any,
) -> str:
    """Use the network of `run` on files or folders and write what it says into `output`; returns a summary.

    run: STUDY/runs/NAME with kept weights, a checkpoint, or what `load` made of it. options: those of the application
    that trained it (`prediction_of`). Raises UserError for a run without a network, and for an application without
    `predict`.
    """
    paths = [Path(path) for path in inputs]
    if not paths:
        raise UserError("no input given: name the files, or the folders of files, to predict on")
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise UserError(f"{missing[0]} does not exist: give files or folders of files")
    trained = run if isinstance(run, Trained) else load(run)
    return prediction_of(trained).run(trained, paths, Path(output), **options)


def load(run: str | Path) -> Trained:
    """The network of a run, and the config that it was trained with, which its checkpoint states."""
    kept = Path(run) / "weights"
    if (Path(run) / "result.json").is_file() and not kept.is_dir():
        raise UserError(
            f"{run} kept no weights: run that sweep with --config.training.keep_weights=True."
        )
    checkpoint = weights.load(kept if kept.is_dir() else run)
    config = checkpoint.provenance.get("config", {})
    if "application" not in config:
        raise UserError(
            f"{run} was not trained by a study: give STUDY/runs/NAME of a sweep that kept its weights."
        )
    return Trained(checkpoint, config)


def prediction_of(trained: Trained) -> Prediction:
    """How the application that trained a network uses it. Raises UserError where it has no way to."""
    application = applications.get(trained.config["application"])
    if application.predict is None:
        raise UserError(
            f"{application.name} cannot predict on new cases yet: give a run of an application that can "
            "(intima_media)"
        )
    return application.predict
