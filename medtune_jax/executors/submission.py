"""What workers are given: a folder of the study, with the config, what had failed before, and the engine's numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from medtune_jax.errors import UserError
from medtune_jax.paths import json_by_sum, json_with_sum, write_whole, written_to
from medtune_jax.sharing.cancel import times_cancelled
from medtune_jax.study.store import Attempt

_FOLDER, _FILE = "submitted", "submission.json"


@dataclass(frozen=True)
class Submission:
    """Workers that were started together.

    folder: STUDY/submitted/NUMBER, where their logs lie too. executor: name of the engine; place: which cluster of it,
    where that must be known to reach it. directory: where relative paths of the config begin. before: which attempts at
    runs had failed. cancelled: how often the study had been cancelled. workers: by the engine's numbers.
    """

    folder: Path
    executor: str
    config: Mapping[str, Any]
    directory: str
    before: Mapping[str, Attempt]
    cancelled: int
    place: str = ""
    workers: Sequence[str] = field(default=())

    @property
    def study(self) -> Path:
        return self.folder.parents[1]

    def cancelled_since(self) -> bool:
        """Whether its study was cancelled after it was submitted."""
        return times_cancelled(self.study) > self.cancelled

    def write(self) -> Submission:
        content = {**asdict(self), "folder": None}
        with written_to(self.study):
            write_whole(self.folder / _FILE, json_with_sum(content))
        return self

    def started(self, workers: Sequence[str], place: str = "") -> Submission:
        """Note what `medtune cancel` needs to know of them."""
        return replace(self, workers=tuple(workers), place=place).write()


def submit(
    study: Path, executor: str, config: ConfigDict, before: Mapping[str, Attempt]
) -> Submission:
    """A new submission, in a folder that no other launcher has."""
    return Submission(
        _new_folder(study.resolve()),
        executor,
        config.to_dict(),
        str(Path.cwd()),
        before,
        times_cancelled(study),
    ).write()


def read(folder: Path) -> Submission:
    """UserError where it is damaged or absent."""
    path = folder / _FILE
    try:
        content = json_by_sum(path)
        before = {run: (int(inode), int(time)) for run, (inode, time) in content["before"].items()}
        return Submission(**{**content, "folder": folder, "before": before})
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged or missing: run the sweep again") from error


def submissions(study: Path) -> list[Submission]:
    """All of a study that can be read, the first one first."""
    folders = sorted(path.parent for path in (study / _FOLDER).glob(f"*/{_FILE}"))
    found = []
    for folder in folders:
        try:
            found.append(read(folder))
        except UserError:
            continue
    return found


def _new_folder(study: Path) -> Path:
    parent = study / _FOLDER
    with written_to(study):
        parent.mkdir(parents=True, exist_ok=True)
        number = 1 + max((int(p.name) for p in parent.iterdir() if p.name.isdecimal()), default=0)
        while True:
            try:
                folder = parent / f"{number:04}"
                folder.mkdir()
                return folder
            except FileExistsError:  # another launcher, at the same moment
                number += 1
