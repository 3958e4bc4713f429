"""Figures of polyp detection: FROC curves, their model, detections on frames, patches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import StrMethodFormatter
from PIL import Image

from medtune_jax.applications.polyps.candidates import Candidate
from medtune_jax.applications.polyps.overlay import draw_detections
from medtune_jax.applications.polyps.pictures import Shown
from medtune_jax.applications.polyps.truth import Truth
from medtune_jax.evaluation.edwards import FrocModel
from medtune_jax.evaluation.froc import PER_FRAME
from medtune_jax.report import palette
from medtune_jax.report.figures import Drawing, fraction_name
from medtune_jax.report.froc import FIRST_SEED, HAND_CRAFTED, Detector, FrocEvidence

_HIGHEST = 10.0
_POINTS = 60
_BOXES = 4
_FRAME_WIDTH = 480


def froc_curves(found: FrocEvidence[Truth], fractions: Sequence[float]) -> Drawing:
    """One panel a fraction: every depth and the hand-crafted score, intervals at the operating points."""
    figure = Figure(figsize=(4.7 * len(fractions) + 0.4, 5.2), layout=_layout())
    panels = np.atleast_1d(figure.subplots(1, len(fractions), sharey=True))
    rates = _rates(found)
    for ax, fraction in zip(panels, fractions, strict=True):
        lines: dict[Detector, palette.Line] = {HAND_CRAFTED: palette.ROLES[HAND_CRAFTED]}
        for depth, line in palette.depths(found.evidence.study).items():
            if found.evidence.has(depth, fraction):
                lines[depth, fraction] = line
        for place, (detector, (colour, style)) in enumerate(lines.items()):
            ax.plot(
                rates,
                found.curve(detector, rates),
                color=colour,
                ls=style,
                lw=1.6,
                label=found.label(detector),
                drawstyle="steps-post",
            )
            _bars(ax, found, detector, colour, 1.06 ** (place - len(lines) / 2))
        _axes(ax, rates)
        ax.set_title(f"{fraction_name(fraction)} of the training videos", fontsize=10)
    panels[0].set_ylabel("Sensitivity")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False, fontsize=9)
    return Drawing("froc", "FROC curves by tuning depth, and the hand-crafted score.", figure)


def froc_models(found: FrocEvidence[Truth], models: Mapping[Detector, FrocModel | None]) -> Drawing:
    """One panel a detector: counted curve and maximum-likelihood model, each with its band."""
    figure = Figure(figsize=(3.4 * len(models) + 0.4, 3.8), layout=_layout())
    panels = np.atleast_1d(figure.subplots(1, len(models), sharey=True))
    rates = _rates(found)
    for ax, (detector, model) in zip(panels, models.items(), strict=True):
        estimate, low, high = np.array(found.sensitivity(detector, rates, FIRST_SEED)).T
        ax.fill_between(rates, low, high, step="post", color=palette.BLUE, alpha=0.15, lw=0)
        ax.plot(rates, estimate, color=palette.BLUE, drawstyle="steps-post", label="counted")
        if model is not None:
            estimate, low, high = zip(*model.sensitivity_at(rates.tolist()), strict=True)
            ax.fill_between(
                rates,
                low,
                high,
                facecolor="none",
                edgecolor=palette.VERMILION,
                alpha=0.4,
                hatch="////",
                lw=0,
            )
            ax.plot(rates, estimate, color=palette.VERMILION, label="model")
        _axes(ax, rates)
        ax.set_title(found.label(detector), fontsize=10)
    panels[0].set_ylabel("Sensitivity")
    panels[0].legend(loc="upper left", fontsize=9, frameon=False)
    return Drawing("froc_model", "Counted and maximum-likelihood FROC curves.", figure)


def overlays(found: FrocEvidence[Truth], detector: Detector, shown: Sequence[Shown]) -> Drawing:
    """Test frames with the true lesion and the most probable candidates."""
    mean = found.scores(detector).mean(0)
    across = 3
    down = -(-len(shown) // across)
    figure = Figure(figsize=(3.4 * across, 2.8 * down), layout="constrained")
    for ax, one in zip(figure.subplots(down, across, squeeze=False).flat, shown, strict=False):
        ax.imshow(_overlay(found, mean, one))
        ax.set_title(found.truth.frames[one.number], fontsize=8)
    for ax in figure.axes:
        ax.set_axis_off()
    return Drawing("detections", "Test frames with true lesions and detections.", figure)


def montage(path: Path) -> Drawing:
    """The kept picture of training patches."""
    pixels = np.asarray(Image.open(path))
    height, width = pixels.shape[:2]
    figure = Figure(figsize=(10, 10 * height / width + 0.1), layout="constrained")
    ax = figure.subplots()
    ax.imshow(pixels)
    ax.set_axis_off()
    return Drawing("patches", "Training patches with and without a polyp.", figure)


def _overlay(found: FrocEvidence[Truth], scores: np.ndarray, one: Shown) -> Image.Image:
    """The frame, enlarged for the writing, with its best candidates."""
    mine = np.flatnonzero(found.truth.frame == one.number)
    mine = mine[np.argsort(-scores[mine])][:_BOXES]
    zoom = _FRAME_WIDTH / one.image.shape[1]
    size = (_FRAME_WIDTH, round(one.image.shape[0] * zoom))
    image = np.asarray(Image.fromarray(one.image).resize(size, Image.Resampling.BICUBIC))
    mask = np.asarray(Image.fromarray(one.mask).resize(size, Image.Resampling.NEAREST))
    row, col, height, width = found.truth.boxes[mine].T * zoom
    candidates = [
        Candidate(*box) for box in zip(row, col, height, width, scores[mine], strict=True)
    ]
    return draw_detections(image, candidates, mask)


def _layout() -> ConstrainedLayoutEngine:
    """Room between panels for the outermost labels of their axes."""
    return ConstrainedLayoutEngine(wspace=0.06)


def _rates(found: FrocEvidence[Truth]) -> np.ndarray:
    """Rates for a logarithmic axis, from the smallest that the number of frames can tell from none."""
    lowest = min(PER_FRAME[0], 1 / len(found.truth.frames))
    return np.geomspace(lowest, _HIGHEST, _POINTS)


def _bars(
    ax: Axes, found: FrocEvidence[Truth], detector: Detector, colour: str, shift: float
) -> None:
    estimate, low, high = np.array(found.sensitivity(detector, PER_FRAME)).T
    reach = [np.maximum(estimate - low, 0), np.maximum(high - estimate, 0)]
    places = np.array(PER_FRAME) * shift
    ax.errorbar(places, estimate, yerr=reach, fmt=".", ms=4, lw=1, capsize=1.5, color=colour)


def _axes(ax: Axes, rates: np.ndarray) -> None:
    ax.set(xscale="log", ylim=(-0.02, 1.02), xlim=(rates[0] * 0.8, _HIGHEST))
    ax.set_xlabel("False positives per frame")
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.grid(visible=True, color=palette.GRID, lw=0.7)
    ax.spines[["top", "right"]].set_visible(False)
