import numpy as np
import scipy.fft

from medtune_jax.applications.polyps import boundary
from tests.applications.polyps.blobs import blob_frame


def disc_frame(angle=0.0, size=200):
    """A bright disc on a dark ground, with a mark on its rim that `angle` carries round."""
    row, col = np.mgrid[:size, :size] - (size - 1) / 2
    light = np.where(np.hypot(row, col) < 50, 180.0, 90.0)
    mark = np.hypot(row - 50 * np.sin(angle), col - 50 * np.cos(angle)) < 12
    return np.repeat((light + 40 * mark)[..., None], 3, -1).astype(np.uint8)


def test_edges_lie_on_the_disc_and_normals_point_to_the_bright_side():
    frame = boundary.working_frame(disc_frame())
    edges = boundary.find_edges(frame)
    place = (edges.position + 0.5) / frame.scale - 100
    radius = np.hypot(*place.T)
    inward = -(place / radius[:, None] * edges.normal).sum(1)
    plain = np.hypot(place[:, 0], place[:, 1] - 50) > 25  # away from the mark
    assert plain.sum() > 100
    assert np.abs(radius - 50)[plain].max() < 3
    assert inward[plain].min() > 0.95
    np.testing.assert_allclose(np.linalg.norm(edges.normal, axis=1), 1, atol=1e-5)


def test_features_do_not_depend_on_the_pose():
    """The window is turned to the normal: points of a disc's rim look alike all the way round."""
    row, col = np.mgrid[:200, :200] - 99.5
    image = np.where(np.hypot(row, col) < 50, 180, 90).astype(np.uint8)
    frame = boundary.working_frame(np.repeat(image[..., None], 3, -1))
    edges = boundary.find_edges(frame)
    features = boundary.edge_features(frame, edges)
    upright = boundary.Edges(edges.position, np.tile([[0.0, 1.0]], (len(features), 1)), 1.0)
    spread = features.std(0).mean()
    assert spread < 0.35 * boundary.edge_features(frame, upright).std(0).mean()


def test_the_matrix_is_the_dct_of_sub_patches():
    window = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)
    features = (window.ravel() @ boundary._SUB_PATCH_DCT).reshape(3, 3, 6)
    for i, top in enumerate((0, 4, 8)):
        for j, left in enumerate((0, 4, 8)):
            spectrum = scipy.fft.dctn(window[top : top + 8, left : left + 8], norm="ortho") / 8
            expected = [spectrum[u, v] for u, v in boundary._COEFFICIENTS]
            np.testing.assert_allclose(features[i, j], expected, atol=1e-5)


def test_labels_know_the_side_of_the_lesion():
    frame = boundary.working_frame(disc_frame())
    edges = boundary.find_edges(frame)
    row, col = np.mgrid[:256, :256] - 127.5
    inside = np.hypot(row, col) < 64
    labels = boundary.edge_labels(inside, edges)
    assert (labels == boundary.LESION_BRIGHT).mean() > 0.6
    assert not (labels == boundary.LESION_DARK).any()
    swapped = boundary.edge_labels(~inside, edges)
    np.testing.assert_array_equal(swapped == boundary.LESION_DARK, labels == boundary.LESION_BRIGHT)
    assert not boundary.edge_labels(np.zeros_like(inside), edges).any()
    far = np.hypot(row - 80, col - 80) < 10
    assert (boundary.edge_labels(far, edges) == boundary.OTHER).all()


def test_the_black_surround_is_no_edge():
    image, _ = blob_frame(np.random.default_rng(0))
    framed = np.zeros((220, 280, 3), np.uint8)
    framed[30:190, 40:240] = image
    frame = boundary.working_frame(framed)
    edges = boundary.find_edges(frame)
    row, col = ((edges.position + 0.5) / frame.scale).T
    assert len(row) > 50
    assert row.min() > 32 and row.max() < 188 and col.min() > 42 and col.max() < 238


def test_many_edges_are_thinned_and_weighted():
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    edges = boundary.find_edges(boundary.working_frame(noise))
    assert len(edges.position) == boundary._MAX_EDGES and edges.weight > 1
