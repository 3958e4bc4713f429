"""The report's figures, drawn once: SVG within the page; PNG, SVG and PDF beside it, for slides and papers."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from medtune_jax.evaluation.metric import Metric
from medtune_jax.evaluation.readers import Estimate
from medtune_jax.evaluation.roc import GRID, mean_precision, mean_roc
from medtune_jax.paths import write_whole
from medtune_jax.report import palette
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.merit import Merit

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
    "pdf.fonttype": 42,  # text stays text, as journals want it
    "svg.hashsalt": "medtune",  # the same figure gives the same bytes
}
KINDS = ("svg", "png", "pdf")
# What a file would say of its maker and time.
_CLOCKS = {"png": ("Software",), "svg": ("Date", "Creator"), "pdf": ("CreationDate", "Producer")}
_MARKERS = "osD^vP"
_WIDTH = 9.0
_GAP = 0.6  # between depths and what is none, in steps of depth


@dataclass(frozen=True)
class Drawing:
    """A figure's file name (without suffix), a sentence for those who cannot see it, and itself."""

    name: str
    description: str
    figure: Figure

    def save(self, folder: Path, kinds: Sequence[str] = ()) -> None:
        """NAME.KIND of each kind, by default of KINDS, whole; the same figure gives the same bytes."""
        for kind in kinds or KINDS:
            made = self._as_svg if kind == "svg" else self._saved(kind)
            write_whole(folder / f"{self.name}.{kind}", made)

    @cached_property
    def _as_svg(self) -> bytes:
        made = self._saved("svg")
        self.figure.set_layout_engine("none")  # it is laid out now; the next kinds need not
        return made

    def _saved(self, kind: str) -> bytes:
        stream = io.BytesIO()
        with mpl.rc_context(_STYLE):
            self.figure.savefig(stream, format=kind, metadata=dict.fromkeys(_CLOCKS[kind]))
        return stream.getvalue()

    def svg(self) -> Markup:
        """Inline SVG without prologue, metadata or reference to anything outside."""
        text = self._as_svg.decode()
        text = text[text.index("<svg") :]
        text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
        # Several figures share a page: what one defines must not be found by another.
        text = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{self.name}-", text)
        label = f'<svg role="img" aria-label="{escape(self.description)}" '
        return Markup(text.replace("<svg ", label, 1))


def drawn(size: tuple[float, float], columns: int, draw: Callable[..., None]) -> Figure:
    """A figure of a row of axes, which `draw` is called on, in the page's style."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        draw(*np.atleast_1d(figure.subplots(1, columns)))
        return figure


def fraction_name(fraction: float) -> str:
    return f"{100 * fraction:.3g}%"


def by_depth(evidence: Evidence) -> Drawing:
    """Test metric by depth, one line a fraction, with intervals and single seeds."""
    study = evidence.study
    # Scratch, and other ways to tune, are no points on the scale of depths: they stand apart and no line leads to them.
    apart = {depth: _GAP * n for n, group in enumerate(study.groups) for depth in group}
    places = {depth: i + apart[depth] for i, depth in enumerate(study.depths)}
    borders = [places[group[-1]] + (1 + _GAP) / 2 for group in study.groups[:-1]]
    fractions = [f for f in study.fractions if any(evidence.has(d, f) for d in study.depths)]
    spread = 0.11 if len(fractions) <= 4 else 0.09

    def draw(ax: Axes) -> None:
        for i, colour in enumerate(palette.fractions(len(fractions))):
            shift = spread * (i - (len(fractions) - 1) / 2)
            beside = {depth: place + shift for depth, place in places.items()}
            _draw_fraction(ax, evidence, fractions[i], beside, colour, _MARKERS[i % 6])
        for border in borders:
            ax.axvline(border, color="#999999", ls=":", lw=1)
        ax.set_xticks(list(places.values()), [study.label(d) for d in places])
        _slanted_if_long(ax, [study.label(d) for d in places])
        ax.set_xlim(-0.6, max(places.values()) + 0.6)
        ax.grid(visible=False, axis="x")
        ax.set_xlabel("Tuned stages (shallow to deep)")
        ax.set_ylabel(f"Test {study.metric.title}")
        ax.legend(title="Training data", loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=6)

    description = (
        f"Test {study.metric.title} by tuning depth and training fraction, with 95% intervals."
    )
    return Drawing("metric_by_depth", description, drawn((_WIDTH, 4.6), 1, draw))


def map_of_study(evidence: Evidence) -> Drawing:
    """The answer's figure as a map: a column a depth, a row a size of the training set, the depth to use framed."""
    study, merit = evidence.study, evidence.merit
    depths = [depth for group in study.groups for depth in group]
    borders = np.cumsum([len(group) for group in study.groups])[:-1]
    fractions = [f for f in study.fractions if f in evidence.recommendations]
    cells = [[(depth, fraction) for depth in depths] for fraction in fractions]
    values = np.array(
        [[merit.readings(c).mean if evidence.has(*c) else np.nan for c in row] for row in cells]
    )
    colours = mpl.colormaps["cividis" if merit.sign > 0 else "cividis_r"]

    def draw(ax: Axes) -> None:
        ax.pcolormesh(values, cmap=colours, edgecolors="white", linewidth=1.5)
        _write_values(ax, values, merit)
        for row, fraction in enumerate(fractions):
            column = depths.index(evidence.recommendations[fraction].depth)
            frame = Rectangle(
                (column, row), 1, 1, fill=False, ec=palette.VERMILION, lw=2.5, zorder=3
            )
            ax.add_patch(frame).set_clip_on(False)
        for border in borders:
            ax.axvline(border, color="white", lw=6)
        ax.set_xticks(np.arange(len(depths)) + 0.5, [study.label(d) for d in depths])
        ax.set_yticks(np.arange(len(fractions)) + 0.5, [fraction_name(f) for f in fractions])
        _slanted_if_long(ax, [study.label(d) for d in depths])
        ax.set(xlabel="Tuned stages (shallow to deep)", ylabel="Training data")
        ax.grid(visible=False)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.invert_yaxis()

    unit = f", {merit.unit}" if merit.unit else ""
    description = (
        f"Test {merit.title}{unit} by tuned stages and size of the training set; the recommended depth of each size is "
        "framed."
    )
    height = 1.7 + 0.42 * len(fractions)
    return Drawing("map", description, drawn((_WIDTH, height), 1, draw))


def _write_values(ax: Axes, values: np.ndarray, merit: Merit) -> None:
    """Each value of a map in its square, white on dark ones; none where there is none."""
    middle = (np.nanmin(values) + np.nanmax(values)) / 2
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            dark = (value - middle) * merit.sign < 0
            ax.text(
                *(column + 0.5, row + 0.5, f"{value:.{merit.digits}f}"),
                color="white" if dark else "black",
                ha="center",
                va="center",
                fontsize=8.5,
            )


def _slanted_if_long(ax: Axes, labels: Sequence[str]) -> None:
    """Labels of the axis of depths, where they do not fit side by side."""
    if sum(map(len, labels)) <= 80:  # characters
        return
    ax.tick_params(axis="x", labelrotation=45)
    for text in ax.get_xticklabels():
        text.set(ha="right", rotation_mode="anchor")


def _draw_fraction(
    ax: Axes,
    evidence: Evidence,
    fraction: float,
    places: dict[str, float],
    colour: Any,
    marker: str,
) -> None:
    intervals = {d: evidence.test(d, fraction) for d in places if evidence.has(d, fraction)}
    tuned = evidence.known_tuned(fraction)
    means = [evidence.metric.readings((d, fraction)).mean for d in tuned]
    ax.plot([places[d] for d in tuned], means, color=colour, lw=1.2, alpha=0.8)
    style = {"fmt": marker, "ms": 5, "lw": 1.2, "capsize": 2, "color": colour}
    known = [places[d] for d in intervals]
    error_bars(ax, known, list(intervals.values()), **style, label=fraction_name(fraction))
    seeds = [
        (places[d] + 0.035, test)
        for d, tests in evidence.test_by_seed(fraction).items()
        for test in tests.values()
        if len(tests) > 1
    ]
    x, y = np.array(seeds).reshape(-1, 2).T
    ax.scatter(x, y, s=6, color=colour, alpha=0.6, linewidths=0, zorder=1)


def error_bars(
    ax: Axes, x: Sequence[float] | np.ndarray, intervals: Sequence[Estimate], **style: Any
) -> None:
    """Estimates at places x, with upright bars where they have an interval. style: for `errorbar`."""
    estimate, low, high = bounds(intervals)
    reach = np.maximum([estimate - low, high - estimate], 0)
    ax.errorbar(x, estimate, yerr=reach, **{"lw": 1, "capsize": 1.5, **style})


def bounds(intervals: Sequence[Estimate]) -> np.ndarray:
    """Estimates, lower and upper ends [3, T] to be drawn: NaN, which draws nothing, where there is none."""
    return np.array([[x.estimate, x.low, x.high] for x in intervals], float).T


class Curve(NamedTuple):
    """A curve behind a metric: `points` gives its height on `GRID`, `metric` is the name of the area under it."""

    name: str
    title: str
    metric: str
    x: str
    y: str
    points: Callable[[Metric, np.ndarray, np.ndarray], np.ndarray]


ROC = Curve("roc", "ROC curves", "auc", "False positive rate", "Sensitivity", mean_roc)
PRECISION_RECALL = Curve(
    *("precision_recall", "Precision-recall curves", "auprc", "Sensitivity (recall)", "Precision"),
    mean_precision,
)


def curves(evidence: Evidence, kind: Curve) -> Drawing:
    """A kind of curve at the largest and the smallest fraction.

    Its legend gives the test metric where that is the area under the curve.
    """
    study, roc = evidence.study, kind is ROC
    fractions = evidence.shown_fractions
    area = study.metric.name == kind.metric

    def draw(*axes: Axes) -> None:
        for ax, fraction in zip(axes, fractions, strict=True):
            if roc:
                ax.plot([0, 1], [0, 1], color=palette.FAINT, lw=0.8)
            for depth, name, (colour, style) in palette.cast(evidence, fraction):
                height = kind.points(
                    study.metric, evidence.labels, evidence.judged((depth, fraction))
                )
                label = f"{name}: {evidence.test(depth, fraction).estimate:.3f}" if area else name
                x, y = ([0, 0], [0, height[0]]) if roc else ([], [])
                ax.plot([*x, *GRID], [*y, *height], color=colour, ls=style, lw=1.6, label=label)
            ax.set(xlabel=kind.x, ylabel=kind.y, aspect="equal")
            ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
            ax.set_title(f"{fraction_name(fraction)} of the training data", fontsize=10)
            title = study.metric.title if area else None
            ax.legend(
                loc="lower right" if roc else "lower left",
                fontsize=8,
                title=title,
                title_fontsize=8,
            )

    size = (4.7 * len(fractions), 4.8)
    ways = ", of other ways to tune" if study.way_depths else ""
    description = (
        f"{kind.title} of the recommended, shallowest and deepest depth{ways} and of scratch."
    )
    return Drawing(kind.name, description, drawn(size, len(fractions), draw))


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
    return Drawing("convergence", description, drawn((_WIDTH, 4.0), 1, draw))


def _mean_history(histories: list[np.ndarray]) -> np.ndarray:
    """Mean over seeds where all of them still trained."""
    start = max(history[0, 0] for history in histories)
    stop = min(history[-1, 0] for history in histories)
    steps = np.unique(np.concatenate([history[:, 0] for history in histories]))
    steps = steps[(steps >= start) & (steps <= stop)]
    values = np.mean([np.interp(steps, *history.T) for history in histories], axis=0)
    return np.stack([steps, values], axis=1)
