import numpy as np
import pytest

from medtune_jax.datasets.colonoscopy import plain
from medtune_jax.errors import UserError
from tests.datasets.dataset_files import disc, picture, save, save_video


@pytest.fixture
def root(tmp_path):
    for index, name in enumerate(("a", "b")):
        save(tmp_path / "one" / f"{name}.png", picture(index))
    save(tmp_path / "one" / "masks" / "a.png", disc())
    save(tmp_path / "two" / "a.png", picture(2))
    save_video(tmp_path / "three.mp4", [30] * 10 + [200] * 10)
    return tmp_path


def quality(root, *rows):
    (root / "quality.csv").write_text("\n".join(("video,frame,quality,lesion", *rows)) + "\n")


def test_frames_masks_and_videos(root):
    frames = plain.read(root, seconds_between_frames=1.0)
    names = [(f.video, f.name) for f in frames]
    assert names == [("one", "a"), ("one", "b"), ("three", "0s"), ("three", "1s"), ("two", "a")]
    assert frames.videos == [video for video, _ in names]
    assert frames.groups_known
    np.testing.assert_array_equal(frames[0].image, picture(0))
    np.testing.assert_array_equal(frames[0].mask, disc())
    assert frames[1].mask is not None and not frames[1].mask.any()  # looked at, no lesion
    assert frames[4].mask is None  # unknown
    assert frames[2].image.mean() < 60 < 150 < frames[3].image.mean()
    assert [f.name for f in frames[1:3]] == ["b", "0s"]


def test_quality_of_frames_and_of_whole_videos(root):
    quality(root, "one,a.png,1,1", "one,b,0,0", "three,,0,", "two,a,,")
    assert [f.quality for f in plain.read(root, 1.0)] == [1, 0, 0, 0, None]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("one,b,1,1", "declared positive but its mask shows no lesion"),
        ("one,a,1,0", "declared negative but its mask shows a lesion"),
    ],
)
def test_a_mask_that_contradicts_the_table(root, row, message):
    save(root / "one" / "masks" / "b.png", np.zeros((24, 32), bool))
    quality(root, row)
    with pytest.raises(UserError, match=message):
        list(plain.read(root))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("one,zz,1,", r"line 2: no frame 'zz' of video 'one'"),
        ("nine,,1,", r"line 2: no frame '' of video 'nine'"),
        ("one,a,good,", r"line 2: quality is 'good'"),
        ("one,a,1,maybe", r"line 2: lesion is 'maybe'"),
    ],
)
def test_a_wrong_row_is_named(root, row, message):
    quality(root, row)
    with pytest.raises(UserError, match=message):
        plain.read(root)


def test_a_missing_column_is_named(root):
    (root / "quality.csv").write_text("video,frame\none,a\n")
    with pytest.raises(UserError, match="no column 'quality'"):
        plain.read(root)


def test_a_mask_of_another_size(root):
    save(root / "one" / "masks" / "a.png", disc(30, 40))
    with pytest.raises(UserError, match=r"a\.png: the mask is 40 x 30 but its frame is 32 x 24"):
        plain.read(root)[0]


def test_a_mask_without_frame(root):
    save(root / "one" / "masks" / "z.png", disc())
    with pytest.raises(UserError, match="no frame 'z'"):
        plain.read(root)


def test_an_unreadable_image(root):
    (root / "two" / "a.png").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"a\.png: not a readable image"):
        plain.read(root)[-1]


def test_a_video_that_is_folder_and_file(root):
    save(root / "three" / "a.png", picture(1))
    with pytest.raises(UserError, match="also a folder 'three'"):
        plain.read(root)


def test_missing_and_empty_folders_tell_the_layout(tmp_path):
    with pytest.raises(UserError, match=r"no such folder; expected VIDEO/FRAME\.png"):
        plain.read(tmp_path / "gone")
    with pytest.raises(UserError, match="no frames found; expected"):
        plain.read(tmp_path)


def test_a_folder_of_train_and_test_is_two_parts(tmp_path):
    save(tmp_path / "train" / "one" / "a.png", picture(0))
    save(tmp_path / "test" / "two" / "a.png", picture(1))
    splits = plain.parts(tmp_path, plain.read)
    assert list(plain.parts(tmp_path / "test", plain.read)) == ["all"]
    assert [f.video for f in splits["train"]] == ["one"]
    assert [f.video for f in splits["test"]] == ["two"]
