"""The study directory: a manifest and one folder a run, each written whole or not at all."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from medtune_jax import __version__, weights
from medtune_jax.errors import UserError
from medtune_jax.paths import csv_bytes, discard, scratch_beside, write_whole
from medtune_jax.training import Epoch

DONE, FAILED = "done", "failed"
_LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy", "scikit-learn")


@dataclass(frozen=True)
class Outcome:
    """All a run leaves behind.

    result: the figures, the same bytes for the same seed. scores: rows of scores.csv, the first the header.
    kept: the trained network, written under weights/.
    """

    result: dict[str, Any]
    history: Sequence[Epoch] = ()
    scores: Sequence[Sequence[Any]] = ()
    timing: dict[str, float] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    kept: weights.Checkpoint | None = None


class Store:
    """A study's directory on disk."""

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)

    def open(self, manifest: dict[str, Any]) -> None:
        """Write study.json, or add this sweep's runs to it; UserError when another study lives here.

        Of several hosts that run a study together, the first one writes.
        """
        path = self.directory / "study.json"
        if self.directory.exists() and not self.directory.is_dir():
            raise UserError(f"{self.directory} is a file: give a directory as --output")
        if path.is_file():
            before = _read_json(path)
            if before.get("identity") != manifest["identity"]:
                raise UserError(
                    f"{self.directory} holds another study ({_difference(before, manifest)}): "
                    f"choose another --output"
                )
            manifest = _merged(before, manifest)
        if jax.process_index():
            return
        write_whole(path, (json.dumps(manifest, indent=1) + "\n").encode())

    def keep(self, files: dict[str, bytes]) -> None:
        """Write the application's files under application/, each whole."""
        if jax.process_index():
            return
        for name, content in files.items():
            write_whole(self.directory / "application" / name, content)

    def result(self, run: str) -> dict[str, Any] | None:
        """The result of a run, None when it has none yet."""
        path = self.directory / "runs" / run / "result.json"
        return _read_json(path) if path.is_file() else None

    def settled(self, run: str) -> bool:
        """Whether a run need not run again: done, or diverged as it would again; other failures get another try."""
        result = self.result(run)
        return result is not None and (
            result["status"] == DONE or str(result["reason"]).startswith("diverged")
        )

    def partial(self, run: str) -> Path:
        """Where an unfinished run keeps its state; gone when the run's folder is in place."""
        return self.directory / "runs" / f".{run}.partial"

    def write(self, run: str, outcome: Outcome) -> None:
        """Put a run's folder in place in one rename."""
        if jax.process_index():
            return
        runs = self.directory / "runs"
        with scratch_beside(runs / run) as scratch:
            _write_json(scratch / "result.json", outcome.result)
            _write_json(scratch / "timing.json", outcome.timing)
            _write_json(scratch / "config.json", outcome.config)
            _write_json(scratch / "versions.json", versions())
            history = (
                (e.epoch, e.batches, f"{e.loss:.7g}", f"{e.validation:.7g}")
                for e in outcome.history
            )
            head = ("epoch", "batches", "loss", "validation")
            (scratch / "history.csv").write_bytes(csv_bytes([head, *history]))
            if outcome.scores:
                (scratch / "scores.csv").write_bytes(csv_bytes(outcome.scores))
            if outcome.kept:
                kept = outcome.kept
                params, made_by = kept.params, kept.provenance
                weights.save(scratch / "weights", params, kept.network, kept.preprocessing, made_by)
            discard(runs / run)  # an earlier failure
            scratch.replace(runs / run)
            discard(self.partial(run))


def any_done(directory: str | Path) -> bool:
    """Whether any planned run of a study has succeeded."""
    store = Store(directory)
    planned = _read_json(store.directory / "study.json")["runs"]
    results = (store.result(entry["run"]) for entry in planned)
    return any(result is not None and result["status"] == DONE for result in results)


def versions() -> dict[str, str]:
    """Versions of everything that could change a number."""
    return {
        "medtune_jax": __version__,
        "python": platform.python_version(),
        "device": jax.devices()[0].device_kind,
        **{name: version(name) for name in _LIBRARIES},
    }


def _merged(before: dict[str, Any], manifest: dict[str, Any]) -> dict[str, Any]:
    """Both sweeps' runs and depths: shallow to deep, then from scratch."""
    runs = {run["run"]: run for run in (*before["runs"], *manifest["runs"])}
    depths = {depth["name"]: depth for depth in (*before["depths"], *manifest["depths"])}
    return {
        **manifest,
        "runs": list(runs.values()),
        "depths": sorted(depths.values(), key=lambda d: (d["scratch"], len(d["tuned"]))),
        "fractions": sorted({run["fraction"] for run in runs.values()}, reverse=True),
        "seeds": max(run["seed"] for run in runs.values()) + 1,
    }


def _difference(before: dict[str, Any], after: dict[str, Any]) -> str:
    if before.get("data", {}).get("fingerprint") != after["data"]["fingerprint"]:
        return "of other data"
    if before.get("network") != after["network"]:
        return "of another network or other weights"
    return "with other settings"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged: remove it and run the sweep again") from error


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")
