"""The study directory: a manifest and one folder a run, each written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import platform
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from math import isnan
from pathlib import Path
from typing import Any

import jax

from medtune_jax import __version__, weights
from medtune_jax.errors import UserError
from medtune_jax.fields import flat
from medtune_jax.paths import (
    csv_bytes,
    damaged,
    discard,
    json_with_sum,
    manifest_by_sum,
    remove_damaged,
    scratch_beside,
    seal,
    write_whole,
    written_to,
)
from medtune_jax.study.plan import CHANGES_NOTHING
from medtune_jax.training import Epoch

DONE, FAILED = "done", "failed"
HISTORY = ("epoch", "batches", "loss", "validation")
Attempt = tuple[int, int]
_LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy", "scikit-learn")
# Fields of study.json that may differ: what was planned, and what is said of it.
_FREE = ("depths", "fractions", "seeds", "runs", "identity")
_FREE_CONFIG = tuple(f"config.{name}" for name in CHANGES_NOTHING)


@dataclass(frozen=True)
class Outcome:
    """All a run leaves behind.

    result: the figures, the same bytes for the same seed. scores, validation, search: rows of the csv files of those
    names, the first the header.
    kept: the trained network, written under weights/.
    """

    result: dict[str, Any]
    history: Sequence[Epoch] = ()
    scores: Sequence[Sequence[Any]] = ()
    timing: dict[str, float] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    kept: weights.Checkpoint | None = None
    validation: Sequence[Sequence[Any]] = ()
    search: Sequence[Sequence[Any]] = ()


class Store:
    """A study's directory on disk."""

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self.manifest: dict[str, Any] = {}

    def open(self, manifest: dict[str, Any]) -> None:
        """Write study.json, or add this sweep's runs to it; UserError when another study lives here.

        Of several hosts that run a study together, the first one writes.
        """
        path = self.directory / "study.json"
        if self.directory.exists() and not self.directory.is_dir():
            raise UserError(f"{self.directory} is a file: give a directory as --output")
        if path.is_file():
            before = read_manifest(path)
            if before.get("identity") != manifest["identity"]:
                raise UserError(
                    f"{self.directory} holds another study ({_told(before, manifest)}): choose another --output"
                )
            manifest = merged(before, manifest, path)
        self.manifest = manifest
        if jax.process_index():
            return
        content = json_with_sum(manifest)
        with written_to(self.directory):
            if not path.is_file() or path.read_bytes() != content:
                write_whole(path, content)

    def keep(self, files: dict[str, bytes]) -> None:
        """Write the application's files under application/, each whole; what is damaged there goes."""
        if jax.process_index():
            return
        folder = self.directory / "application"
        with written_to(self.directory):
            remove_damaged(folder)
            if not files:
                return
            for name, content in files.items():
                write_whole(folder / name, content)
            seal(folder)

    def result(self, run: str) -> dict[str, Any] | None:
        """The result of a run; None when it has none yet, or its files are damaged, so that it must run again."""
        folder = self.directory / "runs" / run
        path = folder / "result.json"
        if not path.is_file() or damaged(folder):
            return None
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return result if isinstance(result, dict) and "status" in result else None

    def settled(self, run: str) -> bool:
        """Whether a run need not run again: done, or diverged as it would again; other failures get another try."""
        return settles(self.result(run))

    def attempt(self, run: str) -> Attempt | None:
        """Which attempt at a run the disk holds: another one has another value; None without any."""
        try:
            status = os.stat(f"{self.directory}/runs/{run}/result.json")  # noqa: PTH116 (of many runs)
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns

    def partial(self, run: str) -> Path:
        """Where an unfinished run keeps its state; gone when the run's folder is in place."""
        return self.directory / "runs" / f".{run}.partial"

    def clear(self, runs: Collection[str]) -> None:
        """Remove what a launcher that died while it wrote one of the runs has left. For who has claimed them."""
        folder = self.directory / "runs"
        for name in os.listdir(folder) if folder.is_dir() else ():  # noqa: PTH208 (of many runs)
            if name[:1] == "." and name[1:].rpartition("-")[0] in runs:
                discard(folder / name)

    def write(self, run: str, outcome: Outcome) -> None:
        """Put a run's folder in place in one rename. Where another process was first, its result stays."""
        if jax.process_index():
            return
        runs = self.directory / "runs"
        with scratch_beside(runs / run) as scratch:
            _write_json(scratch / "result.json", outcome.result)
            _write_json(scratch / "timing.json", outcome.timing)
            _write_json(scratch / "config.json", outcome.config)
            _write_json(scratch / "versions.json", versions())
            history = map(history_row, outcome.history)
            tables = {
                "history": [HISTORY, *history],
                "search": outcome.search,
                "scores": outcome.scores,
                "validation": outcome.validation,
            }
            for name, rows in tables.items():
                if rows:
                    (scratch / f"{name}.csv").write_bytes(csv_bytes(rows))
            if outcome.kept:
                kept = outcome.kept
                params, made_by = kept.params, kept.provenance
                weights.write_into(
                    scratch / "weights", params, kept.network, kept.preprocessing, made_by
                )
            seal(scratch)
            while not self.settled(run) and scratch.exists():
                self._set_aside(run)  # an earlier failure, or damaged files
                try:
                    scratch.rename(runs / run)
                except OSError as error:
                    if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                        raise
        discard(self.partial(run))

    def _set_aside(self, run: str) -> None:
        """Remove a run's folder by way of a rename: nobody sees half of it."""
        folder = self.directory / "runs" / run
        if not folder.exists():
            return
        with scratch_beside(folder) as scratch, suppress(FileNotFoundError):
            folder.replace(scratch / "old")


def history_row(epoch: Epoch) -> tuple[Any, ...]:
    """An epoch in the columns HISTORY; NaN, where nothing was held back to validate on, is an empty cell."""
    validation = "" if isnan(epoch.validation) else f"{epoch.validation:.7g}"
    return epoch.epoch, epoch.batches, f"{epoch.loss:.7g}", validation


def settles(result: dict[str, Any] | None) -> bool:
    """Whether a run with this result need not run again."""
    return result is not None and (
        result["status"] == DONE or str(result.get("reason")).startswith("diverged")
    )


@cache
def versions() -> dict[str, str]:
    """Versions of everything that could change a number."""
    return {
        "medtune_jax": __version__,
        "python": platform.python_version(),
        "device": jax.devices()[0].device_kind,
        **{name: version(name) for name in _LIBRARIES},
    }


def merged(before: dict[str, Any], manifest: dict[str, Any], path: Path) -> dict[str, Any]:
    """Both sweeps' runs and depths: shallow to deep, then other ways to tune, then from scratch.

    UserError where a field is lacking or something else: `path` is damaged, or of another version.
    """
    try:
        return _merged(before, manifest)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path} has fields that this version cannot read ({error!r}): remove it and run the sweep again, which "
            f"writes it anew"
        ) from error


def _merged(before: dict[str, Any], manifest: dict[str, Any]) -> dict[str, Any]:
    runs = {run["run"]: run for run in (*before["runs"], *manifest["runs"])}
    depths = {depth["name"]: depth for depth in (*before["depths"], *manifest["depths"])}
    return {
        **manifest,
        "runs": list(runs.values()),
        "depths": sorted(
            depths.values(), key=lambda d: (d["scratch"], "way" in d, len(d["tuned"]))
        ),
        "fractions": sorted({run["fraction"] for run in runs.values()}, reverse=True),
        "seeds": max((run["seed"] for run in runs.values()), default=-1) + 1,
    }


def _told(before: dict[str, Any], manifest: dict[str, Any]) -> str:
    """In what another study differs."""
    field = difference(before, manifest)
    name, there, here = field or ("identity", "", "")
    if name == "data.fingerprint":
        return "of other data"
    if not name.startswith("config."):
        return "of another network, other weights or another version"
    return f"{name.removeprefix('config.')} is {there!r} there and {here!r} here"


def difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """(field, its values) of the first one that differs and decides results; None where none does."""
    if one.get("identity") == other.get("identity"):
        return None
    first, second = (
        flat({key: value for key, value in each.items() if key not in _FREE})
        for each in (one, other)
    )
    # The data first: all else that is said of them follows from them.
    names = sorted(
        first.keys() | second.keys(), key=lambda n: (n != "data.fingerprint", n[:4] != "conf", n)
    )
    for name in names:
        if not name.startswith(_FREE_CONFIG) and first.get(name) != second.get(name):
            return name, first.get(name), second.get(name)
    return "identity", one.get("identity"), other.get("identity")


def read_manifest(path: Path) -> dict[str, Any]:
    try:
        return manifest_by_sum(path)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} is damaged ({error}): remove it and run the sweep again, which writes it anew"
        ) from error


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")
