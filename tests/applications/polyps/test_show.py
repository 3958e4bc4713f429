import numpy as np
import pytest

from medtune_jax.applications.polyps.detector import Candidate
from medtune_jax.applications.polyps.show import draw_detections
from medtune_jax.datasets.sheet import TRUTH_COLOUR

MARKS = [Candidate(75, 115, 40, 40, 0.9), Candidate(30, 40, 20, 30, 0.1)]


def test_boxes_and_truth_are_where_they_should_be():
    """In a frame that is large enough as it is, and in one that is enlarged threefold."""
    for zoom, scale in ((1, 4), (3, 1)):
        shape = 120 * scale, 160 * scale
        image, mask = np.zeros((*shape, 3), np.uint8), np.zeros(shape, bool)
        mask[60 * scale : 90 * scale, 100 * scale : 130 * scale] = True
        marks = [Candidate(*(scale * value for value in mark[:4]), mark.score) for mark in MARKS]
        drawn = np.asarray(draw_detections(image, marks, mask)).astype(int)
        of = zoom * scale
        assert drawn.shape == (120 * of, 160 * of, 3) and not image.any()
        assert (drawn[90 * of - 1, 100 * of : 130 * of] == TRUTH_COLOUR).all()
        best, worst = drawn[95 * of, 115 * of], drawn[40 * of, 40 * of]  # their lower edges
        assert best[0] > 200 and best[2] < 60  # yellow: the highest score
        assert worst[2] > 100 > best[2]
        assert not drawn[110 * of :].any()


@pytest.mark.parametrize("size", [(40, 60), (96, 120), (500, 574), (1080, 1920)])
def test_scores_can_be_read_in_a_frame_of_any_size_and_place(size):
    """On a white frame only what they are written on is black: as high as letters that can be read, and wider."""
    height, width = size
    image = np.full((*size, 3), 255, np.uint8)
    for row, col in ((0, 0), (height / 2, width / 2), (height, width)):
        box = Candidate(row, col, height / 4, width / 4, 0.97)
        picture = draw_detections(image, [box])
        black = (np.asarray(picture) == 0).all(axis=2)
        down, across = (np.flatnonzero(black.any(axis=axis)) for axis in (1, 0))
        assert len(down) > max(14, picture.width / 40) and len(across) > 1.2 * len(down)


def test_scores_of_boxes_in_one_place_lie_below_each_other():
    image = np.full((480, 640, 3), 255, np.uint8)
    boxes = [Candidate(240, 320 + 3 * k, 100, 100, 0.9 - k / 10) for k in range(4)]
    high = [
        np.flatnonzero((np.asarray(draw_detections(image, some)) == 0).all(axis=2).any(axis=1))
        for some in (boxes[:1], boxes)
    ]
    assert len(high[1]) > 3.8 * len(high[0])


def test_other_scores_change_the_order():
    image = np.zeros((480, 640, 3), np.uint8)
    marks = [
        Candidate(*(4 * value for value in mark[:4]), score)
        for mark, score in zip(MARKS, (0.2, 0.7), strict=True)
    ]
    drawn = np.asarray(draw_detections(image, marks)).astype(int)
    assert drawn[160, 160][0] > 200 > drawn[380, 460][0]


def test_no_candidates_is_just_the_frame():
    image = np.random.default_rng(0).integers(0, 256, (50, 500, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(draw_detections(image, [])), image)
