"""Studies that were run apart, with the same config and data, as one."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medtune_jax.applications.protocol import OF_RUNS
from medtune_jax.errors import UserError
from medtune_jax.paths import (
    SUMS,
    csv_bytes,
    damaged,
    scratch_beside,
    seal,
    write_whole,
    written_to,
)
from medtune_jax.study.store import DONE, Store, difference, merged, read_manifest

_SAME = ("result.json", "history.csv", "scores.csv")  # what does not depend on who ran it, or when


def merge(studies: Sequence[str | Path], output: str | Path) -> str:
    """Copy all runs of the studies into a new directory; says how many, and from where.

    A run that several have is taken once; one that is done goes before one that failed. UserError, and nothing written,
    where the studies differ in more than the lists of `sweep` (the field is named), where two say something else of
    the same run, and where `output` exists.
    """
    folders, target = [Path(study) for study in studies], Path(output)
    if len(folders) < 2:
        raise UserError("give two studies or more: medtune merge A B --output C")
    if target.exists():
        raise UserError(f"{target} exists: give a directory for --output that does not")
    manifest = _manifest(folders)
    for number, folder in enumerate(folders):
        if any(folder.samefile(before) for before in folders[:number]):
            raise UserError(f"{folder} is given twice: name each study once")
    found = {run["run"]: _run(run["run"], folders) for run in manifest["runs"]}
    chosen = {name: folder for name, folder in found.items() if folder}
    files = _application(folders)
    with written_to(target.parent), scratch_beside(target) as scratch:
        for name, folder in chosen.items():
            shutil.copytree(folder, scratch / "runs" / name)
        for name, content in files.items():
            write_whole(scratch / "application" / name, content)
        if files:
            seal(scratch / "application")
        Store(scratch).open(manifest)
        scratch.rename(target)
    counts = [sum(folder.parents[1] == each for folder in chosen.values()) for each in folders]
    parts = ", ".join(f"{n} of {each}" for n, each in zip(counts, folders, strict=True))
    missing = len(found) - len(chosen)
    return (
        f"{target}: {len(chosen)} runs ({parts}), {missing} still to run\n"
        f"  write its report: medtune report {target}"
    )


def _manifest(folders: Sequence[Path]) -> dict[str, Any]:
    """All studies' plans as one; UserError where they are not parts of one study."""
    for folder in folders:
        if not (folder / "study.json").is_file():
            raise UserError(f"{folder} holds no study.json: give directories of `medtune sweep`")
    manifests = [read_manifest(folder / "study.json") for folder in folders]
    whole = manifests[0]
    for folder, other in zip(folders[1:], manifests[1:], strict=True):
        if other_field := difference(manifests[0], other):
            name, one, two = other_field
            raise UserError(
                f"{folders[0]} and {folder} are different studies: {name} is {one!r} in the one and {two!r} in the "
                f"other; only studies of the same config and data can be merged"
            )
        whole = merged(whole, other, folder / "study.json")
    return whole


def _run(name: str, folders: Sequence[Path]) -> Path | None:
    """The folder to take of those that the studies have of a run; None where no study has an undamaged one."""
    results = {folder: Store(folder).result(name) for folder in folders}
    done = [
        f / "runs" / name for f, result in results.items() if result and result["status"] == DONE
    ]
    failed = [f / "runs" / name for f, result in results.items() if result]
    for other in done[1:]:
        if file := next((f for f in _SAME if _bytes(done[0] / f) != _bytes(other / f)), None):
            raise UserError(
                f"{done[0] / file} and {other / file} are different: the same run has two results, so one of the "
                f"studies ran with other software or another machine; remove the run that you do not trust"
            )
    return next(iter(done or failed), None)


def _application(folders: Sequence[Path]) -> dict[str, bytes]:
    """The application's files by their names below application/; of tables the rows of all."""
    found: dict[str, bytes] = {}
    for folder in (folder / "application" for folder in folders):
        if folder.is_dir() and (broken := damaged(folder)):
            raise UserError(
                f"{broken} is damaged, or {SUMS} beside it: run that study's sweep again, which writes both anew"
            )
        for path in (p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != SUMS):
            if path.name.startswith(OF_RUNS):
                continue  # of the runs of a part; the next sweep makes those of the whole
            name, content = str(path.relative_to(folder)), path.read_bytes()
            found[name] = _joined(found[name], content, path) if name in found else content
    return found


def _joined(one: bytes, other: bytes, path: Path) -> bytes:
    """Rows of two tables, each once; of other files the first, since the same data made both."""
    if path.suffix != ".csv" or one == other:
        return one
    first, second = (list(csv.reader(io.StringIO(each.decode()))) for each in (one, other))
    if first[:1] != second[:1]:
        raise UserError(f"{path} has other columns than the same file of the study before it")
    return csv_bytes({tuple(row): None for row in (*first, *second)})


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
