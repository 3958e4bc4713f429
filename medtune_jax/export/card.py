"""A model card: what the network is, what it was trained and tested on, how good it is, and what it is not for.

The headings are those of Mitchell et al., Model cards for model reporting, FAT* 2019; those that a journal asks for are
of CLAIM (Tejani et al., Checklist for artificial intelligence in medical imaging: 2024 update, Radiology: Artificial
Intelligence 6). What the study cannot know is left as a line to fill in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from medtune_jax.applications.kinds import read_kinds
from medtune_jax.evaluation.classification import TITLES, Classification
from medtune_jax.evaluation.log_odds import probabilities
from medtune_jax.evaluation.readers import Estimate
from medtune_jax.export.run import FinishedRun
from medtune_jax.export.safetensors import MODELS
from medtune_jax.report.evidence import Evidence
from medtune_jax.words import contents

CARD = "MODEL_CARD.md"
FILL_IN = "*To be filled in by whoever passes this network on.*"


@dataclass(frozen=True)
class Packed:
    """What lies beside the card. record: model.json. uses: by format, how to load it."""

    record: Mapping[str, Any]
    uses: Mapping[str, str]


def card(run: FinishedRun, packed: Packed) -> str:
    """The card as Markdown."""
    sections = {
        "Model details": _details(run),
        **study_sections(run),
        "Training": _training(run),
        "How to use the files": _use(run, packed),
        "Versions": _table(("name", "version"), sorted(packed.record["versions"].items())),
    }
    title = f"{run.network.name} for {_classes(run)}"
    parts = [f"# Model card: {title}"]
    parts += [f"## {name}\n\n{text}" for name, text in sections.items()]
    return "\n\n".join(parts) + "\n"


def study_sections(run: FinishedRun) -> dict[str, str]:
    """By heading, in Markdown, what whoever looks at an answer of the network has to know of its study."""
    return {
        "Intended use": _intended(run),
        "Data": _data(run),
        "Performance on the test set": _performance(run),
        "Limits": _limits(run),
    }


def _classes(run: FinishedRun) -> str:
    return (", " if run.study.findings else " / ").join(run.classes)


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(c) for c in line)} |" for line in lines)


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _details(run: FinishedRun) -> str:
    study, weights = run.study, run.study.manifest["network"].get("weights", {})
    kind = "findings, of which an image may have several" if study.findings else "one class of"
    return _table(
        ("", ""),
        [
            ("network", f"{run.network.name}, a convolutional network"),
            ("answers", f"{kind}: {_classes(run)}"),
            ("input", f"{run.size} x {run.size} pixels, 8-bit RGB"),
            ("tuned", f"{study.label(run.run.depth)}; all other stages are those of the source"),
            ("started from", weights.get("source", "unknown")),
            ("run", f"{run.run.run}, seed {run.run.seed}"),
            ("made by", FILL_IN),
            ("licence", FILL_IN),
        ],
    )


def _intended(run: FinishedRun) -> str:
    words = run.study.words
    return (
        f"Research: to tell {_classes(run)} in {words.cases} of the kind that the data below are of, from the same "
        f"kind of scanner or camera and of {words.groups} of the same kind. It is no medical device, was tested in no "
        f"clinical routine, and its output is no diagnosis.\n\n"
        f"Intended users, and uses that are out of scope: {FILL_IN}"
    )


def _data(run: FinishedRun) -> str:
    study, data = run.study, run.study.manifest.get("data", {})
    words, parts = study.words, []
    if "contents" in data:
        parts.append(f"In all {contents(data['contents'])}.")
    if data.get("by_class"):
        rows = [
            (name, *(f"{n:,}" for side in ("train", "test") for n in counts[side]))
            for name, counts in data["by_class"].items()
        ]
        of = [
            f"{side}: {noun}" for side in ("training", "test") for noun in (words.groups, "patches")
        ]
        parts.append(_table(("class", *of), rows))
    parts.append(
        f"No {words.group} is in two of training, validation and test set."
        if study.groups_known
        else f"**The data name no {words.groups}: every {words.case} counts as one of its own, so that {words.cases} "
        "of one person may lie on both sides and the figures below may be too good.**"
    )
    parts += [f"- {note}" for note in data.get("notes", ())]
    kinds = read_kinds(study.directory)
    parts += [f"Of the pictures: {kinds}."] if kinds else []
    parts.append(f"Fingerprint of the data: `{data.get('fingerprint', 'unknown')}`.")
    parts.append(
        f"Where they come from, years, devices, inclusion, ethics, who labelled them how: {FILL_IN}"
    )
    return "\n\n".join(parts)


def _alone(run: FinishedRun) -> Evidence:
    """What the study says of this one run."""
    return Evidence(replace(run.study, runs=(run.run,)))


def _performance(run: FinishedRun) -> str:
    cell, words = (run.run.depth, run.run.fraction), run.study.words
    found = _alone(run).classification(cell)
    means = {name: figure.estimate for name, figure in found.mean().items()}
    parts = [
        f"Of this run alone, scored once on {words.groups} that it never saw; intervals of 95% over {words.groups}.",
        _table(("figure", "value", "95% interval"), _figures(means)),
        *_thresholds(run, found),
        *_reasons(means.values()),
    ]
    if len(found.tasks) > 1:
        each = [
            {n: f.estimate for n, f in found.of_task(t).items()} for t in range(len(found.tasks))
        ]
        head = ("class", "prevalence", *(TITLES[name] for name in each[0]))
        rows = [
            (
                run.classes[found.tasks[t][0]],
                f"{found.prevalence(t):.3f}",
                *map(_brief, of.values()),
            )
            for t, of in enumerate(each)
        ]
        parts += ["Each against the rest:", _table(head, rows)]
    parts += _subgroups(run, found)
    own = {
        name: value
        for name, value in run.run.result.items()
        if name.startswith(("sensitivity_at", "li_", "ma_")) and isinstance(value, float)
    }
    if own:
        rows = [(name, f"{value:.4g}") for name, value in own.items()]
        parts.append(_table(("figure of the task", "value"), rows))
    return "\n\n".join(parts)


def _figures(means: Mapping[str, Estimate]) -> Iterator[tuple[str, str, str]]:
    for name, value in means.items():
        shown = "–" if value.estimate is None else f"{value.estimate:.3f}"
        yield (
            TITLES[name],
            shown,
            "–" if value.low is None else f"{value.low:.3f} to {value.high:.3f}",
        )


def _brief(value: Estimate) -> str:
    if value.estimate is None:
        return "–"
    reach = "" if value.low is None else f" ({value.low:.3f}–{value.high:.3f})"
    return f"{value.estimate:.3f}{reach}"


def _reasons(values: Iterable[Estimate]) -> list[str]:
    """Why something is not given."""
    why = dict.fromkeys(v.why for v in values if v.low is None and v.why)
    return [f"Where no interval is given: {reason}." for reason in why]


def _thresholds(run: FinishedRun, found: Classification) -> list[str]:
    if found.thresholds is None:
        return []
    chosen = probabilities(found.thresholds[0])
    named = ", ".join(
        f"{run.classes[task[0]]} {value:.3g}"
        for task, value in zip(found.tasks, chosen, strict=True)
    )
    return [
        f"Sensitivity and specificity are at the probability that was chosen on validation {run.study.words.cases} "
        f"({run.study.rule}): {named}."
    ]


def _subgroups(run: FinishedRun, whole: Classification) -> Iterator[str]:
    study, words = run.study, run.study.words
    if study.test is None:
        return
    for column, values in study.subgroups.items():
        of = np.asarray(values)[study.test.judged]
        rows = []
        for value in np.unique(of):
            part = whole.of(of == value)
            means = part.mean()
            patients = len(np.unique(part.groups))
            rows.append(
                (
                    value or "(empty)",
                    patients,
                    len(part.labels),
                    *(_brief(f.estimate) for f in means.values()),
                )
            )
        yield f"By {column}:"
        yield _table((column, words.groups, words.cases, *TITLES.values()), rows)


def _limits(run: FinishedRun) -> str:
    study, words = run.study, run.study.words
    limits = [
        f"Tested on {words.cases} of the same source as the training data, not on those of another hospital, device or "
        "time: expect less there, and measure it before any use.",
        "Probabilities are of the mix of classes that it was trained on"
        + (f" (in training {study.balance.done})" if study.balance else "")
        + "; where the disease is rarer, they are too high.",
        f"Something that is none of {_classes(run)} is called one of them all the same.",
        "Its depth of tuning was chosen on validation data of the same study; the figures above are of test data.",
    ]
    if run.run.collapsed:
        limits.append(
            "**Half or more of the test images get the same score: this network does not work.**"
        )
    if run.run.still_improving:
        limits.append("Its validation figure was still improving when training ended.")
    if study.manifest.get("application") != "image_folder":
        limits.append(
            f"It judges one patch at a time, as the study `{study.manifest.get('application')}` cuts them; what finds "
            "patches in an image or a volume, and what joins their answers, is not in these files."
        )
    return "\n".join(f"- {limit}" for limit in limits)


def _training(run: FinishedRun) -> str:
    result, config = run.run.result, run.trained.config
    training = config.get("training", {})
    facts = {
        "share of the training data": f"{run.run.fraction:g}",
        "patches trained on, validated on": f"{result.get('train_images')}, {result.get('val_images')}",
        "optimizer": config.get("optimizer", {}).get("name"),
        "learning rate of the first tuned stage, of the head": f"{result.get('rate')}, {result.get('head_rate')}",
        "batch": training.get("batch"),
        "epochs trained, kept": f"{result.get('epochs')}, {result.get('best_epoch')}",
        "rate decay per epoch": training.get("rate_decay"),
        "class balance": training.get("balance"),
        "augmentation": config.get("augment", {}).get("depths"),
        "seconds": f"{run.run.timing.get('seconds', float('nan')):.0f}",
    }
    return _table(("", ""), facts.items())


def _use(run: FinishedRun, packed: Packed) -> str:
    record = packed.record
    stated = record["preprocessing"]
    parts = [
        "Input: images of any size, upright, resized to "
        f"{run.size} x {run.size} with an area or antialiased bilinear filter, 8-bit RGB (gray repeated three times)."
    ]
    for name, use in packed.uses.items():
        far = record["formats"][name]["difference"]
        checked = (
            f"Largest difference from the run on {record['formats'][name]['images']} images: {far['probability']:.1e} "
            f"in probability, {far['logit']:.1e} in logit."
        )
        parts.append(
            f"### {name}\n\n{checked}\n\n```python\n{use.replace('SIDE', str(run.size))}```"
        )
    if {"orbax", "safetensors"} & set(packed.uses):
        parts.append(
            "Orbax and safetensors hold the weights alone. Their preprocessing, of pixels x of 0 to 255: channels as "
            f"{stated['order']}, then (x * scale - mean) / std with scale {stated['scale']:.6g}, mean "
            f"{_numbers(stated['mean'])}, std {_numbers(stated['std'])}. Probabilities are the "
            f"{'sigmoid' if run.study.findings else 'softmax'} of what the network returns."
        )
    if "safetensors" in packed.uses:
        parts.append(_torch(run))
    return "\n\n".join(parts)


def _torch(run: FinishedRun) -> str:
    model = MODELS.get(run.network.name)
    if model is None:
        return (
            f"torchvision has no {run.network.name}; the tensors bear the names of the stages, in PyTorch's layout: "
            "convolutions (out, in, height, width), inner products (out, in) of a map flattened channels first."
        )
    model = model.replace("CLASSES", str(len(run.classes)))
    return (
        f"The PyTorch network that takes the safetensors file:\n\n```python\nmodel = {model}\n```"
    )


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:.6g}" for value in values)
