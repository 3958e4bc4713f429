"""Where a user's files lie that can be made again; files and folders that appear whole or not at all."""

import csv
import io
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def user_cache() -> Path:
    """$XDG_CACHE_HOME/medtune, or ~/.cache/medtune."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medtune"


def csv_bytes(rows: Iterable[Sequence[Any]]) -> bytes:
    """A table as UTF-8 CSV, lines ended by a newline; the first row is the header. None is an empty cell."""
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue().encode()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file, and the folders above it, so that nobody ever sees half of it; an old one stays until then."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        scratch.write_bytes(content)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


@contextmanager
def scratch_beside(target: Path) -> Iterator[Path]:
    """A hidden folder on `target`'s disk, to be filled and renamed to it; what is not renamed is removed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    scratch.chmod(0o755)
    try:
        yield scratch
    finally:
        discard(scratch)


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
