"""Networks as sequences of stages: spans, shapes, names, boundaries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medtune_jax import networks
from medtune_jax.errors import UserError
from medtune_jax.networks.initializers import refill
from medtune_jax.networks.layers import Conv, Dense, row_keys
from medtune_jax.networks.stages import Network, Preprocessing, Stage
from tests.networks.reference import assert_near

ALL = sorted(networks.NETWORKS)


@pytest.fixture(scope="module")
def squeeze():
    network = networks.get("squeezenet", 3)
    params = networks.initial_params(network, jax.random.key(0), "msra", 63)
    x = jax.random.normal(jax.random.key(1), (2, 63, 63, 3)) * 50
    return network, params, x


def test_stage_names_in_order():
    assert networks.get("squeezenet").names == (
        "conv1",
        *(f"fire{n}" for n in range(2, 10)),
        "conv10",
    )
    assert networks.get("alexnet").names == (
        *(f"conv{n}" for n in range(1, 6)),
        *(f"fc{n}" for n in range(6, 9)),
    )


@pytest.mark.parametrize("stop", ["fire2", "fire5", "conv10"])
def test_two_spans_are_the_whole(squeeze, stop):
    network, params, x = squeeze
    whole = network.apply(params, x)
    middle = network.apply(params, x, stop=stop)
    assert_near(network.apply(params, middle, start=stop), whole)
    assert whole.shape == (2, 3)
    assert float(jnp.abs(whole).max()) > 0


def test_taps_are_the_inputs_of_the_next_stage(squeeze):
    network, params, x = squeeze
    taps = {}
    network.apply(params, x, taps=taps)
    assert tuple(taps) == network.names
    assert_near(taps["fire4"], network.apply(params, x, stop="fire5"))
    shapes = network.shapes(63)
    assert {name: value.shape[1:] for name, value in taps.items()} == shapes


def test_alexnet_shapes_of_table_one():
    shapes = networks.get("alexnet", 2).shapes()
    assert shapes["conv1"] == (27, 27, 96)
    assert shapes["conv2"] == (13, 13, 256)
    assert shapes["conv3"] == shapes["conv4"] == (13, 13, 384)
    assert shapes["conv5"] == (6, 6, 256)
    assert (shapes["fc6"], shapes["fc7"], shapes["fc8"]) == ((4096,), (4096,), (2,))


def test_known_parameter_counts():
    """AlexNet 60,965,224 and SqueezeNet 1.0 1,248,424: the numbers of the released Caffe models."""
    for name, count in (("alexnet", 60_965_224), ("squeezenet", 1_248_424)):
        assert networks.parameter_count(networks.get(name).abstract_params()) == count


def test_a_new_head_is_linear_whatever_its_classes():
    """SqueezeNet was released with a ReLU on its scores, which a task of 1,000 classes of one's own must not get."""
    assert networks.get("squeezenet").stages[-1].module.relu
    for classes in (2, 1000):
        assert not networks.get("squeezenet", classes).stages[-1].module.relu
    assert networks.get("alexnet") == networks.get("alexnet", 1000)


def test_layers_are_in_the_order_of_their_definition():
    """The order of files without names; a tree that JAX returns has its keys sorted."""
    params = networks.get("googlenet").abstract_params(auxiliary=True)
    assert list(params) == [*networks.get("googlenet").names, "loss1", "loss2"]
    assert list(params["loss1"]) == ["conv", "fc", "classifier"]
    branches = ["1x1", "3x3_reduce", "3x3", "5x5_reduce", "5x5", "pool_proj"]
    assert list(params["inception_4b"]) == branches


@pytest.mark.parametrize("name", ALL)
def test_every_network_has_a_head_of_the_asked_classes(name):
    network = networks.get(name, 5)
    shapes = network.shapes()
    assert set(shapes) == set(network.names)
    assert int(np.prod(shapes[network.head])) == 5
    assert set(network.abstract_params()) == set(network.names)


def test_unknown_stage_names_the_nearest():
    with pytest.raises(UserError, match="no stage 'fier5'; did you mean 'fire5'"):
        networks.get("squeezenet").index("fier5")


def test_unknown_network_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'alexnet'"):
        networks.get("alxnet")


def test_image_sizes_that_do_not_fit():
    for name in ("squeezenet", "alexnet"):
        with pytest.raises(UserError, match="at least 63 px, not 62"):
            networks.get(name).check_size(62)
    networks.get("alexnet").check_size(128)


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_the_smallest_size_still_leaves_every_stage_a_map(name):
    network = networks.get(name)
    network.check_size(network.smallest)
    assert all(min(shape) > 0 for shape in network.shapes(network.smallest).values())


@pytest.mark.parametrize(
    ("first_tuned", "boundary"),
    [("conv1", "conv1"), ("conv5", "conv5"), ("fc7", "fc7"), ("fc8", "fc7")],
)
def test_deterministic_prefix_ends_before_dropout(first_tuned, boundary):
    """fc7's input is dropped out even when fc7 is frozen, so nothing beyond it is a constant."""
    assert networks.get("alexnet").deterministic_prefix(first_tuned) == boundary


def test_dropout_only_with_a_key(squeeze):
    network, params, x = squeeze
    keys = row_keys(jax.random.key(3), jnp.arange(len(x)))
    still = network.apply(params, x)
    moved = network.apply(params, x, keys=keys)
    assert not np.allclose(still, moved)
    assert_near(moved, network.apply(params, x, keys=keys))
    # Up to conv10 nothing is random.
    assert_near(
        network.apply(params, x, stop="conv10", keys=keys), network.apply(params, x, stop="conv10")
    )


def test_run_is_apply_stage_by_stage(squeeze):
    network, params, x = squeeze
    middle = network.run(params, x, stop="fire5")
    assert_near(middle, network.apply(params, x, stop="fire5"))
    assert_near(network.run(params, middle, "fire5"), network.apply(params, x))


def test_only_some_stages_are_drawn_as_all_would_be(squeeze):
    network, params, _ = squeeze
    some = networks.initial_params(network, jax.random.key(0), "msra", 63, only=["conv10", "fire2"])
    assert set(some) == {"conv10", "fire2"}
    jax.tree.map(np.testing.assert_array_equal, some, {name: params[name] for name in some})


def test_preprocessing_is_bgr_minus_the_mean():
    pixel = np.zeros((1, 2, 2, 3), np.uint8)
    pixel[..., 0], pixel[..., 2] = 200, 10
    got = networks.get("squeezenet").preprocessing(jnp.asarray(pixel))
    np.testing.assert_allclose(got[0, 0, 0], [10 - 104.007, -116.669, 200 - 122.679], rtol=1e-5)


@pytest.mark.parametrize(
    ("initializer", "deviation"), [("xavier", (1 / 54) ** 0.5), ("msra", (2 / 54) ** 0.5)]
)
def test_initializers_have_their_deviations(initializer, deviation):
    """The fan-in of a 3 x 3 kernel over 6 channels is 54."""
    stage = {"kernel": jnp.zeros((3, 3, 6, 500)), "bias": jnp.ones(500)}
    filled = refill(stage, jax.random.key(0), initializer)
    kernel = filled["kernel"]
    np.testing.assert_array_equal(filled["bias"], 1)
    assert abs(float(kernel.std()) / deviation - 1) < 0.03
    assert abs(float(kernel.mean())) < 0.01


def test_initial_params_follow_the_key_and_keep_the_biases():
    network = Network(
        "tiny", 2, (Stage("conv1", Conv(4, 3)), Stage("fc2", Dense(2))), Preprocessing(8), "xavier"
    )
    one, same, other = (networks.initial_params(network, jax.random.key(k)) for k in (1, 1, 2))
    jax.tree.map(np.testing.assert_array_equal, one, same)
    assert not np.array_equal(one["conv1"]["kernel"], other["conv1"]["kernel"])
    assert not one["conv1"]["bias"].any()
    with pytest.raises(UserError, match="unknown initializer 'he'"):
        networks.initial_params(network, jax.random.key(0), "he")


def test_auxiliary_heads_count_in_training_only():
    network = networks.get("googlenet", 2)
    assert network.auxiliary
    size = network.preprocessing.size
    params = network.abstract_params(auxiliary=True)
    assert set(params) - set(network.names) == {side.stage.name for side in network.auxiliary}

    def outputs(params):
        x = jnp.zeros((1, size, size, 3))
        keys = row_keys(jax.random.key(0), jnp.arange(1))
        return [scores for _, scores in network.training_outputs(params, x, None, keys)]

    assert len(jax.eval_shape(outputs, params)) == 3
    main = {name: params[name] for name in network.names}
    assert len(jax.eval_shape(outputs, main)) == 1
