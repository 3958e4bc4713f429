import os
import shutil

import av
import numpy as np
import pytest
from PIL import Image

from medtune_jax.applications.polyps.cases import lesions, read_cases
from medtune_jax.errors import UserError
from tests.applications.polyps.blobs import blob_frame
from tests.applications.polyps.small_study import polyp_config, save, write_videos


def read(directory, **data):
    return read_cases(polyp_config(directory, **data).data)


def test_videos_are_split_whole_with_lesions_on_both_sides(tmp_path):
    cases = read(write_videos(tmp_path, 6))
    assert len(cases.frames) == 18 and cases.groups_known
    assert not set(cases.videos[cases.test]) & set(cases.videos[~cases.test])
    positive = np.array([frame.mask.any() for frame in cases.frames])
    assert positive[cases.test].any() and positive[~cases.test].any()
    assert list(cases.videos) == sorted(cases.videos)
    again = read(tmp_path)
    np.testing.assert_array_equal(again.test, cases.test)
    assert again.fingerprint() == cases.fingerprint()


def test_the_fingerprint_knows_pixels_masks_and_split(tmp_path):
    cases = read(write_videos(tmp_path, 4))
    before = cases.fingerprint()
    other = type(cases)(cases.frames, ~cases.test, True)
    assert other.fingerprint() != before
    save(tmp_path / "v01" / "masks" / "0.png", np.eye(96, 120) > 0)
    assert read(tmp_path).fingerprint() != before


def test_inverted_masks_are_asked_about_and_read_as_the_user_says(tmp_path):
    before = read(write_videos(tmp_path, 4))
    for path in tmp_path.glob("*/masks/*.png"):
        save(path, np.asarray(Image.open(path)) == 0)
    with pytest.raises(UserError, match="mask_background=white"):
        read(tmp_path)
    assert read(tmp_path, mask_background="white").fingerprint() == before.fingerprint()


def test_the_split_of_train_and_test_folders_is_kept(tmp_path):
    write_videos(tmp_path / "train", 3)
    write_videos(tmp_path / "other", 5)
    (tmp_path / "test").mkdir()
    for name in ("v03", "v04"):
        (tmp_path / "other" / name).rename(tmp_path / "test" / name)
    cases = read(tmp_path)
    assert set(cases.videos[cases.test]) == {"v03", "v04"}
    assert set(cases.videos[~cases.test]) == {"v00", "v01", "v02"}


def test_a_video_in_both_splits(tmp_path):
    write_videos(tmp_path / "train", 3)
    write_videos(tmp_path / "test", 2)
    with pytest.raises(UserError, match="'v00' is in the training and in the test split"):
        read(tmp_path)


def test_images_and_masks_in_two_folders_are_groups_of_their_own(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(6):
        image, mask = blob_frame(rng, True, 96, 120)
        save(tmp_path / "images" / f"{number}.png", image)
        save(tmp_path / "masks" / f"{number}.png", mask)
    cases = read(tmp_path, test_fraction=0.5)
    assert not cases.groups_known and cases.test.sum() == 3 and len(set(cases.videos)) == 6


def test_a_prepared_data_set(tmp_path):
    from medtune_jax.datasets import store

    rng = np.random.default_rng(0)
    for number in range(4):
        image, mask = blob_frame(rng, True, 96, 120)
        save(tmp_path / "in" / "images" / f"{number}.png", image)
        save(tmp_path / "in" / "masks" / f"{number}.png", mask)
    store.prepare("kvasir_seg", tmp_path / "in", tmp_path / "out")
    cases = read(tmp_path / "out", tfds="kvasir_seg", test_fraction=0.5)
    assert len(cases.frames) == 4 and cases.test.sum() == 2
    np.testing.assert_array_equal(cases.frames[3].image, image)


def test_phantoms_are_generated_once(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})  # one core: no processes to start
    small = {"videos": 4, "frames": 2, "height": 48, "width": 64, "seed": 8}
    cases = read(f"phantom:{tmp_path}", phantom=small, test_fraction=0.5)
    assert len(cases.frames) == 8 and cases.frames[0].image.shape == (48, 64, 3)
    assert "generating 4 videos" in capfd.readouterr().err
    again = read(f"phantom:{tmp_path}", phantom=small, test_fraction=0.5)
    assert again.fingerprint() == cases.fingerprint()
    assert "generating" not in capfd.readouterr().err


def test_long_frames_are_shrunk_with_their_masks(tmp_path):
    cases = read(write_videos(tmp_path, 4), longest_side=60)
    for frame in cases.frames:
        assert frame.image.shape == (48, 60, 3) and frame.mask.shape == (48, 60)
    full = read(tmp_path)
    shares = [[f.mask.mean() for f in c.frames] for c in (cases, full)]
    np.testing.assert_allclose(*shares, atol=0.01)


def test_a_part_of_the_frames_is_spread_over_the_videos(tmp_path):
    cases = read(write_videos(tmp_path, 6, frames=4), most_frames=12)
    videos, counts = np.unique(cases.videos, return_counts=True)
    assert len(cases.frames) == 12 and len(videos) == 6 and counts.max() <= 3


def test_a_mask_of_another_size(tmp_path):
    write_videos(tmp_path, 3)
    save(tmp_path / "v01" / "masks" / "0.png", np.eye(50, 120) > 0)
    with pytest.raises(UserError, match=r"v01/masks/0.png: the mask is 120 x 50 but its frame"):
        read(tmp_path)


def test_a_positive_frame_without_lesion(tmp_path):
    write_videos(tmp_path, 3)
    save(tmp_path / "v01" / "masks" / "0.png", np.zeros((96, 120), bool))
    (tmp_path / "quality.csv").write_text("video,frame,quality,lesion\nv01,0,1,1\n")
    with pytest.raises(UserError, match="declared positive but its mask shows no lesion"):
        read(tmp_path)


def test_a_video_of_unknown_truth(tmp_path):
    write_videos(tmp_path, 3)
    save(tmp_path / "v09" / "0.png", np.zeros((96, 120, 3), np.uint8))
    with pytest.raises(UserError, match="'v09', frame '0' has no lesion mask"):
        read(tmp_path)


def test_video_files_beside_their_masks(tmp_path):
    for number in range(4):
        with av.open(str(tmp_path / f"clip{number}.mp4"), "w") as container:
            stream = container.add_stream("mpeg4", rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for level in (60, 200):
                flat = np.full((48, 64, 3), level, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(flat, format="rgb24")))
            container.mux(stream.encode())
        save(tmp_path / "masks" / f"clip{number}" / "2.png", np.pad(np.ones((40, 56), bool), 4))
    cases = read(tmp_path, test_fraction=0.5)
    assert len(cases.frames) == 8 and cases.test.sum() == 4
    assert [frame.mask.any() for frame in cases.frames] == [False, True] * 4
    assert cases.frames[0].image.mean() < 100 < cases.frames[1].image.mean()


def test_an_unreadable_video(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"not a video")
    with pytest.raises(UserError, match=r"clip.mp4: not a readable video"):
        read(tmp_path)


def test_one_video_cannot_be_split(tmp_path):
    write_videos(tmp_path, 2)
    (tmp_path / "v00").rename(tmp_path.parent / f"{tmp_path.name}-v00")
    with pytest.raises(UserError, match="holds one video"):
        read(tmp_path)


def test_a_split_without_lesions(tmp_path):
    write_videos(tmp_path / "train", 3)
    for number in range(2):
        image, mask = blob_frame(np.random.default_rng(number), False)
        save(tmp_path / "test" / "w" / f"{number}.png", image)
        save(tmp_path / "test" / "w" / "masks" / f"{number}.png", mask)
    with pytest.raises(UserError, match=r"the test set \(2 frames\) shows no lesion"):
        read(tmp_path)


def test_lesions_are_numbered_and_specks_dropped():
    mask = np.zeros((40, 40), bool)
    mask[2:8, 2:8], mask[20:30, 20:30], mask[15, 35] = True, True, True
    mask[8, 8] = True  # touches the first at a corner
    numbered, count = lesions(mask)
    assert count == 2
    assert numbered[4, 4] == numbered[8, 8] == 0 and numbered[25, 25] == 1
    assert numbered[15, 35] == numbered[0, 0] == -1
    assert lesions(np.zeros((5, 5), bool))[1] == 0


def test_videos_that_share_a_frame_stay_on_one_side(tmp_path, capsys):
    write_videos(tmp_path, 6)
    shared = (tmp_path / "v00" / "0.png").read_bytes()
    for video in ("v03", "v05"):
        (tmp_path / video / "0.png").write_bytes(shared)
    for seed in range(4):
        cases = read(tmp_path, split_seed=seed)
        sides = {v: t for v, t in zip(cases.videos, cases.test, strict=True)}
        assert sides["v00"] == sides["v03"] == sides["v05"]
    assert "3 videos share frames of the same pixels" in capsys.readouterr().err
    for video in tmp_path.iterdir():
        side = tmp_path / ("test" if video.name in ("v03", "v04") else "train")
        side.mkdir(exist_ok=True)
        video.rename(side / video.name)
    with pytest.raises(UserError, match="videos v00, v03, v05 have frames of the same pixels"):
        read(tmp_path)


def test_a_validation_folder_joins_training_and_others_are_asked_about(tmp_path, capsys):
    for side, first in (("Training", 0), ("val", 3), ("TestSet", 6)):
        write_videos(tmp_path / "all", 9)
        (tmp_path / side).mkdir()
        for number in range(first, first + 3):
            (tmp_path / "all" / f"v{number:02}").rename(tmp_path / side / f"v{number:02}")
        shutil.rmtree(tmp_path / "all")
    cases = read(tmp_path)
    assert set(cases.videos[~cases.test]) == {f"v{number:02}" for number in range(6)}
    assert "validation set (val) joins the training set" in capsys.readouterr().err
    write_videos(tmp_path / "more", 1)
    read(tmp_path)
    assert "passed over 1 folder beside those of the splits (more)" in capsys.readouterr().err


def test_a_mask_without_its_image(tmp_path):
    for number in range(3):
        image, mask = blob_frame(np.random.default_rng(number), True)
        save(tmp_path / "images" / f"{number}.png", image)
        save(tmp_path / "masks" / f"{number}.png", mask)
    (tmp_path / "images" / "1.png").unlink()
    with pytest.raises(UserError, match=r"masks/1\.png: no image '1'"):
        read(tmp_path)
