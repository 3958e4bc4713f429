"""From the scores of crops to one score a frame."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class FrameScores(NamedTuple):
    """Frames in the order of their names, each [F]; values is [F] or [S, F] for S seeds."""

    names: np.ndarray
    videos: np.ndarray
    labels: np.ndarray
    values: np.ndarray


def frame_scores(
    names: np.ndarray, videos: np.ndarray, labels: np.ndarray, values: np.ndarray
) -> FrameScores:
    """Mean value of each frame's crops (docs/paper.md, 3).

    names, videos, labels: [N] of the crops' frames. values: [N], or [S, N] by seed.
    """
    frames, first, frame = np.unique(names, return_index=True, return_inverse=True)
    count = np.bincount(frame)
    rows = [np.bincount(frame, row) / count for row in np.atleast_2d(values)]
    mean = np.stack(rows) if np.ndim(values) == 2 else rows[0]
    return FrameScores(frames, videos[first], labels[first], mean)
