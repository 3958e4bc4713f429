"""How far a study is, and trying again what failed: from its files alone, by anyone, whether it runs or not."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from statistics import mean
from typing import Any

from medtune_jax.errors import UserError
from medtune_jax.paths import discard, manifest_by_sum
from medtune_jax.progress import clock
from medtune_jax.sharing.claims import PATIENCE, Lease, latest, read, shown

_SHOWN = 10  # failures that are listed


@dataclass(frozen=True)
class Status:
    """Planned runs by what became of them. seconds: of each run that is done; leases: not given back."""

    directory: Path
    planned: Sequence[Mapping[str, Any]]
    done: Mapping[str, float] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    leases: Sequence[Lease] = ()

    @property
    def all_failed(self) -> bool:
        return bool(self.failed) and not self.done

    @property
    def left(self) -> list[Mapping[str, Any]]:
        return [
            r for r in self.planned if r["run"] not in self.done and r["run"] not in self.failed
        ]

    @property
    def seconds(self) -> float | None:
        """Until the rest is done, by what runs took so far and the launchers that live; None while unknown.

        A depth of which none is done counts as the mean of all: early on this is a guess.
        """
        working = sum(not _silent(lease) for lease in self.leases)
        if not self.done or not working:
            return None
        took: dict[str, list[float]] = {}
        for run in self.planned:
            if run["run"] in self.done:
                took.setdefault(run["depth"], []).append(self.done[run["run"]])
        usual = mean(self.done.values())
        by_depth = {depth: mean(seconds) for depth, seconds in took.items()}
        return sum(by_depth.get(run["depth"], usual) for run in self.left) / working


def status(directory: str | Path) -> Status:
    """Read a study; UserError where there is none."""
    directory = Path(directory)
    planned = _planned(directory)
    done, failed = {}, {}
    for run in (entry["run"] for entry in planned):
        folder = directory / "runs" / run
        result = _json(folder / "result.json")
        if result.get("status") == "done":
            done[run] = _took(folder / "timing.json")
        elif result.get("status") == "failed":
            failed[run] = str(result.get("reason"))
    leases = [read(path) for path in latest(directory / "claims").values()]
    return Status(
        directory, planned, done, failed, [lease for lease in leases if not lease.released]
    )


def described(found: Status) -> str:
    """As text, a line a launcher and a failure."""
    left, seconds = len(found.left), found.seconds
    ahead = f", about {clock(seconds)} left" if left and seconds is not None else ""
    lines = [
        f"{found.directory}: {len(found.done)} of {len(found.planned)} runs done, "
        f"{len(found.failed)} failed, {left} to do{ahead}",
        *(f"  running: {_where(lease)}" for lease in found.leases if not _silent(lease)),
        *(f"  silent: {_where(lease)}" for lease in found.leases if _silent(lease)),
    ]
    failures = [f"  failed: {run}: {reason}" for run, reason in found.failed.items()]
    more = len(failures) - _SHOWN
    lines += failures[:_SHOWN] + ([f"  and {more} more, in results.csv"] if more > 0 else [])
    if found.failed:
        lines.append(f"  try them again: medtune retry {found.directory} --failed")
    if left and not any(not _silent(lease) for lease in found.leases):
        lines.append("  nobody works at it: run its `medtune sweep` again to go on")
    return "\n".join(lines)


def retry_failed(directory: str | Path) -> int:
    """Make every failed run wait again, those that diverged too; the next sweep runs them. Returns how many."""
    found = status(directory)
    for run in found.failed:
        discard(found.directory / "runs" / run)
    return len(found.failed)


def _where(lease: Lease) -> str:
    ago = time.time() - lease.renewed
    heard = f"heard of {clock(ago)} ago" if ago >= 0 else f"its clock is {clock(-ago)} ahead"
    doing = f", {shown(lease.doing)}" if lease.doing else ""
    return (
        f"{shown(lease.job)} on {lease.place}{doing} ({heard if lease.renewed else 'unreadable'})"
    )


def _silent(lease: Lease) -> bool:
    """Whether its owner is dead, or seems so: the clock of another host may be wrong, and this is only for people."""
    return lease.dead or abs(time.time() - lease.renewed) > PATIENCE


def _planned(directory: Path) -> list[dict[str, Any]]:
    path = directory / "study.json"
    if not path.is_file():
        raise UserError(
            f"{directory} holds no study.json: give the --output directory of a `medtune sweep`"
        )
    try:
        runs = manifest_by_sum(path)["runs"]
        return [{"run": str(run["run"]), "depth": str(run["depth"])} for run in runs]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged: remove it and run the sweep again") from error


def _took(path: Path) -> float:
    """Seconds of a run; 0 where the file is absent or damaged."""
    with suppress(TypeError, ValueError, OverflowError):
        seconds = float(_json(path).get("seconds", 0.0))
        return seconds if isfinite(seconds) else 0.0
    return 0.0


def _json(path: Path) -> dict[str, Any]:
    """A file's fields; none where it is absent or damaged: such a run runs again."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
