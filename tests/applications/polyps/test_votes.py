import numpy as np
import pytest

from medtune_jax.applications.polyps import votes

CENTRE = (60.0, 70.0)
SHAPE = (121, 141)


def circle_votes(radius, share=1.0):
    """Votes of a circle's boundary pixels towards its centre, or of an arc of it."""
    count = round(2 * np.pi * radius * share)
    angle = np.linspace(0, 2 * np.pi * share, count, endpoint=False)
    place = np.stack([np.sin(angle), np.cos(angle)], -1) * radius + CENTRE
    return votes.Votes(place, angle + np.pi, np.ones(count))


@pytest.mark.parametrize("radius", [7, 11, 17, 27, 42])
def test_a_circle_wins_at_its_centre_with_its_radius(radius):
    maps = votes.cast_votes(circle_votes(radius), SHAPE)
    level, row, col = np.unravel_index(maps.surround.argmax(), maps.surround.shape)
    assert votes.RADII[level] == radius
    assert np.hypot(row * 2 - CENTRE[0], col * 2 - CENTRE[1]) < 4
    assert 0.7 < maps.surround.max() < 1.1  # the score does not depend on the size
    assert (maps.directed[level, :, row, col] > 0.3).all()  # from every direction
    peaks = votes.find_peaks(maps.surround, 100)
    near = np.hypot(*(peaks.centre - CENTRE).T) < 4
    assert level in peaks.level[near]


def test_being_surrounded_from_several_directions_wins():
    """A quarter of a circle, with four times the evidence a pixel, loses to the whole circle."""
    whole, quarter = circle_votes(27), circle_votes(27, share=0.25)
    loud = quarter._replace(evidence=4 * quarter.evidence)
    best = [votes.cast_votes(v, SHAPE).surround.max() for v in (whole, loud)]
    assert best[0] > 1.5 * best[1]


def test_votes_go_along_the_normal_to_the_expected_side():
    position, normal = np.array([[60.0, 70.0]]), np.array([[0.0, 1.0]])
    edges = votes.Edges(position, normal, weight=2.0)
    cast = votes.Votes.towards_lesions(edges, np.array([[0.2, 0.7, 0.1]]))
    np.testing.assert_allclose(cast.evidence, [1.4, 0.2])
    directed = votes.cast_votes(cast, SHAPE).directed.sum((0, 1))
    bright, dark = directed[30, 36:70].sum(), directed[30, :35].sum()
    assert bright > 4 * dark > 0


def test_the_vote_band_gives_the_box():
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    place = np.stack([20 * np.sin(angle), 30 * np.cos(angle)], -1) + CENTRE
    inward = np.arctan2(CENTRE[0] - place[:, 0], CENTRE[1] - place[:, 1])
    ellipse = votes.Votes(place, inward, np.ones(200))
    peaks = votes.Peaks(np.array([4]), np.array([30]), np.array([35]))
    ((row, col, height, width),) = votes.band_boxes(peaks, ellipse)
    assert abs(row - CENTRE[0]) < 2 and abs(col - CENTRE[1]) < 2
    assert 30 < height <= 40 and 42 < width <= 60


def test_no_evidence_no_peaks():
    silent = circle_votes(17)._replace(evidence=np.zeros(round(2 * np.pi * 17)))
    assert not len(votes.find_peaks(votes.cast_votes(silent, SHAPE).surround, 10).row)
