"""Sections that say how it was done: stages, cost, data and provenance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from markupsafe import Markup

from medtune_jax.fields import flat
from medtune_jax.folders import named
from medtune_jax.report import markup
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.figures import fraction_name
from medtune_jax.report.runs import FAILED, Depth, Run
from medtune_jax.report.section import Section


def stages(evidence: Evidence) -> Section:
    """Which stages each depth tunes."""
    study = evidence.study
    network = study.manifest["network"]
    sizes = {stage["name"]: stage["parameters"] for stage in network["stages"]}
    rows = []
    for depth in study.known_depths.values():
        cells = [_stage_cell(depth, name, study.stages[-1]) for name in study.stages]
        tuned = depth.parameters or sum(sizes[name] for name in depth.tuned)
        rows.append((depth.label, *cells, f"{tuned:,}"))
    head = [Markup("<span>{}</span>").format(name) for name in study.stages]
    shapes = [
        (s["name"], " × ".join(map(str, s["output_shape"])), f"{s['parameters']:,}")
        for s in network["stages"]
    ]
    key = Markup(
        '<span class="key tuned">T</span> tuned from pre-trained weights '
        '<span class="key fresh">N</span> new, random start '
        '<span class="key frozen">·</span> frozen'
    )
    ways = {depth.way for depth in study.known_depths.values()}
    if "bitfit" in ways:
        key += Markup(' <span class="key tuned">B</span> biases and norms tuned, the rest frozen')
    if "lora" in ways:
        key += Markup(
            ' <span class="key tuned">L</span> a low-rank addition to the attention tuned, the rest frozen'
        )
    return Section.of(
        "Frozen and tuned stages",
        markup.paragraph(key),
        markup.table(("Depth", *head, "Tuned parameters"), rows, "grid"),
        markup.details(
            "Output shape and parameters of each stage",
            markup.table(("Stage", "Output", "Parameters"), shapes, "numbers"),
        ),
    )


def _stage_cell(depth: Depth, stage: str, last: str) -> Markup:
    """The last stage is new at every depth; from scratch, all are."""
    kind, mark = ("tuned", "T") if stage in depth.tuned else ("frozen", "·")
    if stage in depth.light:
        mark = "L" if depth.way == "lora" else "B"
    if depth.scratch or stage == last:
        kind, mark = "fresh", "N"
    return Markup('<span class="cell {}">{}</span>').format(kind, mark)


def cost(evidence: Evidence) -> Section | None:
    """Seconds of a run by depth at the largest fraction."""
    study, fraction = evidence.study, evidence.main_fraction or evidence.study.fractions[0]
    timed = {d: [r for r in study.cell(d, fraction) if "seconds" in r.timing] for d in study.depths}
    timed = {depth: runs for depth, runs in timed.items() if runs}
    if not timed:
        return None
    slowest = max(fmean(run.timing["seconds"] for run in runs) for runs in timed.values())
    rows = [(study.label(depth), *_cost(runs, slowest)) for depth, runs in timed.items()]
    text = (
        f"Wall-clock seconds of one run with {fraction_name(fraction)} of the training data (mean "
        "± standard deviation over seeds) on the machine named below. Runs stop early, so they "
        "differ in the number of mini-batches too."
    )
    head = ("Tuned stages", "Seconds", "Seconds per epoch", "Mini-batches", "Share of the slowest")
    table = markup.table(head, rows, "numbers cost")
    return Section.of("Cost per depth", markup.paragraph(text), table)


def _cost(runs: Sequence[Run], slowest: float) -> tuple[str, ...]:
    seconds = [run.timing["seconds"] for run in runs]
    epochs = [run.timing["epoch_seconds"] for run in runs if "epoch_seconds" in run.timing]
    steps = [run.result["steps"] for run in runs if run.result.get("steps") is not None]
    share = 100 * fmean(seconds) / slowest
    bar = Markup('<span class="bar"><span style="width:{:.1f}%"></span></span> {:.0f}%')
    return (
        f"{fmean(seconds):.1f}" + (f" ± {stdev(seconds):.1f}" if len(seconds) > 1 else ""),
        f"{fmean(epochs):.2f}" if epochs else "–",
        f"{fmean(steps):.0f}" if steps else "–",
        bar.format(share, share),
    )


def provenance(evidence: Evidence) -> Section:
    """Data, weights, versions, config, and every run that failed."""
    study = evidence.study
    manifest, network = study.manifest, study.manifest["network"]
    versions = {tuple(sorted(run.versions.items())) for run in study.runs if run.versions}
    facts = {
        "application": manifest.get("application"),
        "network": f"{network['name']}, input {network.get('input_size')} px",
        **{f"weights: {k}": v for k, v in flat(network.get("weights", {})).items()},
        **{f"data: {k}": v for k, v in _data(manifest.get("data", {})).items()},
        "augmentation": _augmentation(manifest.get("config", {})),
        **({"class balance": f"in training {study.balance.done}"} if study.balance else {}),
        **_new_stages(network),
        **_norms(network, manifest.get("config", {}), study.known_depths.values()),
        **_stochastic_depth(network),
        "seeds": manifest.get("seeds"),
        "training fractions": ", ".join(fraction_name(f) for f in study.fractions),
    }
    parts = [markup.table(("Fact", "Value"), list(facts.items()), "facts")]
    for i, group in enumerate(sorted(versions), 1):
        title = "Versions" if len(versions) == 1 else f"Versions, group {i} of {len(versions)}"
        parts.append(markup.details(title, markup.table(("Name", "Version"), group, "facts")))
    config = list(flat(manifest.get("config", {})).items())
    parts.append(markup.details("Configuration", markup.table(("Field", "Value"), config, "facts")))
    failed = [
        (
            r.run,
            study.label(r.depth),
            fraction_name(r.fraction),
            r.seed,
            r.result.get("reason") or "",
        )
        for r in study.with_status(FAILED)
    ]
    if failed:
        head = ("Run", "Depth", "Training data", "Seed", "Reason")
        parts += [markup.paragraph("Failed runs:"), markup.table(head, failed, "facts")]
    return Section.of("Data and provenance", *parts)


def _new_stages(network: Mapping[str, Any]) -> dict[str, str]:
    """Nothing where the weights hold every stage but the head."""
    if not (new := network.get("new_stages")):
        return {}
    size = network["input_size"]
    return {"stages without weights": f"{', '.join(new)} (at {size} px) and the head start anew"}


def _norms(
    network: Mapping[str, Any], config: Mapping[str, Any], depths: Iterable[Depth]
) -> dict[str, str]:
    """Whose statistics batch norms used; nothing of networks without."""
    if not network.get("batch_norms"):
        return {}
    batch = config.get("training", {}).get("norm") == "batch"
    used = "the batch's" if batch else "the stored"
    text = (
        f"{used} statistics in training where a stage is tuned, the stored ones where it is frozen, and wherever "
        "images are scored"
    )
    if not batch and any(depth.scratch for depth in depths):
        text += "; from scratch, where nothing is stored, the batch's in training"
    return {"batch norms": text}


def _stochastic_depth(network: Mapping[str, Any]) -> dict[str, str]:
    """Nothing of networks without."""
    if not (rate := network.get("stochastic_depth")):
        return {}
    text = (
        "in training each image passes by blocks of tuned stages at random, the deeper the oftener, up to "
        f"{rate:.2g} of the time; never in frozen stages, nor where images are scored"
    )
    return {"stochastic depth": text}


def _augmentation(config: Mapping[str, Any]) -> str:
    """Of training images, by depth; studies of before have none."""
    fields = config.get("augment", {"depths": "none"})
    if fields["depths"] == "none":
        return "none"
    views = fields["copies"]
    others = (
        f"others take one of {views} fixed views in each epoch" if views > 1 else "others are not"
    )
    amounts = ", ".join(f"{n} {v}" for n, v in fields.items() if n not in ("depths", "copies"))
    return (
        f"training images of depths that tune the first stage are changed anew in every epoch, {others}; at most: "
        f"{amounts}"
    )


def _data(data: Mapping[str, Any]) -> dict[str, Any]:
    """What study.json says of the data; what is counted by noun is not counted again by the name of images."""
    if "contents" not in data:
        return flat(data)
    by_noun = {
        noun: f"{train:,} to train on, {test:,} to test"
        for noun, (train, test) in data["contents"].items()
    }
    again = (
        "contents",
        "patients",
        "cases",
        "train_images",
        "test_images",
        "passed_over",
        "notes",
        "by_class",
    )
    others = {key: value for key, value in data.items() if key not in again}
    said = {
        "passed over": named(data.get("passed_over", {})),
        "remarks": "; ".join(data.get("notes", ())),
    }
    return by_noun | flat(others) | {key: text for key, text in said.items() if text}
