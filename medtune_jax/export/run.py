"""What is exported: a finished run of a study, with its network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from medtune_jax import applications, weights
from medtune_jax.applications.protocol import Trained
from medtune_jax.errors import UserError
from medtune_jax.networks import Network, Params
from medtune_jax.networks.forms import PORTABLE, traced_with
from medtune_jax.report.load import load_study, read_manifest
from medtune_jax.report.runs import DONE, Run, StudyResults

Graph = Callable[[Array], tuple[Array, Array]]
"""uint8 RGB [N,S,S,3] -> probabilities and logits, float32 [N,C] each."""


@dataclass(frozen=True)
class FinishedRun:
    """One run, its study's results, and what it trained."""

    study: StudyResults
    run: Run
    trained: Trained

    @property
    def size(self) -> int:
        """The side of the input in pixels."""
        return self.trained.size

    @property
    def classes(self) -> list[str]:
        return self.study.classes

    @cached_property
    def network(self) -> Network:
        return self.trained.checkpoint.build()

    @cached_property
    def params(self) -> Params:
        """Of the stages; side heads are for training alone."""
        return {name: self.trained.checkpoint.params[name] for name in self.network.names}

    def graph(self) -> Graph:
        """Preprocessing, network and probabilities as one function, of layers that any compiler knows."""

        def outputs(images: Array) -> tuple[Array, Array]:
            with traced_with(PORTABLE):
                x = self.trained.checkpoint.preprocessing(images)
                logits = self.network.apply(self.params, x)
                return self._probabilities(logits), logits

        return outputs

    def outputs(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the run's own programs make of images: uint8 [N,S,S,3] -> probabilities and logits, float32 [N,C]."""
        return self.outputs_with(self.params, images)

    def outputs_with(self, params: Params, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same with parameters that were read back from a file."""
        x = self.trained.checkpoint.preprocessing(jnp.asarray(images))
        logits = self.network.run(params, x)
        return np.asarray(self._probabilities(logits)), np.asarray(logits)

    def _probabilities(self, logits: Array) -> Array:
        """Of findings each for itself, else of one class of several."""
        return jax.nn.sigmoid(logits) if self.study.findings else jax.nn.softmax(logits, axis=-1)


def load(directory: str | Path) -> FinishedRun:
    """Read STUDY/runs/NAME. UserError where there is no such run, it failed, kept no weights, or cannot be read."""
    directory = Path(directory).absolute()
    study_dir = directory.parent.parent
    if directory.parent.name != "runs" or not (study_dir / "study.json").is_file():
        raise UserError(
            f"{directory} is no run of a study: give STUDY/runs/NAME, a folder of `medtune sweep` or `medtune tune`"
        )
    own = applications.get(read_manifest(study_dir).get("application", "image_folder"))
    study = load_study(study_dir, own.metric, own.words)
    run = next((run for run in study.runs if run.run == directory.name), None)
    if run is None:
        raise UserError(
            f"{study_dir} has no run '{directory.name}': its runs are the folders of {study_dir / 'runs'}"
        )
    if run.status != DONE:
        reason = run.result.get("reason") or "it is missing or damaged"
        raise UserError(
            f"{directory} has no result to export ({reason}): run the sweep again, or give another run"
        )
    if not (directory / "weights").is_dir():
        raise UserError(
            f"{directory} kept no weights: remove that folder and run the sweep again with "
            f"--config.training.keep={run.depth}"
        )
    checkpoint = weights.load(directory / "weights")
    return FinishedRun(study, run, Trained(checkpoint, checkpoint.provenance.get("config", {})))
