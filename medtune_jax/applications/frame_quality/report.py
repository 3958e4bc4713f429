"""The report's sections on frame quality: networks against the hand-crafted judge, worst mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medtune_jax.applications.drawings import clean, pictures
from medtune_jax.applications.frame_quality.baseline import read_baseline
from medtune_jax.applications.frame_quality.truth import read_pictures, read_summary
from medtune_jax.evaluation import AUC, Metric, difference, interval, log_odds
from medtune_jax.evaluation.intervals import holm
from medtune_jax.evaluation.readers import Estimate
from medtune_jax.evaluation.roc import FALSE_POSITIVE_RATES, GRID, mean_roc, sensitivity_at
from medtune_jax.evaluation.scores import TestSet
from medtune_jax.report import markup, palette
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.figures import Drawing, error_bars, fraction_name
from medtune_jax.report.merit import Cell
from medtune_jax.report.section import Section

_SHOWN, _ACROSS = 18, 6


class Judged(NamedTuple):
    """How well one judge tells informative frames: figures with 95% intervals over test videos."""

    merit: Estimate  # of the study's metric
    sensitivity: list[Estimate]
    gain: Estimate | None  # merit minus that of the hand-crafted judge, paired


def against_baseline(evidence: Evidence) -> Section | None:
    """ROC by frame, and each depth's distance to the hand-crafted judge, by training fraction."""
    fractions = list(evidence.recommendations)
    if not fractions:
        return None
    study = evidence.study
    summary, baselines = read_summary(study.directory), read_baseline(study.directory)
    drawing = _roc_drawing(evidence, evidence.shown_fractions, baselines)
    caption = (
        f"A frame's score is the mean probability of its {summary['crops']} random crops; the same "
        f"{summary['test_frames']} frames of {summary['test_videos']} test videos for every judge. "
        "Mean over seeds; bars are 95% intervals over videos and runs at false positive rates "
        "0.10, 0.15 and 0.20, set a little apart. Hand-crafted: random forest on each cell's DCT "
        "reconstruction error, trained on the frames that the networks were given."
    )
    parts = [markup.figure(drawing, caption)]
    parts += [_table(evidence, fraction, baselines.get(fraction)) for fraction in fractions]
    parts.append(
        markup.paragraph(
            f"Difference: {study.metric.title} minus that of the hand-crafted judge, paired by "
            "video; p is corrected (Holm) for the depths of a table.",
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
    depth, test = evidence.recommendations[fraction].depth, _test_set(evidence)
    by_seed = informative(evidence, (depth, fraction))
    mean = log_odds.probabilities(by_seed).mean(0)
    order = np.argsort(-np.abs(test.labels - mean), kind="stable")[:_SHOWN]
    drawing = _montage(read_pictures(evidence.study.directory, order), test, mean, order)
    wrong = int(((mean > 0.5) != (test.labels == 1)).sum())
    caption = (
        f"Frames in order of their error under {evidence.study.label(depth)} with "
        f"{fraction_name(fraction)} of the training frames (mean of "
        f"{len(by_seed)} seeds): probability of being informative, and the truth. At 0.5, "
        f"{wrong} of {len(mean)} frames fall on the wrong side."
    )
    return Section("Frames most wrong", markup.figure(drawing, caption), [drawing])


SECTIONS = (against_baseline, worst_frames)


def informative(evidence: Evidence, cell: Cell) -> np.ndarray:
    """Log-odds [S, F] of being informative, of each test frame by seed."""
    return evidence.scores(cell)[:, :, 1]


def judge(
    metric: Metric, test: TestSet, scores: np.ndarray, baseline: np.ndarray | None = None
) -> Judged:
    """Figures of scores [S, F] of the test frames, and the difference to a baseline's [S, F] of the same seeds."""
    labels, videos, one = test.labels, test.groups, log_odds.two_sided(scores)
    gain = None
    if baseline is not None:
        gain = difference(metric, labels, one, log_odds.two_sided(baseline), videos)
    merit = interval(metric, labels, one, videos)
    return Judged(merit, sensitivity_at(metric, labels, one, videos), gain)


def _test_set(evidence: Evidence) -> TestSet:
    test = evidence.study.test
    assert test is not None  # a fraction with results has scores
    return test


def _table(evidence: Evidence, fraction: float, baseline: np.ndarray | None) -> Markup:
    study, test = evidence.study, _test_set(evidence)
    depths = [d for d in study.depths if evidence.has(d, fraction)]
    judged = []
    for cell in ((depth, fraction) for depth in depths):
        rival = None if baseline is None else baseline[evidence.seeds(cell)]
        judged.append(judge(study.metric, test, informative(evidence, cell), rival))
    corrected = holm([j.gain.p if j.gain else None for j in judged])
    rows = [
        _row(study.label(depth), j, p)
        for depth, j, p in zip(depths, judged, corrected, strict=True)
    ]
    if baseline is not None:
        rows.append(_row("hand-crafted", judge(study.metric, test, baseline), None))
    head = (
        f"{fraction_name(fraction)} of the training frames",
        study.metric.title,
        *(f"Sensitivity at FPR {rate:.2f}" for rate in FALSE_POSITIVE_RATES),
        "Difference",
        "p",
    )
    figures = [x for j in judged for x in (j.merit, *j.sensitivity)]
    gains = markup.lacking((j.gain for j in judged), tested=True)
    parts = [markup.table(head, rows, "numbers stacked"), markup.lacking(figures), gains]
    return markup.join(part for part in parts if part)


def _row(name: str, judged: Judged, p: float | None) -> tuple:
    gain = judged.gain
    return (
        name,
        markup.interval(judged.merit),
        *map(markup.interval, judged.sensitivity),
        markup.difference(gain),
        markup.p_value(p),
    )


def _roc_drawing(
    evidence: Evidence, fractions: Sequence[float], baselines: Mapping[float, np.ndarray]
) -> Drawing:
    figure = Figure(figsize=(4.9 * len(fractions), 4.9), layout="constrained")
    for ax, fraction in zip(
        np.atleast_1d(figure.subplots(1, len(fractions))), fractions, strict=True
    ):
        judges = {
            label: (informative(evidence, (depth, fraction)), line)
            for depth, label, line in palette.cast(evidence, fraction)
        }
        if fraction in baselines:
            judges["hand-crafted"] = (baselines[fraction], palette.ROLES["hand-crafted"])
        _draw_roc(ax, _test_set(evidence), judges)
        ax.set_title(f"{fraction_name(fraction)} of the training frames", fontsize=10)
    description = "ROC curves by frame of the depths and of the hand-crafted judge."
    return Drawing("frame_quality_roc", description, figure)


def _draw_roc(
    ax: Axes, test: TestSet, judges: Mapping[str, tuple[np.ndarray, palette.Line]]
) -> None:
    for number, (name, (scores, (colour, style))) in enumerate(judges.items()):
        known = (AUC, test.labels, log_odds.two_sided(scores))
        x, y = np.append([0, 0], GRID), mean_roc(*known)
        ax.plot(x, [0, y[0], *y], color=colour, ls=style, lw=1.6, label=name)
        places = np.array(FALSE_POSITIVE_RATES) + 0.005 * (number - (len(judges) - 1) / 2)
        error_bars(ax, places, sensitivity_at(*known, test.groups), ecolor=colour, fmt="none")
    ax.set(xlabel="False positive rate", ylabel="Sensitivity")
    ax.set(xlim=(-0.005, 0.5), ylim=(0, 1.01))  # nobody works where half of the bad frames pass
    clean(ax)
    ax.legend(loc="lower right", fontsize=8, frameon=False)


def _montage(
    shown: Sequence[np.ndarray], test: TestSet, mean: np.ndarray, order: np.ndarray
) -> Drawing:
    truth = np.where(test.labels == 1, "informative", "not informative")
    titles = [f"{test.names[i]}\n{mean[i]:.2f}, truth: {truth[i]}" for i in order]
    wrong = (mean[order] > 0.5) != (test.labels[order] == 1)
    return pictures(
        "frames_most_wrong",
        "Test frames in order of the error of their score, with score and truth.",
        dict(zip(titles, shown, strict=True)),
        _ACROSS,
        tile=(1.8, 1.75),
        marked=np.array(titles)[wrong].tolist(),
    )
