"""Drawings of the reviewer's sections: reliability curves, the confusion matrix, sub-groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from medtune_jax.evaluation.classification import BINS, Bin
from medtune_jax.evaluation.readers import Estimate
from medtune_jax.report import palette
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.figures import Drawing, bounds, drawn

_WIDTH = 9.0


def reliability(evidence: Evidence, fraction: float) -> Drawing:
    """Reliability curves of the shown depths, and how many test images have which probability.

    Of several binary tasks the bins of all together.
    """
    shown = palette.cast(evidence, fraction)

    def draw(curve: Axes, counts: Axes) -> None:
        curve.plot([0, 1], [0, 1], color=palette.FAINT, lw=1, ls=":")
        edges = np.arange(BINS + 1) / BINS
        for place, part in enumerate(shown):
            made = evidence.classification((part.depth, fraction))
            tasks = [made.reliability(task) for task in range(len(made.tasks))]
            images, probability, share = _pooled(tasks)
            colour, style = part.line
            counts.stairs(images.sum(axis=0), edges, color=colour, ls=style, lw=1.5)
            known = images.sum(axis=0) > 0
            total = np.where(known, images.sum(axis=0), 1)
            x = ((images * probability).sum(axis=0) / total)[known]
            y = ((images * share).sum(axis=0) / total)[known]
            curve.plot(x, y, color=colour, ls=style, lw=1.3, label=part.label)
            size = 12 + 90 * np.sqrt(total[known] / total.max())
            curve.scatter(x, y, s=size * 0.6, color=colour, linewidths=0, alpha=0.8)
            if len(tasks) == 1:
                _, low, high = bounds([one.share for one in tasks[0]])[:, known]
                shift = 0.004 * (place - (len(shown) - 1) / 2)
                curve.vlines(x + shift, low, high, color=colour, lw=1, alpha=0.7)
        curve.set(
            xlabel="Probability",
            ylabel="Share of positives",
            xlim=(-0.02, 1.02),
            ylim=(-0.02, 1.02),
        )
        curve.legend(loc="upper left", fontsize=8)
        counts.set(
            xlabel="Probability", ylabel=f"Test {evidence.study.words.cases}", xlim=(-0.02, 1.02)
        )
        counts.set_ylim(bottom=0)

    description = "Share of positives against the probability, and how many test images have which."
    return Drawing("reliability", description, drawn((_WIDTH, 4.2), 2, draw))


def _pooled(tasks: Sequence[Sequence[Bin]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """images, probability, share [K, BINS] of K tasks; 0 where a bin is empty."""
    rows = [
        [(b.images, b.probability or 0.0, b.share.estimate or 0.0) for b in task] for task in tasks
    ]
    images, probability, share = np.moveaxis(np.array(rows, float), -1, 0)
    return images, probability, share


def confusion(matrix: np.ndarray, classes: Sequence[str]) -> Drawing:
    """Mean numbers of images [C, C] by true class (rows) and class called (columns), shaded by their share of a row."""
    size, total = len(classes), matrix.sum(axis=1, keepdims=True)
    share = matrix / np.where(total > 0, total, 1)
    long = max(map(len, classes)) > 8

    def draw(ax: Axes) -> None:
        colours = mpl.colors.LinearSegmentedColormap.from_list("blue", ["#ffffff", palette.BLUE])
        edges = np.arange(size + 1) - 0.5
        ax.pcolormesh(edges, edges, share, cmap=colours, vmin=0, vmax=1, edgecolors="white", lw=1)
        ax.set(aspect="equal", ylim=(size - 0.5, -0.5))
        ax.grid(visible=False)
        for row, column in np.ndindex(share.shape):
            dark = share[row, column] > 0.55
            number = f"{matrix[row, column]:.1f}".removesuffix(".0")
            ax.text(
                column,
                row,
                f"{number}\n{share[row, column]:.0%}" if size <= 12 else number,
                ha="center",
                va="center",
                fontsize=9 if size <= 6 else 7,
                color="white" if dark else palette.TEXT,
            )
        ax.set_xticks(
            range(size), classes, rotation=30 if long else 0, ha="right" if long else "center"
        )
        ax.set_yticks(range(size), classes)
        ax.tick_params(length=0)
        ax.set_anchor("W")
        ax.set(xlabel="Called", ylabel="True class")
        for spine in ax.spines.values():
            spine.set_visible(False)

    side = min(0.6 * size + 1.6, _WIDTH)
    description = "Test images by true class and by the class they are called."
    return Drawing("confusion", description, drawn((_WIDTH, side), 1, draw))


def subgroups(found: Mapping[tuple[str, str], Estimate], whole: Estimate, title: str) -> Drawing:
    """The metric in every sub-group (column, value), one below the other, with intervals."""
    columns = list(dict.fromkeys(column for column, _ in found))
    places, labels, at = [], [], 0.0
    for column in columns:
        for _, value in (key for key in found if key[0] == column):
            places.append(at)
            labels.append(f"{column}: {value}")
            at += 1
        at += 0.6

    def draw(ax: Axes) -> None:
        estimate, low, high = bounds(list(found.values()))
        if whole.estimate is not None:
            ax.axvline(whole.estimate, color=palette.AXES, lw=1, ls=":")
        reach = np.maximum([estimate - low, high - estimate], 0)
        ax.errorbar(
            estimate, places, xerr=reach, fmt="o", ms=5, lw=1.2, capsize=2, color=palette.BLUE
        )
        ax.set_yticks(places, labels)
        ax.set_ylim(at - 0.6 - 0.4, -0.6)
        ax.set_xlabel(f"Test {title}")
        ax.grid(visible=False, axis="y")

    size = (_WIDTH, 0.9 + 0.32 * at)
    return Drawing("subgroups", f"{title} by sub-group.", drawn(size, 1, draw))
