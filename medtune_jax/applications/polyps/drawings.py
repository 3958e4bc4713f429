"""Figures of polyp detection: FROC curves, their model, detections on frames, patches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter
from PIL import Image

from medtune_jax.applications.drawings import ROOM, clean, froc_panels, pictures
from medtune_jax.applications.polyps.detector import Candidate
from medtune_jax.applications.polyps.show import Shown, draw_detections
from medtune_jax.applications.polyps.truth import FrameTruth
from medtune_jax.evaluation import log_odds
from medtune_jax.evaluation.edwards import FrocModel
from medtune_jax.evaluation.froc import PER_FRAME
from medtune_jax.report import palette
from medtune_jax.report.figures import Drawing, bounds, error_bars
from medtune_jax.report.froc import FIRST_SEED, Detector, FrocEvidence

_HIGHEST = 10.0
_POINTS = 60
_BOXES = 4


def froc_curves(results: FrocEvidence[FrameTruth]) -> Drawing:
    """Every depth and the hand-crafted score, with intervals at the operating points."""
    rates = _rates(results)
    figure, panels = froc_panels(results, rates, "training videos")
    for ax, _, colours in panels:
        for place, (detector, colour) in enumerate(colours.items()):
            places = np.array(PER_FRAME) * 1.06 ** (place - len(colours) / 2)
            at_points = results.sensitivity(detector, PER_FRAME)
            error_bars(ax, places, at_points, color=colour, fmt=".", ms=4)
        _axes(ax, rates)
    panels[0][0].set_ylabel("Sensitivity")
    return Drawing("froc", "FROC curves by tuning depth, and the hand-crafted score.", figure)


def froc_models(
    results: FrocEvidence[FrameTruth], models: Mapping[Detector, FrocModel | None]
) -> Drawing:
    """One panel per detector: counted curve and maximum-likelihood model, each with its band."""
    figure = Figure(figsize=(3.4 * len(models) + 0.4, 3.8), layout=ROOM)
    panels = np.atleast_1d(figure.subplots(1, len(models), sharey=True))
    rates = _rates(results)
    for ax, (detector, model) in zip(panels, models.items(), strict=True):
        estimate, low, high = bounds(results.sensitivity(detector, rates, FIRST_SEED))
        ax.fill_between(rates, low, high, step="post", color=palette.BLUE, alpha=0.15, lw=0)
        ax.plot(rates, estimate, color=palette.BLUE, drawstyle="steps-post", label="counted")
        if model is not None:
            estimate, low, high = bounds(model.sensitivity_at(rates.tolist()))
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
        ax.set_title(results.label(detector), fontsize=10)
    panels[0].set_ylabel("Sensitivity")
    panels[0].legend(loc="upper left", fontsize=9, frameon=False)
    return Drawing("froc_model", "Counted and maximum-likelihood FROC curves.", figure)


def overlays(
    results: FrocEvidence[FrameTruth], detector: Detector, shown: Sequence[Shown]
) -> Drawing:
    """Test frames with the true lesion and the most probable candidates."""
    probability = log_odds.probabilities(results.scores(detector)).mean(0)
    frames = {
        results.truth.images[one.number]: _overlay(results.truth, probability, one) for one in shown
    }
    return pictures("detections", "Test frames with true lesions and detections.", frames, 3)


def _overlay(truth: FrameTruth, probability: np.ndarray, one: Shown) -> Image.Image:
    """The frame with its best candidates."""
    mine = np.flatnonzero(truth.candidate_image == one.number)
    mine = mine[np.argsort(-probability[mine])][:_BOXES]
    candidates = np.column_stack([truth.boxes[mine], probability[mine]])
    return draw_detections(one.image, [Candidate(*row) for row in candidates.tolist()], one.mask)


def _rates(results: FrocEvidence[FrameTruth]) -> np.ndarray:
    """Rates for a logarithmic axis, from the smallest that the number of frames can tell from none."""
    lowest = min(PER_FRAME[0], 1 / len(results.truth.images))
    return np.geomspace(lowest, _HIGHEST, _POINTS)


def _axes(ax: Axes, rates: np.ndarray) -> None:
    ax.set(xscale="log", ylim=(-0.02, 1.02), xlim=(rates[0] * 0.8, _HIGHEST))
    ax.set_xlabel("False positives per frame")
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    clean(ax)
