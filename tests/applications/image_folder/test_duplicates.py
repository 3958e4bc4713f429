"""One picture under two patients is on one side, or not in training."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from medtune_jax.applications import get
from medtune_jax.applications.image_folder import duplicates
from medtune_jax.applications.image_folder.duplicates import identical, keep_together, nearly
from medtune_jax.errors import UserError
from medtune_jax.study import default_config

SIDE = 67


def soft(seed, side=96):
    """A picture with large structures, as medical ones have."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8))
    return small.resize((side, side), Image.Resampling.BICUBIC)


def copied(picture, quality):
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def pixels(*pictures):
    return np.stack(
        [np.asarray(p.resize((SIDE, SIDE), Image.Resampling.BILINEAR)) for p in pictures]
    )


def folder_of_pairs(folder, pairs=20, copy=lambda picture: picture, split=False, patients=True):
    """Picture n twice: a{n}.png of patient p{n} and b{n}.png of q{n}, with random labels; or as class folders."""
    rows = []
    for n in range(pairs):
        label = ("healthy", "ill")[n % 2]
        for k, picture in enumerate((soft(n), copy(soft(n)))):
            name = f"{'ab'[k]}{n}.png" if patients else f"{label}/{'ab'[k]}{n}.png"
            (folder / name).parent.mkdir(exist_ok=True)
            picture.save(folder / name)
            side = "test" if split and k and n < 6 else "train"
            rows.append(f"{name},{label},{'pq'[k]}{n}" + (f",{side}" if split else ""))
    if patients:
        head = "image,label,patient" + (",split" if split else "")
        (folder / "labels.csv").write_text("\n".join([head, *rows]) + "\n")
    return folder


def load(folder, **changes):
    config = default_config()
    config.data.update({"dir": str(folder), **changes})
    return get("image_folder").load(config, SIDE)


def torn(dataset):
    """How many test pictures have their copy among the training images."""
    names = [name.rpartition("/")[2] for name in dataset.names]
    test = {name[1:] for name, chosen in zip(names, dataset.test, strict=True) if chosen}
    return sum(
        name[1:] in test for name, chosen in zip(names, dataset.test, strict=True) if not chosen
    )


def test_identical_pictures_are_pairs_and_blank_ones_are_not():
    blank = Image.new("RGB", (96, 96))
    images = pixels(soft(0), soft(1), soft(0), blank, blank, soft(0))
    assert identical(images).tolist() == [[0, 2], [0, 5]]
    found = nearly(images, np.arange(len(images)), np.arange(len(images)))
    assert (found.number, found.first.tolist()) == (3, [[0, 2], [0, 5], [2, 5]])
    assert found.links.tolist() == [[0, 2], [0, 5]]
    assert nearly(images, np.arange(len(images)), np.array([0, 1, 0, 3, 4, 0])).number == 0


def test_copies_look_the_same_and_other_pictures_do_not():
    originals = [soft(seed) for seed in range(40)]
    copies = [copied(p, 50).resize((48, 48)).resize((120, 120)) for p in originals]
    found = nearly(pixels(*originals, *copies), np.arange(80), np.arange(80))
    assert found.links.tolist() == [[n, n + 40] for n in range(40)]
    assert found.number == 40 and found.images.all()
    assert not len(identical(pixels(*originals, *copies)))


def test_patients_who_share_a_picture_are_one():
    images = pixels(soft(0), soft(1), soft(1), soft(2), soft(0), soft(3))
    groups = np.array(["a", "a", "b", "b", "c", "d"])
    found = keep_together(images, np.zeros(6, int), groups, None, "identical", True)
    assert found.groups.tolist() == ["a + b + 1 more"] * 5 + ["d"]
    assert found.kept.all()
    (note,) = found.notes
    assert note.startswith(
        "4 images have identical pixels under two patients: these 3 patients count as 1"
    )


def test_copies_within_a_patient_join_nothing():
    images, groups = pixels(soft(0), soft(0), soft(1)), np.array(["a", "a", "b"])
    found = keep_together(images, np.zeros(3, int), groups, None, "identical", True)
    assert found.groups.tolist() == ["a", "a", "b"] and not found.notes


def test_a_drawn_test_set_shares_no_picture_with_training(tmp_path):
    folder = folder_of_pairs(tmp_path)
    assert torn(load(folder, duplicates="none")) > 0
    dataset = load(folder)
    assert torn(dataset) == 0 and len(dataset.names) == 40
    assert len(np.unique(dataset.groups)) == 20
    assert any(
        "40 images have identical pixels" in n and "40 patients count as 20" in n
        for n in dataset.notes
    )


def test_images_without_patients_are_kept_together_too(tmp_path):
    dataset = load(folder_of_pairs(tmp_path, patients=False))
    assert torn(dataset) == 0 and not dataset.groups_known


def test_a_given_test_set_stays_and_its_pictures_leave_the_training_set(tmp_path):
    dataset = load(folder_of_pairs(tmp_path, split=True))
    assert torn(dataset) == 0
    assert dataset.test.sum() == 6 and len(dataset.names) == 34
    assert any("6 images of the given training set are left out" in note for note in dataset.notes)


def test_near_duplicates_are_reported_and_joined_where_asked(tmp_path):
    folder = folder_of_pairs(tmp_path, copy=lambda picture: copied(picture, 60), patients=False)
    reported = load(folder)
    assert len(np.unique(reported.groups)) == 40
    assert any(
        "40 images look nearly the same" in n and "duplicates=near" in n for n in reported.notes
    )
    joined = load(folder, duplicates="near")
    assert len(np.unique(joined.groups)) == 20 and torn(joined) == 0


def test_one_picture_of_two_classes_is_said(tmp_path):
    folder = folder_of_pairs(tmp_path)
    text = (folder / "labels.csv").read_text().replace("b3.png,ill", "b3.png,healthy")
    (folder / "labels.csv").write_text(text)
    assert "2 images with identical pixels have two classes" in load(folder).notes


def test_an_unknown_way(tmp_path):
    with pytest.raises(UserError, match=r"data\.duplicates is 'all'"):
        load(folder_of_pairs(tmp_path, pairs=4), duplicates="all")


def test_near_duplicates_are_those_of_all_pairs_of_which_few_are_kept(monkeypatch):
    """Tile by tile as at once; those of one group are none."""
    monkeypatch.setattr(duplicates, "_TILE", 32)
    monkeypatch.setattr(duplicates, "_PENDING", 50)
    rng = np.random.default_rng(0)
    images = np.stack([soft(seed % 60).resize((32, 32)) for seed in range(300)]).astype(float)
    images = (images + rng.normal(0, 12, images.shape)).clip(0, 255).astype(np.uint8)
    groups = np.arange(300) // 2
    thumbnails = np.stack([duplicates._thumbnail(image) for image in images])
    alike = np.triu(thumbnails @ thumbnails.T >= 0.99, 1) & (groups[:, None] != groups)
    found = nearly(images, groups, np.arange(300))
    assert 50 < found.number == alike.sum()
    assert alike[tuple(found.first.T)].all()
    np.testing.assert_array_equal(found.images, (alike | alike.T).any(0))
    of_all, of_links = (
        connected_components(coo_array(*m))[1] for m in ((alike,), _graph(found, 300))
    )
    np.testing.assert_array_equal(of_links, of_all)
    assert len(found.links) < 300


def _graph(found, number):
    return (np.ones(len(found.links)), tuple(found.links.T)), (number, number)


def test_what_is_not_looked_for_is_said():
    found = keep_together(pixels(soft(0)), np.zeros(1, int), np.array(["a"]), None, "none", True)
    assert found.notes == (
        "copies of a picture under two patients are not looked for (--config.data.duplicates)",
    )
