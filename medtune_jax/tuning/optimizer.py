"""The optimizer of the tuned stages: any optax transformation by name, stage by stage.

Inside a stage an optax partition gives every kind of parameter its rate and decay. Over the stages there is nothing but
a dict, so that a stage may be updated by a program of its own, which all depths share; `optimizer` says the same
as one partition of all parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from medtune_jax.errors import UserError
from medtune_jax.networks import Params
from medtune_jax.networks.low_rank import DOWN, UP
from medtune_jax.networks.norms import AVERAGE_RATE, STATISTICS
from medtune_jax.tuning.rates import StageRates

OptStates = dict[str, optax.OptState]
"""{tuned stage: state of its optimizer}."""
_FROZEN = "frozen"
# The kinds of parameters that are learned, but for the averages of batch norms.
_KINDS = ("kernel", "bias", "scale", "embedding", DOWN, UP)
_DECAYED = ("kernel", DOWN, UP)  # Caffe decays no bias
LIGHT, FACTORS = ("bias", "scale"), (DOWN, UP)
"""What alone moves in a stage where BitFit, and where LoRA trains."""


@dataclass(frozen=True)
class Optimizer:
    """Which update a study takes, and its numbers; each reads those that it has. Rates come per step.

    weight_decay acts on kernels and factors only. l2_sp: strength by which the stages `anchored` are pulled to where
    they started (`_to_start`). light: stages of which only the kinds of parameters `moving` do (`within`). still: kinds
    of parameters that do not move, and have no state. UserError for an unknown name or an impossible number.
    """

    name: str = "caffe_sgd"
    momentum: float = 0.9
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    l2_sp: float = 0.0
    anchored: tuple[str, ...] = ()
    light: tuple[str, ...] = ()
    moving: tuple[str, ...] = LIGHT
    still: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.name not in OPTIMIZERS:
            near = get_close_matches(self.name, OPTIMIZERS, 1, 0)[0]
            known = ", ".join(OPTIMIZERS)
            raise UserError(
                f"optimizer.name is '{self.name}': did you mean '{near}'? (known: {known})"
            )
        for field in ("momentum", "b1", "b2"):
            if not 0 <= getattr(self, field) < 1:
                raise UserError(
                    f"optimizer.{field} is {getattr(self, field)}: give a number from 0 to below 1"
                )
        for field in ("eps", "weight_decay", "l2_sp"):
            if getattr(self, field) < 0:
                raise UserError(f"optimizer.{field} is {getattr(self, field)}: give 0 or more")

    def within(self, stage: str) -> Optimizer:
        """As it acts in a stage."""
        return replace(
            self,
            l2_sp=self.l2_sp if stage in self.anchored else 0.0,
            anchored=(),
            light=(),
            still=tuple(kind for kind in _KINDS if kind not in self.moving)
            if stage in self.light
            else (),
        )

    def of_stage(self, rates: StageRates) -> optax.GradientTransformation:
        """The transformation of one stage's parameters."""
        make = OPTIMIZERS[self.name]
        kinds = {
            kind: make(
                self,
                rates.bias if kind == "bias" else rates.weight,
                self.weight_decay if kind in _DECAYED else 0.0,
            )
            for kind in _KINDS
        }
        if self.l2_sp:
            kinds = {kind: optax.chain(_to_start(self.l2_sp), own) for kind, own in kinds.items()}
        kinds |= {
            **dict.fromkeys(STATISTICS, optax.sgd(AVERAGE_RATE)),  # see networks/norms.py
            **dict.fromkeys(self.still, optax.set_to_zero()),
        }
        return optax.partition(kinds, _kinds(kinds))


Rate = Any  # float | Array: optax's stubs ask for a float and take a traced scalar


def _to_start(strength: float) -> optax.GradientTransformation:
    """L2-SP (Li et al., ICML 2018): g <- g + strength (W - W0), the gradient of strength / 2 |W - W0|^2. W0, where a
    parameter started, is the state.
    """

    def init(params: Params) -> Params:
        return jax.tree.map(jnp.copy, params)

    def update(
        gradients: Params, start: Params, params: Params | None = None
    ) -> tuple[Params, Params]:
        pulled = jax.tree.map(lambda g, w, w0: g + strength * (w - w0), gradients, params, start)
        return pulled, start

    return optax.GradientTransformation(init, update)


def _caffe_sgd(kind: Optimizer, rate: Rate, decay: float) -> optax.GradientTransformation:
    """V <- mu V + rate (g + decay W); W <- W - V (Caffe `sgd_solver.cpp`): the rate is inside the momentum buffer."""
    return optax.chain(
        optax.add_decayed_weights(decay),
        optax.scale_by_learning_rate(rate),
        optax.trace(decay=kind.momentum),
    )


def _sgd(kind: Optimizer, rate: Rate, decay: float) -> optax.GradientTransformation:
    """V <- mu V + g + decay W; W <- W - rate V (PyTorch's)."""
    return optax.chain(optax.add_decayed_weights(decay), optax.sgd(rate, kind.momentum))


def _adamw(kind: Optimizer, rate: Rate, decay: float) -> optax.GradientTransformation:
    return optax.adamw(rate, kind.b1, kind.b2, kind.eps, weight_decay=decay)


OPTIMIZERS: dict[str, Callable[[Optimizer, Rate, float], optax.GradientTransformation]] = {
    "caffe_sgd": _caffe_sgd,
    "sgd": _sgd,
    "adamw": _adamw,
}


def _kinds(known: Collection[str]) -> Callable[[Params], Params]:
    """Labels every parameter of a stage with its kind, which is its name."""

    def kind(path: tuple[Any, ...], _: Any) -> str:
        name = str(path[-1].key)
        if name not in known:
            where = "/".join(str(step.key) for step in path)
            raise UserError(
                f"parameter {where} is of no kind that has a rate: call it {', '.join(known)}, "
                f"or give '{name}' a rate in medtune_jax/tuning/optimizer.py"
            )
        return name

    return lambda params: jax.tree_util.tree_map_with_path(kind, params)


def only(kinds: Collection[str], params: Params) -> Params:
    """Of a stage's parameters those of some kinds."""
    return {
        name: only(kinds, leaf) if isinstance(leaf, dict) else leaf
        for name, leaf in params.items()
        if isinstance(leaf, dict) or name in kinds
    }


def initial_states(kind: Optimizer, params: Params) -> OptStates:
    """Of the tuned stages, whose parameters `params` are."""
    return {stage: _initial_state(kind.within(stage), params[stage]) for stage in params}


@partial(jax.jit, static_argnums=0)  # or else a program for every shape of zeros
def _initial_state(kind: Optimizer, params: Params) -> optax.OptState:
    return kind.of_stage(StageRates(0.0, 0.0)).init(params)


def update_stage(
    kind: Optimizer, params: Params, state: optax.OptState, rates: StageRates, gradients: Params
) -> tuple[Params, optax.OptState]:
    """One step of one stage -> its parameters and state."""
    updates, state = kind.of_stage(rates).update(gradients, state, params)
    return dict(optax.apply_updates(params, updates)), state


def update(
    kind: Optimizer,
    params: Params,
    states: OptStates,
    rates: Mapping[str, StageRates],
    gradients: Params,
    step: Callable[..., Any] = update_stage,
) -> tuple[Params, OptStates]:
    """One step of all tuned stages. step: `update_stage`, or a program of it."""
    moved = {
        stage: step(
            kind.within(stage), params[stage], states[stage], rates[stage], gradients[stage]
        )
        for stage in params
    }
    return (
        {stage: pair[0] for stage, pair in moved.items()},
        {stage: pair[1] for stage, pair in moved.items()},
    )


def optimizer(
    params: Params,
    tuned: Collection[str],
    rates: Mapping[str, StageRates],
    kind: Optimizer | None = None,
) -> optax.GradientTransformation:
    """The same as one transformation of all parameters: every tuned stage its own, frozen stages nothing at all (no
    state, no update). For use with optax alone.
    """
    kind = kind or Optimizer()
    stages = {
        stage: kind.within(stage).of_stage(rates[stage]) for stage in params if stage in tuned
    }
    labels = {stage: stage if stage in tuned else _FROZEN for stage in params}
    return optax.partition({**stages, _FROZEN: optax.set_to_zero()}, labels)


def split(params: Params, tuned: Collection[str]) -> tuple[Params, Params]:
    """(tuned, frozen): only the first is differentiated."""
    return (
        {name: leaf for name, leaf in params.items() if name in tuned},
        {name: leaf for name, leaf in params.items() if name not in tuned},
    )
