"""Figures of a report that applications share: FROC curves, intervals, pictures."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

from medtune_jax.evaluation.froc import Rates
from medtune_jax.report import palette
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.figures import Drawing, fraction_name
from medtune_jax.report.froc import HAND_CRAFTED, Detector, FrocEvidence, T

# Room between panels for the outermost labels of their axes.
ROOM = ConstrainedLayoutEngine(wspace=0.06)


def detectors(evidence: Evidence, fraction: float) -> list[Detector]:
    """The hand-crafted score, then every depth that has results at this fraction."""
    depths = [d for d in evidence.study.depths if evidence.has(d, fraction)]
    return [HAND_CRAFTED, *((depth, fraction) for depth in depths)]


def froc_panels(
    results: FrocEvidence[T], rates: Rates, data: str
) -> tuple[Figure, list[tuple[Axes, float, dict[Detector, str]]]]:
    """The FROC curve of every detector, a panel per fraction: the figure, and axes, fraction and colours of each.

    rates: false positives per image. data: what there is a fraction of.
    """
    evidence = results.evidence
    fractions = evidence.shown_fractions
    known = palette.depths(evidence.study)
    figure = Figure(figsize=(4.7 * len(fractions) + 0.4, 5.2), layout=ROOM)
    panels = []
    for ax, fraction in zip(
        np.atleast_1d(figure.subplots(1, len(fractions), sharey=True)), fractions, strict=True
    ):
        colours: dict[Detector, str] = {}
        for detector in detectors(evidence, fraction):
            line = palette.ROLES[HAND_CRAFTED] if isinstance(detector, str) else known[detector[0]]
            colours[detector] = line.colour
            ax.plot(
                rates,
                results.curve(detector, rates),
                color=line.colour,
                ls=line.style,
                lw=1.6,
                label=results.label(detector),
                drawstyle="steps-post",
            )
        clean(ax)
        ax.set_title(f"{fraction_name(fraction)} of the {data}", fontsize=10)
        panels.append((ax, fraction, colours))
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False, fontsize=9)
    return figure, panels


def clean(ax: Axes) -> None:
    """A light grid and no frame."""
    ax.grid(visible=True, color=palette.GRID, lw=0.7)
    ax.spines[["top", "right"]].set_visible(False)


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
    name: str,
    description: str,
    titled: Mapping[str, np.ndarray | Image.Image],
    across: int,
    tile: tuple[float, float] = (3.4, 2.8),
    marked: Collection[str] = (),
) -> Drawing:
    """Pictures side by side, `across` in a row, each below its title; `marked` titles stand out.

    tile: width and height of one with its title, in inches.
    """
    down = -(-len(titled) // across)
    figure = Figure(figsize=(tile[0] * across, tile[1] * down), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).flat
    for ax in panels:
        ax.set_axis_off()
    for ax, (title, pixels) in zip(figure.axes, titled.items(), strict=False):
        ax.imshow(pixels)
        ax.set_title(title, fontsize=8, color="#9a3f00" if title in marked else "#222222")
    return Drawing(name, description, figure)
