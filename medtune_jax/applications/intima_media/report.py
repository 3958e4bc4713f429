"""The report's sections on boundaries: errors and boxplots, examples, paired tests, thickness."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import NamedTuple

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from medtune_jax.applications.intima_media import drawings
from medtune_jax.applications.intima_media.results import BoundaryResults
from medtune_jax.evaluation.boundary import bland_altman, readings, too_few
from medtune_jax.evaluation.paired import PairedTest, compare_with
from medtune_jax.evaluation.readers import Readings, without_any
from medtune_jax.report import markup
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.figures import fraction_name
from medtune_jax.report.merit import Cell, Merit
from medtune_jax.report.section import Section, SectionMaker

INTERFACES = ("li", "ma")
MARGINS = {"µm": 2.0, "px": 0.05}  # the paper's depths from conv5 on differ by 1 to 2 µm

# Tajbakhsh et al. 2016: mean (standard deviation) of LI and MA in micrometres, 132 test regions.
PAPER = {
    "only fc8": ((100.97, 132.64), (103.26, 58.48)),
    "fc7-fc8": ((34.67, 14.77), (43.93, 21.79)),
    "fc6-fc8": ((27.87, 11.83), (34.63, 14.49)),
    "conv5-fc8": ((25.32, 11.02), (31.94, 13.13)),
    "conv4-fc8": ((25.01, 9.94), (30.55, 11.97)),
    "conv3-fc8": ((24.37, 10.79), (31.80, 11.98)),
    "conv2-fc8": ((24.71, 10.25), (31.74, 12.37)),
    "conv1-fc8": ((24.74, 11.42), (31.21, 12.56)),
    "scratch": ((28.11, 13.79), (33.45, 16.17)),
    "Hough + dual snake": ((98.17, 16.57), (106.62, 21.00)),
}


class Main(NamedTuple):
    """What the sections speak of: the recommended depth with the main fraction of the training data."""

    evidence: Evidence
    results: BoundaryResults
    fraction: float
    depth: str

    @property
    def label(self) -> str:
        return self.evidence.study.label(self.depth)

    @property
    def share(self) -> str:
        return f"{fraction_name(self.fraction)} of the training data"

    def of_regions(self, field: str) -> NDArray[np.float64]:
        """A field of the regions' rows in the results' unit, mean over seeds [regions]."""
        return self.results.of_depth(self.depth, self.fraction, field)

    def by_run(self, field: str) -> NDArray[np.float64]:
        """The same of each run [seeds, regions]."""
        return self.results.by_run(self.depth, self.fraction, field)


def of_main(make: Callable[[Main], Section]) -> SectionMaker:
    """A maker that has nothing to show while no fraction has a recommendation."""

    @wraps(make)
    def maker(evidence: Evidence) -> Section | None:
        fraction = evidence.main_fraction
        if fraction is None:
            return None
        depth = evidence.recommendations[fraction].depth
        return make(Main(evidence, BoundaryResults(evidence.study), fraction, depth))

    return maker


@of_main
def boundary_error(main: Main) -> Section:
    """Mean errors by depth and training fraction, the boxplots, and the baselines."""
    evidence, results, fraction, _ = main
    study = evidence.study
    fractions = [f for f in study.fractions if any(evidence.has(d, f) for d in study.depths)]
    columns = [(f, f"{which}_px") for f in fractions for which in INTERFACES]
    columns += [(fraction, f"{which}_step_px") for which in INTERFACES]

    def cell(depth: str, fraction: float, field: str) -> str:
        known = evidence.has(depth, fraction)
        return _mean(results, results.of_depth(depth, fraction, field)) if known else "–"

    rows = [(study.label(d), *(cell(d, *column) for column in columns)) for d in study.depths]
    # A baseline does not depend on the training fraction, except for its learnt constant.
    blank = ("–",) * (2 * len(fractions))
    rows += [
        (name, *(_mean(results, fields[f"{which}_px"]) for which in INTERFACES), *blank)
        for name, fields in results.baselines.items()
    ]
    head = [
        f"{name} {which}"
        for name in [*(f"{fraction_name(f)}," for f in fractions), "step lines,"]
        for which in ("LI", "MA")
    ]
    boxes = drawings.boxplots(_boxes(main), results.unit)
    text = (
        f"Mean (standard deviation) over {len(results.rois)} test regions of "
        f"{len(set(results.subjects))} subjects of the mean distance to the expert's interface, "
        f"{results.unit}; a region's error is first averaged over seeds. Step lines, the best row "
        f"of each column before the snakes, with {main.share}. "
        "A calibrated baseline is less one constant an interface, the median signed distance to "
        "the expert in all training regions: it tells how much of its error is only that."
    )
    caption = (
        f"Error of each test region with {main.share}: median, "
        "quartiles, Tukey whiskers (the farthest region within 1.5 interquartile ranges of the "
        "box). The counterpart of the paper's Figure 9."
    )
    table = markup.table(("Method", *head), rows, "numbers stacked")
    parts = (markup.paragraph(text), table, markup.figure(boxes, caption))
    return Section.of("Boundary error", *parts, drawings=[boxes])


@of_main
def beside_the_paper(main: Main) -> Section:
    """The paper's table of means with ours where a row has a counterpart."""
    results, ours = main.results, dict(_counterparts(main))
    rows = [
        (
            name,
            *(f"{mean:.2f} ({deviation:.2f})" for mean, deviation in values),
            *ours.get(name, ("–",) * 3),
        )
        for name, values in PAPER.items()
    ]
    text = (
        "The two data sets are not the same and their errors must not be compared with each other: "
        "the paper's 132 test regions come from its own patients with contours agreed on by two "
        "experts; ours are described under Data and provenance. What can be compared is the order "
        "of the rows."
    )
    head = (
        "Paper's network",
        "Paper, LI (µm)",
        "Paper, MA (µm)",
        "Here",
        f"Here, LI ({results.unit})",
        f"Here, MA ({results.unit})",
    )
    warning, table = markup.paragraph(text, "warning"), markup.table(head, rows, "numbers")
    return Section.of("Beside the paper (another data set)", warning, table)


@of_main
def examples(main: Main) -> Section:
    """Confidence maps, step lines, snakes and truth of a typical and of the worst region."""
    results = main.results
    error = sum(main.of_regions(f"{which}_px") / results.scale for which in INTERFACES)
    order = np.argsort(error, kind="stable")
    chosen = list(dict.fromkeys([int(order[len(order) // 2]), int(order[-1])]))
    contours = results.contours(main.depth, main.fraction)
    drawing = drawings.examples([(results.rois[i], *contours[i]) for i in chosen])
    names = " and ".join(results.rois[i].name for i in chosen)
    caption = (
        f"{main.label}, first seed: the region of median error and the one of the "
        f"largest ({names}). Confidence: LI in yellow, MA in blue. The counterpart of the paper's "
        "Figure 8."
    )
    return Section("From confidence to contours", markup.figure(drawing, caption), [drawing])


@of_main
def paired_tests(main: Main) -> Section:
    """The recommended depth against both baselines, and its snakes against its step lines."""
    results = main.results
    rows, given = [], []
    for which in INTERFACES:
        errors = main.by_run(f"{which}_px")
        others = {name: f[f"{which}_px"] for name, f in results.baselines.items()}
        others["its own step lines"] = main.by_run(f"{which}_step_px")
        tests = compare_with(errors, others, results.subjects)
        rows += [(f"{name}, {which.upper()}", *_test_row(test)) for name, test in tests.items()]
        given += [test.mean for test in tests.values()]
    text = (
        f"Error of the method less that of {main.label} with {main.share}, {results.unit}, on the same regions: "
        "above zero the network is better. The interval and its p are over subjects and training runs, "
        "Wilcoxon's signed-rank test sees one mean a subject; p are Holm-corrected over the methods."
    )
    head = ("Against", "Difference", "p", "Wilcoxon p")
    table, note = markup.table(head, rows, "numbers"), markup.lacking(given, tested=True)
    return Section.of("Network against baselines", markup.paragraph(text), table, note)


@of_main
def thickness(main: Main) -> Section:
    """Bland-Altman agreement of the intima-media thickness with the expert's."""
    results = main.results
    expert, network = map(main.of_regions, ("expert_thickness_px", "thickness_px"))
    limits = bland_altman(network, expert, results.subjects)
    drawing = drawings.bland_altman(network, expert, limits, results.unit)
    rows = [_agreement(main.label, network, expert, results)]
    rows += [
        _agreement(name, fields["thickness_px"], expert, results)
        for name, fields in results.baselines.items()
    ]
    head = ("Method", "Bias", "Lower limit", "Upper limit", "Standard deviation")
    caption = (
        f"Mean thickness of each test region, {main.label} with {main.share} against the expert: bias and 95% limits "
        "of agreement with their 95% intervals over subjects, runs averaged."
    )
    figure, table = markup.figure(drawing, caption), markup.table(head, rows, "numbers")
    return Section.of("Intima-media thickness", figure, table, drawings=[drawing])


def _boxes(main: Main) -> dict[str, tuple[NDArray, NDArray]]:
    """{method: errors of LI and of MA in the results' unit}."""
    evidence, results, fraction, _ = main
    networks = {
        evidence.study.label(depth): [
            results.of_depth(depth, fraction, f"{which}_px") for which in INTERFACES
        ]
        for depth in evidence.study.depths
        if evidence.has(depth, fraction)
    }
    baselines = {
        name: [fields[f"{which}_px"] for which in INTERFACES]
        for name, fields in results.baselines.items()
    }
    return {name: (li, ma) for name, (li, ma) in (networks | baselines).items()}


def _counterparts(main: Main) -> Iterator[tuple[str, tuple[str, str, str]]]:
    """(the paper's row, our name of it and our means): the same stages, else the same role."""
    study = main.evidence.study
    roles = {"Hough + dual snake": "Hough + dual snake"}
    for depth in (d for d in study.depths if main.evidence.has(d, main.fraction)):
        label = study.label(depth)
        if label in PAPER:
            roles[label] = label
        elif depth == study.stages[-1]:
            roles["only fc8"] = label
        elif depth == study.stages[0]:
            roles["conv1-fc8"] = label
        elif study.is_scratch(depth):
            roles.setdefault("scratch", label)
    errors = _boxes(main)
    for row, name in roles.items():
        li, ma = (f"{values.mean():.2f} ({values.std(ddof=1):.2f})" for values in errors[name])
        yield row, (name, li, ma)


def _mean(results: BoundaryResults, values: NDArray) -> str:
    digits = 1 if results.unit == "µm" else 2
    return f"{values.mean():.{digits}f} ({values.std(ddof=1):.{digits}f})"


def _test_row(test: PairedTest) -> tuple[Markup, str, str]:
    difference = markup.difference(test.mean, 1)
    return difference, markup.p_value(test.mean_holm), markup.p_value(test.wilcoxon_holm)


def _agreement(name: str, measured: NDArray, expert: NDArray, results: BoundaryResults) -> tuple:
    limits = bland_altman(measured, expert, results.subjects)
    digits = 1 if results.unit == "µm" else 2
    values = (markup.interval(v, digits) for v in (limits.bias, limits.lower, limits.upper))
    return (f"{name} ({results.unit})", *values, f"{limits.deviation:.{digits}f}")


def merit(evidence: Evidence) -> Merit:
    """The boundary error, mean of both interfaces."""
    stated = "mean distance of both interfaces to the expert's, less is better"
    return _error(evidence, "boundary error", INTERFACES, stated)


def points(evidence: Evidence) -> list[Merit]:
    """The error of each interface."""
    return [_error(evidence, f"{which.upper()} error", (which,)) for which in INTERFACES]


def _error(evidence: Evidence, title: str, interfaces: Sequence[str], stated: str = "") -> Merit:
    results = BoundaryResults(evidence.study)
    why = too_few(results.subjects)

    def read(cell: Cell) -> Readings:
        values = np.mean([results.by_run(*cell, f"{which}_px") for which in interfaces], axis=0)
        return without_any(values.mean(axis=1)) if why else readings(values, results.subjects)

    return Merit(
        evidence.study,
        title,
        read,
        why,
        stated=stated,
        margin=MARGINS[results.unit],
        unit=results.unit,
        digits=1 if results.unit == "µm" else 2,
        scale="log",
    )


SECTIONS = (boundary_error, paired_tests, examples, thickness, beside_the_paper)
