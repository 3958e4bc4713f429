"""A video file again, with what was marked in it drawn on its frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from medtune_jax.applications.polyps.detector import Candidate
from medtune_jax.applications.polyps.show import draw_detections
from medtune_jax.datasets.colonoscopy import FrameFile, videos
from medtune_jax.datasets.colonoscopy.new import read_each
from medtune_jax.datasets.frames import Frame

_PART = 16  # frames in memory at a time
_SLOWEST, _FASTEST = 1.0, 120.0  # frames per second: a frame every 5 s would be no film


def write_films(
    files: Sequence[FrameFile], marked: Mapping[int, Sequence[Candidate]], folder: Path
) -> list[Path]:
    """folder/VIDEO.mp4 of each video file among `files`: its frames, at the speed at which they were taken, but one per
    second at least. Images make no film.

    marked: by index of `files`, the candidates to draw, in pixels of the frame as given, their scores probabilities.
    """
    of_video: dict[Path, list[int]] = {}
    for number, file in enumerate(files):
        if file.seconds is not None:
            of_video.setdefault(file.image, []).append(number)
    written = []
    for numbers in of_video.values():
        path = folder / f"{files[numbers[0]].video}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        rate = _rate([files[k].seconds or 0.0 for k in numbers])
        videos.write(path, _drawn(files, numbers, marked), rate)
        written.append(path)
    return written


def _drawn(
    files: Sequence[FrameFile], numbers: Sequence[int], marked: Mapping[int, Sequence[Candidate]]
) -> Iterator[np.ndarray]:
    for at in range(0, len(numbers), _PART):
        part = numbers[at : at + _PART]
        for k, frame in zip(part, read_each([files[k] for k in part]), strict=True):
            if isinstance(frame, Frame):
                yield np.asarray(draw_detections(frame.image, marked.get(k, ()), frame.mask))


def _rate(times: Sequence[float]) -> float:
    """Frames per second, of their times in seconds."""
    apart = float(np.median(np.diff(times))) if len(times) > 1 else 1 / _SLOWEST
    return max(_SLOWEST, 1 / max(apart, 1 / _FASTEST))
