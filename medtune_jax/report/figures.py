"""The report's figures, drawn once and saved twice: SVG for the page, PNG for slides."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from medtune_jax.evaluation.roc import roc_points
from medtune_jax.report import palette
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.load import StudyResults

_STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": palette.AXES,
    "axes.labelcolor": palette.TEXT,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": palette.GRID,
    "grid.linewidth": 0.7,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.frameon": False,
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "svg.hashsalt": "medtune",  # the same figure gives the same bytes
}
_MARKERS = "osD^vP"
_WIDTH = 9.0


@dataclass(frozen=True)
class Drawing:
    """A figure's file name (without suffix), a sentence for those who cannot see it, and itself."""

    name: str
    description: str
    figure: Figure

    def save_png(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.png"
        with mpl.rc_context(_STYLE):
            self.figure.savefig(path, metadata={"Software": None})
        return path

    def svg(self) -> Markup:
        """Inline SVG without prologue, metadata or reference to anything outside."""
        stream = io.StringIO()
        with mpl.rc_context(_STYLE):
            self.figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
        text = stream.getvalue()
        text = text[text.index("<svg") :]
        text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
        # Several figures share a page: what one defines must not be found by another.
        text = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{self.name}-", text)
        label = f'<svg role="img" aria-label="{escape(self.description)}" '
        return Markup(text.replace("<svg ", label, 1))


def _drawn(size: tuple[float, float], columns: int, draw: Callable[..., None], **axes) -> Figure:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        draw(*np.atleast_1d(figure.subplots(1, columns, **axes)))
        return figure


def fraction_name(fraction: float) -> str:
    return f"{100 * fraction:.3g}%"


def by_depth(evidence: Evidence) -> Drawing:
    """Test metric by depth, one line a fraction, with intervals and single seeds."""
    study = evidence.study
    # Scratch is no point on the scale of depths: it stands apart and no line leads to it.
    gap = 0.6 if study.tuned_depths and study.scratch_depths else 0.0
    places = {d: i + gap * study.is_scratch(d) for i, d in enumerate(study.depths)}
    fractions = [f for f in study.fractions if any(evidence.has(d, f) for d in study.depths)]
    spread = 0.11 if len(fractions) <= 4 else 0.09

    def draw(ax: Axes) -> None:
        for i, colour in enumerate(palette.fractions(len(fractions))):
            shift = spread * (i - (len(fractions) - 1) / 2)
            _draw_fraction(ax, evidence, fractions[i], places, shift, colour, _MARKERS[i % 6])
        if gap:
            ax.axvline(len(study.tuned_depths) - 0.5 + gap / 2, color="#999999", ls=":", lw=1)
        ax.set_xticks(list(places.values()), [study.label(d) for d in places])
        if (
            sum(len(study.label(depth)) for depth in places) > 80
        ):  # characters that fit side by side
            ax.tick_params(axis="x", labelrotation=45)
            for text in ax.get_xticklabels():
                text.set(ha="right", rotation_mode="anchor")
        ax.set_xlim(-0.6, max(places.values()) + 0.6)
        ax.grid(visible=False, axis="x")
        ax.set_xlabel("Tuned stages (shallow to deep)")
        ax.set_ylabel(f"Test {study.metric.title}")
        ax.legend(title="Training data", loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=6)

    description = (
        f"Test {study.metric.title} by tuning depth and training fraction, with 95% intervals."
    )
    return Drawing("metric_by_depth", description, _drawn((_WIDTH, 4.6), 1, draw))


def _draw_fraction(ax, evidence: Evidence, fraction, places, shift, colour, marker) -> None:
    study = evidence.study
    known = [d for d in places if evidence.has(d, fraction)]
    intervals = {d: evidence.test(d, fraction) for d in known}
    tuned = [d for d in known if not study.is_scratch(d)]
    ax.plot(
        [places[d] + shift for d in tuned],
        [intervals[d].estimate for d in tuned],
        color=colour,
        lw=1.2,
        alpha=0.8,
    )
    x = np.array([places[d] + shift for d in known])
    estimate, low, high = np.array([intervals[d] for d in known]).T
    ax.errorbar(
        x,
        estimate,
        yerr=[np.maximum(estimate - low, 0), np.maximum(high - estimate, 0)],
        fmt=marker,
        ms=5,
        lw=1.2,
        capsize=2,
        color=colour,
        label=fraction_name(fraction),
    )
    seeds = [
        (places[d] + shift + 0.035, run.result["test"])
        for d in known
        for run in study.cell(d, fraction)
        if len(study.cell(d, fraction)) > 1
    ]
    ax.scatter(
        *np.array(seeds).reshape(-1, 2).T, s=6, color=colour, alpha=0.6, linewidths=0, zorder=1
    )


_GRID = np.linspace(0, 1, 401)


def mean_roc(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Sensitivity [401] on a grid of false positive rates, averaged over seeds and classes.

    Args: labels [N]; scores [S, N, C], of which two classes mean one curve, of class 1.
    """
    classes = range(scores.shape[2]) if scores.shape[2] > 2 else (1,)
    curves = []
    for seed in scores:
        for c in classes:
            curve = roc_points(labels == c, seed[:, c])
            curves.append(np.interp(_GRID, curve.false_positive_rate, curve.sensitivity))
    return np.mean(curves, axis=0)


def roc_curves(evidence: Evidence) -> Drawing:
    """ROC curves at the largest and the smallest fraction."""
    study = evidence.study
    known = [f for f in study.fractions if f in evidence.recommendations] or study.fractions[:1]
    fractions = list(dict.fromkeys([known[0], known[-1]]))

    def draw(*axes: Axes) -> None:
        for ax, fraction in zip(axes, fractions, strict=True):
            ax.plot([0, 1], [0, 1], color=palette.FAINT, lw=0.8)
            for depth, name, (colour, style) in palette.cast(evidence, fraction):
                assert study.test is not None
                curve = mean_roc(study.test.labels, evidence.scores((depth, fraction)))
                value = evidence.test(depth, fraction).estimate
                ax.plot(
                    np.append(0, _GRID),
                    np.append(0, curve),
                    color=colour,
                    ls=style,
                    lw=1.6,
                    label=f"{name}: {value:.3f}",
                )
            ax.set(xlabel="False positive rate", ylabel="Sensitivity", aspect="equal")
            ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
            ax.set_title(f"{fraction_name(fraction)} of the training data", fontsize=10)
            ax.legend(loc="lower right", fontsize=8, title=study.metric.title, title_fontsize=8)

    size = (4.7 * len(fractions), 4.8)
    description = "ROC curves of the recommended, shallowest and deepest depth and of scratch."
    return Drawing("roc", description, _drawn(size, len(fractions), draw))


def convergence(evidence: Evidence) -> Drawing:
    """Validation metric by mini-batch at the largest fraction, log axis."""
    study, fraction = evidence.study, evidence.main_fraction or evidence.study.fractions[0]

    def draw(ax: Axes) -> None:
        for depth, name, (colour, style) in palette.cast(evidence, fraction):
            histories = [r.history for r in study.cell(depth, fraction) if len(r.history)]
            for history in histories:
                ax.plot(*history.T, color=colour, ls=style, lw=0.6, alpha=0.35)
            if histories:
                ax.plot(*_mean_history(histories).T, color=colour, ls=style, lw=1.8, label=name)
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set_xlabel("Mini-batches")
        ax.set_ylabel(f"Validation {study.metric.title}")
        ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=9)

    description = f"Validation {study.metric.title} against the number of mini-batches."
    return Drawing("convergence", description, _drawn((_WIDTH, 4.0), 1, draw))


def _mean_history(histories: list[np.ndarray]) -> np.ndarray:
    """Mean over seeds where all of them still trained."""
    start = max(history[0, 0] for history in histories)
    stop = min(history[-1, 0] for history in histories)
    steps = np.unique(np.concatenate([history[:, 0] for history in histories]))
    steps = steps[(steps >= start) & (steps <= stop)]
    values = np.mean([np.interp(steps, *history.T) for history in histories], axis=0)
    return np.stack([steps, values], axis=1)


def has_history(study: StudyResults) -> bool:
    return any(len(run.history) for run in study.runs)
