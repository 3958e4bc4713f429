"""The bundled SqueezeNet: decoded exactly, and able to tell natural images apart."""

import csv
import hashlib
from importlib.resources import files

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from medtune_jax import networks, weights
from medtune_jax.errors import UserError

DIGEST = "296cbac87a7dcbce00bb1e65c3ed6560fc8974255a9810044cf94c66a654ce3e"


@pytest.fixture(scope="module")
def checkpoint():
    return weights.pretrained("squeezenet")


def test_every_stage_has_its_shapes(checkpoint):
    network = networks.get("squeezenet")
    want = network.abstract_params()
    got = checkpoint.params
    assert jax.tree.map(np.shape, got) == jax.tree.map(np.shape, want)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(got))
    assert networks.parameter_count(got) == 1_248_424


def test_weights_are_pruned_and_share_at_most_256_values(checkpoint):
    """Deep Compression: about two thirds of the weights are zero, the others come from a codebook."""
    kernels = [
        np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_flatten_with_path(checkpoint.params)[0]
        if path[-1].key == "kernel"
    ]
    assert len(kernels) == 26
    assert all(len(np.unique(kernel)) <= 256 for kernel in kernels)
    share = sum((kernel != 0).sum() for kernel in kernels) / sum(kernel.size for kernel in kernels)
    assert 0.30 < share < 0.36


def test_decoded_values_are_pinned(checkpoint):
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(checkpoint.params):
        digest.update(np.ascontiguousarray(leaf, np.float32))
    assert digest.hexdigest() == DIGEST


def test_provenance_is_that_of_the_file(checkpoint):
    folder = files(weights) / "data" / "squeezenet"
    data = (folder / "compressed_SqueezeNet.net").read_bytes()
    assert len(data) == 675_763
    assert checkpoint.provenance["sha256"] == hashlib.sha256(data).hexdigest()
    assert checkpoint.preprocessing.order == "BGR"


def test_no_bundled_weights_or_another_networks(tmp_path, checkpoint):
    with pytest.raises(UserError, match="no weights of alexnet come with the package"):
        weights.pretrained("alexnet")
    weights.save(
        tmp_path / "w",
        checkpoint.params,
        network="squeezenet",
        preprocessing=checkpoint.preprocessing,
        provenance=checkpoint.provenance,
    )
    with pytest.raises(UserError, match="holds weights of squeezenet, not alexnet"):
        weights.pretrained("alexnet", tmp_path / "w")


def test_without_need_there_may_be_none():
    absent = weights.pretrained("alexnet", needed=False)
    assert absent.params == {} and absent.provenance["source"].startswith("none")
    assert absent.preprocessing == networks.get("alexnet").preprocessing
    assert weights.pretrained("squeezenet", needed=False).params


def test_natural_images(shared, checkpoint):
    """400 images of Tiny-ImageNet at 115 px: at least 25% top-1 among the set's 202 classes (chance 0.5%)."""
    folder = shared / "tiny-imagenet-val"
    with (folder / "labels.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    classes = np.unique([int(row["imagenet_index"]) for row in rows])
    assert len(classes) == 202
    rows = rows[:400]
    pixels = np.stack([_read(folder / row["image"]) for row in rows])
    network = networks.get("squeezenet")
    score = jax.jit(lambda x: network.apply(checkpoint.params, network.preprocessing(x)))
    scores = np.concatenate([score(jnp.asarray(part)) for part in np.split(pixels, 8)])
    answers = classes[scores[:, classes].argmax(1)]
    top1 = (answers == [int(row["imagenet_index"]) for row in rows]).mean()
    assert top1 >= 0.25, f"top-1 {top1:.3f}"


def _read(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB").resize((115, 115), Image.Resampling.BILINEAR))
