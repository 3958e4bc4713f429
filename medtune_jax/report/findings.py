"""Sections that conclude: the answer, the tests behind it, the paper's conclusions, the rule."""

from __future__ import annotations

from markupsafe import Markup

from medtune_jax.evaluation import recommend as rule
from medtune_jax.evaluation.readers import Estimate
from medtune_jax.report import fairness, markup
from medtune_jax.report.evidence import Comparison, Evidence
from medtune_jax.report.figures import fraction_name
from medtune_jax.report.load import DONE, FAILED, MISSING, Run, StudyResults
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
    if fraction is None:
        text = "No tuned depth has a finished run yet, so there is no depth to recommend."
        return Section.of("Answer", markup.paragraph(text, "answer"), *notes)
    chosen = evidence.recommendations[fraction]
    found, runs = evidence.test(chosen.depth, fraction), study.cell(chosen.depth, fraction)
    seeds = f"mean of {len(runs)} seeds" if len(runs) > 1 else "one seed"
    sentences = [
        *_advice(evidence, fraction),
        f"With {fraction_name(fraction)} of the training data {study.label(chosen.depth)} reaches "
        f"a test {study.metric.title} of {found.estimate:.3f} ({_reach(evidence, found)}{seeds}).",
    ]
    sentences += [_compared(evidence, c) for c in evidence.comparisons if c.fraction == fraction]
    sentences.append(_how_chosen(evidence, fraction))
    smaller = [
        f"{study.label(a.depth)} with {fraction_name(f)}"
        for f, a in evidence.recommendations.items()
        if f != fraction
    ]
    if smaller:
        sentences.append(f"With less training data: {', '.join(smaller)}.")
    return Section.of("Answer", markup.paragraph(Markup(" ").join(sentences), "answer"), *notes)


def _advice(evidence: Evidence, fraction: float) -> list[Markup | str]:
    """What to do, first; if scratch beats the depth on validation data, that comes first."""
    study, depth = evidence.study, evidence.recommendations[fraction].depth
    stages = study.known_depths[depth].tuned
    only_last = len(stages) == 1
    tune = f"une only the last stage, {stages[0]}" if only_last else f"une from {stages[0]}"
    tune += "" if only_last else f" ({study.label(depth)})"
    strong = Markup("<strong>{}.</strong>")
    scratch = evidence.scratch_wins(fraction)
    if scratch is None:
        return [strong.format(f"T{tune}")]
    return [
        strong.format(f"Train from {study.label(scratch)}"),
        "On validation data it beats the best depth that the rule found; if you fine-tune, "
        f"t{tune}.",
    ]


def _compared(evidence: Evidence, comparison: Comparison) -> str:
    study, d = evidence.study, comparison.difference
    value = evidence.test(comparison.other, comparison.fraction)
    verb = "Training from" if study.is_scratch(comparison.other) else "Tuning"
    text = f"{verb} {study.label(comparison.other)} gives {value.estimate:.3f}"
    if d.estimate is None:
        return f"{text}; {d.why}."
    if d.low is None or comparison.holm_p is None:
        return f"{text}: a difference of {d.estimate:+.3f}, of which chance may be all ({d.why})."
    return (
        f"{text}: a difference of {d.estimate:+.3f} "
        f"({d.low:+.3f} to {d.high:+.3f}, Holm-corrected p {_equals(comparison.holm_p)})."
    )


def _reach(evidence: Evidence, found: Estimate) -> str:
    if found.low is None:
        return "no interval: see below; "
    return f"95% interval by {evidence.study.words.group} and training run {found.low:.3f}–{found.high:.3f}; "


def _equals(p: float) -> str:
    text = markup.p_value(p)
    return text if text.startswith("<") else f"= {text}"


def _how_chosen(evidence: Evidence, fraction: float) -> str:
    chosen, lost = evidence.recommendations[fraction], evidence.regret(fraction)
    study = evidence.study
    text = (
        f"The depth was chosen on validation {study.metric.title} alone, after a look at "
        f"{len(chosen.steps)} of {len(evidence.known_tuned(fraction))} depths"
    )
    if lost.best == chosen.depth:
        return f"{text}; it is also the best of the whole sweep on validation data."
    return (
        f"{text}; the whole sweep would have chosen {study.label(lost.best)} "
        f"({lost.validation:+.3f} in validation, {lost.test:+.3f} in test {study.metric.title})."
    )


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
    groups, cases = study.words.groups, study.words.cases
    if not study.groups_known:
        notes.append(
            f"The data name no {groups}: every {study.words.case} counts as its own {study.words.group}, so the "
            f"intervals are too narrow if several {cases} come from one {study.words.group}."
        )
    notes += [f"Data: {note}." for note in study.manifest.get("data", {}).get("notes", ())]
    if evidence.too_few:
        notes.append(f"No interval and no p can be given: {evidence.too_few}.")
    seeds = [len(study.cell(*cell)) for cell in evidence.cells]
    if seeds and min(seeds) == 1:
        notes.append(
            "Where there is one seed, an interval is of that run alone, by chance of "
            f"{groups}: how far another training run would differ is not known, and differences between single runs "
            "have no p. Three seeds would do, five do well."
        )
    if seeds and min(seeds) == 2 and not evidence.too_few:
        notes.append(
            "Where there are two seeds, differences have no interval and no p: two training runs may lie close "
            "together by chance and would then claim too much. Three seeds would do, five do well."
        )
    if study.saturated is not None:
        notes.append(
            "This study kept probabilities only, which are turned into log-odds for ranking: "
            f"{count(study.saturated, 'scores')} of all runs are exactly 0 or 1 and tie."
        )
    differing = [run for run in study.runs if run.differs]
    if differing:
        notes.append(_difference(study, differing))
    return notes


def _difference(study: StudyResults, runs: list[Run]) -> str:
    name = study.metric.title
    most = max(runs, key=lambda run: abs(run.result["test"] - (run.test or 0)))
    return (
        f"{'Warning: the' if study.saturated is None else 'The'} test {name} that result.json records is not that of "
        f"scores.csv in {count(len(runs), 'runs')}, most of all in {most.run}: {most.result['test']:.4f} recorded, "
        f"{most.test:.4f} from the scores. The page and results.csv give those of the scores."
    )


def tests(evidence: Evidence) -> Section | None:
    """Recommended depth against scratch and against only the last stage."""
    if not evidence.comparisons:
        return None
    study, name = evidence.study, evidence.study.metric.title
    rows = [
        (
            fraction_name(c.fraction),
            study.label(c.recommended),
            study.label(c.other),
            markup.difference(c.difference),
            markup.p_value(c.difference.p),
            markup.p_value(c.holm_p),
        )
        for c in evidence.comparisons
    ]
    head = ("Training data", "Recommended", "Against", f"Difference in test {name}", "p", "Holm p")
    text = (
        f"Paired by {study.words.group} and by seed: training runs are readers and {study.words.groups} are cases of a "
        "multi-reader multi-case analysis (Obuchowski and Rockette 1995), so that intervals and p hold the chance of "
        f"other {study.words.groups} and of other training runs. The two-sided p is Holm-corrected over all rows."
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
    """The steps of the rule, and its regret at each fraction."""
    study, fraction = evidence.study, evidence.main_fraction
    if fraction is None:
        return None
    name = study.metric.title
    text = (
        "Start at the last stage and go deeper. A depth replaces the depth to beat if its mean "
        f"paired gain in validation {name} over the seeds exceeds both {rule.MINIMUM_GAIN:g} and "
        f"{rule.TOLERANCE:g} standard error; stop after {rule.PATIENCE} depths in a row without "
        "such a gain. Test data play no part."
    )
    steps = [
        (
            study.label(step.depth),
            f"{step.mean:.3f}",
            "–" if step.gain is None else f"{step.gain:+.4f}",
            "–" if step.needed is None else f"{step.needed:.4f}",
            "depth to beat" if step.won else "no gain",
        )
        for step in evidence.recommendations[fraction].steps
    ]
    regrets = [_regret_row(evidence, f) for f in evidence.recommendations]
    return Section.of(
        "How the depth was chosen",
        markup.paragraph(f"{text} With {fraction_name(fraction)} of the training data:"),
        markup.table(
            ("Depth", f"Validation {name}", "Gain", "Needed", "Outcome"), steps, "numbers"
        ),
        markup.paragraph(
            "Against the whole sweep: what training every depth and taking the best mean "
            "validation would have given beyond the rule's depth."
        ),
        markup.table(
            ("Training data", "Rule", "Looked at", "Whole sweep", "Validation", "Test"),
            regrets,
            "numbers",
        ),
    )


def _regret_row(evidence: Evidence, fraction: float) -> tuple[str, ...]:
    chosen, lost = evidence.recommendations[fraction], evidence.regret(fraction)
    return (
        fraction_name(fraction),
        evidence.study.label(chosen.depth),
        f"{len(chosen.steps)} of {len(evidence.known_tuned(fraction))}",
        evidence.study.label(lost.best),
        f"{lost.validation:+.4f}",
        f"{lost.test:+.4f}",
    )
