"""The convolutional mode where it must equal the exact one, and how near it is elsewhere."""

import jax
import numpy as np
import pytest

from medtune_jax import networks
from medtune_jax.applications.intima_media.dense import PixelClassifier, coarsest
from medtune_jax.errors import UserError
from medtune_jax.phantoms.ultrasound import generate
from medtune_jax.weights import Checkpoint, pretrained


@pytest.fixture(scope="module")
def checkpoint():
    """SqueezeNet's pre-trained stages under a head of three classes."""
    source = pretrained("squeezenet")
    kernel = np.random.default_rng(0).normal(0, 0.002, (1, 1, 512, 3)).astype(np.float32)
    head = {"kernel": kernel, "bias": np.zeros(3, np.float32)}
    params = {**source.params, "conv10": head}
    return Checkpoint("squeezenet", params, source.preprocessing, {}, 3)


@pytest.fixture(scope="module")
def image():
    return generate(0, 1, seed=3)[0].image[20:30, 10:28]


def test_exact_is_the_network_on_the_patch(checkpoint, image):
    """One patch cut by hand: a window of 67 px at scale one needs no interpolation."""
    found = PixelClassifier(checkpoint, 67, 67.0).exact(image, np.array([5]))
    rows = np.clip(np.arange(7 - 33, 7 + 34), 0, 9)
    columns = np.clip(np.arange(5 - 33, 5 + 34), 0, 17)
    patch = np.repeat(image[np.ix_(rows, columns)][None, ..., None], 3, -1)
    network = networks.get("squeezenet", 3)
    scores = jax.jit(network.apply)(checkpoint.params, checkpoint.preprocessing(patch))[0]
    expected = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
    np.testing.assert_allclose(found[7, 0], expected, atol=1e-4)


def test_sharing_stages_without_padding_changes_nothing(checkpoint, image):
    """conv1 of SqueezeNet pads nothing; at 33.5 px a patch its cells lie on whole pixels."""
    classifier = PixelClassifier(checkpoint, 67, 33.5, cut="fire2", spacing=(1.0, 8.0))
    columns = np.array([0, 8, 16])
    exact = classifier.exact(image, columns)
    fast = classifier.convolutional(image, columns)
    assert exact.std(axis=(0, 1)).min() > 1e-3
    np.testing.assert_allclose(fast, exact, atol=1e-4)


def test_a_strip_of_one_patch_is_that_patch_and_between_rows_it_interpolates(checkpoint, image):
    classifier = PixelClassifier(checkpoint, 67, 32.0, spacing=(3.0, 8.0))
    narrow, column = image[:, :1], np.array([0])
    found = classifier.convolutional(narrow, column)
    np.testing.assert_allclose(found[::3], classifier.exact(narrow, column)[::3], atol=1e-4)
    np.testing.assert_allclose(found[1], (2 * found[0] + found[3]) / 3, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "size", "stage"), [("squeezenet", 67, "fire9"), ("alexnet", 227, "fc6")]
)
def test_the_cut_is_where_the_map_is_coarsest(name, size, stage):
    assert coarsest(networks.get(name, 3), size) == stage


def test_nothing_shared_is_refused(checkpoint, image):
    with pytest.raises(UserError, match="nothing to share"):
        PixelClassifier(checkpoint, 67, 32.0, cut="conv1").convolutional(image, np.array([0]))
