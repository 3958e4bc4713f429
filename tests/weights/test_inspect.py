"""Showing a checkpoint and running one image through it."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from PIL import Image

from medtune_jax import networks
from medtune_jax.errors import UserError
from medtune_jax.weights import checkpoint, inspect, pretrained


def _save(directory, params=None, preprocessing=None):
    stored = pretrained("squeezenet")
    params = stored.params if params is None else params
    preprocessing = preprocessing or stored.preprocessing
    return checkpoint.save(
        directory, params, "squeezenet", preprocessing, stored.provenance, released=True
    )


@pytest.fixture(scope="module")
def squeezenet(tmp_path_factory):
    return _save(tmp_path_factory.mktemp("squeezenet") / "whole")


@pytest.fixture
def picture(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "i.png")
    return tmp_path / "i.png"


def _partial(*stages):
    return {name: pretrained("squeezenet").params[name] for name in stages}


def test_show(squeezenet):
    text = inspect.show(squeezenet)
    assert "squeezenet, 1000 classes, 1,248,424 parameters" in text
    assert "227 x 227 BGR, mean 104.007 116.669 122.679" in text
    assert "BSD-2-Clause" in text
    assert "fire2/squeeze1x1" in text and "1 x 1 x 96 x 16" in text
    first = next(line for line in text.splitlines() if line.startswith("conv1 "))
    assert " ".join(first.split()) == "conv1 7 x 7 x 3 x 96 14,208 55 x 55 x 96"


def test_show_says_what_is_absent_and_a_mean_image(tmp_path):
    network = networks.get("squeezenet")
    image = np.full((227, 227, 3), (1, 2, 3), np.float32)
    directory = _save(
        tmp_path / "part", _partial("conv1"), replace(network.preprocessing, mean=image)
    )
    text = inspect.show(directory)
    assert "without conv10" in text and "mean image, on average 1 2 3" in text
    assert sum("not in the checkpoint" in line for line in text.splitlines()) == 25


def test_run_image(squeezenet, picture, tmp_path):
    text = inspect.run_image(squeezenet, picture, tmp_path / "acts.npz")
    stored, network = pretrained("squeezenet"), networks.get("squeezenet")
    acts = np.load(tmp_path / "acts.npz")
    assert tuple(acts) == ("input", *network.names)

    small = Image.open(picture).resize((227, 227), Image.Resampling.BILINEAR)
    expected = np.asarray(small, np.float32)[..., ::-1] - (104.007, 116.669, 122.679)
    np.testing.assert_allclose(acts["input"][0], expected, atol=1e-4)
    for name, shape in network.shapes().items():
        assert acts[name].shape == (1, *shape) and acts[name].dtype == np.float32

    scores = np.asarray(network.apply(stored.params, acts["input"]))[0]
    probabilities = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
    rows = [line.split() for line in text.splitlines()[:5]]
    best = np.argsort(-probabilities)[:5]
    assert [int(row[1]) for row in rows] == best.tolist()
    np.testing.assert_allclose([float(row[2]) for row in rows], probabilities[best], atol=1e-4)


def test_class_names(squeezenet, picture, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("".join(f"thing {i}\n" for i in range(1000)))
    first = inspect.run_image(squeezenet, picture, tmp_path / "a", names).splitlines()[0]
    assert first.split()[1] == first.split()[-1]
    assert (tmp_path / "a.npz").is_file()
    names.write_text("one\n")
    with pytest.raises(UserError, match="1 lines but the network 1000 classes"):
        inspect.run_image(squeezenet, picture, tmp_path / "b.npz", names)


def test_partial_checkpoint_runs_as_far_as_it_reaches(picture, tmp_path):
    directory = _save(tmp_path / "part", _partial("conv1", "fire2", "fire4"))
    text = inspect.run_image(directory, picture, tmp_path / "acts.npz")
    assert "up to fire2" in text and "lacks fire3" in text
    assert set(np.load(tmp_path / "acts.npz")) == {"input", "conv1", "fire2"}
    directory = _save(tmp_path / "tail", _partial("fire2"))
    with pytest.raises(UserError, match="lacks conv1, the first stage"):
        inspect.run_image(directory, picture, tmp_path / "acts.npz")


def test_shapes_of_another_network_are_refused(picture, tmp_path):
    params = jax.tree.map(lambda leaf: leaf[..., :5], _partial("conv1"))
    directory = _save(tmp_path / "odd", params)
    with pytest.raises(UserError, match=r"conv1.*does not fit"):
        inspect.run_image(directory, picture, tmp_path / "acts.npz")


def test_bad_images_and_outputs(squeezenet, picture, tmp_path):
    with pytest.raises(UserError, match="no such file"):
        inspect.run_image(squeezenet, tmp_path / "absent.png", tmp_path / "a.npz")
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(UserError, match=r"text\.png: not a readable image"):
        inspect.run_image(squeezenet, tmp_path / "text.png", tmp_path / "a.npz")
    Image.fromarray(np.full((9, 9), 40_000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(UserError, match="more than 8 bits"):
        inspect.run_image(squeezenet, tmp_path / "deep.png", tmp_path / "a.npz")
    with pytest.raises(UserError, match="could not write"):
        inspect.run_image(squeezenet, picture, tmp_path / "absent" / "a.npz")
    assert not list(tmp_path.rglob("*.npz"))
