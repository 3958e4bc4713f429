"""Images that are more than memory should hold: decoded to disk once, read as an array is, with the same results."""

import os
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from medtune_jax.applications.image_folder import arrays, decoded
from medtune_jax.applications.image_folder.reader import read_images
from medtune_jax.applications.image_folder.task import load
from medtune_jax.errors import UserError
from medtune_jax.patches import Images, Records
from medtune_jax.study import default_config
from medtune_jax.study.sweep import sweep
from tests.applications.image_folder.test_prepared import Tissue

SIDE = 8
EACH = 3  # images in a file of records, in these tests


@pytest.fixture
def paths(tmp_path):
    rng = np.random.default_rng(0)
    found = [tmp_path / "images" / f"{n}.png" for n in range(8)]
    found[0].parent.mkdir()
    for path in found:
        Image.fromarray(rng.integers(0, 256, (11, 9, 3), np.uint8)).save(path)
    return found


@pytest.fixture
def memory(tmp_path, monkeypatch):
    monkeypatch.setattr(decoded, "_FILE", EACH * SIDE * SIDE * 3)
    made = default_config().memory
    made.images_gib, made.disk_dir = 0.0, str(tmp_path / "disk")
    return made


@pytest.fixture
def reads(monkeypatch):
    """Names of the images that are decoded."""
    names, read = [], decoded.try_read

    def counted(path, size):
        names.append(path.name)
        return read(path, size)

    monkeypatch.setattr(decoded, "try_read", counted)
    return names


def records_in(memory):
    return sorted(Path(memory.disk_dir).iterdir())


def test_few_images_stay_in_memory(paths, memory, tmp_path):
    memory.images_gib = 1.0
    assert isinstance(decoded.pixels_of(paths, SIDE, memory), np.ndarray)
    assert not (tmp_path / "disk").exists()


def test_records_are_read_as_the_array_is(paths, memory):
    array, records = read_images(paths, SIDE), decoded.pixels_of(paths, SIDE, memory)
    assert isinstance(records, Records)
    assert (len(records), records.shape, records.nbytes) == (8, array.shape, array.nbytes)
    np.testing.assert_array_equal(np.stack([*records]), array)
    rows, kept = np.array([7, 0, 4, 4]), np.arange(8) % 3 != 0
    np.testing.assert_array_equal(records[rows], array[rows])
    np.testing.assert_array_equal(records[kept][np.array([4, 1])], array[kept][[4, 1]])
    assert Images(records[kept]).fingerprint() == Images(array[kept]).fingerprint()


def test_decoded_once_and_a_changed_image_with_its_neighbours(paths, memory, reads, capsys):
    decoded.pixels_of(paths, SIDE, memory)
    assert len(reads) == 8 and "they take 1.43e-06 GiB" in capsys.readouterr().err
    decoded.pixels_of(paths, SIDE, memory)
    assert len(reads) == 8 and "of which 1.43e-06 GiB are there" in capsys.readouterr().err
    Image.new("RGB", (5, 5), "red").save(paths[4])
    again = decoded.pixels_of(paths, SIDE, memory)
    assert sorted(reads[8:]) == ["3.png", "4.png", "5.png"]
    np.testing.assert_array_equal(np.stack([*again]), read_images(paths, SIDE))


def test_an_interrupted_decoding_goes_on(paths, memory, reads):
    whole = paths[6].read_bytes()
    paths[6].write_bytes(b"no image")
    with pytest.raises(UserError, match=r"1 of 8 images cannot be read(.|\n)*6\.png"):
        decoded.pixels_of(paths, SIDE, memory)
    assert len(records_in(memory)) == 2
    paths[6].write_bytes(whole)
    del reads[:]
    decoded.pixels_of(paths, SIDE, memory)
    assert sorted(reads) == ["6.png", "7.png"]


def test_a_cut_file_is_made_again_and_a_damaged_one_refused(paths, memory, reads):
    decoded.pixels_of(paths, SIDE, memory)
    first = next(iter(decoded.pixels_of(paths, SIDE, memory)._files))
    content = first.read_bytes()
    first.write_bytes(content[: len(content) // 2])
    decoded.pixels_of(paths, SIDE, memory)
    assert sorted(reads[8:]) == ["0.png", "1.png", "2.png"]
    assert first.read_bytes() == content
    at = content.index(read_images(paths[:1], SIDE).tobytes())
    first.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    with pytest.raises(UserError, match=r"cannot be read .*remove the files there"):
        np.stack([*decoded.pixels_of(paths, SIDE, memory)])


def test_room_is_made_of_the_longest_unused(paths, memory):
    decoded.pixels_of(paths[:3], SIDE, memory)
    (oldest,) = records_in(memory)
    os.utime(oldest, (0, 0))
    decoded.pixels_of(paths[3:6], SIDE, memory)
    (middle,) = {*records_in(memory)} - {oldest}
    size = middle.stat().st_size
    memory.disk_images_gib = (size + 3 * SIDE * SIDE * 3) / 2**30
    decoded.pixels_of(paths[5:], SIDE, memory)
    assert oldest not in records_in(memory) and middle in records_in(memory)


def test_too_little_disk(paths, memory, monkeypatch):
    memory.disk_images_gib = 1e-7
    with pytest.raises(UserError, match=r"1\.43e-06 GiB decoded, and memory\.disk_images_gib is"):
        decoded.pixels_of(paths, SIDE, memory)
    memory.disk_images_gib = 1.0
    monkeypatch.setattr(decoded.shutil, "disk_usage", lambda folder: type("", (), {"free": 5}))
    with pytest.raises(UserError, match=r"whose disk has 4\.66e-09 GiB free"):
        decoded.pixels_of(paths, SIDE, memory)


def test_a_disk_that_is_full_after_all(paths, memory, monkeypatch):
    monkeypatch.setattr(decoded, "beside", lambda file: decoded.closing(Full()))
    with pytest.raises(UserError, match=r"cannot write to .*No space left on device.*free some"):
        decoded.pixels_of(paths, SIDE, memory)


class Full:
    """A disk that takes nothing."""

    def __str__(self):
        return "/dev/full"

    def close(self): ...


def test_a_study_from_disk_is_the_study_from_memory(write_images, tmp_path):
    """Frozen prefix, streamed training from the pixels on, augmentation: the same runs, scores to the last digit."""
    (tmp_path / "images").mkdir()
    made = default_config()
    made.data.dir = str(write_images(tmp_path / "images", 12, 2, 64))
    made.network, made.image_size = "squeezenet", 64
    made.sweep.depths, made.sweep.seeds = "conv10,scratch", 1
    made.training.epochs, made.training.keep_weights = 2, False
    scores = {}
    for where, gib in (("memory", 1.0), ("disk", 0.0)):
        made.memory.images_gib, made.memory.disk_dir = gib, str(tmp_path / "cache")
        sweep(made, tmp_path / where, quiet=True)
        found = sorted((tmp_path / where / "runs").glob("*/scores.csv"))
        scores[where] = {path.parent.name: path.read_bytes() for path in found}
    assert list((tmp_path / "cache").glob("*.array_record"))
    assert len(scores["memory"]) == 2 and scores["disk"] == scores["memory"]


def packed(path, change=np.ascontiguousarray, save=np.savez_compressed):
    """An .npz of 16 training and 8 test images of two classes."""
    rng, found = np.random.default_rng(0), {}
    for split, number in (("train", 16), ("test", 8)):
        labels = np.arange(number) % 2
        pixels = rng.normal(70 + 110 * labels[:, None, None, None], 20, (number, 12, 10, 3))
        found[f"{split}_images"] = change(pixels.clip(0, 255).astype(np.uint8))
        found[f"{split}_labels"] = labels
    save(path, **found)
    return path


def prepared(folder):
    Tissue(config="split", data_dir=str(folder), file_format="array_record").download_and_prepare()
    return folder


@pytest.fixture(params=["npz", "tfds"])
def packed_config(request, tmp_path):
    made = default_config()
    if request.param == "npz":
        made.data.dir = str(packed(tmp_path / "set.npz"))
    else:
        made.data.update(dir=str(prepared(tmp_path)), tfds="tissue/split", group_feature="slide")
    return made


def test_a_study_of_a_packed_set_from_disk_is_that_from_memory(
    packed_config, tmp_path, monkeypatch
):
    monkeypatch.setattr(decoded, "_FILE", 5 * 67 * 67 * 3)
    made, scores = packed_config, {}
    made.network, made.image_size, made.sweep.depths = "squeezenet", 67, "conv10"
    made.sweep.seeds, made.training.epochs, made.training.keep_weights = 1, 1, False
    for where, gib in (("memory", 1.0), ("disk", 0.0)):
        made.memory.images_gib, made.memory.disk_dir = gib, str(tmp_path / "cache")
        study = sweep(made, tmp_path / where, quiet=True)
        (found,) = study.glob("runs/*/scores.csv")
        scores[where] = found.parent.name, found.read_bytes()
    assert len([*(tmp_path / "cache").iterdir()]) == 5 and scores["disk"] == scores["memory"]
    made.memory.images_gib = 0.0
    assert isinstance(load(made, 67).patches.pixels, Records)


@pytest.mark.parametrize("change", [np.ascontiguousarray, np.asfortranarray])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_in_every_order(tmp_path, memory, change, save):
    data = default_config().data
    data.dir = str(packed(tmp_path / "set.npz", change, save))
    found = [*arrays.load_arrays(data, SIDE, memory).patches.pixels]
    memory.images_gib = 1.0
    whole = arrays.load_arrays(data, SIDE, memory).patches.pixels
    assert isinstance(whole, np.ndarray) and len(whole) == 24
    np.testing.assert_array_equal(found, whole)
    first = Image.fromarray(np.load(data.dir)["test_images"][0]).resize(
        (SIDE, SIDE), Image.Resampling.BILINEAR
    )
    np.testing.assert_array_equal(whole[16], first)


def test_of_arrays_only_what_is_missing_is_decoded(tmp_path, memory, monkeypatch):
    data = default_config().data
    data.dir = str(packed(tmp_path / "set.npz"))
    first = np.stack([*arrays.load_arrays(data, SIDE, memory).patches.pixels])
    shown, squared = [], arrays.squared
    monkeypatch.setattr(arrays, "squared", lambda *given: shown.append(1) or squared(*given))
    arrays.load_arrays(data, SIDE, memory)
    assert not shown
    for path in records_in(memory)[:2]:
        path.unlink()
    again = arrays.load_arrays(data, SIDE, memory).patches.pixels
    assert len(shown) == 2 * EACH
    np.testing.assert_array_equal(np.stack([*again]), first)
    packed(tmp_path / "set.npz", lambda pixels: 255 - pixels)
    assert (
        first[0].mean()
        < 125
        < arrays.load_arrays(data, SIDE, memory).patches.pixels[np.array([0])].mean()
    )


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damage_among_the_arrays_values(tmp_path, memory, save):
    data = default_config().data
    path = packed(tmp_path / "set.npz", save=save)
    content = bytearray(path.read_bytes())
    content[2000] ^= 255
    path.write_bytes(content)
    data.dir = str(path)
    with pytest.raises(
        UserError, match=r"set\.npz cannot be read as NumPy's \.npz .*fetch it again"
    ):
        arrays.load_arrays(data, SIDE, memory)


def test_pixels_in_memory_lie_where_xla_takes_them_without_a_copy(tmp_path):
    for number in range(3):
        Image.fromarray(np.full((9, 9, 3), number, np.uint8)).save(tmp_path / f"{number}.png")
    pixels = read_images(sorted(tmp_path.glob("*.png")), SIDE)
    assert jax.device_put(pixels).unsafe_buffer_pointer() == pixels.ctypes.data
