"""Writes a study directory as a sweep would, with scores of known skill."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np

from medtune_jax.evaluation import AUC, Metric, log_odds
from medtune_jax.evaluation.scores import TestSet, score_rows
from medtune_jax.evaluation.subgroups import subgroup_file
from medtune_jax.paths import csv_bytes

SQUEEZENET = ("conv1", *(f"fire{i}" for i in range(2, 10)), "conv10")
DEPTHS = (*reversed(SQUEEZENET), "scratch")


def middle_is_best(depth, fraction):
    """fire6-conv10 is best; scratch needs data more than tuning does."""
    if depth == "scratch":
        return 1.2 * fraction
    return (1.0, 1.6, 2.1, 2.6, 3.2, 2.4, 2.4, 2.2, 2.0, 1.6)[DEPTHS.index(depth)] * fraction**0.1


def write_study(
    directory: Path,
    *,
    skill: Callable[[str, float], float] = lambda depth, fraction: 1.5,
    stages: Sequence[str] = SQUEEZENET,
    depths: Sequence[str] = DEPTHS,
    fractions: Sequence[float] = (1.0, 0.25),
    seeds: int = 3,
    classes: Sequence[str] = ("neg", "pos"),
    patients: int = 80,
    failed: Sequence[tuple[str, float, int]] = (),
    missing: Sequence[tuple[str, float, int]] = (),
    collapsed: Sequence[tuple[str, float, int]] = (),
    groups_known: bool = True,
    metric: Metric = AUC,
    words: tuple[str, str] = ("patient", "image"),
    scale: float = 1.0,
    doubtful: int = 0,
    figures: Callable[[int], dict[str, float]] = lambda seed: {},
    validation: int = 0,
    columns: Mapping[str, Sequence[str]] | None = None,
    speed: Callable[[str], float] = lambda depth: 8.0 if "scratch" in depth else 2.0,
    rng_seed: int = 0,
) -> Path:
    """`skill(depth, fraction)` is the distance of the true class's scores from the others' in
    standard deviations of an image's score; `speed(depth)` the epochs that training takes.

    scale: of the logits; 100 saturates probabilities. doubtful: images, the first ones, that are not judged.
    figures: the application's own figures of a run by seed. validation: images of each run's own validation.csv, none
    without. columns: sub-groups, the value of each of the 2 * patients test images.
    """
    rng = np.random.default_rng(rng_seed)
    labels = np.repeat(rng.permutation(np.arange(patients) % len(classes)), 2)
    test = TestSet(
        np.array([f"img{i:04d}.png" for i in range(labels.size)]),
        np.array([f"P{i // 2:03d}" for i in range(labels.size)]),
        labels,
        np.arange(labels.size) >= doubtful,
    )
    common = rng.normal(size=(labels.size, len(classes)))
    runs = []
    for key in product(depths, fractions, range(seeds)):
        depth, fraction, seed = key
        run = f"{depth}-f{fraction:g}-s{seed}-{len(runs):08x}"
        runs.append({"run": run, "depth": depth, "fraction": fraction, "seed": seed})
        if key in missing:
            continue
        folder = directory / "runs" / run
        folder.mkdir(parents=True)
        logits = skill(depth, fraction) * np.eye(len(classes))[labels]
        logits = logits + common + 0.5 * rng.normal(size=common.shape)
        if key in collapsed:  # dead for two images in three
            logits[np.arange(labels.size) % 3 > 0] = 0
        scores = log_odds.of_logits(scale * logits).astype(np.float32)
        result = {"network": "squeezenet", "metric": metric.name, **runs[-1]}
        if key in failed:
            _write_failure(folder, result)
            continue
        result |= {"test": metric(labels[test.judged], scores[test.judged]), **figures(seed)}
        _write_run(folder, result, speed(depth) * fraction, rng)
        (folder / "scores.csv").write_bytes(csv_bytes(score_rows(test, classes, scores)))
        if validation:
            rows = _validation_rows(validation, classes, skill(depth, fraction), rng)
            (folder / "validation.csv").write_bytes(csv_bytes(rows))
    for name, content in subgroup_file(test.names, dict(columns or {})).items():
        (directory / "application").mkdir()
        (directory / "application" / name).write_bytes(content)
    contents = {
        **({f"{words[0]}s": (320, patients)} if groups_known else {}),
        f"{words[1]}s": (640, labels.size),
        "patches": (2560, 4 * labels.size),
    }
    manifest = {
        "identity": "abc",
        "application": "image_folder",
        "network": _network(stages),
        "metric": metric.name,
        "depths": [_depth(name, stages) for name in depths],
        "fractions": list(fractions),
        "seeds": seeds,
        "classes": list(classes),
        "words": dict(zip(("group", "case"), words, strict=True)),
        "data": {
            "fingerprint": "f" * 64,
            "per_class": {name: 400 for name in classes},
            "contents": contents,
            "groups_known": groups_known,
        },
        "config": {"network": "squeezenet", "training": {"batch": 32, "epochs": 30}},
        "runs": runs,
    }
    _json(directory / "study.json", manifest)
    return directory


def _network(stages) -> dict:
    return {
        "name": "squeezenet",
        "input_size": 115,
        "stages": [
            {"name": name, "output_shape": [60 - i, 60 - i, 64 + i], "parameters": 1000 * i + 9}
            for i, name in enumerate(stages)
        ],
        "weights": {"source": "bundled SqueezeNet", "sha256": "0" * 64},
    }


def _validation_rows(images, classes, skill, rng) -> list:
    labels = np.arange(images) % len(classes)
    logits = skill * np.eye(len(classes))[labels] + rng.normal(size=(images, len(classes)))
    names = np.array([f"v{i:04d}.png" for i in range(images)])
    valid = TestSet(names, names, labels, np.ones(images, bool))
    return score_rows(valid, classes, log_odds.of_logits(logits).astype(np.float32))


def _depth(name, stages) -> dict:
    scratch, _, filler = name.partition("-")
    if scratch == "scratch":
        label = f"scratch ({filler})" if filler else scratch
        return {"name": name, "label": label, "tuned": list(stages), "scratch": True}
    tuned = list(stages[list(stages).index(name) :])
    label = f"{name}-{stages[-1]}" if len(tuned) > 1 else f"only {name}"
    return {"name": name, "label": label, "tuned": tuned, "scratch": False}


def _write_failure(folder, result) -> None:
    reason = {"status": "failed", "reason": "diverged at step 12 <rate 0.001>"}
    _json(folder / "result.json", {**result, **reason, "validation": None, "test": None})
    _json(folder / "timing.json", {})


def _write_run(folder, result, speed, rng) -> None:
    epochs = np.arange(1, 21)
    best = result["test"]
    curve = best - (best - 0.5) * np.exp(-epochs / speed) + 0.004 * rng.normal(size=20)
    result |= {
        "status": "done",
        "reason": None,
        "validation": float(curve.max()),
        "best_epoch": int(epochs[curve.argmax()]),
        "epochs": 20,
        "steps": 320,
        "train_images": 512,
        "val_images": 128,
    }
    _json(folder / "result.json", result)
    _json(folder / "timing.json", {"seconds": 5 + 10 * speed, "epoch_seconds": 0.3 * speed})
    _json(folder / "versions.json", {"jax": "0.10.0", "python": "3.11.7", "device": "cpu"})
    head = ("epoch", "batches", "loss", "validation")
    rows = [(e, 16 * e, 0.6 / e, value) for e, value in zip(epochs, curve, strict=True)]
    (folder / "history.csv").write_bytes(csv_bytes([head, *rows]))


def _json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value))
