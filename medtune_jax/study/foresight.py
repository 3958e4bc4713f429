"""`medtune probe`: what each stage of the frozen network already knows of the classes, before anything is tuned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from ml_collections import ConfigDict

from medtune_jax import networks, weights
from medtune_jax.applications.splits import Subset
from medtune_jax.errors import UserError
from medtune_jax.evaluation.foresight import Known, linear_probe, log_me
from medtune_jax.paths import csv_bytes, write_whole, written_to
from medtune_jax.study.plan import image_size
from medtune_jax.study.prepare import Study, read_study
from medtune_jax.training import devices
from medtune_jax.training.devices import hosts
from medtune_jax.training.inputs.pooled import pooled_features

TABLE = "probe.csv"
_COLUMNS = (
    *("stage", "features", "seed", "logme", "validation", "train_images", "val_images"),
    "identity",
)


@dataclass(frozen=True)
class Foresight:
    """stages: in the network's order, without the head. metric: the title of the validation figure. identity: of the
    studies of the same config, data and weights.
    """

    network: str
    metric: str
    fraction: float
    stages: tuple[Known, ...]
    identity: str = ""

    @property
    def text(self) -> str:
        """A table, and which stages know most."""
        wide = max(len(known.stage) for known in self.stages)
        head = f"{'stage':{wide}}  features   LogME   validation {self.metric} of a linear probe"
        rows = [
            f"{k.stage:{wide}}  {k.features:8,}  {fmean(k.logme):6.3f}   {_spread(k.validation)}"
            for k in self.stages
        ]
        best = [
            max(self.stages, key=lambda k: fmean(k.validation)),
            max(self.stages, key=lambda k: fmean(k.logme)),
        ]
        last = (
            f"Of the frozen {self.network}, {best[0].stage} knows most by the probe and {best[1].stage} by LogME. How "
            "deep to tune, only training tells (medtune tune, medtune sweep)."
        )
        return "\n".join([head, *rows, last])


def _spread(values: tuple[float, ...]) -> str:
    seeds = f" ({min(values):.3f} to {max(values):.3f}, {len(values)} seeds)"
    return f"{fmean(values):.3f}{seeds if len(values) > 1 else ''}"


def probe(config: ConfigDict, output: str | Path = "") -> Foresight:
    """One pass of the training and validation patches through the frozen network, and both figures at every stage.

    Subsets are those of a sweep of this config, at its largest training set, so that no patient is in both; the test
    set is not read. Where `output` names a directory, probe.csv and probe.svg, .png and .pdf are written there.
    UserError as of a sweep.
    """
    devices.start(config.device)
    if hosts.several():
        raise UserError("a probe is the work of one process: start it once, without srun or mpirun")
    config = config.copy_and_resolve_references()
    config.sweep.depths = _shallowest(config)
    study = read_study(config, output or ".")
    fraction = max(study.plan.fractions)
    subsets = [study.subsets[fraction, seed] for seed in range(study.plan.seeds)]
    patches = np.unique(np.concatenate([[*s.train, *s.valid] for s in subsets])).astype(int)
    features = pooled_features(study.cache, patches)
    stages = tuple(_known(study, s, x, patches, subsets) for s, x in features.items())
    found = Foresight(study.network.name, study.metric.title, fraction, stages, study.plan.identity)
    if output:
        _write(found, subsets, Path(output))
    return found


def _shallowest(config: ConfigDict) -> str:
    """The depth that freezes every stage for which there are weights."""
    network, size = networks.get(config.network), image_size(config)
    held = weights.pretrained(config.network, config.weights).fitted(network, size).params
    return next((name for name in network.names if name not in held), network.head)


def _known(
    study: Study, stage: str, features: np.ndarray, patches: np.ndarray, subsets: list[Subset]
) -> Known:
    labels, classes = study.dataset.labels, len(study.dataset.classes)
    evidence, figures = [], []
    for subset in subsets:
        train, valid = (features[np.searchsorted(patches, i)] for i in (subset.train, subset.valid))
        known = labels[subset.train]
        outputs = linear_probe(train, known, valid, classes, subset.weights is not None)
        evidence.append(log_me(train, known))
        figures.append(
            study.metric(labels[subset.valid], study.dataset.objective.log_odds(outputs))
        )
    return Known(stage, features.shape[1], tuple(evidence), tuple(figures))


def _write(found: Foresight, subsets: list[Subset], folder: Path) -> None:
    from medtune_jax.report.foresight import drawing  # Matplotlib takes a second

    with written_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / TABLE, csv_bytes([_COLUMNS, *_rows(found, subsets)]))
        drawing(found.stages, found.network, found.metric).save(folder)


def _rows(found: Foresight, subsets: list[Subset]) -> Iterator[tuple[object, ...]]:
    for known in found.stages:
        for seed, (logme, figure) in enumerate(zip(known.logme, known.validation, strict=True)):
            sizes = len(subsets[seed].train), len(subsets[seed].valid)
            figures = f"{logme:.7g}", f"{figure:.7g}"
            yield known.stage, known.features, seed, *figures, *sizes, found.identity
