"""The phantom CTPA: reproducible, plausible HU, and a truth that fits its voxels."""

import numpy as np
import pytest
from scipy import ndimage

from medtune_jax.errors import UserError
from medtune_jax.phantoms.ctpa.emboli import KINDS
from medtune_jax.phantoms.ctpa.phantom import ctpa_phantom
from medtune_jax.phantoms.ctpa.shapes import capsule_distances, coverage
from medtune_jax.phantoms.ctpa.tree import murray_daughters
from tests.phantoms.vessels import vessel_at


@pytest.fixture(scope="module")
def phantom():
    return ctpa_phantom(3, emboli=4)


def test_same_seed_same_voxels():
    a, b = (ctpa_phantom(7, (48, 96, 96), (3.0, 2.0, 2.0), emboli=1) for _ in range(2))
    c = ctpa_phantom(8, (48, 96, 96), (3.0, 2.0, 2.0), emboli=1)
    assert np.array_equal(a.hu, b.hu) and np.array_equal(a.labels, b.labels)
    assert not np.array_equal(a.hu, c.hu)


def test_every_embolus_has_voxels_and_each_kind_occurs(phantom):
    assert sorted(e.kind for e in phantom.emboli) == sorted(KINDS)
    assert np.unique(phantom.labels).tolist() == [0, 1, 2, 3, 4]
    assert phantom.hu.dtype == np.int16


def test_emboli_are_dark_inside_bright_arteries(phantom):
    for e in phantom.emboli:
        core = ndimage.binary_erosion(phantom.labels == e.label)
        if core.sum() < 5:
            continue
        assert np.median(phantom.hu[core]) < 130
    contrast = np.zeros(phantom.hu.shape, bool)
    arteries = phantom.anatomy.arteries
    wide = arteries.radius.min(axis=1) > 4
    shapes = (arteries.start[wide], arteries.end[wide], arteries.radius[wide])
    for _, box, distance in capsule_distances(*shapes, contrast.shape, np.array(phantom.spacing)):
        contrast[box] |= distance < -2.5
    free = contrast & ~ndimage.binary_dilation(phantom.labels > 0, iterations=4)
    assert 240 < np.median(phantom.hu[free]) < 370


def test_centre_and_vessel_of_an_embolus_lie_in_its_mask(phantom):
    spacing = np.array(phantom.spacing)
    for e in phantom.emboli:
        voxels = np.argwhere(phantom.labels == e.label) * spacing
        assert np.linalg.norm(voxels - e.centre, axis=1).min() < 2
        direction, radius = vessel_at(phantom.anatomy.arteries, e, e.centre)
        assert np.linalg.norm(direction) == pytest.approx(1)
        assert radius > 2
        if e.kind == "peripheral":
            centred = voxels - voxels.mean(axis=0)
            longest = np.linalg.eigh(centred.T @ centred)[1][:, 2]
            assert abs(longest @ direction) > np.cos(np.radians(10))


def test_healthy_patient_has_no_emboli_but_mimics():
    healthy = ctpa_phantom(1, emboli=0)
    assert not healthy.labels.any() and not healthy.emboli
    kinds = {m.kind for m in healthy.mimics}
    assert kinds == {"lymph node", "dim vein", "unmixed blood", "motion"}


def test_too_many_emboli_for_the_field_of_view():
    with pytest.raises(UserError, match="room for"):
        ctpa_phantom(0, (24, 64, 64), (1.5, 1.5, 1.5), emboli=50)


@pytest.mark.parametrize("share", [0.25, 0.5, 0.7])
def test_murray_conserves_flow_and_momentum(share):
    r, angles = murray_daughters(5.0, share)
    assert (r**3).sum() == pytest.approx(125)
    # At least work, the daughters' r^2 cos(angle) sum to the parent's r^2 and balance sideways.
    assert (r**2 * np.cos(angles)).sum() == pytest.approx(25)
    assert np.diff(r**2 * np.sin(angles))[0] == pytest.approx(0, abs=1e-9)


def test_partial_volume_keeps_the_volume_of_a_capsule():
    spacing, shape = np.array([1.5, 1.0, 0.8]), (40, 50, 60)
    start, end = np.array([[20.0, 20.0, 20.0]]), np.array([[35.0, 28.0, 26.0]])
    image = np.zeros(shape)
    for _, box, d in capsule_distances(start, end, np.array([[4.0, 4.0]]), shape, spacing):
        image[box] = coverage(d, spacing.mean())
    length = np.linalg.norm(end - start)
    exact = np.pi * 16 * length + 4 / 3 * np.pi * 64
    assert image.sum() * spacing.prod() == pytest.approx(exact, rel=0.03)
