"""A study's networks on new cases: the run says which application trained them, and that one predicts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medtune_jax.applications.ensemble import Ensemble, load, load_all
from medtune_jax.applications.protocol import Predicted, Prediction
from medtune_jax.errors import UserError
from medtune_jax.paths import written_to

__all__ = ["load", "load_all", "predict", "prediction_of"]


def predict(
    run: str | Path | Sequence[str | Path] | Ensemble,
    inputs: Sequence[str | Path],
    output: str | Path,
    **options: Any,
) -> Predicted:
    """Use the networks of `run` on files or folders and write what they say into `output`.

    run: STUDY/runs/NAME with kept weights, several of one depth, STUDY for all that it kept, a checkpoint, or what
    `load_all` made of them. options: those of the application that trained it (`prediction_of`). Raises UserError for
    a run without a network, for runs that are no ensemble, and for inputs of another kind than the study's.
    """
    if not inputs:
        raise UserError("no input given: name the files, or the folders of files, to predict on")
    if "" in inputs:
        raise UserError("an input is '': is a variable of the shell not set?")
    paths = [Path(path) for path in inputs]
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise UserError(f"{missing[0]} does not exist: give files or folders of files")
    _check_output(Path(output), paths)
    if isinstance(run, str | Path):
        run = [run]
    ensemble = run if isinstance(run, Ensemble) else load_all(run)
    prediction = prediction_of(ensemble)
    prediction.check(ensemble, **options)
    with written_to(Path(output)):
        return prediction.run(ensemble, paths, Path(output), **options)


def _check_output(output: Path, inputs: Sequence[Path]) -> None:
    """UserError for a place where what is written would be taken for something else."""
    if any((output / name).is_file() for name in ("study.json", "result.json")):
        raise UserError(f"{output} is a study, or a run of one: give an --output of its own")
    folders = [path for path in inputs if path.is_dir()]
    for folder in folders:
        if output.resolve().is_relative_to(folder.resolve()):
            raise UserError(
                f"{output} lies in {folder}, so that the pictures written there would be inputs the next time: give an "
                "--output elsewhere"
            )


def prediction_of(ensemble: Ensemble) -> Prediction:
    """How the application that trained the networks uses them. Raises UserError where it has no way to."""
    application = ensemble.application
    if application.predict is None:
        raise UserError(f"{application.name} cannot predict on new cases")
    return application.predict
