"""Figures of a report that show pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from medtune_jax.report.figures import Drawing


def picture(name: str, description: str, path: Path) -> Drawing:
    """A picture that a study kept, without axes."""
    pixels = np.asarray(Image.open(path).convert("RGB"))
    height, width = pixels.shape[:2]
    figure = Figure(figsize=(10, 10 * height / width))
    ax = figure.add_axes((0, 0, 1, 1))
    ax.imshow(pixels)
    ax.set_axis_off()
    return Drawing(name, description, figure)


def pictures(
    name: str, description: str, titled: Mapping[str, np.ndarray | Image.Image], across: int
) -> Drawing:
    """Pictures side by side, `across` in a row, each below its title."""
    down = -(-len(titled) // across)
    figure = Figure(figsize=(3.4 * across, 2.8 * down), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).flat
    for ax in panels:
        ax.set_axis_off()
    for ax, (title, pixels) in zip(figure.axes, titled.items(), strict=False):
        ax.imshow(pixels)
        ax.set_title(title, fontsize=8)
    return Drawing(name, description, figure)
