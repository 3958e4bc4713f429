"""A layer-wise study: every depth, training-set size and seed of a config, resumable at any moment."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from medtune_jax import applications, networks, tuning, weights
from medtune_jax.applications import Dataset
from medtune_jax.applications.splits import Subset, training_subset
from medtune_jax.errors import UserError
from medtune_jax.evaluation.roc import one_vs_rest_auc
from medtune_jax.networks import Network, Params, Rates
from medtune_jax.study.plan import Plan, PlannedRun, image_size, make_plan
from medtune_jax.study.progress import Progress
from medtune_jax.study.store import DONE, FAILED, Outcome, Store
from medtune_jax.training import Capacity, Fitted, Program, Run, Settings, fit, predict
from medtune_jax.training.features import Features


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
    subsets: dict[tuple[float, int], Subset]
    capacity: Capacity
    features: Features

    @property
    def network(self) -> Network:
        return self.plan.network

    @property
    def test(self) -> np.ndarray:
        return np.flatnonzero(self.dataset.test)


def prepare(config: ConfigDict, output: str | Path) -> Study:
    """Read data and weights, check everything that can be checked before the first run, write the manifest."""
    application = applications.get(config.application)
    source = weights.pretrained(config.network, config.weights)
    size = image_size(config)
    dataset = application.load(config, size)
    plan = make_plan(
        config, len(dataset.classes), dataset.fingerprint(), source.provenance.get("sha256", "")
    )
    settings = _settings(config)
    subsets = {
        (fraction, seed): _subset(config, dataset, fraction, seed)
        for fraction in plan.fractions
        for seed in range(plan.seeds)
    }
    _check_depths(plan, source)
    study = Study(
        config,
        dataset,
        application,
        plan,
        source,
        Store(output),
        settings,
        subsets,
        _capacity(subsets, settings),
        _features(config, plan, source, dataset),
    )
    study.store.open(_manifest(study))
    study.store.keep(dataset.files)
    return study


def sweep(config: ConfigDict, output: str | Path, quiet: bool = False) -> Path:
    """Run what is not done yet of the config's study under `output`, and return that directory.

    A run that fails is recorded with its reason and the others go on. Raises UserError for bad input and for a disk
    that refuses; what is finished stays finished.
    """
    study = prepare(config, output)
    with Progress(
        study.plan.runs, [_cost(study, run) for run in study.plan.runs], quiet
    ) as progress:
        for depth in study.plan.depths:
            waiting = []
            for run in study.plan.of_depth(depth):
                if study.store.settled(run.run):
                    progress.skip(run)
                else:
                    waiting.append(run)
            for run, outcome in _outcomes(study, depth, waiting, progress):
                _write(study.store, run, outcome)
                progress.finish(run, outcome.result)
    return study.store.directory


def _outcomes(
    study: Study, depth: tuning.Depth, waiting: Sequence[PlannedRun], progress: Progress
) -> Iterator[tuple[PlannedRun, Outcome]]:
    if not waiting:
        return
    inputs = study.features.inputs(depth.tuned[0], pretrained=not depth.scratch)
    training = study.config.training
    program = Program(
        study.network,
        _trained(study, depth),
        inputs.start,
        inputs.fetch,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
    )
    for run in waiting:
        progress.start(run)
        try:
            yield run, _train(study, depth, run, program, inputs, progress)
        except (RuntimeError, ValueError, ArithmeticError, MemoryError) as error:
            reason = f"{type(error).__name__}: {str(error).splitlines()[0]}"
            yield run, Outcome(_result(study, run, FAILED, reason), config=study.config.to_dict())


def _train(study, depth, planned, program, inputs, progress) -> Outcome:
    began = time.perf_counter()
    subset = study.subsets[planned.fraction, planned.seed]
    params, new = starting_params(
        study.network,
        study.source,
        depth,
        planned.seed,
        study.plan.size,
        study.config.training.auxiliary,
    )
    rates = tuning.group_rates(
        study.network, depth, new, _rates(study), study.config.rates.stage_decay, program.tuned
    )
    run = Run(params, rates, subset.train, subset.valid, planned.seed)
    (fitted,) = fit(
        program,
        [run],
        inputs,
        study.dataset.labels,
        study.settings,
        study.capacity,
        one_vs_rest_auc,
        lambda _, epoch: progress.epoch(planned, epoch),
    )
    trained = time.perf_counter()
    outcome = _failed(study, planned, fitted) if fitted.failure else None
    if outcome is None:
        frozen = tuning.split(params, program.tuned)[1]
        assert fitted.params is not None
        scores = predict(
            program,
            fitted.params,
            frozen,
            inputs,
            study.test,
            rates,
            study.settings,
            study.capacity,
        )
        outcome = _scored(study, planned, subset, fitted, scores)
    seconds = time.perf_counter() - began
    epochs = max(len(fitted.history), 1)
    timing = {"seconds": seconds, "epoch_seconds": (trained - began) / epochs}
    return Outcome(outcome.result, fitted.history, outcome.scores, timing, study.config.to_dict())


def _scored(study, planned, subset, fitted: Fitted, scores: np.ndarray) -> Outcome:
    dataset, best = study.dataset, fitted.best
    assert best is not None
    result = {
        **_result(study, planned, DONE, None),
        **study.application.evaluate(dataset, scores),
        "val_auc": best.val_auc,
        "best_epoch": best.epoch,
        "epochs": len(fitted.history),
        "steps": fitted.history[-1].batches,
        "train_images": len(subset.train),
        "val_images": len(subset.valid),
    }
    rows = [("image", "patient", "label", *dataset.classes)]
    for index, row in zip(study.test, scores, strict=True):
        known = (
            dataset.names[index],
            dataset.groups[index],
            dataset.classes[dataset.labels[index]],
        )
        rows.append((*known, *(f"{value:.7g}" for value in row)))
    return Outcome(result, scores=rows)


def _failed(study, planned, fitted: Fitted) -> Outcome:
    return Outcome(_result(study, planned, FAILED, fitted.failure))


def _result(study: Study, run: PlannedRun, status: str, reason: str | None) -> dict[str, Any]:
    return {
        "run": run.run,
        "network": study.network.name,
        "depth": run.depth,
        "fraction": run.fraction,
        "seed": run.seed,
        "status": status,
        "reason": reason,
        "val_auc": None,
        "test_auc": None,
    }


def starting_params(
    network: Network,
    source: weights.Checkpoint,
    depth: tuning.Depth,
    seed: int,
    size: int,
    auxiliary: bool = True,
) -> tuple[Params, tuple[str, ...]]:
    """(parameters a run starts from, names of the stages that are new in them)."""
    sides = auxiliary and depth.scratch and bool(network.auxiliary)
    # The new head of a pre-trained network is drawn as its authors drew it: Caffe's Gaussian.
    filler = depth.filler or "gaussian"
    initial = networks.initial_params(network, jax.random.key(seed), filler, size, sides)
    if depth.scratch:
        return initial, tuple(initial)
    params, manifest = weights.transplant(source.params, initial, network)
    return params, manifest.new


def _trained(study: Study, depth: tuning.Depth) -> tuple[str, ...]:
    """The tuned stages, and the side heads that exist only while they are trained."""
    if not (depth.scratch and study.config.training.auxiliary):
        return depth.tuned
    return (*depth.tuned, *(side.stage.name for side in study.network.auxiliary))


def _check_depths(plan: Plan, source: weights.Checkpoint) -> None:
    """A stage without pre-trained weights must be tuned: frozen noise teaches nothing."""
    missing = [name for name in plan.network.names[:-1] if name not in source.params]
    for depth in plan.depths:
        frozen = [name for name in missing if name not in depth.tuned]
        if frozen:
            raise UserError(
                f"depth '{depth.name}' would freeze stage '{frozen[0]}', for which these weights hold nothing: "
                f"start at '{frozen[0]}' or deeper"
            )


def _settings(config: ConfigDict) -> Settings:
    training = config.training
    for name in ("batch", "epochs", "patience"):
        if training[name] < 1:
            raise UserError(f"training.{name} is {training[name]}: give 1 or more")
    return Settings(
        batch=training.batch,
        epochs=training.epochs,
        patience=training.patience,
        rate_decay=training.rate_decay,
    )


def _subset(config: ConfigDict, dataset: Dataset, fraction: float, seed: int) -> Subset:
    return training_subset(
        dataset.labels,
        dataset.groups,
        dataset.units,
        np.flatnonzero(~dataset.test),
        fraction,
        config.training.valid_fraction,
        seed,
        dataset.classes,
        config.training.balance,
    )


def _capacity(subsets: dict[Any, Subset], settings: Settings) -> Capacity:
    train = max(len(subset.train) for subset in subsets.values())
    valid = max(len(subset.valid) for subset in subsets.values())
    return Capacity.of(train, valid, settings)


def _features(
    config: ConfigDict, plan: Plan, source: weights.Checkpoint, dataset: Dataset
) -> Features:
    return Features(
        plan.network,
        source.params,
        dataset.patches,
        dataset.labels,
        plan.size,
        int(config.training.cache_gib * 2**30),
    )


def _rates(study: Study) -> Rates:
    own, given = study.network.rates, study.config.rates
    return Rates(given.tuned or own.tuned, given.head or own.head, given.scratch or own.scratch)


def _manifest(study: Study) -> dict[str, Any]:
    plan, dataset = study.plan, study.dataset
    shapes = plan.network.shapes(plan.size)
    params = plan.network.abstract_params(plan.size)
    return {
        "identity": plan.identity,
        "application": study.application.name,
        "network": {
            "name": plan.network.name,
            "input_size": plan.size,
            "stages": [
                {
                    "name": name,
                    "output_shape": list(shapes[name]),
                    "parameters": networks.parameter_count(params[name]),
                }
                for name in plan.network.names
            ],
            "weights": study.source.provenance,
        },
        "depths": [depth.name for depth in plan.depths],
        "all_depths": list(tuning.every_depth(plan.network)),
        "fractions": list(plan.fractions),
        "seeds": plan.seeds,
        "classes": list(dataset.classes),
        "data": _data_summary(dataset),
        "config": study.config.to_dict(),
        "runs": plan.manifest(),
    }


def _data_summary(dataset: Dataset) -> dict[str, Any]:
    counts = np.bincount(dataset.labels, minlength=len(dataset.classes))
    return {
        "fingerprint": dataset.fingerprint(),
        "cases": len(np.unique(dataset.names)),
        "patients": len(np.unique(dataset.groups)),
        "train_images": int((~dataset.test).sum()),
        "test_images": int(dataset.test.sum()),
        "per_class": dict(zip(dataset.classes, map(int, counts), strict=True)),
        "groups_known": dataset.groups_known,
    }


def _cost(study: Study, run: PlannedRun) -> float:
    """A guess at a run's share of the time: training patches times tuned stages. Only the ETA uses it."""
    depth = next(d for d in study.plan.depths if d.name == run.depth)
    patches = len(study.subsets[run.fraction, run.seed].train)
    return patches * (1 + len(depth.tuned)) ** 2


def _write(store: Store, run: PlannedRun, outcome: Outcome) -> None:
    try:
        store.write(run.run, outcome)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"the disk of {store.directory} is full: free some space and run the same command again; "
                f"the finished runs are kept"
            ) from error
        raise UserError(f"cannot write to {store.directory}: {error.strerror}") from error
