from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from medtune_jax.datasets.colonoscopy import videos
from medtune_jax.errors import UserError
from medtune_jax.paths import written_to
from tests.datasets.dataset_files import save_video

LEVELS = [20 + 40 * (k % 5) for k in range(30)]  # 10 frames/s: 3 s


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return save_video(tmp_path_factory.mktemp("video") / "v.mp4", LEVELS)


def test_all_frames_with_their_times(video):
    times, images = zip(*videos.frames(video), strict=True)
    np.testing.assert_allclose(times, np.arange(30) / 10, atol=1e-3)
    np.testing.assert_allclose([image.mean() for image in images], LEVELS, atol=6)
    assert images[0].shape == (24, 32, 3) and images[0].dtype == np.uint8


def test_one_frame_in_every_interval(video):
    times = [seconds for seconds, _ in videos.frames(video, every=0.7)]
    np.testing.assert_allclose(times, [0, 0.7, 1.4, 2.1, 2.8], atol=1e-3)
    np.testing.assert_allclose(videos.sample_times(video, 0.7), times, atol=1e-3)


@pytest.mark.parametrize("number", [0, 1, 7, 13, 29])
def test_seeking_finds_the_frame_that_decoding_in_order_gives(video, number):
    in_order = [image for _, image in videos.frames(video)][number]
    np.testing.assert_array_equal(videos.frame_at(video, number / 10), in_order)


def test_a_broken_file_is_a_user_error(tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"this is no video" * 100)
    with pytest.raises(UserError, match=r"broken\.mp4: not a readable video"):
        list(videos.frames(broken))
    with pytest.raises(UserError, match=r"broken\.mp4"):
        videos.frame_at(broken, 1.0)
    with pytest.raises(UserError, match="gone"):
        videos.sample_times(tmp_path / "gone.mp4", 5.0)


def test_a_non_positive_interval_is_a_user_error(video):
    with pytest.raises(UserError, match="positive"):
        videos.sample_times(video, 0)


def test_what_a_disk_refuses_of_a_video_is_one_sentence(tmp_path, monkeypatch):
    pictures = np.random.default_rng(0).integers(0, 256, (9, 240, 320, 3), dtype=np.uint8)
    monkeypatch.setattr(videos, "beside", lambda path: nullcontext(Path("/dev/full")))
    with pytest.raises(UserError, match="is full: free some space"), written_to(tmp_path):
        videos.write(tmp_path / "v.mp4", pictures, 5.0)
    monkeypatch.undo()
    with pytest.raises(UserError, match="give another directory"), written_to(tmp_path):
        videos.write(tmp_path / "nowhere" / "v.mp4", pictures, 5.0)
    assert list(tmp_path.iterdir()) == []


def test_a_video_that_cannot_be_encoded_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(videos, "CODEC", "h265000")
    with pytest.raises(UserError, match=r"cannot be written here \(.*h265000"):
        videos.write(tmp_path / "v.mp4", [np.zeros((8, 8, 3), np.uint8)], 5.0)
