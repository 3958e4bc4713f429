"""From a config to one network: its depth by a search that trains few depths to the end, then trained on all data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from medtune_jax.errors import UserError
from medtune_jax.evaluation import halving
from medtune_jax.evaluation.halving import Search
from medtune_jax.paths import discard, json_with_sum, write_whole, written_to
from medtune_jax.sharing.claims import Claim, Claims
from medtune_jax.study.final import FRACTION, make_room, planned_final, train_final
from medtune_jax.study.plan import PlannedRun, digest
from medtune_jax.study.prepare import Study, manifest_of, read_study
from medtune_jax.study.probes import Probe, Probes, each_once
from medtune_jax.study.progress import Progress
from medtune_jax.study.sweep import say_what_was_read
from medtune_jax.training import devices

RECORD = "tune.json"  # report/tuned.py reads it


@dataclass(frozen=True)
class Tuned:
    """What a search came to. depth: as in the config. epochs, rate_factor: of the final network, chosen on validation
    data. network: its run's folder, for `medtune predict`. failure: how it diverged, if it did; then it has no weights.
    """

    directory: Path
    depth: str
    epochs: int
    rate_factor: float
    network: Path
    search: Search
    failure: str | None = None


def tune(config: ConfigDict, output: str | Path, quiet: bool = False) -> Tuned:
    """Choose a depth on validation data without training all (`evaluation.halving`), train the final network, score it.

    The fields of `sweep` say among which depths and with how many seeds; ways that are no depth, scratch and smaller
    training sets are no matter of a search. Any number of launchers may share `output`; each returns when all is done,
    and the same command goes on after an interruption. UserError for bad input, and where every depth diverges.
    """
    devices.start(config.device)
    if jax.process_count() > 1:
        raise UserError(
            "tune trains on one host: start it once on each host with the same --output instead"
        )
    study = _searched_alone(read_study(_of_search(config), output))
    store, directory = study.store, study.store.directory
    store.open({**manifest_of(study), "runs": []})
    store.keep(study.dataset.files)
    with Progress([], [], study.metric.title, quiet) as progress:
        say_what_was_read(study, progress)
        study.cache.expect([depth.tuned[0] for depth in study.plan.depths])
        claims = Claims(directory / "claims", lambda: progress.doing)
        probes = Probes(study, claims, progress)
        order = [depth.name for depth in study.plan.depths]
        search = halving.search(order, study.settings.epochs, probes.measure)
        if search.depth is None:
            raise UserError(
                "every depth that was tried diverged: lower the rates (--config.rates.tuned, --config.rates.head)"
            )
        probe = probes.tried[search.depth].latest
        planned = planned_final(study, probe)
        _final(study, planned, probe, claims, progress)
    result = store.result(planned.name) or {}
    store.open({**manifest_of(study), "runs": [{"run": planned.name, **planned.cell}]})
    with written_to(directory):
        record = _record(study, search, probes, planned)
        write_whole(directory / RECORD, json_with_sum(record))
    for run in study.plan.runs:
        discard(store.partial(run.name))
    folder = directory / "runs" / planned.name
    return Tuned(
        *(directory, search.depth, probe.best_epochs, probe.factor, folder, search),
        result.get("reason"),
    )


def _of_search(config: ConfigDict) -> ConfigDict:
    config = config.copy_and_resolve_references()
    config.sweep.fractions = f"{FRACTION}"
    return config


def _searched_alone(study: Study) -> Study:
    """Depths alone, without other ways and scratch; under an identity of its own, so that no sweep goes on in its
    directory.
    """
    plan = study.plan
    depths = tuple(depth for depth in plan.depths if depth.ordered)
    if not depths:
        raise UserError(
            "sweep.depths names no depth that starts from pre-trained weights: name stages, or all"
        )
    runs = tuple(run for run in plan.runs if run.depth.ordered)
    identity = digest(("tune", plan.identity, [depth.name for depth in depths], plan.seeds))
    study.plan = replace(plan, depths=depths, runs=runs, identity=identity)
    make_room(study)
    return study


def _final(
    study: Study, planned: PlannedRun, probe: Probe, claims: Claims, progress: Progress
) -> None:
    def train(job: str, claim: Claim) -> None:
        del job
        study.store.clear([planned.name])
        outcome = train_final(study, planned, probe, progress, claim)
        claim.check()
        with written_to(study.store.directory):
            study.store.write(planned.name, outcome)

    each_once(claims, ["final"], lambda job: study.store.settled(planned.name), train)


def _record(study: Study, search: Search, probes: Probes, planned: PlannedRun) -> dict[str, Any]:
    """What the page needs beside the study's own files."""
    tried = {
        depth: {
            "epochs": search.epochs[depth],
            "judged_after": looks.judged.epochs,
            "trained": looks.epochs,
            "validation": {str(seed): x for seed, x in looks.judged.figures.items()},
            "seconds": looks.seconds,
        }
        for depth, looks in ((depth, probes.tried[depth]) for depth in search.tried)
    }
    chosen = probes.tried[planned.depth.name].latest
    runs = len(study.plan.runs) * len(study.factors)
    return {
        "depth": search.depth,
        "run": planned.name,
        "best_epochs": chosen.best_epochs,
        "rate_factor": chosen.factor,
        "rungs": halving.rungs(study.settings.epochs),
        "tried": tried,
        "reasons": dict(search.reasons),
        "most_epochs": runs * study.settings.epochs,
    }
