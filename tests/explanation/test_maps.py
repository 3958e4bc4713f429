"""Grad-CAM and occlusion: against arithmetic, against each other, and against random weights."""

import jax
import numpy as np
import pytest
from PIL import Image
from skimage import data

from medtune_jax import explanation, networks, weights
from medtune_jax.errors import UserError
from medtune_jax.explanation import grad_cam, mapped_stages, occlusion, rank_correlation
from medtune_jax.networks import Network, Preprocessing, Stage
from medtune_jax.networks.layers import Conv
from medtune_jax.networks.pooling import global_average_pool, max_pool

SIDE = 64


@pytest.fixture(scope="module")
def colours():
    """A network of two classes, made by hand, and its parameters: red speaks for class 1, blue for class 0."""
    network = Network(
        name="colours",
        classes=2,
        stages=(
            Stage("conv1", Conv(2, 3, pad=1), (max_pool,)),
            Stage("head", Conv(2, 1, relu=False), (global_average_pool,)),
        ),
        preprocessing=Preprocessing(SIDE, "RGB", (0.0, 0.0, 0.0), 1 / 255),
        initializer="gaussian",
        smallest=8,
    )
    params = jax.tree.map(np.zeros_like, networks.initial_params(network, jax.random.key(0)))
    middle = params["conv1"]["kernel"]
    middle[1, 1] = [[-1, 1], [-0.5, -0.5], [1, -1]]  # [channel of the image, feature]: blue, red
    params["head"]["kernel"][0, 0] = np.eye(2)
    return network, params


@pytest.fixture(scope="module")
def spotted():
    """Gray noise with a red square at one place and a blue one at another, and where the red ones are."""
    rng = np.random.default_rng(3)
    images = rng.integers(90, 140, (3, SIDE, SIDE, 1), np.uint8).repeat(3, axis=-1)
    red = np.zeros((3, SIDE, SIDE), bool)
    for image, where, (row, column) in zip(images, red, [(8, 40), (30, 6), (44, 44)], strict=True):
        where[row : row + 12, column : column + 12] = True
        image[where] = 230, 30, 30
        image[8:20, 8:20] = 30, 30, 230
    return images, red


def share_inside(maps, where):
    return (maps * where).sum((1, 2)) / maps.sum((1, 2))


def test_both_find_the_region_that_decides(colours, spotted):
    images, red = spotted
    cam = grad_cam(*colours, images, 1)
    covered = occlusion(*colours, images, 1, across=15)
    for maps in (cam, covered):
        assert maps.shape == images.shape[:3] and maps.dtype == np.float32
        assert maps.min() == 0 and np.all(maps.max((1, 2)) == 1)
        peaks = maps.reshape(3, -1).argmax(1)
        assert red.reshape(3, -1)[np.arange(3), peaks].all()
    assert share_inside(cam, red).min() > 0.8
    assert share_inside(covered, red).min() > 0.5  # a square of 8 pixels reaches beyond the edge
    assert rank_correlation(cam, covered).min() > 0.3  # most pixels are 0 in both, and tied


def test_the_other_class_has_the_other_region(colours, spotted):
    images, red = spotted
    for maps in (grad_cam(*colours, images, 0), occlusion(*colours, images, np.zeros(3, int))):
        assert share_inside(maps, red).max() < 0.05
        assert maps[:, 8:20, 8:20].max((1, 2)).min() == 1


def test_a_class_for_each_image_and_patches_give_the_same(colours, spotted):
    from medtune_jax.patches import Images

    images, _ = spotted
    both = grad_cam(*colours, Images(images), np.array([1, 0, 1]))
    np.testing.assert_allclose(both[0], grad_cam(*colours, images, 1)[0], atol=1e-6)
    np.testing.assert_allclose(both[1], grad_cam(*colours, images, 0)[1], atol=1e-6)


def test_signed_maps_keep_what_speaks_against(colours, spotted):
    images, red = spotted
    one, other = (grad_cam(*colours, images, of, signed=True) for of in (0, 1))
    np.testing.assert_allclose(
        one, -other, atol=1e-6
    )  # of two classes what is for one is against the other
    assert (other.min((1, 2)) < -0.5).all() and (other[red].mean()) > 0.5


def test_a_finding_is_explained_by_its_own_score_alone(colours, spotted):
    """Blue speaks against red where classes exclude each other; as findings both may be there."""
    images, red = spotted
    signed = grad_cam(*colours, images, 1, exclusive=False, signed=True)
    assert signed.min() >= 0 and share_inside(signed, red).min() > 0.8


def test_an_image_without_anything_for_the_class_has_an_empty_map(colours):
    gray = np.full((1, SIDE, SIDE, 3), 120, np.uint8)
    assert not grad_cam(*colours, gray, 1).any() and not occlusion(*colours, gray, 1).any()


def test_before_an_average_and_a_linear_head_it_is_the_class_activation_map():
    """Zhou et al. 2016: sum_k (w_1k - w_0k) A_k, here of SqueezeNet's fire9."""
    network = networks.get("squeezenet", 2)
    params = networks.initial_params(network, jax.random.key(1), "msra", 95)
    images = np.random.default_rng(0).integers(0, 255, (2, 95, 95, 3), np.uint8)
    x = network.preprocessing(images.astype(np.float32))
    features = np.asarray(network.run(params, x, stop="conv10"))
    kernel = np.asarray(params["conv10"]["kernel"])[0, 0]
    wanted = features @ (kernel[:, 1] - kernel[:, 0])
    wanted = np.asarray(jax.image.resize(wanted, (2, 95, 95), "bilinear"))
    wanted = wanted / np.abs(wanted).max((1, 2), keepdims=True)
    got = grad_cam(network, params, images, 1, signed=True)
    np.testing.assert_allclose(got, wanted, atol=2e-3)


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_every_network_has_a_stage_to_map_that_is_not_its_head(name):
    network = networks.get(name, 2)
    stages = mapped_stages(network)
    assert stages and network.head not in stages
    assert network.index(stages[-1]) < len(network.names) - 1


def test_tokens_of_a_transformer_lie_on_their_grid():
    """The last block's patches do not reach the head, so block10 is the last with a map; it is no constant."""
    network = networks.get("vit_small_patch16", 2)
    few = Network(**{**vars(network), "stages": (*network.stages[:1], *network.stages[-4:])})
    params = networks.initial_params(few, jax.random.key(0), "xavier", 48)
    assert mapped_stages(few, 48) == ("patch_embed", "block9", "block10")
    images = np.random.default_rng(0).integers(0, 255, (1, 48, 48, 3), np.uint8)
    signed = grad_cam(few, params, images, 0, signed=True)
    assert signed.shape == (1, 48, 48) and np.ptp(signed) > 0.1


def test_a_stage_without_a_map_is_refused(colours, spotted):
    images, _ = spotted
    with pytest.raises(UserError, match="did you mean 'conv1'"):
        grad_cam(*colours, images, 1, stage="conv2")
    with pytest.raises(UserError, match="'head' of colours has no map: give one of conv1"):
        grad_cam(*colours, images, 1, stage="head")
    with pytest.raises(UserError, match="'fc6' of alexnet has no map"):
        explanation.stage_to_map(networks.get("alexnet", 2), 227, "fc6")


def test_random_weights_destroy_the_map():
    """Adebayo et al. 2018: maps of the released SqueezeNet of photographs, against those with drawn weights."""
    released = weights.pretrained("squeezenet", "", True)
    network, params = released.build(), released.params
    images = np.stack([_photograph(data.astronaut()), _photograph(data.chelsea())])

    def maps(params):
        return grad_cam(
            network, params, images, of, signed=True, preprocessing=released.preprocessing
        )

    x = released.preprocessing(images.astype(np.float32))
    of = np.asarray(network.run(params, x)).argmax(1)
    assert of[1] in range(281, 286)  # the cat is a cat
    trained = maps(params)
    assert rank_correlation(trained, maps(dict(params))).min() > 0.999
    for down_to in ("conv10", "conv1"):
        drawn = explanation.with_random(network, params, down_to, 127)
        assert abs(rank_correlation(trained, maps(drawn)).mean()) < 0.5


def test_rank_correlation():
    rng = np.random.default_rng(0)
    maps = rng.random((2, 8, 8))
    np.testing.assert_allclose(rank_correlation(maps, maps**3), 1)
    np.testing.assert_allclose(rank_correlation(maps, -maps), -1)
    assert not rank_correlation(maps, np.ones_like(maps)).any()


def test_an_overlay_leaves_the_image_where_the_map_is_0():
    image = np.random.default_rng(0).integers(0, 255, (6, 6, 3), np.uint8)
    map_ = np.zeros((6, 6))
    map_[0, 0] = 1
    drawn = explanation.overlay(image, map_)
    assert drawn.dtype == np.uint8
    np.testing.assert_array_equal(drawn[1:], image[1:])
    assert (drawn[0, 0] != image[0, 0]).any()


def _photograph(pixels, side=127):
    return np.asarray(Image.fromarray(pixels).resize((side, side)))
