"""Sections that conclude: the answer, the tests behind it, the paper's conclusions, the rule."""

from __future__ import annotations

from markupsafe import Markup

from medtune_jax.evaluation import recommend as rule
from medtune_jax.evaluation.choice import TIE
from medtune_jax.report import fairness, figures, markup
from medtune_jax.report.conclusion import sentences
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.figures import fraction_name
from medtune_jax.report.runs import DONE, FAILED, MISSING, Run, StudyResults
from medtune_jax.report.section import Section
from medtune_jax.report.verdicts import MARGIN, judge
from medtune_jax.words import count


def answer(evidence: Evidence) -> Section:
    """Which depth to use, with the evidence for it."""
    study, fraction = evidence.study, evidence.main_fraction
    notes = [
        *(markup.paragraph(text, "warning") for text in _warnings(evidence)),
        *(markup.paragraph(note, "note") for note in _caveats(evidence)),
    ]
    first, *rest = sentences(evidence)
    strong = first if fraction is None else Markup("<strong>{}</strong>").format(first)
    paragraph = markup.paragraph(Markup(" ").join([strong, *rest]), "answer")
    if fraction is None:
        return Section.of("Answer", paragraph, *notes)
    chosen = [_how_chosen(evidence, fraction)]
    smaller = [
        f"{study.label(a.depth)} with {fraction_name(f)}"
        for f, a in evidence.recommendations.items()
        if f != fraction
    ]
    if smaller:
        chosen.append(f"With less training data: {', '.join(smaller)}.")
    parts = [paragraph, markup.paragraph(" ".join(chosen))]
    if len(evidence.recommendations) == 1:
        return Section.of("Answer", *parts, *notes)
    drawing = figures.map_of_study(evidence)
    seen = markup.figure(drawing, f"{drawing.description} Mean over seeds.")
    return Section.of("Answer", *parts, seen, *notes, drawings=[drawing])


def _how_chosen(evidence: Evidence, fraction: float) -> str:
    chosen, study = evidence.recommendations[fraction], evidence.study
    name, margin = study.metric.title, f"{evidence.metric.margin:g}"
    text = f"The depth was chosen on validation {name} alone: "
    if chosen.chances:
        text += (
            f"the greatest chance to lie within {margin} of the best there; chances that differ by less than {TIE:g} "
            "are a tie, which goes to the fewest tuned stages."
        )
    else:
        text += f"all depths within {margin} of the best are tied; the tie goes to the fewest tuned stages."
    best, gap = chosen.best, chosen.means[chosen.best] - chosen.means[chosen.depth]
    if gap <= 0:
        return f"{text} It has the best mean, too."
    chance = f", and its chance is {chosen.chances[best]:.0%}" if chosen.chances else ""
    by = f"{gap:.4f}" if gap >= 0.00005 else "less than 0.0001"
    return f"{text} The best mean is that of {study.label(best)}, by {by}{chance}."


def _warnings(evidence: Evidence) -> list[str]:
    study = evidence.study
    named = [
        f"{fraction_name(fraction)}: {', '.join(map(study.label, depths))}"
        for fraction in study.fractions
        if (depths := study.collapsed(fraction))
    ]
    if not named:
        return []
    return [
        "Warning: training collapsed. Runs of these depths give half or more of the test "
        f"{study.words.cases} exactly the same score ({'; '.join(named)}). Their {study.metric.title} says nothing "
        "about the depth: mend the training (learning rate, initialisation, epochs) before you "
        "trust the answer or any comparison with them."
    ]


def _caveats(evidence: Evidence) -> list[str]:
    study = evidence.study
    counts = {status: len(study.with_status(status)) for status in (DONE, FAILED, MISSING)}
    notes = [
        f"Runs planned: {len(study.runs)}; {counts[DONE]} done, {counts[FAILED]} failed, "
        f"{counts[MISSING]} not run yet."
    ]
    if counts[FAILED]:
        notes.append(
            "A failed run is left out of every mean; its reason stands under Data and provenance."
        )
    notes += fairness.doubts(study)
    if not study.groups_known:
        group, case, cases = study.words.group, study.words.case, study.words.cases
        notes.append(
            f"The data name no {study.words.groups}: every {case} counts as its own {group}, so the "
            f"intervals are too narrow if several {cases} come from one {group}."
        )
    notes += [f"Data: {note}." for note in study.manifest.get("data", {}).get("notes", ())]
    if evidence.too_few:
        notes.append(f"No interval and no p can be given: {evidence.too_few}.")
    notes += _of_few_seeds(evidence)
    if study.saturated is not None:
        notes.append(
            "This study kept probabilities only, which are turned into log-odds for ranking: "
            f"{count(study.saturated, 'scores')} of all runs are exactly 0 or 1 and tie."
        )
    differing = [run for run in study.runs if run.differs]
    if differing:
        notes.append(_difference(study, differing))
    return notes


def _of_few_seeds(evidence: Evidence) -> list[str]:
    study = evidence.study
    fewest = min((len(study.cell(*cell)) for cell in evidence.cells), default=0)
    if fewest == 1:
        return [
            "Where there is one seed, an interval is of that run alone, by chance of "
            f"{study.words.groups}: how far another training run would differ is not known, and differences between "
            "single runs have no p. Three seeds would do, five do well."
        ]
    if fewest == 2 and not evidence.too_few:
        return [
            "Where there are two seeds, differences have no interval and no p: two training runs may lie close "
            "together by chance and would then claim too much. Three seeds would do, five do well."
        ]
    return []


def _difference(study: StudyResults, runs: list[Run]) -> str:
    name = study.metric.title
    most = max(runs, key=lambda run: abs(run.result["test"] - (run.test or 0)))
    return (
        f"{'Warning: the' if study.saturated is None else 'The'} test {name} that result.json records is not that of "
        f"scores.csv in {count(len(runs), 'runs')}, most of all in {most.run}: {most.result['test']:.4f} recorded, "
        f"{most.test:.4f} from the scores. The page and results.csv give those of the scores."
    )


def tests(evidence: Evidence) -> Section | None:
    """Recommended depth against scratch, only the last stage and the best mean by validation."""
    if not evidence.comparisons:
        return None
    study, merit, metric = evidence.study, evidence.merit, evidence.metric
    two = merit.title != metric.title
    rows = [
        (
            fraction_name(c.fraction),
            study.label(c.recommended),
            study.label(c.other),
            markup.difference(c.difference, merit.digits),
            markup.p_value(c.difference.p),
            markup.p_value(c.holm_p),
            *([markup.difference(c.beside)] if two else []),
        )
        for c in evidence.comparisons
    ]
    unit = f" ({merit.unit})" if merit.unit else ""
    head = [
        *("Training data", "Recommended", "Against"),
        *(f"Difference in test {merit.title}{unit}", "p", "Holm p"),
        *([f"in {study.words.case} {metric.title}"] if two else []),
    ]
    better = "" if merit.sign > 0 else " Less is better."
    text = (
        f"Paired by {study.words.group} and by seed: training runs are readers and {study.words.groups} are cases of a "
        "multi-reader multi-case analysis (Obuchowski and Rockette 1995), so that intervals and p hold the chance of "
        f"other {study.words.groups} and of other training runs. The two-sided p is Holm-corrected over all rows."
        f"{better}"
    )
    note = markup.lacking((c.difference for c in evidence.comparisons), tested=True)
    table = markup.table(head, rows, "numbers")
    return Section.of("Paired tests", markup.paragraph(text), table, note)


def verdicts(evidence: Evidence) -> Section:
    """The paper's conclusions on these data."""
    rows = [
        (
            f"{i}. {v.conclusion}",
            Markup('<span class="verdict {}">{}</span>').format(v.verdict.split()[0], v.verdict),
            v.why,
        )
        for i, v in enumerate(judge(evidence), 1)
    ]
    text = (
        "Each verdict follows a rule fixed beforehand: an interval that lies wholly on one side "
        f"of 0 decides, and a difference of less than {MARGIN} counts as no difference."
    )
    head = ("Conclusion of Tajbakhsh et al. 2016", "Verdict here", "Numbers")
    return Section.of(
        "The paper's conclusions on these data",
        markup.paragraph(text),
        markup.table(head, rows, "verdicts"),
    )


def recommendation(evidence: Evidence) -> Section | None:
    """Each depth's validation figure and chance to be the best, and the paper's rule beside the one used."""
    fraction = evidence.main_fraction
    if fraction is None:
        return None
    study, merit, chosen = evidence.study, evidence.merit, evidence.recommendations[fraction]
    name, margin = study.metric.title, evidence.metric.margin
    chances, why = evidence.chances
    rows = [
        (
            study.label(depth),
            len(study.known_depths[depth].tuned),
            f"{mean:.4f}",
            markup.share(chosen.chances.get(depth)),
            markup.interval(merit.mean((depth, fraction)), merit.digits),
            markup.share(chances.get(depth)),
        )
        for depth, mean in chosen.means.items()
    ]
    head = (
        *("Depth", "Tuned stages", f"Validation {name}", f"Chance within {margin:g} of the best"),
        f"Test {merit.title}{f' ({merit.unit})' if merit.unit else ''}",
        f"Chance within {merit.matters} of the best",
    )
    text = (
        f"Recommended is the depth with the greatest chance to lie within {margin:g} of the best validation {name}, "
        f"over other {study.words.groups} and training runs; chances that differ by less than {TIE:g} are a tie, which "
        "goes to the fewest tuned stages. With fewer than three seeds all depths within the margin are tied. Test data "
        "play no part; beside it stands what they say of the same, in the figure of the answer. With "
        f"{fraction_name(fraction)} of the training data:"
    )
    reasons = dict.fromkeys(reason for reason in (chosen.why, why) if reason)
    notes = [markup.paragraph(f"Where no chance is given: {reason}.", "note") for reason in reasons]
    marked = list(chosen.means).index(chosen.depth)
    return Section.of(
        "How the depth was chosen",
        markup.paragraph(text),
        markup.table(head, rows, "numbers", marked),
        *notes,
        *_walk(evidence, fraction),
    )


def _walk(evidence: Evidence, fraction: float) -> list[Markup]:
    """The paper's rule: its steps, and what it gives up."""
    study, walk = evidence.study, evidence.walk(fraction)
    if walk is None:
        return []
    text = (
        "The paper's own rule, which trains fewer depths: start at the last stage and go deeper. A depth replaces the "
        f"depth to beat if its mean paired gain in validation {study.metric.title} exceeds both {rule.MINIMUM_GAIN:g} "
        f"and {rule.TOLERANCE:g} standard error; stop after {rule.PATIENCE} depths in a row without such a gain."
    )
    steps = [
        (
            study.label(step.depth),
            f"{step.mean:.3f}",
            "–" if step.gain is None else f"{step.gain:+.4f}",
            "–" if step.needed is None else f"{step.needed:.4f}",
            "depth to beat" if step.won else "no gain",
        )
        for step in walk.steps
    ]
    head = ("Depth", f"Validation {study.metric.title}", "Gain", "Needed", "Outcome")
    lost = (
        "What training every depth and taking the best mean validation would have given beyond it:"
    )
    columns = ("Training data", "Paper's rule", "Looked at", "Whole sweep", "Validation", "Test")
    regrets = [row for f in evidence.recommendations if (row := _regret_row(evidence, f))]
    return [
        markup.paragraph(text),
        markup.table(head, steps, "numbers"),
        markup.paragraph(lost),
        markup.table(columns, regrets, "numbers"),
    ]


def _regret_row(evidence: Evidence, fraction: float) -> tuple[str, ...] | None:
    walk, lost = evidence.walk(fraction), evidence.regret(fraction)
    if walk is None or lost is None:
        return None
    return (
        fraction_name(fraction),
        evidence.study.label(walk.depth),
        f"{len(walk.steps)} of {len(evidence.known_tuned(fraction))}",
        evidence.study.label(lost.best),
        f"{lost.validation:+.4f}",
        f"{lost.test:+.4f}",
    )
