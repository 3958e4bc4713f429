"""Small files in every public layout go in; the same frames come out of the prepared data set."""

import numpy as np
import pytest
from PIL import Image

from medtune_jax.datasets import store
from medtune_jax.datasets.colonoscopy.builders import DATASETS, MaskedFrames
from medtune_jax.errors import UserError
from tests.datasets.dataset_files import disc, picture, save, save_video


def roundtrip(name, source, target, split="train"):
    store.prepare(name, source, target)
    return store.load(name, target, split)


MASKED = [  # data set, image of frame N, mask of frame N
    ("cvc_clinicdb", "Original/{}.tif", "Ground Truth/{}.tif"),
    ("cvc_clinicdb", "Original/{}.png", "Ground Truth/{}.png"),
    ("cvc_colondb", "images/{}.png", "masks/{}.png"),
    ("cvc_colondb", "{}.bmp", "p{}.bmp"),
    ("etis_larib", "ETIS-LaribPolypDB/{}.tif", "Ground Truth/p{}.tif"),
    ("kvasir_seg", "images/{}.png", "masks/{}.jpg"),
]


@pytest.mark.parametrize(("name", "image", "mask"), MASKED)
def test_frames_with_masks(tmp_path, name, image, mask):
    for number in (1, 2, 10):
        save(tmp_path / "in" / image.format(number), picture(number))
        save(tmp_path / "in" / mask.format(number), disc(radius=4 + number / 2))
    if name == "cvc_colondb":
        save(tmp_path / "in" / image.format("c1"), disc())  # the contours that come with it
    frames = roundtrip(name, tmp_path / "in", tmp_path / "out")
    assert [f.name for f in frames] == ["1", "2", "10"]
    assert not frames.groups_known
    for number, frame in zip((1, 2, 10), frames, strict=True):
        np.testing.assert_array_equal(frame.image, picture(number))
        np.testing.assert_array_equal(frame.mask, disc(radius=4 + number / 2))


def test_jpegs_are_not_compressed_again(tmp_path):
    jpeg = save(tmp_path / "in/images/cju.jpg", picture(1))
    save(tmp_path / "in/masks/cju.jpg", disc())
    (frame,) = roundtrip("kvasir_seg", tmp_path / "in", tmp_path / "out")
    np.testing.assert_array_equal(frame.image, np.asarray(Image.open(jpeg)))
    np.testing.assert_array_equal(frame.mask, disc())


def test_a_turned_jpeg_is_upright_in_the_records(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    (tmp_path / "in/images").mkdir(parents=True)
    turned = Image.fromarray(np.rot90(picture(1)))
    turned.save(tmp_path / "in/images/cju.jpg", quality=95, exif=exif)
    save(tmp_path / "in/masks/cju.png", disc())
    (frame,) = roundtrip("kvasir_seg", tmp_path / "in", tmp_path / "out")
    with Image.open(tmp_path / "in/images/cju.jpg") as stored:
        np.testing.assert_array_equal(frame.image, np.rot90(np.asarray(stored), -1))


def test_a_png_with_transparency_is_on_white_in_the_records(tmp_path):
    alpha = np.full(picture(1).shape[:2], 255, np.uint8)
    alpha[:5] = 0
    save(tmp_path / "in/images/cju.png", np.dstack([picture(1), alpha]))
    save(tmp_path / "in/masks/cju.png", disc())
    (frame,) = roundtrip("kvasir_seg", tmp_path / "in", tmp_path / "out")
    np.testing.assert_array_equal(frame.image, np.where(alpha[..., None], picture(1), 255))


def test_clinicdb_sequences_come_from_the_table(tmp_path):
    for number in (1, 2, 3):
        save(tmp_path / "in/Original" / f"{number}.png", picture(number))
        save(tmp_path / "in/Ground Truth" / f"{number}.png", disc())
    (tmp_path / "in/metadata.csv").write_text("frame_id,sequence_id,path\n1,1,x\n2,1,x\n3,2,x\n")
    frames = roundtrip("cvc_clinicdb", tmp_path / "in", tmp_path / "out")
    assert frames.videos == ["sequence_1", "sequence_1", "sequence_2"]
    assert frames.groups_known


def test_asu_mayo_videos_with_mask_frames(tmp_path):
    levels = [20 + 40 * (k % 5) for k in range(6)]
    train, test = tmp_path / "in/train", tmp_path / "in/test"
    save_video(train / "1.mp4", levels)
    for number in (2, 3):
        save(train / "masks/1" / f"frame_{number:04d}.png", disc(radius=number + 2))
    save_video(test / "1.mp4", levels)
    frames = roundtrip("asu_mayo", tmp_path / "in", tmp_path / "out")
    assert frames.videos == ["train/1"] * 6
    np.testing.assert_allclose([f.image.mean() for f in frames], levels, atol=6)
    assert [bool(f.mask.any()) for f in frames] == [False, True, True, False, False, False]
    np.testing.assert_array_equal(frames[2].mask, disc(radius=5))
    unknown = store.load("asu_mayo", tmp_path / "out", "test")
    assert unknown.videos == ["test/1"] * 6 and unknown[0].mask is None


def test_asu_mayo_extracted_frames(tmp_path):
    for number in (1, 2):
        save(tmp_path / "in/Frame/v1" / f"{number}.png", picture(number))
    save(tmp_path / "in/GT/v1/2.png", disc())
    frames = roundtrip("asu_mayo", tmp_path / "in", tmp_path / "out")
    assert [(f.video, bool(f.mask.any())) for f in frames] == [("v1", False), ("v1", True)]


def test_a_mask_beyond_the_end_of_its_video(tmp_path):
    save_video(tmp_path / "1.mp4", [50] * 3)
    save(tmp_path / "1/9.png", disc())
    with pytest.raises(UserError, match=r"mask number 9, but 1\.mp4 has 3 frames"):
        store.prepare("asu_mayo", tmp_path, tmp_path / "out")


def test_nerthus_videos_and_scores(tmp_path):
    names = {"0": "bowel_1_score_0-0_00000001", "1": "bowel_3_score_1-0_00000001"}
    names |= {"2": "bowel_13_score_2-0_00000001", "3": "bowel_17_score_3-0_00000001"}
    for score, name in names.items():
        save(tmp_path / "in/nerthus-dataset-frames" / score / f"{name}.jpg", picture(int(score)))
    save(tmp_path / "in/nerthus-dataset-frames/0/bowel_1_score_0-0_00000002.jpg", picture(9))
    frames = roundtrip("nerthus", tmp_path / "in", tmp_path / "out")
    assert frames.videos == ["bowel_1", "bowel_1", "bowel_3", "bowel_13", "bowel_17"]
    assert [(f.label, f.quality) for f in frames[1:]] == [("0", 0), ("1", 0), ("2", 1), ("3", 1)]
    assert frames[0].mask is None


@pytest.mark.parametrize("base", [".", "labeled-images/lower-gi-tract/quality-of-mucosal-views"])
def test_hyper_kvasir_classes(tmp_path, base):
    for seed, label in enumerate(("bbps-0-1", "bbps-2-3", "impacted-stool")):
        save(tmp_path / "in" / base / label / f"id{seed}.jpg", picture(seed))
    frames = roundtrip("hyper_kvasir_quality", tmp_path / "in", tmp_path / "out")
    assert {f.label: f.quality for f in frames} == {
        "bbps-0-1": 0, "bbps-2-3": 1, "impacted-stool": 0,
    }  # fmt: skip
    assert not frames.groups_known


def test_one_class_empty(tmp_path):
    for score in "013":
        save(tmp_path / score / f"bowel_{score}_x.jpg", picture(1))
    (tmp_path / "2").mkdir()
    with pytest.raises(UserError, match="class '2' has no example"):
        store.prepare("nerthus", tmp_path, tmp_path / "out")


def test_a_positive_frame_without_lesion_in_its_mask(tmp_path):
    save(tmp_path / "images/a.png", picture(1))
    save(tmp_path / "masks/a.png", np.zeros((24, 32), bool))
    with pytest.raises(UserError, match=r"a\.png: the frame is declared positive but its mask"):
        store.prepare("kvasir_seg", tmp_path, tmp_path / "out")


def test_a_mask_of_another_size_leaves_nothing_behind(tmp_path):
    save(tmp_path / "images/a.png", picture(1))
    save(tmp_path / "masks/a.png", disc(30, 40))
    with pytest.raises(UserError, match="the mask is 40 x 30 but its frame is 32 x 24"):
        store.prepare("kvasir_seg", tmp_path, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.array_record*"))
    with pytest.raises(UserError, match="not prepared"):
        store.load("kvasir_seg", tmp_path / "out")


def test_a_frame_without_mask(tmp_path):
    save(tmp_path / "images/a.png", picture(1))
    save(tmp_path / "masks/b.png", disc())
    with pytest.raises(UserError, match=r"a\.png: no mask 'a'"):
        store.prepare("kvasir_seg", tmp_path, tmp_path / "out")


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_a_missing_folder_tells_the_layout(tmp_path, name):
    with pytest.raises(UserError, match="no such folder") as error:
        store.prepare(name, tmp_path / "gone", tmp_path / "out")
    assert DATASETS[name].layout in str(error.value)
    (tmp_path / "other" / "things").mkdir(parents=True)
    with pytest.raises(UserError, match="expected") as error:
        store.prepare(name, tmp_path / "other", tmp_path / "out")
    assert DATASETS[name].layout in str(error.value)


def test_unknown_names_and_splits(tmp_path):
    with pytest.raises(UserError, match=r"unknown data set 'kvasir'.*kvasir_seg"):
        store.prepare("kvasir", tmp_path, tmp_path)
    save(tmp_path / "images/a.png", picture(1))
    save(tmp_path / "masks/a.png", disc())
    store.prepare("kvasir_seg", tmp_path, tmp_path / "out")
    with pytest.raises(UserError, match="no split 'test'; choose from train"):
        store.load("kvasir_seg", tmp_path / "out", "test")


def test_every_data_set_names_its_terms_and_source():
    kinds = {issubclass(builder, MaskedFrames) for builder in DATASETS.values()}
    assert kinds == {True, False}
    for builder in DATASETS.values():
        assert builder.licence and builder.citation and builder.homepage.startswith("http")
