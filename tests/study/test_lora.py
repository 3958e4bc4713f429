"""LoRA of a vision transformer: what moves, and that the network that is kept is the one that was scored."""

import csv
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from medtune_jax import networks, weights
from medtune_jax.applications.predict import predict
from medtune_jax.networks import vit
from medtune_jax.networks.low_rank import DOWN, UP, adapted, merged, with_factors
from medtune_jax.study import report, sweep
from medtune_jax.training import Partial
from tests.study.test_sweep import MODULE, config, results

NAME, RANK = "vit_small_patch16", 2
KERNELS = {("attn", layer, "kernel") for layer in ("qkv", "proj")}


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """Random weights as a checkpoint."""
    network = networks.get(NAME)
    params = networks.initial_params(network, jax.random.key(5), size=32)
    folder = tmp_path_factory.mktemp("vit") / "weights"
    weights.save(folder, params, NAME, network.preprocessing, {})
    return folder, params


def test_factors_change_nothing_at_first_and_merging_them_is_applying_them():
    network = vit._network("small", 3, 64)
    params = networks.initial_params(network, jax.random.key(5), size=32, only={"block3"})
    block, x = network.stages[4], jax.random.normal(jax.random.key(0), (2, 5, 64))
    begun = flatten_dict(with_factors(params, network, ["block3"], RANK, jax.random.key(1)))
    new = begun.keys() - flatten_dict(params).keys()
    assert {path[1:] for path in new} == {(*k[:-1], f) for k in KERNELS for f in (DOWN, UP)}
    untouched = block(params["block3"], x)
    np.testing.assert_array_equal(block(unflatten_dict(begun)["block3"], x), untouched)
    for path in new:
        begun[path] = jax.random.normal(jax.random.key(2), begun[path].shape)
    moved = unflatten_dict(begun)
    applied, whole = block(moved["block3"], x), merged(moved)
    assert jax.tree.structure(whole) == jax.tree.structure(params)
    assert float(jnp.abs(applied - untouched).max()) > 0.1
    np.testing.assert_allclose(block(whole["block3"], x), applied, atol=1e-3)


@pytest.mark.slow
def test_a_study_by_lora(pretrained, tmp_path, write_images, monkeypatch):
    """Only attention's kernels move, by products of the rank; the state is the factors'; what is kept is merged."""
    folder, released = pretrained
    (tmp_path / "images").mkdir()
    images = write_images(tmp_path / "images", 6, 4, 32)
    wanted = config(images, f"head,lora:{RANK}", 1)
    wanted.network, wanted.weights, wanted.image_size = NAME, str(folder), 32
    wanted.training.keep_weights, wanted.training.keep = True, "all"
    states, keep = [], Partial.keep

    def kept(self, state, *more):
        states.append(state)
        keep(self, state, *more)

    monkeypatch.setattr(Partial, "keep", kept)
    monkeypatch.setattr(
        MODULE, "Partial", lambda path, **own: Partial(path, **{**own, "interval": 0})
    )
    study = sweep(wanted, tmp_path / "study", quiet=True)
    ((name, result),) = [(n, r) for n, r in results(study).items() if r["depth"] == "lora:2"]
    assert result["status"] == "done", result["reason"]
    network = networks.get(NAME)
    own = weights.load(study / "runs" / name / "weights")
    before, after = flatten_dict(released), flatten_dict(own.params)
    assert before.keys() == after.keys()
    moved = {
        path
        for path in before
        if path[0] != "head" and not np.array_equal(before[path], after[path])
    }
    assert moved == {(stage, *kernel) for stage in adapted(network) for kernel in KERNELS}
    for path in moved:
        sizes = np.linalg.svd(after[path] - np.asarray(before[path]), compute_uv=False)
        assert sizes[RANK] < 1e-2 * sizes[0]  # of W's own rounding
    entry = json.loads((study / "study.json").read_text())["depths"][1]
    count = 12 * RANK * (384 + 3 * 384 + 384 + 384) + 2 * 385
    assert (entry["way"], entry["parameters"]) == ("lora", count)
    state = next(s for s in states if "block0" in s.params)
    assert sum(leaf.size for leaf in jax.tree.leaves(state.optimizer)) == count
    assert "LoRA rank 2" in report(study).read_text()
    predict([study / "runs" / name], [images], tmp_path / "predicted")
    predicted = {row["image"]: row for row in _rows(tmp_path / "predicted" / "predictions.csv")}
    for row in _rows(study / "runs" / name / "scores.csv"):
        again = float(predicted[row["image"]]["logit_dark"])
        assert again == pytest.approx(float(row["logit_dark"]), abs=1e-3)


def _rows(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))
