"""Checkpoints: what is saved comes back, whole or not at all."""

import json
import os

import jax
import numpy as np
import pytest

from medtune_jax import networks
from medtune_jax.errors import UserError
from medtune_jax.networks import Preprocessing
from medtune_jax.weights import checkpoint, pretrained
from medtune_jax.weights.transplant import transplant

PROVENANCE = {"source": "a test", "sha256": "0" * 64, "notes": ["one", "two"]}


def _params(width=96):
    draw = np.random.default_rng(0).standard_normal
    return {
        "conv1": {
            "kernel": draw((7, 7, 3, width), np.float32),
            "bias": draw((width,), np.float32),
        },
        "conv10": {"kernel": draw((1, 1, 512, 4), np.float32), "bias": draw((4,), np.float32)},
    }


def _save(directory, params=None, preprocessing=None, save=checkpoint.save):
    preprocessing = preprocessing or Preprocessing(227)
    return save(directory, params or _params(), "squeezenet", preprocessing, PROVENANCE)


def test_round_trip(tmp_path):
    preprocessing = Preprocessing(224, "RGB", (0.5, 0.4, 0.3), 1 / 255, (0.2, 0.3, 0.4))
    stored = checkpoint.load(_save(tmp_path / "deep" / "out", preprocessing=preprocessing))
    jax.tree.map(np.testing.assert_array_equal, stored.params, _params())
    assert stored.preprocessing == preprocessing
    assert (stored.network, stored.classes) == ("squeezenet", 4)
    assert stored.provenance == PROVENANCE
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]


def test_a_head_of_ones_own_is_told_from_the_released_one(tmp_path):
    """Both may have 1,000 classes; a record written before this was kept means the released head."""
    params = {"conv10": {"kernel": np.zeros((1, 1, 512, 1000)), "bias": np.zeros(1000)}}
    directory = _save(tmp_path / "own", params)
    assert checkpoint.load(directory).build() == networks.get("squeezenet", 1000)
    record = json.loads((directory / "medtune.json").read_text())
    del record["released"]
    (directory / "medtune.json").write_text(json.dumps(record))
    (directory / "SHA256SUMS").unlink()  # as was usual then
    assert checkpoint.load(directory).build() == networks.get("squeezenet")


def test_without_a_head_there_are_no_classes(tmp_path):
    directory = _save(tmp_path / "out", {"conv1": _params()["conv1"]})
    assert checkpoint.load(directory).classes is None


def test_mean_image_is_kept(tmp_path):
    mean = np.random.default_rng(1).random((227, 227, 3)).astype(np.float32)
    directory = _save(tmp_path / "out", preprocessing=Preprocessing(227, mean=mean))
    np.testing.assert_array_equal(checkpoint.load(directory).preprocessing.mean, mean)


def test_arrays_are_stored_uncompressed(tmp_path):
    """Zeros would shrink to nothing: the folder's size shows that nothing was compressed."""
    zeros = {"conv1": {"kernel": np.zeros((7, 7, 3, 4096), np.float32)}}
    directory = _save(tmp_path / "out", zeros)
    size = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    assert size >= zeros["conv1"]["kernel"].nbytes


def test_existing_directory_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="exists already"):
        _save(tmp_path / "out")
    assert (tmp_path / "out" / "mine.txt").read_text() == "keep"


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, os.strerror(28)),
        ValueError("UNKNOWN: Error writing file [os_error_code='28' source locations='x']"),
    ],
)
def test_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch, error):
    def full(*_, **__):
        raise error

    monkeypatch.setattr("orbax.checkpoint.Checkpointer.save", full)
    with pytest.raises(UserError, match=r"could not write .*out: No space left on device; free"):
        _save(tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_the_callers_to_tell_where_the_folder_is_the_callers(tmp_path, monkeypatch):
    """So that no sentence names the hidden folder that a run is written to."""

    def full(*_, **__):
        raise ValueError("UNKNOWN: Error writing file [os_error_code='28' source locations='x']")

    monkeypatch.setattr("orbax.checkpoint.Checkpointer.save", full)
    with pytest.raises(OSError, match="No space left"):
        _save(tmp_path / ".hidden", save=checkpoint.write_into)


def test_other_errors_pass_unchanged(tmp_path):
    with pytest.raises(ValueError, match="a bug"), checkpoint.written_whole(tmp_path / "out"):
        raise ValueError("a bug")
    assert not list(tmp_path.iterdir())


def _largest(directory):
    return max(directory.rglob("*"), key=lambda path: path.stat().st_size)


def _cut(directory):
    file = _largest(directory / "params")
    file.write_bytes(file.read_bytes()[:1000])


def _without_network(directory):
    record = json.loads((directory / "medtune.json").read_text())
    del record["network"]
    (directory / "medtune.json").write_text(json.dumps(record))


@pytest.mark.parametrize(
    "damage",
    [
        _cut,
        _without_network,
        lambda directory: _largest(directory / "params").unlink(),
        lambda directory: (directory / "medtune.json").write_text("{"),
        lambda directory: (directory / "mean.npy").write_bytes(b""),
        lambda directory: (directory / "params").rename(directory / "elsewhere"),
    ],
    ids=["cut", "no network", "no array", "half a record", "empty mean", "no params"],
)
def test_damaged_folder(tmp_path, damage):
    mean = np.zeros((227, 227, 3), np.float32)
    directory = _save(tmp_path / "out", preprocessing=Preprocessing(227, mean=mean))
    damage(directory)
    with pytest.raises(UserError, match="is damaged"):
        checkpoint.load(directory)


def test_no_flipped_bit_loads_other_weights(tmp_path):
    """In any file, at many places: refused, and that file named."""
    directory = _save(tmp_path / "out")
    draw = np.random.default_rng(0)
    files = [path for path in directory.rglob("*") if path.is_file() and path.stat().st_size]
    for number in range(100):
        path = files[number % len(files)]
        content = path.read_bytes()
        at = int(draw.integers(len(content)))
        path.write_bytes(content[:at] + bytes([content[at] ^ 1 << number % 8]) + content[at + 1 :])
        with pytest.raises(UserError, match="is damaged") as refusal:
            checkpoint.load(directory)
        assert str(path) in str(refusal.value) or path.name == "SHA256SUMS"
        path.write_bytes(content)
    jax.tree.map(np.testing.assert_array_equal, checkpoint.load(directory).params, _params())


def test_no_checkpoint(tmp_path):
    with pytest.raises(UserError, match="is no medtune checkpoint"):
        checkpoint.load(tmp_path)


def test_other_network_and_other_shapes_are_refused(tmp_path):
    directory = _save(tmp_path / "out", _params(width=64))
    with pytest.raises(UserError, match="holds weights of squeezenet, not alexnet"):
        pretrained("alexnet", directory)
    network = networks.get("squeezenet", 4)
    stored = checkpoint.load(directory)
    with pytest.raises(UserError, match=r"'conv1'.*\(64,\).*\(96,\)"):
        transplant(stored.params, network.abstract_params(), network)
