"""Writes a study directory as a sweep would, with scores of known skill."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from medtune_jax.evaluation.roc import one_vs_rest_auc

SQUEEZENET = ("conv1", *(f"fire{i}" for i in range(2, 10)), "conv10")
DEPTHS = (*reversed(SQUEEZENET), "scratch")


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
    speed: Callable[[str], float] = lambda depth: 8.0 if "scratch" in depth else 2.0,
    rng_seed: int = 0,
) -> Path:
    """`skill(depth, fraction)` is the distance of the true class's scores from the others' in
    standard deviations of an image's score; `speed(depth)` the epochs that training takes."""
    rng = np.random.default_rng(rng_seed)
    labels = np.repeat(rng.permutation(np.arange(patients) % len(classes)), 2)
    names = [f"img{i:04d}.png" for i in range(labels.size)]
    groups = [f"P{i // 2:03d}" for i in range(labels.size)]
    common = rng.normal(size=(labels.size, len(classes)))
    runs = []
    for depth in depths:
        for fraction in fractions:
            for seed in range(seeds):
                run = f"{depth}-f{fraction:g}-s{seed}-{len(runs):08x}"
                runs.append({"run": run, "depth": depth, "fraction": fraction, "seed": seed})
                key = (depth, fraction, seed)
                if key in missing:
                    continue
                folder = directory / "runs" / run
                folder.mkdir(parents=True)
                logits = skill(depth, fraction) * np.eye(len(classes))[labels]
                logits = logits + common + 0.5 * rng.normal(size=common.shape)
                if key in collapsed:  # dead for two images in three
                    logits[np.arange(labels.size) % 3 > 0] = 0
                _write_run(
                    folder, runs[-1], key in failed, logits, (names, groups, labels), classes,
                    speed(depth) * fraction, rng,
                )  # fmt: skip
    manifest = {
        "identity": "abc",
        "application": "image_folder",
        "network": {
            "name": "squeezenet",
            "input_size": 115,
            "stages": [
                {"name": name, "output_shape": [60 - i, 60 - i, 64 + i], "parameters": 1000 * i + 9}
                for i, name in enumerate(stages)
            ],
            "weights": {"source": "bundled SqueezeNet", "sha256": "0" * 64},
        },
        "depths": list(depths),
        "fractions": list(fractions),
        "seeds": seeds,
        "classes": list(classes),
        "data": {
            "fingerprint": "f" * 64,
            "cases": 800,
            "patients": 400,
            "train_images": 640,
            "test_images": labels.size,
            "per_class": {name: 400 for name in classes},
            "groups_known": groups_known,
        },
        "config": {"network": "squeezenet", "training": {"batch": 32, "epochs": 30}},
        "runs": runs,
    }
    (directory / "study.json").write_text(json.dumps(manifest))
    return directory


def _write_run(folder, identity, failed, logits, test, classes, speed, rng) -> None:
    names, groups, labels = test
    exponent = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = exponent / exponent.sum(axis=1, keepdims=True)
    auc = one_vs_rest_auc(labels, probabilities)
    result = {"network": "squeezenet", **identity}
    if failed:
        result |= {"status": "failed", "reason": "diverged at step 12 <rate 0.001>"}
        result |= {"val_auc": None, "test_auc": None}
        _json(folder / "result.json", result)
        _json(folder / "timing.json", {})
        return
    epochs = np.arange(1, 21)
    curve = auc - (auc - 0.5) * np.exp(-epochs / speed) + 0.004 * rng.normal(size=20)
    result |= {
        "status": "done",
        "reason": None,
        "val_auc": float(curve.max()),
        "test_auc": auc,
        "best_epoch": int(epochs[curve.argmax()]),
        "epochs": 20,
        "steps": 320,
        "train_images": 512,
        "val_images": 128,
    }
    _json(folder / "result.json", result)
    _json(folder / "timing.json", {"seconds": 5 + 10 * speed, "epoch_seconds": 0.3 * speed})
    _json(folder / "versions.json", {"jax": "0.10.0", "python": "3.11.7", "device": "cpu"})
    _rows(
        folder / "history.csv",
        ["epoch", "batches", "loss", "val_auc"],
        [[e, 16 * e, 0.6 / e, value] for e, value in zip(epochs, curve, strict=True)],
    )
    _rows(
        folder / "scores.csv",
        ["image", "patient", "label", *classes],
        [
            [name, group, classes[label], *row]
            for name, group, label, row in zip(names, groups, labels, probabilities, strict=True)
        ],
    )


def _json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value))


def _rows(path: Path, head: list, rows: list) -> None:
    with path.open("w", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([head, *rows])
