"""Before the first run: data, weights, plan, and everything that can be checked without training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from medtune_jax import applications, networks, tuning, weights
from medtune_jax.applications import Dataset, Words
from medtune_jax.applications.splits import Subset, by_class, check_split, training_subset
from medtune_jax.errors import UserError
from medtune_jax.evaluation.labels import several, sides
from medtune_jax.evaluation.metric import Metric, chosen, of_findings
from medtune_jax.evaluation.operating import Rule
from medtune_jax.folders import walk
from medtune_jax.networks import Network
from medtune_jax.patches import Views
from medtune_jax.paths import at_home, user_cache
from medtune_jax.study.augmentation import augment_of, reaches_pixels
from medtune_jax.study.norms import check_norm
from medtune_jax.study.plan import Plan, image_size, make_plan, needs_weights
from medtune_jax.study.store import Store
from medtune_jax.training import Capacity, Memory, PrefixCache, Runner, Settings, Task
from medtune_jax.training.devices import hosts
from medtune_jax.training.inputs.disk import Disk
from medtune_jax.training.precision import precision
from medtune_jax.tuning import Depth, Optimizer


@dataclass
class Study:
    """What all runs of a sweep share."""

    config: ConfigDict
    dataset: Dataset
    application: applications.Application
    plan: Plan
    source: weights.Checkpoint
    store: Store
    settings: Settings
    optimizer: Optimizer
    subsets: dict[tuple[float, int], Subset]
    capacity: Capacity
    cache: PrefixCache
    runners: dict[Task, Runner] = field(default_factory=dict)

    @property
    def network(self) -> Network:
        return self.plan.network

    @property
    def test(self) -> np.ndarray:
        return np.flatnonzero(self.dataset.test)

    @cached_property
    def metric(self) -> Metric:
        """The application's figure of merit, or the one that the config names."""
        metric = chosen(self.config.metric, self.application.metric)
        return of_findings(metric) if several(self.dataset.labels) else metric

    @cached_property
    def factors(self) -> tuple[float, ...]:
        """On the rates of a run: those that it tries, low to high."""
        return tuning.grid(self.config.rates.search)

    def augments(self, depth: Depth) -> bool:
        """Whether the patches that a depth trains on are changed anew in every epoch."""
        return augment_of(self.config) is not None and reaches_pixels(self.network, depth)

    def views(self, depth: Depth) -> int:
        """How many fixed views of each patch a depth trains on."""
        views: int = self.config.augment.copies
        return 1 if augment_of(self.config) is None or self.augments(depth) else views

    def settings_of(self, depth: Depth) -> Settings:
        """From scratch epochs and patience are its own, where the config gives any; those of a brief phase are too."""
        own = self.config.training.scratch
        if depth.brief:
            return replace(self.settings, epochs=depth.brief, keep_last=True)
        if not depth.scratch:
            return self.settings
        epochs, patience = self.settings.epochs, self.settings.patience
        return replace(
            self.settings, epochs=own.epochs or epochs, patience=own.patience or patience
        )


def prepare(config: ConfigDict, output: str | Path) -> Study:
    """`read_study`, and its manifest written."""
    study = read_study(config, output)
    study.store.open(manifest_of(study))
    study.store.keep(study.dataset.files)
    return study


def read_study(config: ConfigDict, output: str | Path) -> Study:
    """Read data and weights, check everything that can be checked before the first run; write nothing."""
    config = _at_home(config)
    Rule.parse(config.threshold)
    application = applications.get(config.application)
    source = weights.pretrained(config.network, config.weights, needs_weights(config))
    size = image_size(config)
    source = source.fitted(networks.get(config.network), size)
    dataset = _with_debris(application.load(config, size), config.data.dir)
    check_split(dataset, application.words)
    plan = make_plan(
        config, len(dataset.classes), dataset.fingerprint(), source.provenance.get("sha256", "")
    )
    settings, training = _settings(config), config.training
    subsets = {
        (fraction, seed): training_subset(
            dataset, fraction, seed, training.valid_fraction, training.balance
        )
        for fraction in plan.fractions
        for seed in range(plan.seeds)
    }
    _check_depths(plan, source)
    check_norm(config, plan)
    augment, views = augment_of(config), config.augment.copies
    cache = PrefixCache(
        plan.network,
        source.params,
        Views(dataset.patches, augment, views) if augment and views > 1 else dataset.patches,
        np.tile(dataset.labels, views if augment else 1),
        plan.size,
        _memory(config),
        precision(config.training.dtype),
        preprocessing=source.preprocessing,
        augment=augment,
    )
    return Study(
        config,
        dataset,
        application,
        plan,
        source,
        Store(output),
        settings,
        Optimizer(**config.optimizer),
        subsets,
        capacity_of(subsets, settings),
        cache,
    )


def _at_home(config: ConfigDict) -> ConfigDict:
    """The config with ~ in its paths spelled out: a config file or Python may write it, a shell does for itself."""
    config = config.copy_and_resolve_references()
    for fields, name in ((config.data, "dir"), (config, "weights")):
        fields[name] = at_home(fields[name])
    return config


def _with_debris(dataset: Dataset, directory: str) -> Dataset:
    """The debris of a folder is passed over by every application's listing, and counted here for those that do not."""
    if dataset.passed_over or not Path(directory or "-").is_dir():
        return dataset
    return replace(dataset, passed_over=walk(Path(directory)).passed_over)


def _check_depths(plan: Plan, source: weights.Checkpoint) -> None:
    """A stage without pre-trained weights must be tuned, in every phase: frozen noise teaches nothing."""
    for depth in plan.depths:
        for phase in depth.steps:
            whole = set(phase.tuned) - set(phase.light)
            frozen = next((name for name in without_weights(plan, source) if name not in whole), "")
            if not frozen:
                continue
            raise UserError(
                f"depth '{depth.name}' would freeze stage '{frozen}', for which these weights hold nothing at "
                f"{plan.size} px: "
                + (
                    f"write '{depth.tuned[0]}', which tunes it from the first step"
                    if depth.way and frozen in depth.tuned and not depth.light
                    else f"start at '{frozen}' or deeper"
                )
            )


def without_weights(plan: Plan, source: weights.Checkpoint) -> list[str]:
    """The stages before the head that start from random numbers at every depth, though others have weights."""
    if not source.params:
        return []  # all runs are from scratch
    return [name for name in plan.network.names[:-1] if name not in source.params]


def _settings(config: ConfigDict) -> Settings:
    training = config.training
    for name in ("batch", "epochs", "patience"):
        if training[name] < 1:
            raise UserError(f"training.{name} is {training[name]}: give 1 or more")
    if not 0 < training.valid_fraction < 1:
        raise UserError(
            f"training.valid_fraction is {training.valid_fraction}: give a number between 0 and 1, as 0.2"
        )
    for name, number in training.scratch.items():
        if number < 0:
            raise UserError(
                f"training.scratch.{name} is {number}: give 0 (as training.{name}) or more"
            )
    tuning.grid(config.rates.search)
    for name, rate in config.rates.items():
        if rate < 0:
            raise UserError(f"rates.{name} is {rate}: give 0 (the network's own) or more")
    return Settings(
        batch=training.batch,
        epochs=training.epochs,
        patience=training.patience,
        rate_decay=training.rate_decay,
    )


def capacity_of(subsets: Mapping[Any, Subset], settings: Settings) -> Capacity:
    """What the largest of the runs takes."""
    train = max(len(subset.train) for subset in subsets.values())
    valid = max(len(subset.valid) for subset in subsets.values())
    return Capacity.of(train, valid, settings)


def _memory(config: ConfigDict) -> Memory:
    memory = config.memory
    for name, value in memory.items():
        if name != "disk_dir" and value < 0:
            raise UserError(f"memory.{name} is {value}: give GiB, 0 or more")
    patches, device, host, disk = (
        int(memory[f"{name}_gib"] * 2**30) for name in ("patches", "device", "host", "disk")
    )
    if hosts.several():
        host = disk = 0  # features of its own patches lie on each host's devices, and nowhere else
    folder = Path(at_home(memory.disk_dir)) if memory.disk_dir else user_cache() / "features"
    return Memory.of_this_machine(patches, device, host, Disk(folder, disk) if disk else None)


def manifest_of(study: Study) -> dict[str, Any]:
    """What study.json says."""
    plan, dataset = study.plan, study.dataset
    shapes = plan.network.shapes(plan.size)
    params = plan.network.abstract_params(plan.size)
    return {
        "identity": plan.identity,
        "application": study.application.name,
        "metric": study.metric.name,
        "network": {
            "name": plan.network.name,
            "input_size": plan.size,
            **({"batch_norms": norms} if (norms := plan.network.batch_norms) else {}),
            **({"stochastic_depth": rate} if (rate := plan.network.stochastic_depth) else {}),
            "stages": [
                {
                    "name": name,
                    "output_shape": list(shapes[name]),
                    "parameters": networks.parameter_count(params[name]),
                }
                for name in plan.network.names
            ],
            "weights": study.source.provenance,
            **({"new_stages": new} if (new := without_weights(plan, study.source)) else {}),
        },
        "classes": list(dataset.classes),
        "findings": several(dataset.labels),
        "words": study.application.words._asdict(),
        "data": _data_summary(dataset, study.application.words),
        "config": study.config.to_dict(),
        **plan.manifest(),
    }


def _data_summary(dataset: Dataset, words: Words) -> dict[str, Any]:
    counts = [sides(dataset.labels, (c,))[0].sum() for c in range(len(dataset.classes))]
    return {
        "fingerprint": dataset.fingerprint(),
        "cases": len(np.unique(dataset.names)),
        "patients": len(np.unique(dataset.groups)),
        "train_images": int((~dataset.test).sum()),
        "test_images": int(dataset.test.sum()),
        "per_class": dict(zip(dataset.classes, map(int, counts), strict=True)),
        "contents": dataset.contents(words),
        "groups_known": dataset.groups_known,
        "by_class": by_class(dataset),
        "passed_over": dict(dataset.passed_over),
        "notes": list(dataset.notes),
    }
