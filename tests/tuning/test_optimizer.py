"""The optimizer by name, by stage, and as one optax partition."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from medtune_jax import networks, tuning
from medtune_jax.errors import UserError
from medtune_jax.tuning import Optimizer, StageRates

ALEXNET = networks.get("alexnet", 2)
TUNED = ("second", "head")
RATES = {"second": StageRates(0.1, 0.2), "head": StageRates(1.0, 2.0)}
EVERY = [Optimizer(name, weight_decay=decay) for name in tuning.OPTIMIZERS for decay in (0.0, 0.5)]


def three_stages():
    """A little parameter tree: a nested stage, one with a norm, and a head."""
    rng = np.random.default_rng(0)

    def draw(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    def layer(*shape):
        return {"kernel": draw(*shape), "bias": draw(shape[-1])}

    return {
        "first": {"a": layer(2, 3), "b": layer(3, 3)},
        "second": {"conv": layer(3, 4), "norm": {"scale": draw(4), "bias": draw(4)}},
        "head": layer(4, 2),
    }


def gradients_at(tuned, number):
    return jax.tree.map(lambda leaf: jnp.cos(leaf + number), tuned)


def close(one, other, **tolerance):
    tolerance = tolerance or {"rtol": 1e-5, "atol": 1e-6}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), one, other)


@pytest.mark.parametrize("depth", tuning.every_depth(ALEXNET))
def test_split_takes_every_stage_once(depth):
    params = ALEXNET.abstract_params()
    names = tuning.parse(ALEXNET, depth).tuned
    tuned, frozen = tuning.split(params, names)
    assert set(tuned) == set(names)
    assert not set(tuned) & set(frozen)
    assert set(tuned) | set(frozen) == set(params)


def test_caffe_sgd_is_its_loop_with_a_changing_rate():
    """V <- mu V + rate (g + decay W); W <- W - V, where a rate change does not rescale V."""
    rng = np.random.default_rng(1)
    weights, velocity = rng.normal(size=5), np.zeros(5)
    kind = Optimizer("caffe_sgd", momentum=0.9, weight_decay=0.01)
    params = {"stage": {"kernel": jnp.asarray(weights, jnp.float32)}}
    states = tuning.initial_states(kind, params)
    for number in range(12):
        rate = 0.1 * 0.5 ** (number // 3)
        gradient = rng.normal(size=5)
        velocity = 0.9 * velocity + rate * (gradient + 0.01 * weights)
        weights = weights - velocity
        gradients = {"stage": {"kernel": jnp.asarray(gradient, jnp.float32)}}
        rates = {"stage": StageRates(rate, 0.0)}
        params, states = tuning.update(kind, params, states, rates, gradients)
        close(params["stage"]["kernel"], weights, rtol=1e-4, atol=1e-5)


def plain(name, rate, decay):
    """The same by optax alone, for one kind of parameter."""
    if name == "adamw":
        return optax.adamw(rate, weight_decay=decay)
    return optax.chain(optax.add_decayed_weights(decay), optax.sgd(rate, 0.9))


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_each_kind_of_parameter_moves_as_by_optax_alone(name):
    """Kernels and scales take the weight's rate, biases their own; only kernels decay."""
    kind = Optimizer(name, weight_decay=0.5)
    params = tuning.split(three_stages(), TUNED)[0]
    states = tuning.initial_states(kind, params)
    leaves = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(params)}
    loops = {}
    for path in leaves:
        rates = RATES["second" if "second" in path else "head"]
        rate = rates.bias if "bias" in path else rates.weight
        loops[path] = plain(name, rate, 0.5 if "kernel" in path else 0.0)
    inner = {path: loops[path].init(leaf) for path, leaf in leaves.items()}
    for number in range(4):
        gradients = gradients_at(params, number)
        params, states = tuning.update(kind, params, states, RATES, gradients)
        for path, leaf in leaves.items():
            moved, inner[path] = loops[path].update(jnp.cos(leaf + number), inner[path], leaf)
            leaves[path] = optax.apply_updates(leaf, moved)
    for path, leaf in jax.tree.leaves_with_path(params):
        close(leaf, leaves[jax.tree_util.keystr(path)], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", EVERY)
def test_one_partition_of_all_parameters_says_the_same(kind):
    """Frozen stages have no state and do not move; the others move as by their stages alone."""
    params = three_stages()
    whole = tuning.optimizer(params, TUNED, RATES, kind)
    state = whole.init(params)
    tuned, frozen = tuning.split(params, TUNED)
    states = tuning.initial_states(kind, tuned)
    assert sum(leaf.size for leaf in jax.tree.leaves(state)) == sum(
        leaf.size for leaf in jax.tree.leaves(states)
    )
    step = jax.jit(tuning.update, static_argnums=0)
    for number in range(3):
        gradients = gradients_at(params, number)
        tuned, states = step(kind, tuned, states, RATES, gradients)
        updates, state = whole.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
    close({name: params[name] for name in TUNED}, tuned)
    jax.tree.map(np.testing.assert_array_equal, params["first"], frozen["first"])


@pytest.mark.parametrize("kind", EVERY)
def test_state_is_of_tuned_stages_only(kind):
    tuned = tuning.split(three_stages(), TUNED)[0]
    states = tuning.initial_states(kind, tuned)
    assert set(states) == set(TUNED)
    copies = 2 if kind.name == "adamw" else 1
    shapes = sorted(leaf.shape for leaf in jax.tree.leaves(states) if leaf.ndim)
    assert shapes == sorted([leaf.shape for leaf in jax.tree.leaves(tuned)] * copies)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "adam"}, "optimizer.name is 'adam': did you mean 'adamw'"),
        ({"momentum": 1.0}, "optimizer.momentum is 1.0: give a number from 0 to below 1"),
        ({"b2": -0.1}, "optimizer.b2 is -0.1"),
        ({"weight_decay": -1.0}, "optimizer.weight_decay is -1.0: give 0 or more"),
    ],
)
def test_impossible_optimizers(change, message):
    with pytest.raises(UserError, match=message):
        Optimizer(**change)


def test_a_parameter_of_an_unknown_kind_is_an_error_that_names_it():
    params = {"stage": {"norm": {"gamma": jnp.ones(3)}}}
    with pytest.raises(UserError, match="norm/gamma is of no kind that has a rate"):
        tuning.initial_states(Optimizer(), params)


def test_a_program_does_not_depend_on_the_order_of_the_names():
    """They may be a set, whose order differs from process to process; compiled programs are kept by their text."""
    params = three_stages()

    def program(tuned):
        def update(params, gradients):
            whole = tuning.optimizer(params, tuned, RATES)
            return whole.update(gradients, whole.init(params), params)[0]

        return jax.jit(update).lower(params, params).as_text()

    assert program(("second", "head")) == program(("head", "second"))


@pytest.mark.parametrize("kind", EVERY)
def test_of_a_light_stage_biases_and_norms_alone_move_and_have_a_state(kind):
    params = {stage: three_stages()[stage] for stage in TUNED}
    light = tuning.Optimizer(kind.name, weight_decay=kind.weight_decay, light=("second",))
    states = tuning.initial_states(light, params)
    whole = tuning.initial_states(kind, params)
    moved, plain = params, params
    for number in range(3):
        gradients = gradients_at(params, number)
        moved, states = tuning.update(light, moved, states, RATES, gradients)
        plain, whole = tuning.update(kind, plain, whole, RATES, gradients)
    second = moved["second"]
    np.testing.assert_array_equal(second["conv"]["kernel"], params["second"]["conv"]["kernel"])
    for got, want in (
        (second["conv"]["bias"], plain["second"]["conv"]["bias"]),
        (second["norm"]["scale"], plain["second"]["norm"]["scale"]),
        (moved["head"]["kernel"], plain["head"]["kernel"]),
    ):
        np.testing.assert_array_equal(got, want)
    kernel = params["second"]["conv"]["kernel"].shape
    assert kernel not in [leaf.shape for leaf in jax.tree.leaves(states["second"])]
    assert set(tuning.only(tuning.LIGHT, params["second"])["norm"]) == {"scale", "bias"}


def _squared_distance(one, other):
    squares = jax.tree.map(lambda a, b: jnp.square(a - b).sum(), one, other)
    return sum(jax.tree.leaves(squares))


@pytest.mark.parametrize("name", list(tuning.OPTIMIZERS))
def test_l2_sp_is_the_gradient_of_its_penalty_in_the_anchored_stages_alone(name):
    """As if strength / 2 |W - W0|^2 were part of the loss; the head goes its own way."""
    start = {stage: three_stages()[stage] for stage in TUNED}
    pulled = Optimizer(name, l2_sp=0.3, anchored=("second",))
    plain = Optimizer(name)
    params, states = start, tuning.initial_states(pulled, start)
    want, others = start, tuning.initial_states(plain, start)
    for number in range(3):
        params, states = tuning.update(pulled, params, states, RATES, gradients_at(start, number))
        gradients = gradients_at(start, number)
        pull = jax.grad(lambda w: 0.15 * _squared_distance(w, start["second"]))(want["second"])
        gradients["second"] = jax.tree.map(jnp.add, gradients["second"], pull)
        want, others = tuning.update(plain, want, others, RATES, gradients)
    close(params, want, atol=1e-5)


def test_a_negative_pull_is_refused():
    with pytest.raises(UserError, match=r"optimizer\.l2_sp is -1"):
        Optimizer(l2_sp=-1)
