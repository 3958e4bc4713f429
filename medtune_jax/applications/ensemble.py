"""The networks that predict: one run's, or those of several runs of a study, trained alike but for the seed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from medtune_jax import __version__, applications, weights
from medtune_jax.applications.protocol import Application, Trained
from medtune_jax.errors import UserError

if TYPE_CHECKING:  # a report imports Matplotlib
    from medtune_jax.report.runs import Run, StudyResults

_SEE_ALL = ", as --run=STUDY/runs/NAME"


@dataclass(frozen=True)
class Ensemble:
    """members: one a seed, of one depth. study: the directory their runs lie in; None of a checkpoint without one."""

    members: tuple[Trained, ...]
    study: Path | None = None

    @property
    def config(self) -> Mapping[str, Any]:
        return self.members[0].config

    @property
    def data(self) -> ConfigDict:
        """config.data of the study."""
        return ConfigDict(self.config["data"])

    @property
    def application(self) -> Application:
        return applications.get(self.config["application"])

    @property
    def size(self) -> int:
        """The side of the networks' input in pixels."""
        return self.members[0].size

    @property
    def directory(self) -> Path:
        """The study's; UserError of a checkpoint without one, whose classes nobody knows."""
        if self.study is None:
            raise UserError(
                "this checkpoint lies in no study, which knows its classes and thresholds: give STUDY/runs/NAME"
            )
        return self.study

    @cached_property
    def manifest(self) -> dict[str, Any]:
        from medtune_jax.report.load import read_manifest

        return read_manifest(self.directory)

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.manifest["classes"])

    @property
    def findings(self) -> bool:
        """Whether the classes are findings, of which an image may have several."""
        return bool(self.manifest.get("findings", False))

    @cached_property
    def results(self) -> StudyResults:
        """What the study's runs say, the members' too."""
        from medtune_jax.report.load import load_study

        own = self.application
        return load_study(self.directory, own.metric, own.words)

    @property
    def runs(self) -> list[Run]:
        """Scores of the study's test set and thresholds of each member."""
        by_name = {run.run: run for run in self.results.runs}
        return [by_name[member.run.name] for member in self.members if member.run]


def load(run: str | Path) -> Trained:
    """The network of a run, and the config that it was trained with, which its checkpoint states.

    run: STUDY/runs/NAME, or a checkpoint. Raises UserError for a run without a network, or of another version.
    """
    folder = Path(run).absolute()
    if folder.name == "weights" and (folder.parent / "result.json").is_file():
        folder = folder.parent  # the checkpoint of a run, given by itself
    kept = folder / "weights"
    if (folder / "result.json").is_file() and not kept.is_dir():
        raise UserError(
            f"{run} kept no weights (a study keeps those of the depth that it recommends): remove that folder and "
            "run the sweep again with --config.training.keep naming its depth."
        )
    if not kept.is_dir() and not weights.is_checkpoint(folder):
        raise UserError(f"{run} is neither a study nor a run of one: give STUDY or STUDY/runs/NAME")
    checkpoint = weights.load(kept if kept.is_dir() else run)
    config = checkpoint.provenance.get("config", {})
    if "application" not in config:
        raise UserError(
            f"{run} was not trained by a study: give STUDY/runs/NAME of a sweep that kept its weights."
        )
    _check_version(run, config)
    return Trained(checkpoint, config, folder if kept.is_dir() else None)


def load_all(runs: Sequence[str | Path]) -> Ensemble:
    """The networks of runs of one depth and study, or of all the runs that a study kept weights of.

    Of a study that kept several depths, those of the depth that it recommends. Raises UserError as `load`, and for
    runs that are not trained alike.
    """
    given = [Path(run) for run in runs]
    paths = [path for run in given for path in (_kept(run) if _is_study(run) else [run])]
    members = tuple(load(path) for path in dict.fromkeys(paths))
    studies = {_study_of(member) for member in members}
    if len(members) > 1 and (len(studies) > 1 or None in studies):
        raise UserError(
            f"{given[0]} and {given[-1]} are not runs of one study: an ensemble is made of the seeds of one depth"
        )
    ensemble = Ensemble(members, studies.pop())
    if len(members) > 1:
        _check_alike(ensemble)
    return ensemble


def _is_study(path: Path) -> bool:
    return (path / "study.json").is_file()


def _study_of(member: Trained) -> Path | None:
    study = member.run.parent.parent if member.run else None
    return study if study and _is_study(study) else None


def _check_version(run: str | Path, config: Mapping[str, Any]) -> None:
    """A run of another version may lack what this one needs to predict as the study did."""
    own = applications.get(config["application"])
    missing = [name for name in own.defaults if name not in config.get("data", {})]
    missing = [f"data.{name}" for name in missing]
    missing += [name for name in ("image_size", "training") if name not in config]
    if missing:
        raise UserError(
            f"{run} is a run of another version (its config has no {missing[0]}, which medtune_jax {__version__} "
            "needs): predict with the version that its versions.json names, or run the sweep again"
        )


def _check_alike(ensemble: Ensemble) -> None:
    planned = {run["run"]: run for run in ensemble.manifest["runs"]}
    cells = {}
    for member in ensemble.members:
        run = planned.get(member.run.name, {}) if member.run else {}
        cells[run.get("depth"), run.get("fraction")] = member.run
    if len(cells) > 1:
        (depth, fraction), (other, of_other) = list(cells)[:2]
        raise UserError(
            f"runs of {depth} at {fraction} and of {other} at {of_other} are no ensemble: give the seeds of one depth "
            "and fraction"
        )


def _kept(study: Path) -> list[Path]:
    """The runs of a study with weights, of the depth that it recommends where it kept those of several."""
    from medtune_jax.report.load import read_manifest

    cells: dict[tuple[str, float], list[Path]] = defaultdict(list)
    manifest = read_manifest(study)
    for run in manifest["runs"]:
        path = study / "runs" / run["run"]
        if (path / "weights").is_dir():
            cells[run["depth"], run["fraction"]].append(path)
    if not cells:
        raise UserError(
            f"no run of {study} kept weights: run that sweep into another directory, with "
            "--config.training.keep_weights=True."
        )
    if len(cells) == 1:
        return next(iter(cells.values()))
    recommended = _recommended(study, manifest)
    if recommended not in cells:
        names = ", ".join(dict.fromkeys(depth for depth, _ in cells))
        raise UserError(
            f"{study} kept weights of {names}, none of which it recommends: name runs of one{_SEE_ALL}"
        )
    return cells[recommended]


def _recommended(study: Path, manifest: Mapping[str, Any]) -> tuple[str, float] | None:
    from medtune_jax.report.evidence import Evidence
    from medtune_jax.report.load import load_study

    own = applications.get(manifest["application"])
    return Evidence(load_study(study, own.metric, own.words), own.merit).recommended
