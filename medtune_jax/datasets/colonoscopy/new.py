"""Frames to predict on: videos, images and folders of either, with what the folder says of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from math import inf
from pathlib import Path

import numpy as np

from medtune_jax.datasets.colonoscopy import plain, videos
from medtune_jax.datasets.colonoscopy.files import FrameFile
from medtune_jax.datasets.frames import Frame
from medtune_jax.errors import UserError
from medtune_jax.folders import files_below
from medtune_jax.images import SUFFIXES, images_in, reason

_TAKEN = (*videos.VIDEO_SUFFIXES, *SUFFIXES)
_VIDEOS = ", ".join(videos.VIDEO_SUFFIXES)
_WANTED = f", which this study was trained on: give videos ({_VIDEOS}), images, or folders of them"
Folder = Callable[[Path, float | None, list[str]], Sequence[FrameFile]]


def check_interval(every: float | None) -> None:
    """UserError for seconds between the frames of a video that are none."""
    if every is not None and not 0 < every < inf:
        raise UserError(f"seconds is {every:g}: give more than 0 between two frames of a video")


def listed(
    inputs: Sequence[Path], every: float | None, folder: Folder | None = None
) -> tuple[list[FrameFile], list[str]]:
    """The frames of files and folders, none decoded yet, and why some videos cannot be read.

    every: seconds between the frames of a video file; None: all. folder: how a folder without images of its own is
    read (`plain.read`); one with images is one video. Raises UserError for inputs that are neither videos nor images,
    folders without any, and two frames of one name.
    """
    check_interval(every)
    files: list[FrameFile] = []
    bad: list[str] = []
    for path in inputs:
        if path.is_dir() and not any(p.suffix.lower() in _TAKEN for p in files_below(path)):
            raise UserError(f"{path} holds neither a video nor an image{_WANTED}")
        if path.is_dir():
            direct = images_in(path)
            files += plain.folder_frames(path) if direct else (folder or _plain)(path, every, bad)
        elif path.suffix.lower() in videos.VIDEO_SUFFIXES:
            try:
                files += plain.video_frames(path, every)
            except UserError as error:
                bad.append(str(error))
        elif path.suffix.lower() in SUFFIXES:
            files.append(FrameFile(path.stem, path.stem, path))
        else:
            raise UserError(f"{path} is neither a video nor an image{_WANTED}")
    seen: set[tuple[str, str]] = set()
    for file in files:
        if (file.video, file.name) in seen:
            raise UserError(
                f"two frames are called {file.video}/{file.name}: predict on them one after the other"
            )
        seen.add((file.video, file.name))
    return files, bad


def read_each(files: Sequence[FrameFile]) -> list[Frame | str]:
    """Each frame decoded and checked, in order, or why it cannot be; a video is decoded on from frame to frame."""
    found: list[Frame | str | Future[Frame | str]] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for (path, filmed), group in groupby(files, key=lambda f: (f.image, f.seconds is not None)):
            own = list(group)
            found += _filmed(path, own) if filmed else [pool.submit(_tried, file) for file in own]
    return [each.result() if isinstance(each, Future) else each for each in found]


def _filmed(path: Path, files: Sequence[FrameFile]) -> list[Frame | str]:
    coming = videos.frames_at(path, [file.seconds or 0.0 for file in files])
    return [_tried(file, coming) for file in files]


def _tried(file: FrameFile, coming: Iterator[np.ndarray] | None = None) -> Frame | str:
    """The frame of its own file, or the next one of a video."""
    try:
        return file.read() if coming is None else file.frame(next(coming))
    except StopIteration:  # what ended the video was said of an earlier frame
        return f"{file.image}: no frame at {file.seconds:g} s; the video is broken there."
    except UserError as error:
        return str(error)
    except Exception as error:  # whatever a codec throws at a broken file, the user wants its name
        return f"{file.image}: {reason(error)}"


def _plain(root: Path, every: float | None, bad: list[str]) -> Sequence[FrameFile]:
    return plain.read(root, every, bad).files
