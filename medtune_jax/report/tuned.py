"""The page of a `medtune tune`: the depth, what was tried for how long, what was skipped and why, the final network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from markupsafe import Markup

from medtune_jax.errors import UserError
from medtune_jax.evaluation.metric import AUC, Metric
from medtune_jax.evaluation.readers import ONE_RUN
from medtune_jax.paths import csv_bytes, json_by_sum, write_whole
from medtune_jax.report import markup
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.load import load_study
from medtune_jax.report.merit import Merit
from medtune_jax.report.results import write_results
from medtune_jax.report.runs import Run, StudyResults
from medtune_jax.report.section import Section
from medtune_jax.report.write import ANSWER, page, subtitle
from medtune_jax.words import PATIENTS_AND_IMAGES, count

RECORD = "tune.json"
_COLUMNS = (
    "depth",
    "epochs",
    "trained_epochs",
    "judged_after",
    "validation",
    "seconds",
    "reason",
)


@dataclass(frozen=True)
class Tuned:
    """A finished search. record: tune.json."""

    evidence: Evidence
    record: Mapping[str, Any]

    @property
    def study(self) -> StudyResults:
        return self.evidence.study

    @property
    def depth(self) -> str:
        return str(self.record["depth"])

    @property
    def final(self) -> Run:
        return next(run for run in self.study.runs if run.run == self.record["run"])

    @property
    def skipped(self) -> list[str]:
        return [depth for depth in self.study.depths if depth not in self.record["tried"]]

    @property
    def trained(self) -> int:
        """Epochs of the search, all seeds and rates."""
        return sum(entry["trained"] for entry in self.record["tried"].values())

    @property
    def seeds(self) -> int:
        return len(self.record["tried"][self.depth]["validation"])

    def judged_after(self, depth: str) -> int:
        """Epochs at the last look with all seeds, which its validation figures are of."""
        entry = self.record["tried"].get(depth, {"epochs": 0})
        return int(entry.get("judged_after", entry["epochs"]))

    def validation(self, depth: str) -> float | None:
        """Mean over seeds of the best epoch by then; None where all diverged, or none was trained."""
        figures = self.record["tried"].get(depth, {}).get("validation", {})
        return fmean(figures.values()) if figures else None

    def label(self, depth: str) -> str:
        return self.study.label(depth)

    def why(self, depth: str) -> str:
        """Why a depth was skipped or left, with depths as the page names them."""
        words = str(self.record["reasons"].get(depth, "")).split(" ")
        bare = [(word.rstrip(","), word[len(word.rstrip(",")) :]) for word in words]
        known = self.study.known_depths
        return " ".join((self.label(w) if w in known else w) + rest for w, rest in bare)


def write_tuned(
    directory: Path,
    metric: Metric = AUC,
    words: tuple[str, str] = PATIENTS_AND_IMAGES,
    merit: Callable[[Evidence], Merit] | None = None,
) -> Path:
    """Writes report.html, answer.txt, tune.csv and results.csv of a finished search; arguments as of `write_report`.

    UserError where the search is not finished, or its files are damaged.
    """
    study = load_study(directory, metric, words)
    try:
        tuned = Tuned(Evidence(study, merit), json_by_sum(directory / RECORD))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{directory / RECORD} is damaged ({error}): run the same `medtune tune` again, which writes it anew"
        ) from error
    write_results(study)
    write_whole(directory / "tune.csv", csv_bytes([_COLUMNS, *_rows(tuned)]))
    write_whole(directory / ANSWER, f"{answer(tuned)}\n".encode())
    path = directory / "report.html"
    write_whole(path, page("A fine-tuned network", subtitle(study), _sections(tuned)))
    return path


def _rows(tuned: Tuned) -> list[tuple[Any, ...]]:
    tried = tuned.record["tried"]
    rows = []
    for depth in tuned.study.depths:
        entry, mean = tried.get(depth, {}), tuned.validation(depth)
        seconds = f"{entry['seconds']:.6g}" if entry else None
        reason = tuned.record["reasons"].get(depth)
        figure = None if mean is None else f"{mean:.7g}"
        epochs, trained = entry.get("epochs", 0), entry.get("trained", 0)
        rows.append((depth, epochs, trained, tuned.judged_after(depth), figure, seconds, reason))
    return rows


def answer(tuned: Tuned) -> str:
    """The depth, what the network reaches, how it was chosen, what was skipped and why."""
    return " ".join([_advice(tuned), *_reached(tuned), _chosen(tuned), *_left_out(tuned)])


def _advice(tuned: Tuned) -> str:
    stages = tuned.study.known_depths[tuned.depth].tuned
    what = f"from {stages[0]} ({tuned.label(tuned.depth)})"
    if len(stages) == 1:
        what = f"only the last stage, {stages[0]}"
    return f"Tune {what}, for {count(tuned.record['best_epochs'], 'epochs')}."


def _reached(tuned: Tuned) -> list[str]:
    run, study, evidence = tuned.final, tuned.study, tuned.evidence
    if run.scores is None:
        reason = run.result.get("reason") or "its files are damaged or missing"
        return [f"The final network has failed: {reason}."]
    merit, metric, cell = evidence.merit, evidence.metric, (run.depth, run.fraction)
    found = merit.mean(cell)
    reach = "no interval" if found.low is None else f"95% interval by {study.words.group}"
    if found.low is not None:
        reach += f" {found.low:.{merit.digits}f}–{found.high:.{merit.digits}f}"
    beside = ""
    if merit.title != metric.title:
        beside = f"; its {study.words.case} {metric.title} is {metric.mean(cell).estimate:.3f}"
    said = f" No interval: {found.why}." if found.low is None and found.why else ""
    return [
        f"That depth, trained on all {run.result['train_images']:,} patches that are not of the test set, reaches a "
        f"test {merit.title} of {merit.number(found.estimate or 0.0)} ({reach}){beside}.{said} The test set was scored "
        f"once, and {ONE_RUN.partition(':')[0]}."
    ]


def _chosen(tuned: Tuned) -> str:
    title, mean = tuned.study.metric.title, tuned.validation(tuned.depth)
    share = tuned.trained / tuned.record["most_epochs"]
    return (
        f"The depth was chosen on validation data ({title} {mean:.3f} after {tuned.judged_after(tuned.depth)} epochs "
        f"at most, mean of {count(tuned.seeds, 'seeds')}): "
        f"{len(tuned.record['tried'])} of {count(len(tuned.study.depths), 'depths')} were tried, with {share:.0%} of "
        f"the epochs that a sweep of all may take."
    )


def _left_out(tuned: Tuned) -> list[str]:
    by_reason: dict[str, list[str]] = {}
    for depth in tuned.skipped:
        by_reason.setdefault(tuned.why(depth), []).append(tuned.label(depth))
    parts = [f"{', '.join(labels)} ({why})" for why, labels in by_reason.items()]
    left = [
        f"{tuned.label(depth)} ({tuned.why(depth)})"
        for depth in tuned.record["tried"]
        if depth != tuned.depth
    ]
    return [
        *([f"Skipped, not trained at all: {'; '.join(parts)}."] if parts else []),
        *([f"Abandoned: {'; '.join(left)}."] if left else []),
    ]


def _sections(tuned: Tuned) -> list[Section]:
    return [
        Section.of("The answer", *(markup.paragraph(text, "answer") for text in [answer(tuned)])),
        _depths(tuned),
        _network(tuned),
    ]


def _depths(tuned: Tuned) -> Section:
    study, tried = tuned.study, tuned.record["tried"]
    rows = []
    for depth in study.depths:
        figures, mean = tried.get(depth, {}).get("validation", {}).values(), tuned.validation(depth)
        shown = "–" if mean is None else f"{mean:.3f}"
        spread = f"{min(figures):.3f}–{max(figures):.3f}" if len(figures) > 1 else "–"
        epochs = tried.get(depth, {}).get("epochs", 0)
        why = "chosen" if depth == tuned.depth else tuned.why(depth)
        judged = tuned.judged_after(depth) or "–"
        rows.append((tuned.label(depth), epochs or "–", judged, shown, spread, why))
    head = (
        "tuned stages",
        "epochs",
        "judged after",
        f"validation {study.metric.title}",
        "seeds",
        "what became of it",
    )
    marked = study.depths.index(tuned.depth)
    looks = ", ".join(map(str, tuned.record["rungs"]))
    return Section.of(
        "What was tried, and what was not",
        markup.table(head, rows, "numbers", marked),
        markup.paragraph(
            f"Looks after {looks} epochs. By bisection from the head downwards the first look finds where one more "
            "layer no longer helps; the better half of the tried depths goes on at each further look. Before the end a "
            "depth is judged by its best validation figure and once more what the second half of its epochs brought; "
            "a deeper one has to gain more than 0.002. Where one depth is left, one seed goes on alone, to find for "
            "how many epochs the network is to be trained. A depth that was skipped might have been better: only a "
            "sweep of all depths tells.",
            "note",
        ),
    )


def _network(tuned: Tuned) -> Section:
    run = tuned.final
    folder = Path("runs") / run.run
    rows = [
        ("folder", folder),
        ("epochs", tuned.record["best_epochs"]),
        ("patches trained on", run.result.get("train_images", "–")),
        ("learning rate of the tuned stages, of the head", _rates(run)),
        (
            "weights",
            folder / "weights" if (tuned.study.directory / folder / "weights").is_dir() else "–",
        ),
    ]
    return Section.of("The network", markup.table(("", ""), rows), Markup(""))


def _rates(run: Run) -> str:
    rates = [run.result.get(name) for name in ("rate", "head_rate")]
    return "–" if None in rates else ", ".join(f"{rate:.3g}" for rate in rates)
