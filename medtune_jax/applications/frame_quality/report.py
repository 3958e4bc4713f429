"""The report's sections on frame quality: networks against the hand-crafted judge, worst mistakes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from medtune_jax.applications.frame_quality.files import (
    BASELINE,
    FRAMES,
    PICTURES,
    SUMMARY,
    picture_of,
)
from medtune_jax.errors import UserError
from medtune_jax.evaluation import AUC, difference, interval, log_odds
from medtune_jax.evaluation.intervals import Difference, Interval, holm
from medtune_jax.evaluation.roc import FALSE_POSITIVE_RATES, roc_points, sensitivity_at
from medtune_jax.report import markup, palette
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.figures import Drawing, fraction_name
from medtune_jax.report.section import Section

_SHOWN, _ACROSS = 18, 6
_GRID = np.linspace(0, 1, 801)


class FrameScores(NamedTuple):
    """Frames in the order of their names, each [F]; values [S, F] by seed."""

    names: np.ndarray
    videos: np.ndarray
    labels: np.ndarray
    values: np.ndarray


class Judged(NamedTuple):
    """How well one judge tells informative frames: figures with 95% intervals over test videos."""

    auc: Interval
    sensitivity: list[Interval]
    gain: Difference | None  # AUC minus that of the hand-crafted judge, paired


def against_baseline(evidence: Evidence) -> Section | None:
    """ROC by frame, and each depth's distance to the hand-crafted judge, by training fraction."""
    fractions = [f for f in evidence.study.fractions if f in evidence.recommendations]
    if not fractions:
        return None
    folder = evidence.study.directory / "application"
    summary = json.loads(_content(folder / SUMMARY))
    baselines = _read_baseline(folder)
    shown = list(dict.fromkeys([fractions[0], fractions[-1]]))
    drawing = _roc_drawing(evidence, shown, baselines)
    caption = (
        f"A frame's score is the mean probability of its {summary['crops']} random crops; the same "
        f"{summary['test_frames']} frames of {summary['test_videos']} test videos for every judge. "
        "Mean over seeds; bars are 95% intervals by bootstrap over videos at false positive rates "
        "0.10, 0.15 and 0.20, set a little apart. Hand-crafted: random forest on each cell's DCT "
        "reconstruction error, trained on the frames that the networks were given."
    )
    parts = [markup.figure(drawing, caption)]
    parts += [_table(evidence, fraction, baselines.get(fraction)) for fraction in fractions]
    parts.append(
        markup.paragraph(
            "Difference: AUC minus that of the hand-crafted judge, by paired bootstrap over videos; p "
            "is corrected (Holm) for the depths of a table.",
            "note",
        )
    )
    if summary["left_out"]:
        parts.append(
            markup.paragraph(
                f"{summary['left_out']} frames of unknown quality were left out.", "note"
            )
        )
    return Section("Frame quality against the hand-crafted judge", markup.join(parts), [drawing])


def worst_frames(evidence: Evidence) -> Section | None:
    """The test frames that the recommended depth gets most wrong."""
    fraction = evidence.main_fraction
    if fraction is None:
        return None
    depth = evidence.recommendations[fraction].depth
    scores = cell_scores(evidence, (depth, fraction))
    mean = log_odds.probabilities(scores.values).mean(0)
    order = np.argsort(-np.abs(scores.labels - mean), kind="stable")[:_SHOWN]
    folder = evidence.study.directory / "application"
    frames = _rows(folder / FRAMES)  # in the order of names, as the scores are
    sheet = _decoded(folder / PICTURES)
    pictures = [
        picture_of(sheet, i, int(frames[i]["height"]), int(frames[i]["width"])) for i in order
    ]
    drawing = _montage(pictures, scores, mean, order)
    wrong = int(((mean > 0.5) != (scores.labels == 1)).sum())
    caption = (
        f"Frames in order of their error under {evidence.study.label(depth)} with "
        f"{fraction_name(fraction)} of the training frames (mean of "
        f"{len(scores.values)} seeds): probability of being informative, and the truth. At 0.5, "
        f"{wrong} of {len(mean)} frames fall on the wrong side."
    )
    return Section("Frames most wrong", markup.figure(drawing, caption), [drawing])


SECTIONS = (against_baseline, worst_frames)


def cell_scores(evidence: Evidence, cell: tuple[str, float]) -> FrameScores:
    """Log-odds of being informative of each test frame, by seed."""
    test = evidence.study.test
    assert test is not None
    return FrameScores(test.names, test.groups, test.labels, evidence.scores(cell)[:, :, 1])


def judge(scores: FrameScores, baseline: np.ndarray | None) -> Judged:
    """Figures of one judge, and its difference to baseline scores [S', F] of the same frames."""
    labels, videos = scores.labels, scores.videos
    own = log_odds.two_sided(scores.values)
    other = None if baseline is None else log_odds.two_sided(baseline)
    return Judged(
        interval(AUC, labels, own, videos),
        sensitivity_at(labels, scores.values, videos),
        None if other is None else difference(AUC, labels, own, other, videos),
    )


def _table(evidence: Evidence, fraction: float, baseline: np.ndarray | None) -> Markup:
    depths = [d for d in evidence.study.depths if evidence.has(d, fraction)]
    cells = [cell_scores(evidence, (depth, fraction)) for depth in depths]
    judged = [judge(scores, baseline) for scores in cells]
    gains = [j.gain for j in judged if j.gain is not None]
    corrected = holm([gain.p for gain in gains]) if gains else [None] * len(judged)
    rows = [
        _row(evidence.study.label(depth), j, p)
        for depth, j, p in zip(depths, judged, corrected, strict=True)
    ]
    if baseline is not None:
        rows.append(_row("hand-crafted", judge(cells[0]._replace(values=baseline), None), None))
    head = (
        f"{fraction_name(fraction)} of the training frames",
        "AUC",
        *(f"Sensitivity at FPR {rate:.2f}" for rate in FALSE_POSITIVE_RATES),
        "Difference",
        "p",
    )
    return markup.table(head, rows, "numbers stacked")


def _row(name: str, judged: Judged, p: float | None) -> tuple:
    gain = judged.gain
    return (
        name,
        markup.interval(judged.auc),
        *map(markup.interval, judged.sensitivity),
        markup.interval(Interval(*gain[:3]) if gain else None),
        "–" if p is None else markup.p_value(p),
    )


def _roc_drawing(
    evidence: Evidence, fractions: Sequence[float], baselines: Mapping[float, np.ndarray]
) -> Drawing:
    figure = Figure(figsize=(4.9 * len(fractions), 4.9), layout="constrained")
    for ax, fraction in zip(
        np.atleast_1d(figure.subplots(1, len(fractions))), fractions, strict=True
    ):
        judges = {
            label: (cell_scores(evidence, (depth, fraction)), line)
            for depth, label, line in palette.cast(evidence, fraction)
        }
        if fraction in baselines:
            any_scores = next(iter(judges.values()))[0]
            scores = any_scores._replace(values=baselines[fraction])
            judges["hand-crafted"] = (scores, palette.ROLES["hand-crafted"])
        _draw_roc(ax, judges)
        ax.set_title(f"{fraction_name(fraction)} of the training frames", fontsize=10)
    description = "ROC curves by frame of the depths and of the hand-crafted judge."
    return Drawing("frame_quality_roc", description, figure)


def _draw_roc(ax: Axes, judges: Mapping[str, tuple[FrameScores, palette.Line]]) -> None:
    for number, (name, (scores, (colour, style))) in enumerate(judges.items()):
        curves = [roc_points(scores.labels, values) for values in scores.values]
        mean = np.mean(
            [np.interp(_GRID, c.false_positive_rate, c.sensitivity) for c in curves], axis=0
        )
        ax.plot(np.append(0, _GRID), np.append(0, mean), color=colour, ls=style, lw=1.6, label=name)
        found = sensitivity_at(scores.labels, scores.values, scores.videos)
        estimate, low, high = np.array(found).T
        ax.errorbar(
            np.array(FALSE_POSITIVE_RATES) + 0.005 * (number - (len(judges) - 1) / 2),
            estimate,
            yerr=[np.maximum(estimate - low, 0), np.maximum(high - estimate, 0)],
            fmt="none",
            ecolor=colour,
            elinewidth=1,
            capsize=1.5,
        )
    ax.set(xlabel="False positive rate", ylabel="Sensitivity")
    ax.set(xlim=(-0.005, 0.5), ylim=(0, 1.01))  # nobody works where half of the bad frames pass
    ax.grid(color=palette.GRID, lw=0.7)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(loc="lower right", fontsize=8, frameon=False)


def _montage(
    pictures: Sequence[np.ndarray], scores: FrameScores, mean: np.ndarray, order: np.ndarray
) -> Drawing:
    down = -(-len(pictures) // _ACROSS)
    figure = Figure(figsize=(10.8, 1.75 * down), layout="constrained")
    axes = np.ravel(figure.subplots(down, _ACROSS, squeeze=False))
    for ax in axes:
        ax.set_axis_off()
    for ax, picture, i in zip(axes, pictures, order, strict=False):
        ax.imshow(picture)
        truth = "informative" if scores.labels[i] else "not informative"
        wrong = (mean[i] > 0.5) != bool(scores.labels[i])
        ax.set_title(
            f"{scores.names[i]}\n{mean[i]:.2f}, truth: {truth}",
            fontsize=7.5,
            color="#9a3f00" if wrong else "#222222",
        )
    description = "Test frames in order of the error of their score, with score and truth."
    return Drawing("frames_most_wrong", description, figure)


def _read_baseline(folder: Path) -> dict[float, np.ndarray]:
    """Hand-crafted scores [S, F] by training fraction, frames in the order of their names."""
    found: dict[float, dict[int, list[tuple[str, float]]]] = {}
    for row in _rows(folder / BASELINE):
        seeds = found.setdefault(float(row["fraction"]), {})
        seeds.setdefault(int(row["seed"]), []).append((row["frame"], float(row["score"])))
    return {
        fraction: np.array([[score for _, score in sorted(rows)] for rows in seeds.values()])
        for fraction, seeds in found.items()
    }


def _rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(_content(path).decode(), newline="")))


def _decoded(path: Path) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(_content(path))).convert("RGB"))


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise UserError(f"{path} is missing: run the sweep again, it is written at its start.")
    return path.read_bytes()
