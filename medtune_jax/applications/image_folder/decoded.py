"""The pixels of image files: in memory, or decoded once into files of records where they are more than it should hold.

A file of records is named by a digest of what it holds: the images' paths, sizes and times, and the side they are
scaled to. So an interrupted decoding goes on where it was, a changed image is decoded anew with its neighbours, and
studies of the same images share the files.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from medtune_jax.applications.image_folder.reader import read_images, try_read, unreadable
from medtune_jax.errors import UserError
from medtune_jax.patches import Records
from medtune_jax.paths import beside, make_room, user_cache, written_to
from medtune_jax.progress import reported, say

SUFFIX = ".array_record"
_FORM = 2  # counts up when the same file would give other pixels
_FILE = 2**27  # bytes of pixels in a file of records: what an interruption costs
_AHEAD = 16  # images that are decoded before they are written
_GIB = 2**30


def pixels_of(paths: Sequence[Path], size: int, memory: ConfigDict) -> np.ndarray | Records:
    """uint8 [N,size,size,3] RGB, as `read_images`; of more than `memory.images_gib` as Records.

    memory: of a config. Raises UserError that lists the files which cannot be read, and where `memory.disk_images_gib`
    or the disk is too small.
    """
    if len(paths) * size * size * 3 <= memory.images_gib * _GIB:
        return read_images(paths, size)
    folder = Path(memory.disk_dir).expanduser() if memory.disk_dir else user_cache() / "images"
    each = max(1, _FILE // (size * size * 3))
    parts = [paths[first : first + each] for first in range(0, len(paths), each)]
    files = {folder / f"{_digest(part, size)}{SUFFIX}": part for part in parts}
    with written_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        missing = {file: part for file, part in files.items() if not _used(file, len(part))}
        total, new = (size * size * 3 * sum(map(len, p.values())) for p in (files, missing))
        _make_room(folder, [*files], total, new, memory.disk_images_gib)
        if missing:
            try:
                _decode(missing, size)
            except RuntimeError as error:  # of array_record, for whatever the disk says
                raise UserError(
                    f"cannot write to {folder} ({error}): free some space, or give another disk by "
                    "--config.memory.disk_dir"
                ) from error
    return Records([*files], size, np.arange(len(paths)))


def _digest(paths: Sequence[Path], size: int) -> str:
    """Of all that decides the pixels of a file of records."""
    digest = hashlib.sha256(f"{_FORM} {size}".encode())
    for path in paths:
        with suppress(OSError):  # which the reader tells of
            status = path.stat()
            digest.update(f"\n{path.absolute()} {status.st_size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()[:32]


def _used(file: Path, images: int) -> bool:
    """Whether a file is there and whole; then it is the last that others make room of."""
    from array_record.python.array_record_module import ArrayRecordReader

    try:
        os.utime(file)
        with closing(ArrayRecordReader(str(file))) as reader:
            return reader.num_records() == images
    except (FileNotFoundError, RuntimeError):
        return False


def _make_room(folder: Path, files: Sequence[Path], total: int, new: int, limit: float) -> None:
    """Say what the images take on disk, all and those that are `new` (bytes), and see that it is there.

    The longest unused of other images go where they and these are more than `limit` GiB.
    """
    if total > limit * _GIB:
        raise UserError(
            f"the images take {_gib(total)} decoded, and memory.disk_images_gib is {limit:g}: raise it, or give a "
            "smaller image_size"
        )
    make_room(folder, SUFFIX, int(limit * _GIB) - total, keep=files)
    free = shutil.disk_usage(folder).free
    if new > free:
        raise UserError(
            f"the images take {_gib(new)} more in {folder}, whose disk has {_gib(free)} free: free some space, or give "
            "another disk by --config.memory.disk_dir"
        )
    done = "" if new == total else f", of which {_gib(total - new)} are there"
    say(
        f"images are streamed from disk (memory.images_gib): they take {_gib(total)} in {folder}{done}"
    )


def _gib(size: int) -> str:
    return f"{size / _GIB:.3g} GiB"


def _decode(missing: Mapping[Path, Sequence[Path]], size: int) -> None:
    """Write the files of records that are missing, one after another, while other threads decode ahead."""
    import grain
    from array_record.python.array_record_module import ArrayRecordWriter

    paths = [path for part in missing.values() for path in part]
    source = grain.MapDataset.source(paths).map(partial(try_read, size=size))
    threads = grain.ReadOptions(num_threads=os.cpu_count() or 1, prefetch_buffer_size=_AHEAD)
    images = reported(iter(source.to_iter_dataset(threads)), len(paths), "decoding images")
    bad: list[str] = []
    for file, part in missing.items():
        before = len(bad)
        with beside(file) as scratch:
            writer = ArrayRecordWriter(str(scratch), "group_size:1,uncompressed")
            for image in islice(images, len(part)):
                if isinstance(image, str):
                    bad.append(image)
                else:
                    writer.write(image.tobytes())
            writer.close()
            if len(bad) == before:
                scratch.replace(file)
    if bad:
        raise unreadable(bad, len(paths))
