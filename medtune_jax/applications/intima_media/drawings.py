"""The report's figures on boundaries: boxplots, examples, Bland-Altman."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator
from numpy.typing import NDArray

from medtune_jax.applications.intima_media.contours import Contours
from medtune_jax.applications.intima_media.scan import traced
from medtune_jax.datasets.carotid.roi import Roi
from medtune_jax.evaluation.boundary import BlandAltman
from medtune_jax.report import palette
from medtune_jax.report.figures import Drawing, bounds

_LI, _MA, _STEP, _TRUTH = palette.ORANGE, palette.BLUE, palette.VERMILION, palette.GREEN
_CONFIDENCE_LI, _CONFIDENCE_MA = np.array([1.0, 0.84, 0.0]), np.array([0.24, 0.7, 1.0])


def boxplots(errors: Mapping[str, tuple[NDArray, NDArray]], unit: str) -> Drawing:
    """One box a method for LI and for MA, {method: (LI errors, MA errors)}; a log axis."""
    figure = Figure(figsize=(9.0, 4.6), layout="constrained")
    ax = figure.subplots()
    for offset, which, colour in ((-0.19, 0, _LI), (0.19, 1, _MA)):
        ax.boxplot(
            [pair[which] for pair in errors.values()],
            positions=np.arange(len(errors)) + offset,
            widths=0.32,
            whis=1.5,
            patch_artist=True,
            boxprops={"facecolor": colour, "alpha": 0.55, "edgecolor": colour},
            medianprops={"color": "black"},
            whiskerprops={"color": colour},
            capprops={"color": colour},
            flierprops={"marker": "o", "markersize": 3, "markeredgecolor": colour},
        )
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter("")
    ax.set_ylabel(f"Error of a region ({unit}, log axis)")
    ax.set_xticks(range(len(errors)), list(errors), rotation=30, ha="right", rotation_mode="anchor")
    ax.grid(axis="y", color=palette.GRID, which="both", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    handles = [Line2D([], [], color=colour, lw=6, alpha=0.55) for colour in (_LI, _MA)]
    names = ("lumen-intima", "media-adventitia")
    ax.legend(handles, names, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return Drawing("boundary_error", "Boxplots of the boundary error by method.", figure)


def examples(regions: Sequence[tuple[Roi, NDArray, Contours]]) -> Drawing:
    """A row a region: image with truth, confidence, step lines, snakes (each beside the truth)."""
    figure = Figure(figsize=(11.0, 1.85 * len(regions) + 0.25), layout="constrained")
    grid = figure.subplots(len(regions), 4, squeeze=False)
    for row, (roi, maps, contours) in zip(grid, regions, strict=True):
        columns = traced(roi)
        for ax in row[[0, 2, 3]]:
            ax.imshow(roi.image, cmap="gray", vmin=0, vmax=255)
        _lines(row[0], columns, (roi.li[columns], roi.ma[columns]), _TRUTH)
        row[1].imshow(_confidence(roi, maps))
        _lines(row[2], columns, (contours.step_li, contours.step_ma), _STEP)
        for ax in row[2:]:
            _lines(ax, columns, (roi.li[columns], roi.ma[columns]), _TRUTH, lw=1.0, ls=(0, (3, 2)))
        _lines(row[3], columns, (contours.li,), _LI)
        _lines(row[3], columns, (contours.ma,), _MA)
        for ax in row:
            ax.set_xticks([])
            ax.set_yticks([])
    titles = ("region, expert", "confidence", "step lines, expert dashed", "snakes, expert dashed")
    for ax, title in zip(grid[0], titles, strict=True):
        ax.set_title(title, fontsize=9)
    return Drawing("contours", "Confidence maps, step lines and snakes beside the truth.", figure)


def bland_altman(network: NDArray, expert: NDArray, limits: BlandAltman, unit: str) -> Drawing:
    """Difference against mean of two measurements [N], with bias and limits of agreement."""
    figure = Figure(figsize=(7.0, 4.0), layout="constrained")
    ax = figure.subplots()
    ax.scatter((network + expert) / 2, network - expert, s=18, color=_MA, alpha=0.8, linewidths=0)
    for place, (interval, name, style) in enumerate(
        (
            (limits.bias, "bias", "-"),
            (limits.lower, "lower limit", "--"),
            (limits.upper, "upper limit", "--"),
        )
    ):
        estimate, low, high = bounds([interval])[:, 0]
        ax.axhline(estimate, color="#444444", ls=style, lw=1)
        # Intervals of few subjects overlap: side by side, at the right edge.
        ax.plot(
            [1.02 + 0.02 * place] * 2,
            [low, high],
            transform=ax.get_yaxis_transform(),
            color="#777777",
            lw=3,
            solid_capstyle="butt",
            clip_on=False,
        )
        ax.annotate(
            f"{name} {estimate:+.1f}",
            (1.09, estimate),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=8,
        )
    ax.axhline(0, color=palette.FAINT, lw=0.8)
    ax.set_xlabel(f"Mean of network and expert ({unit})")
    ax.set_ylabel(f"Network - expert ({unit})")
    ax.spines[["top", "right"]].set_visible(False)
    return Drawing("thickness_agreement", "Bland-Altman plot of intima-media thickness.", figure)


def _lines(ax: Axes, columns: NDArray, contours: Sequence[NDArray], colour: str, **style) -> None:
    for rows in contours:
        ax.plot(columns, rows, color=colour, **{"lw": 1.3, **style})


def _confidence(roi: Roi, maps: NDArray) -> NDArray:
    """Both maps [2, H, W] as light of two colours, RGB [H, image's W, 3]; untraced columns black."""
    light = maps[0][..., None] * _CONFIDENCE_LI + maps[1][..., None] * _CONFIDENCE_MA
    picture = np.zeros((*roi.image.shape, 3))
    picture[:, traced(roi)] = np.clip(light, 0, 1)
    return picture
