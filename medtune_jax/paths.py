"""Where a user's files lie that can be made again; files and folders that appear whole or not at all; their sums."""

import csv
import errno
import hashlib
import io
import json
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from medtune_jax.errors import UserError

SUMS = "SHA256SUMS"
_NAME = 200  # bytes of a run's name; most file systems take 255
_STALE = 24 * 3600.0  # seconds after which an unfinished file of a cache is nobody's
_unfinished: set[Path] = set()


def user_cache() -> Path:
    """$XDG_CACHE_HOME/medtune, or ~/.cache/medtune."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medtune"


def at_home(path: str) -> str:
    """~ and ~user spelled out, as a shell does; an unknown user's stays as it is."""
    return os.path.expanduser(path)  # noqa: PTH111 (of pathlib it is an error)


def csv_bytes(rows: Iterable[Sequence[Any]]) -> bytes:
    """A table as UTF-8 CSV, lines ended by a newline; the first row is the header. None is an empty cell."""
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue().encode()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file, and the folders above it, so that nobody ever sees half of it; an old one stays until then."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with beside(path) as scratch:
        scratch.write_bytes(content)
        scratch.replace(path)


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A hidden name in `path`'s folder, of this caller alone on any host, to be written and renamed to it."""
    scratch = path.with_name(f".{path.name}-{uuid.uuid4().hex[:12]}")
    _unfinished.add(scratch)
    try:
        yield scratch
    finally:
        _unfinished.discard(scratch)
        with suppress(OSError):
            scratch.unlink(missing_ok=True)


@contextmanager
def written_to(directory: Path) -> Iterator[None]:
    """What a disk refuses becomes one sentence: UserError for a full one, a read-only one, no permission."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"the disk of {directory} is full: free some space and run the same command again; "
                f"what is finished is kept"
            ) from error
        raise UserError(
            f"cannot write to {directory} ({error.strerror or error}): give another directory"
        ) from error


def json_with_sum(content: dict[str, Any]) -> bytes:
    """As JSON, with a last field `checksum` of all others."""
    return (json.dumps({**content, "checksum": _json_sum(content)}, indent=1) + "\n").encode()


def json_by_sum(path: Path) -> dict[str, Any]:
    """What `json_with_sum` wrote, without the checksum; ValueError where the file is damaged. A file may have none."""
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError("no fields")
    if content.pop("checksum", None) not in (None, _json_sum(content)):
        raise ValueError("its checksum is another")
    return content


def make_room(folder: Path, suffix: str, room: int, keep: Collection[Path] = ()) -> None:
    """Remove the longest unused files of a cache until they take at most `room` bytes, and what a writer that was
    killed left there a day ago.

    keep: files that stay and do not count.
    """
    for unfinished in folder.glob(".*-*"):
        with suppress(FileNotFoundError):
            if time.time() - unfinished.stat().st_mtime > _STALE:
                unfinished.unlink()
    entries = []
    for path in folder.glob(f"*{suffix}"):
        with suppress(FileNotFoundError):
            if path not in keep:
                entries.append((path.stat().st_mtime, path.stat().st_size, path))
    taken = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if taken <= room:
            return
        path.unlink(missing_ok=True)
        taken -= size


class LayoutError(ValueError):
    """A whole file, of another layout than this version's."""


def manifest_by_sum(path: Path) -> dict[str, Any]:
    """A study.json, as `json_by_sum`; ValueError also where a run's name is none for a folder, would lead out of the
    study's `runs`, or is there twice, and LayoutError where runs are something else.
    """
    manifest = json_by_sum(path)
    runs, known = manifest.get("runs", []), set()
    if not isinstance(runs, list):
        raise LayoutError("its runs are no list")
    for run in runs:
        if not isinstance(run, dict):
            raise LayoutError("its runs have no fields")
        name = run.get("run")
        if not isinstance(name, str) or not _names_a_folder(name):
            raise ValueError(f"{str(name)[:_NAME]!r} is no run's name")
        if name in known:
            raise ValueError(f"run {name!r} is there twice")
        known.add(name)
    return manifest


def _names_a_folder(name: str) -> bool:
    """With room for what is added to the names of unfinished ones."""
    plain = name.isprintable() and not set("/\\") & set(name)
    return plain and not name.startswith(".") and 0 < len(name.encode()) <= _NAME


def _json_sum(content: dict[str, Any]) -> str:
    plain = json.loads(json.dumps(content))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def seal(folder: Path) -> None:
    """Write SHA256SUMS of all files below a folder, but for folders that have their own; `sha256sum -c` reads it.

    Its first line, a comment to `sha256sum`, counts the others: a file that was cut at the end of a line is known.
    """
    _write_sums(folder, {p.relative_to(folder).as_posix(): _sha256(p) for p in _files(folder)})


def damaged(folder: Path) -> Path | None:
    """The first file that is not as `seal` found it, or is missing; None where all are, or where none was sealed."""
    if not (folder / SUMS).is_file():
        return None
    try:
        wanted = _read_sums(folder)
    except (OSError, ValueError):
        return folder / SUMS
    return next((folder / name for name in wanted if _sha256(folder / name) != wanted[name]), None)


def remove_damaged(folder: Path) -> None:
    """Remove the files that `damaged` finds, and their sums, so that they are made anew."""
    while (broken := damaged(folder)) is not None:
        broken.unlink(missing_ok=True)
        if broken.name == SUMS:
            return
        sums = _read_sums(folder)
        del sums[broken.relative_to(folder).as_posix()]
        _write_sums(folder, sums)


def _write_sums(folder: Path, sums: dict[str, str]) -> None:
    lines = [f"# {len(sums)} files", *(f"{digest}  {name}" for name, digest in sums.items())]
    write_whole(folder / SUMS, "".join(f"{line}\n" for line in lines).encode())


def _read_sums(folder: Path) -> dict[str, str]:
    """Digest by name; ValueError where SHA256SUMS is damaged. One of an earlier version has no count, and is not
    known to be cut at the end of a line.
    """
    lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    count = lines.pop(0) if lines and lines[0].startswith("#") else None
    sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    if not sums or not all(map(_leads_inside, sums)):
        raise ValueError("it names no files, or some elsewhere")
    if count not in (None, f"# {len(sums)} files"):
        raise ValueError("some of its lines are missing")
    return sums


def _leads_inside(name: str) -> bool:
    """Whether a line of SHA256SUMS names a file below its folder."""
    return "\0" not in name and not {"", ".", ".."} & set(name.split("/"))


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name == SUMS or path.name.startswith("."):
            continue
        if not path.is_dir():
            yield path
        elif not (path / SUMS).is_file():
            yield from _files(path)


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return ""


@contextmanager
def scratch_beside(target: Path) -> Iterator[Path]:
    """A hidden folder on `target`'s disk, to be filled and renamed to it; what is not renamed is removed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    scratch.chmod(0o755)
    _unfinished.add(scratch)
    try:
        yield scratch
    finally:
        _unfinished.discard(scratch)
        discard(scratch)


def remove_unfinished() -> None:
    """For a process that is about to end without leaving its `with` blocks."""
    for scratch in tuple(_unfinished):
        with suppress(OSError):
            scratch.unlink()
        shutil.rmtree(scratch, ignore_errors=True)


def discard(folder: Path, patience: float = 5.0) -> None:
    """Remove a folder that may be gone already, with what is still being written into it.

    After a refused write orbax's other threads go on for a moment; a file of theirs that comes
    between emptying the folder and removing it would keep it. Gives up after `patience` seconds.
    """
    give_up = time.monotonic() + patience
    while folder.exists() and time.monotonic() < give_up:
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            time.sleep(0.05)
