import numpy as np
import pytest

from medtune_jax.applications.polyps.truth import FrameTruth, read_truth, truth_files
from medtune_jax.errors import UserError
from medtune_jax.evaluation.froc import sensitivities
from medtune_jax.paths import write_whole


@pytest.fixture
def truth():
    """Frame b has two lesions and three candidates, frame c one lesion and no candidate."""
    return FrameTruth.of(
        frames=np.array(["v/a", "v/b", "w/c"]),
        videos=np.array(["v", "v", "w"]),
        lesions=np.array([0, 2, 1]),
        candidates=np.array(["v/a#0", "v/b#0", "v/b#1", "v/b#2"]),
        frame=np.array([0, 1, 1, 1]),
        lesion=np.array([-1, 1, 1, -1]),
        boxes=np.arange(16.0).reshape(4, 4),
        hand_crafted=np.array([0.25, 0.5, 0.125, 0.75]),
    )


def test_a_frame_without_candidates_counts_as_a_miss(truth):
    marks = truth.detections(np.array([0.1, 0.9, 0.8, 0.5]))
    assert marks.images == 3 and marks.lesion_image.tolist() == [1, 1, 2]
    assert marks.lesion.tolist() == [-1, 1, 1, -1]
    # 3 lesions, one found, by two candidates, before the first of 2 false positives on 3 frames
    assert sensitivities([marks], [0, 1 / 3, 2 / 3]).tolist() == [1 / 3] * 3
    assert sensitivities(
        [truth.detections(np.array([0.9, 0.1, 0.2, 0.5]))], [0, 1 / 3]
    ).tolist() == [0, 0]


def test_scores_are_put_in_order_by_name(truth):
    names = ["v/b#2", "v/a#0", "v/b#0", "v/b#1"]
    values = np.array([0.2, 0.4, 0.6, 0.8])
    np.testing.assert_array_equal(truth.in_order(names, values), [0.4, 0.6, 0.8, 0.2])
    seeds = truth.in_order(names, np.stack([values, 2 * values]))
    np.testing.assert_array_equal(seeds, [[0.4, 0.6, 0.8, 0.2], [0.8, 1.2, 1.6, 0.4]])


def test_what_can_be_reached(truth):
    assert truth.positive.tolist() == [False, True, True, False]
    assert truth.lesions.tolist() == [0, 2, 1] and truth.reachable == 1 / 3
    assert truth.candidate_groups.tolist() == ["v"] * 4


def test_the_tables_say_all(truth, tmp_path):
    for name, content in truth_files(truth).items():
        write_whole(tmp_path / "application" / name, content)
    again = read_truth(tmp_path)
    for field in FrameTruth.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(again, field), getattr(truth, field))


def test_damaged_tables(truth, tmp_path):
    with pytest.raises(UserError, match=r"frames.csv is missing"):
        read_truth(tmp_path)
    for name, content in truth_files(truth).items():
        write_whole(tmp_path / "application" / name, content.replace(b"v/b,", b"v/x,", 1))
    with pytest.raises(UserError, match="is damaged"):
        read_truth(tmp_path)
