"""Folders of data as people have them: what systems and archives leave there is no data, and is passed over."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

HIDDEN = "hidden or system files"
LINKS = "links that lead nowhere or to a folder read already"
_DEBRIS = {
    "__macosx", "__pycache__", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "#recycle", "$recycle.bin",
    "lost+found", "system volume information", "icon\r",
}  # fmt: skip


def is_debris(path: Path) -> bool:
    """Whether a file or folder was left by a system, an archive or an editor: hidden, __MACOSX, Thumbs.db, @eaDir."""
    return path.name.startswith(".") or path.name.casefold() in _DEBRIS


def entries(folder: Path) -> list[Path]:
    """The files and folders directly in a folder, sorted by name, without debris."""
    return sorted(path for path in folder.iterdir() if not is_debris(path))


@dataclass(frozen=True)
class Found:
    """The files below a folder, sorted by path, and how many others there are, by what they are."""

    files: tuple[Path, ...]
    passed_over: Mapping[str, int]


def walk(root: Path) -> Found:
    """All files below a folder but debris. A link to a folder is followed once; real folders come before links."""
    passed: Counter[str] = Counter()
    seen = {root.resolve(), *root.resolve().parents}
    files = tuple(sorted(_files(root, seen, passed)))
    return Found(files, dict(passed))


def files_below(root: Path) -> tuple[Path, ...]:
    """The files of `walk`."""
    return walk(root).files


def named(passed_over: Mapping[str, int]) -> str:
    """'14 .webp, 2 masks', most first."""
    ordered = sorted(passed_over.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{number:,} {kind}" for kind, number in ordered)


def _files(folder: Path, seen: set[Path], passed: Counter[str]) -> Iterator[Path]:
    inside = sorted(folder.iterdir())
    for path in sorted(inside, key=lambda p: p.is_symlink()):
        if is_debris(path):
            passed[HIDDEN] += _count(path)
        elif path.is_dir():
            place = path.resolve()
            if place in seen:
                passed[LINKS] += 1
                continue
            seen.add(place)
            yield from _files(path, seen, passed)
        elif path.is_file():
            yield path
        else:
            passed[LINKS] += 1


def _count(path: Path) -> int:
    """The files at or below a path that is passed over."""
    if path.is_symlink() or not path.is_dir():
        return 1
    return sum(len(names) for _, _, names in os.walk(path))
