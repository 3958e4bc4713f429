"""Section: what each stage of the frozen network knew before anything was tuned (`medtune probe`), beside what tuning
found.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from itertools import pairwise, takewhile
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from scipy.stats import spearmanr

from medtune_jax.evaluation.foresight import Known
from medtune_jax.report import markup, palette
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.figures import Drawing, drawn
from medtune_jax.report.section import Section

FOLDER = "probe"
"""Where in a study the probe of the same config, data and weights is looked for."""
TABLE = "probe.csv"
_FEWEST = 4  # depths, for a rank correlation


def drawing(stages: Sequence[Known], network: str, metric: str) -> Drawing:
    """Both figures by stage, single seeds as dots."""
    names = [known.stage for known in stages]
    probe, logme = [k.validation for k in stages], [k.logme for k in stages]
    panels = ((f"Validation {metric} of a linear probe", probe), ("LogME", logme))

    def draw(*axes: Axes) -> None:
        for ax, (title, values) in zip(axes, panels, strict=True):
            places = np.arange(len(names))
            ax.plot(places, np.mean(values, axis=1), color=palette.BLUE, marker="o", ms=4)
            ax.plot(places, values, color=palette.BLUE, ls="", marker=".", ms=3, alpha=0.5)
            ax.set_xticks(places, names, rotation=45, ha="right", rotation_mode="anchor")
            ax.set(xlabel="Stage", ylabel=title)

    description = f"What each stage of the frozen {network} knows: {panels[0][0]}, and LogME."
    return Drawing("probe", description, drawn((9.0, 3.8), 2, draw))


def section(evidence: Evidence) -> Section | None:
    """The curve, each stage beside the depth that tunes what is behind it, and how well both order the depths."""
    study = evidence.study
    folder = study.directory / FOLDER
    if not (folder / TABLE).is_file():
        return None
    title = "What each stage already knew"
    stages, why = _of_this_study(evidence, folder / TABLE)
    if why:
        return Section.of(title, markup.paragraph(why))
    network, metric = study.manifest["network"]["name"], study.metric.title
    figures = drawing(stages, network, metric)
    fraction = evidence.main_fraction or study.fractions[0]
    head = (
        *("Stage", f"Probe, validation {metric}", "LogME"),
        *("Depth behind it", f"Test {evidence.merit.title}"),
    )
    text = (
        "Before any tuning: a linear probe and LogME of each frozen stage's output and, beside it, the depth that "
        f"freezes this stage and tunes all behind it. {_agreement(evidence, stages, fraction)} Neither figure takes "
        "part in the advice."
    )
    caption = "Mean over seeds; dots are single seeds, each of other validation images."
    return Section.of(
        title,
        markup.paragraph(text),
        markup.figure(figures, caption),
        markup.table(head, _rows(evidence, stages, fraction), "numbers"),
        drawings=[figures],
    )


def _rows(evidence: Evidence, stages: Sequence[Known], fraction: float) -> list[tuple[Any, ...]]:
    """Each stage, and the depth that tunes what is behind it where it was run."""
    study, merit = evidence.study, evidence.merit
    behind, known = dict(pairwise(study.stages)), evidence.known_tuned(fraction)
    found = []
    for k in stages:
        depth = behind[k.stage] if behind[k.stage] in known else None
        label = "–" if depth is None else study.label(depth)
        test = None if depth is None else merit.mean((depth, fraction))
        figures = (f"{fmean(k.validation):.3f}", f"{fmean(k.logme):.3f}")
        found.append((k.stage, *figures, label, markup.interval(test, merit.digits)))
    return found


def _of_this_study(evidence: Evidence, table: Path) -> tuple[list[Known], str]:
    """The stages of a table, or why it is not shown."""
    manifest = evidence.study.manifest
    try:
        identity, stages = _read(table)
    except (OSError, ValueError, KeyError, csv.Error) as error:
        return [], f"The probe in {FOLDER}/ cannot be read ({error!r}): run medtune probe again."
    # A stage for which there are no weights, and what is behind it, knew nothing.
    new = manifest.get("network", {}).get("new_stages", [])
    names = list(takewhile(lambda name: name not in new, evidence.study.stages[:-1]))
    if identity != manifest.get("identity") or [k.stage for k in stages] != names:
        return [], (
            f"The probe in {FOLDER}/ is of another config, other data or other weights than this study, so it is not "
            "shown: run medtune probe with this study's config."
        )
    return stages, ""


def _read(table: Path) -> tuple[str, list[Known]]:
    """(identity, stages) of a probe.csv."""
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    stages = []
    for name in dict.fromkeys(row["stage"] for row in rows):
        own = [row for row in rows if row["stage"] == name]
        logme, figures = (tuple(float(r[field]) for r in own) for field in ("logme", "validation"))
        stages.append(Known(name, int(own[0]["features"]), logme, figures))
    (identity,) = {row["identity"] for row in rows}
    return identity, stages


def agreement(
    stages: Sequence[Known], figures: dict[str, float]
) -> dict[str, tuple[float, str, float]]:
    """How well probe and LogME order depths: {figure: (Spearman's rank correlation, the depth it puts first, by how
    much that one is below the best)}.

    figures: of the depth behind each stage, more is better, by the stage's name; at least two. What knows most is put
    first.
    """
    compared = [k for k in stages if k.stage in figures]
    reached = [figures[k.stage] for k in compared]
    found = {}
    for name in ("validation", "logme"):
        said = [fmean(getattr(k, name)) for k in compared]
        first = compared[int(np.argmax(said))].stage
        rank = float(spearmanr(said, reached).statistic)
        found[name] = rank, first, max(reached) - figures[first]
    return found


def _agreement(evidence: Evidence, stages: Sequence[Known], fraction: float) -> str:
    """In words; nothing of fewer depths than tell anything."""
    study, merit = evidence.study, evidence.merit
    behind = dict(pairwise(study.stages))
    figures = {
        stage: merit.sign * found
        for stage, depth in behind.items()
        if depth in evidence.known_tuned(fraction)
        and (found := merit.mean((depth, fraction)).estimate) is not None
    }
    if len(figures) < _FEWEST or len(set(figures.values())) == 1:
        return ""
    parts = [
        f"{title}: rank correlation {rank:+.2f}; the depth it puts first, {study.label(behind[first])}, is "
        f"{merit.number(below)} behind the best of them"
        for title, (rank, first, below) in zip(
            ("probe", "LogME"), agreement(stages, figures).values(), strict=True
        )
    ]
    return f"How well each orders the {len(figures)} depths that were tuned: {'; '.join(parts)}."
