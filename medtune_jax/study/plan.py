"""From a config to a manifest of runs, each with a stable name."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any

import jax
from ml_collections import ConfigDict

from medtune_jax import balance, networks, tuning
from medtune_jax.errors import UserError
from medtune_jax.fields import items, numbers
from medtune_jax.networks import Network, parameter_count
from medtune_jax.networks.low_rank import with_factors
from medtune_jax.study.augmentation import augment_of, decides
from medtune_jax.tuning import FACTORS, LIGHT, Depth, only

# A run does not change when others join the sweep, or with the kind of machine (its versions.json names that), or with
# what the report makes of its scores.
_NOT_OF_THE_RUN = ("sweep", "output", "device", "memory", "threshold", "answer")
_NOT_OF_THE_DATA = ("dir", "subgroups")
_NOT_OF_THE_TRAINING = ("keep_weights", "keep")
CHANGES_NOTHING = (
    *_NOT_OF_THE_RUN,
    *(f"data.{name}" for name in _NOT_OF_THE_DATA),
    *(f"training.{name}" for name in _NOT_OF_THE_TRAINING),
)
"""Fields and sections of the config that no result depends on."""

# Fields that came after studies had been made: with these values a run is what it was, and keeps its name.
_ADDED: dict[tuple[str, str], Any] = {
    ("rates", "search"): 1,
    ("optimizer", "l2_sp"): 0.0,
    ("training", "norm"): "stored",
    ("training", "stochastic_depth"): False,
    ("training", "scratch"): {"epochs": 0, "patience": 0},
    ("data", "class_pattern"): "",
    ("data", "findings"): "",
    ("data", "uncertain"): "ignore",
    ("data", "blank"): "negative",
}


@dataclass(frozen=True)
class PlannedRun:
    """One cell of the study. name: what it is, then a digest of all that decides its result."""

    name: str
    depth: Depth
    fraction: float
    seed: int

    @property
    def cell(self) -> dict[str, Any]:
        """Where it stands in the study, as files say it."""
        return {"depth": self.depth.name, "fraction": self.fraction, "seed": self.seed}


@dataclass(frozen=True)
class Plan:
    """All runs of a study, shallow to deep, large to small."""

    network: Network
    size: int
    depths: tuple[Depth, ...]
    fractions: tuple[float, ...]
    seeds: int
    runs: tuple[PlannedRun, ...]
    identity: str
    """Digest of the config (less the sweep's lists), the data and the weights: what all runs of a study share."""

    def of_depth(self, depth: Depth) -> list[PlannedRun]:
        return [run for run in self.runs if run.depth == depth]

    def manifest(self) -> dict[str, Any]:
        """What study.json says of it."""
        return {
            "depths": [
                {"name": d.name, "label": d.label, "tuned": d.tuned, "scratch": d.scratch}
                | self._way(d)
                for d in self.depths
            ],
            "fractions": self.fractions,
            "seeds": self.seeds,
            "runs": [{"run": run.name, **run.cell} for run in self.runs],
        }

    def _way(self, depth: Depth) -> dict[str, Any]:
        """What is said of a way: which one, where biases and norms alone move, how many parameters do."""
        if not depth.way:
            return {}
        kinds = FACTORS if depth.rank else LIGHT
        params = jax.eval_shape(
            lambda params: with_factors(
                params, self.network, depth.light, depth.rank, jax.random.key(0)
            ),
            self.network.abstract_params(self.size),
        )
        trained = {
            stage: only(kinds, params[stage]) if stage in depth.light else params[stage]
            for stage in depth.tuned
        }
        return {"way": depth.way, "light": depth.light, "parameters": parameter_count(trained)}


def make_plan(config: ConfigDict, classes: int, data_fingerprint: str, weights_sha256: str) -> Plan:
    """The product of depths, fractions and seeds. UserError for an unknown stage or an impossible number."""
    network = networks.get(config.network, classes)
    if not config.training.stochastic_depth:
        network = network.at_full_depth()
    size = image_size(config)
    depths = _depths(network, config.sweep.depths)
    fractions = numbers(config.sweep.fractions, "sweep.fractions")
    if config.sweep.seeds < 1:
        raise UserError(f"sweep.seeds is {config.sweep.seeds}: give 1 or more")
    for name, margin in config.answer.items():
        if not margin >= 0:
            raise UserError(f"answer.{name} is {margin:g}: give 0 or more")
    shared = {
        "config": _shared_config(config),
        "data": data_fingerprint,
        "weights": weights_sha256,
    }
    runs = [
        _planned({**shared, **decides(config, network, depth)}, depth, fraction, seed)
        for depth in depths
        for fraction in fractions
        for seed in range(config.sweep.seeds)
    ]
    augment = {"augment": config.augment.to_dict()} if augment_of(config) else {}
    seeds, identity = config.sweep.seeds, digest({**shared, **augment})
    return Plan(network, size, depths, tuple(fractions), seeds, tuple(runs), identity)


def image_size(config: ConfigDict) -> int:
    """The side of the network's input in pixels."""
    network = networks.get(config.network)
    size = config.image_size or network.preprocessing.size
    network.check_size(size)
    return size


def needs_weights(config: ConfigDict) -> bool:
    """Whether any depth of the sweep starts from pre-trained weights."""
    depths = _depths(networks.get(config.network), config.sweep.depths)
    return not all(depth.scratch for depth in depths)


def _depths(network: Network, text: Any) -> tuple[Depth, ...]:
    names = items(text)
    names = list(tuning.every_depth(network)) if names == ["all"] else names
    depths = {depth.name: depth for depth in (tuning.parse(network, name) for name in names)}
    if not depths:
        raise UserError("sweep.depths is empty: name stages, scratch, or all")
    return tuple(sorted(depths.values(), key=lambda depth: depth.place))


def _shared_config(config: ConfigDict) -> dict[str, Any]:
    plain = config.to_dict()
    plain["data"] = {
        key: value for key, value in plain["data"].items() if key not in _NOT_OF_THE_DATA
    }
    for name in _NOT_OF_THE_TRAINING:
        plain["training"].pop(name, None)
    del plain["augment"]  # decides the results of some depths only (`augmentation.decides`)
    plain["training"]["balance"] = balance.recorded(plain["training"]["balance"])
    for (section, field), before in _ADDED.items():
        if plain[section].get(field) == before:
            del plain[section][field]
    if not networks.get(config.network).stochastic_depth:  # nothing to switch off
        plain["training"].pop("stochastic_depth", None)
    return {key: value for key, value in plain.items() if key not in _NOT_OF_THE_RUN}


def _planned(shared: dict[str, Any], depth: Depth, fraction: float, seed: int) -> PlannedRun:
    run = PlannedRun("", depth, fraction, seed)
    short = digest({**shared, **run.cell})[:8]
    return replace(run, name=f"{depth.slug}-f{fraction:g}-s{seed}-{short}")


def digest(value: Any) -> str:
    """Of anything that JSON can say."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
