"""How informative the frames of a video are, from its beginning to its end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from medtune_jax.applications.drawings import clean
from medtune_jax.report import palette
from medtune_jax.report.figures import Drawing


def timeline(
    video: str,
    seconds: Sequence[float | None],
    probability: np.ndarray,
    spread: np.ndarray,
    threshold: float | None,
) -> Drawing:
    """timeline-VIDEO: probability of being informative [n] over time, its spread over runs as a band.

    seconds: [n]; None of frames whose time is not known, which are numbered then. threshold: a probability.
    """
    filmed = all(value is not None for value in seconds)
    x = np.array([value for value in seconds if value is not None]) if filmed else None
    x = np.arange(len(probability)) if x is None else x
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    ax = figure.subplots()
    low, high = (np.clip(probability + side * spread, 0, 1) for side in (-1, 1))
    ax.fill_between(x, low, high, color=palette.BLUE, alpha=0.2, lw=0)
    ax.plot(x, probability, color=palette.BLUE, lw=1, marker=".", ms=3)
    if threshold is not None:
        ax.axhline(threshold, color=palette.VERMILION, ls="--", lw=1, label="threshold")
        # Above the axes, where no frame lies.
        ax.legend(loc="lower right", bbox_to_anchor=(1, 1), fontsize=8, frameon=False)
    ax.set(xlabel="Seconds" if filmed else "Frame", ylabel="P(informative)", ylim=(-0.02, 1.02))
    ax.set_title(video, fontsize=10)
    clean(ax)
    description = f"Probability that a frame of {video} is informative, over its time."
    return Drawing(f"timeline-{video}", description, figure)
