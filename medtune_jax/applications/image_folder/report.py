"""What the report of labelled images adds: where the recommended networks' evidence lies, in single test images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from medtune_jax.applications.drawings import pictures
from medtune_jax.applications.image_folder.explained import Explained, read_about, read_explained
from medtune_jax.report import markup
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.figures import Drawing, fraction_name
from medtune_jax.report.section import Section

_ACROSS = 2


def maps(evidence: Evidence) -> Section | None:
    """The most certain right and wrong test images, each beside its map; None where the sweep made none."""
    study = evidence.study
    about, shown = read_about(study.directory), read_explained(study.directory)
    if about is None or not shown:
        return None
    sides = {
        "right": [case for case in shown if case.right],
        "wrong": [case for case in shown if not case.right],
    }
    drawings = {side: _drawing(side, cases) for side, cases in sides.items() if cases}
    count = len(about["runs"])
    networks = "of one network" if count == 1 else f"the mean of {count} seeds"
    intro = (
        f"The test images of whose most probable class {study.label(about['depth'])} with "
        f"{fraction_name(about['fraction'])} of the training data is most certain, the classes in turn. Right of each "
        f"image is its Grad-CAM at {about['stage']} ({networks}): yellow is where the features speak most for the "
        "class named above it, each map on a scale of its own. It shows where the network's evidence lies, not why, "
        "and not where a lesion is. A map may look convincing beside a wrong answer: look at the wrong ones as long "
        "as at the right ones."
    )
    parts = [markup.paragraph(intro)]
    parts += [
        markup.figure(drawing, f"Most certain, and {side}.") for side, drawing in drawings.items()
    ]
    if "wrong" not in drawings:
        parts.append(markup.paragraph("No test image is called wrong.", "note"))
    parts.append(_sanity(about["random"]))
    return Section.of("Where the evidence lies", *parts, drawings=list(drawings.values()))


SECTIONS = (maps,)


def _drawing(side: str, cases: Sequence[Explained]) -> Drawing:
    titled = {}
    for case in cases:
        truth = "" if case.right else f", is {case.label or 'without finding'}"
        titled[f"{case.image}\n{case.named} {case.probability:.3f}{truth}"] = case.panel
    return pictures(
        f"maps_{side}",
        f"Test images that are called {side} with the highest probability, each beside its Grad-CAM.",
        titled,
        min(_ACROSS, len(titled)),
        tile=(4.3, 2.5),
    )


def _sanity(random: Mapping[str, Sequence[float]]) -> Markup:
    head, all_ = (f"{min(random[k]):.2f} to {max(random[k]):.2f}" for k in ("head", "all"))
    text = (
        f"Check (Adebayo et al. 2018): rank correlation of these maps with those of the same network (first seed) over "
        f"{len(random['head'])} draws of random weights: of the head {head}, of all stages {all_}. Scattered around 0, "
        "the maps depend on what was learned; near 1, they would show the image's edges whatever the weights."
    )
    return markup.paragraph(text, "note")
