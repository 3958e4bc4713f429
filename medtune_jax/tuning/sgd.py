"""Caffe's SGD for a tuning depth, as an optax partition with one group a stage and kind of parameter."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from medtune_jax import compilation
from medtune_jax.networks import Network, Params
from medtune_jax.tuning.depth import Depth

FROZEN = "frozen"
BIAS_FACTOR = 2.0  # docs/paper.md, "Rates": a bias learns twice as fast as the weights
GroupRates = dict[str, Any]
"""{'conv5/kernel': rate, 'conv5/bias': rate, ...}: floats or traced scalars."""


def labels(params: Params, tuned: tuple[str, ...]) -> Params:
    """The group of every parameter: 'frozen' or '<stage>/<kernel|bias>'. Every parameter is in exactly one."""

    def name(path: tuple, _: Any) -> str:
        stage, kind = path[0].key, path[-1].key
        return f"{stage}/{kind}" if stage in tuned else FROZEN

    return jax.tree_util.tree_map_with_path(name, params)


def group_rates(
    network: Network,
    depth: Depth,
    new: tuple[str, ...] = (),
    rates: Any = None,
    stage_decay: float = 1.0,
    trained: tuple[str, ...] = (),
) -> GroupRates:
    """Rates of a depth as in Table II: tuned stages, new ones (the head), everything alike from scratch.

    new: stages not loaded from the pre-trained weights; they get the head's rate.
    stage_decay: factor on the rate for every stage further from the head (1: the paper's flat rate).
    trained: what is trained if more than the depth's own stages (auxiliary heads).
    """
    rates = rates or network.rates
    result: GroupRates = {}
    for stage in trained or depth.tuned:
        fresh = stage in new or stage == network.head
        rate = rates.scratch if depth.scratch else rates.head if fresh else rates.tuned
        if stage in depth.tuned:
            rate *= stage_decay ** (len(depth.tuned) - 1 - depth.tuned.index(stage))
        result[f"{stage}/kernel"] = rate
        result[f"{stage}/bias"] = rate * BIAS_FACTOR
    return result


def caffe_sgd(
    rate: float | Array, momentum: float | Array = 0.9, weight_decay: float | Array = 0.0
) -> optax.GradientTransformation:
    """V <- mu V + rate (g + decay W); W <- W - V (Caffe `sgd_solver.cpp`): the rate is inside the momentum buffer."""
    return optax.chain(
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(rate),
        optax.trace(decay=momentum),
    )


def optimizer(
    params: Params,
    tuned: tuple[str, ...],
    rates: GroupRates,
    momentum: float | Array = 0.9,
    weight_decay: float | Array = 0.0,
) -> optax.GradientTransformation:
    """The partition: every group its own Caffe SGD, frozen stages nothing at all (no state, no update).

    `rates` may be traced scalars, so that one compiled program serves every rate.
    Caffe's decay multiplier is 1 for weights and 0 for biases.
    """
    groups: dict[str, optax.GradientTransformation] = {FROZEN: optax.set_to_zero()}
    tree = labels(params, tuned)
    for group in set(jax.tree.leaves(tree)) - {FROZEN}:
        decay = weight_decay if group.endswith("/kernel") else 0.0
        groups[group] = caffe_sgd(rates[group], momentum, decay)
    return optax.partition(groups, tree)


def split(params: Params, tuned: tuple[str, ...]) -> tuple[Params, Params]:
    """(tuned, frozen): only the first is differentiated."""
    return (
        {name: leaf for name, leaf in params.items() if name in tuned},
        {name: leaf for name, leaf in params.items() if name not in tuned},
    )


def update(
    gradients: Params,
    state: optax.OptState,
    tuned: Params,
    frozen: Params,
    transformation: optax.GradientTransformation,
) -> tuple[Params, optax.OptState]:
    """One step on the tuned stages; the frozen ones enter the partition with zeros that the compiler removes."""
    zeros = jax.tree.map(jnp.zeros_like, frozen)
    updates, state = transformation.update({**gradients, **zeros}, state, {**tuned, **frozen})
    own = {name: updates[name] for name in tuned}
    return optax.apply_updates(tuned, own), state


def update_by_stage(
    gradients: Params,
    state: optax.OptState,
    tuned: Params,
    rates: GroupRates,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
) -> tuple[Params, optax.OptState]:
    """`update` by a program for each stage, which all depths share. `state` and `tuned` are donated."""
    program = compilation.compiled(_update_stage, static=(0, 1), donated=(2, 3))
    updated: Params = {}
    states: dict[str, Any] = {}
    for stage in tuned:
        own = {group: rate for group, rate in rates.items() if _stage(group) == stage}
        moved, states[stage] = program(
            momentum,
            weight_decay,
            {stage: tuned[stage]},
            _only(state, stage),
            own,
            {stage: gradients[stage]},
        )
        updated |= moved
    return updated, _joined(state, states)


def _update_stage(momentum, weight_decay, params, state, rates, gradients):
    transformation = optimizer(params, tuple(params), rates, momentum, weight_decay)
    return update(gradients, state, params, {}, transformation)


def _stage(group: str) -> str:
    return group.partition("/")[0]


def _only(state: Any, stage: str) -> Any:
    """The partition's state of one stage: that of an optimizer of this stage alone."""
    inner = {
        group: _on_trees(lambda tree: {stage: tree[stage]}, own)
        for group, own in state.inner_states.items()
        if _stage(group) in (stage, FROZEN)
    }
    return state._replace(inner_states=inner)


def _joined(state: Any, states: dict[str, Any]) -> Any:
    """The partition's state with every stage's own put in its place."""
    inner = {
        group: _on_trees(lambda tree, own: {**tree, **own}, old, states[stage].inner_states[group])
        if (stage := _stage(group)) in states
        else old
        for group, old in state.inner_states.items()
    }
    return state._replace(inner_states=inner)


def _on_trees(change: Any, *states: Any) -> Any:
    """The states with their trees {stage: ...} changed."""
    return jax.tree.map(change, *states, is_leaf=lambda node: isinstance(node, dict))
