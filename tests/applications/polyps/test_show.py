import numpy as np

from medtune_jax.applications.polyps.detector import Candidate
from medtune_jax.applications.polyps.show import draw_detections
from medtune_jax.datasets.sheet import TRUTH_COLOUR


def test_boxes_and_truth_are_where_they_should_be():
    image, mask = np.zeros((120, 160, 3), np.uint8), np.zeros((120, 160), bool)
    mask[60:90, 100:130] = True
    marks = [Candidate(75, 115, 40, 40, 0.9), Candidate(30, 40, 20, 30, 0.1)]
    drawn = np.asarray(draw_detections(image, marks, mask)).astype(int)
    assert drawn.shape == image.shape and not image.any()
    assert (drawn[89, 100:130] == TRUTH_COLOUR).all()
    best, worst = drawn[95, 115], drawn[40, 40]  # the lower edges of the boxes
    assert best[0] > 200 and best[2] < 60  # yellow: the highest score
    assert worst[2] > 100 > best[2]
    assert not drawn[110:].any()


def test_other_scores_change_the_order():
    image = np.zeros((120, 160, 3), np.uint8)
    marks = [Candidate(75, 115, 40, 40, 0.9), Candidate(30, 40, 20, 30, 0.1)]
    other = [mark._replace(score=score) for mark, score in zip(marks, (0.2, 0.7), strict=True)]
    drawn = np.asarray(draw_detections(image, other)).astype(int)
    assert drawn[40, 40][0] > 200 > drawn[95, 115][0]


def test_no_candidates_is_just_the_frame():
    image = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(draw_detections(image, [])), image)
