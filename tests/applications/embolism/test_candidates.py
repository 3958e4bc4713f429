"""Tobogganing against a voxel-by-voxel walk, and what the search finds in phantoms."""

import numpy as np
import pytest
from scipy import ndimage

from medtune_jax.applications.embolism.candidates import (
    NEIGHBOURS,
    CandidateConfig,
    enclosure,
    find_candidates,
    toboggan,
)
from medtune_jax.datasets.ct.grid import Volume
from medtune_jax.errors import UserError
from medtune_jax.phantoms.ctpa.phantom import ctpa_phantom


def walk(values, inside, voxel):
    """Slide one voxel downhill, one step at a time."""
    while True:
        ring = [tuple(voxel + n) for n in NEIGHBOURS]
        here = [tuple(voxel)] + [p for p in ring if inside[p]]
        lowest = min(here, key=lambda p: (values[p], p))
        if lowest == tuple(voxel):
            return np.ravel_multi_index(lowest, values.shape)
        voxel = np.array(lowest)


@pytest.mark.parametrize("levels", [4, 1000])
def test_toboggan_equals_a_walk(levels):
    rng = np.random.default_rng(levels)
    values = rng.integers(0, levels, (9, 10, 11)).astype(np.float32)
    inside = rng.random(values.shape) < 0.7
    for axis in range(3):
        np.moveaxis(inside, axis, 0)[[0, -1]] = False
    voxels = np.flatnonzero(inside)
    expected = [walk(values, inside, v) for v in np.argwhere(inside)]
    np.testing.assert_array_equal(toboggan(values, voxels), expected)


def tube(hu_inside, hu_clot=None, hu_around=-850.0):
    """A vessel of 4 mm radius along z, 1 mm voxels, with a clot in its middle."""
    z, y, x = np.indices((41, 41, 41)) - 20
    image = np.where(np.hypot(y, x) <= 4, hu_inside, hu_around)
    if hu_clot is not None:
        image = np.where((np.hypot(y, x) <= 2) & (abs(z) <= 4), hu_clot, image)
    return ndimage.gaussian_filter(image, 0.6)


def test_enclosure_ranks_clot_over_speck_over_soft_tissue():
    config, spacing = CandidateConfig(), np.ones(3)
    centre = np.array([[20, 20, 20]])
    clot = enclosure(tube(300, 50), centre, spacing, config)[0]
    beside = enclosure(tube(300, hu_around=40), np.array([[20, 20, 27]]), spacing, config)[0]
    tissue = enclosure(np.full((41, 41, 41), 40.0), centre, spacing, config)[0]
    speck = enclosure(tube(40), centre, spacing, config)[0]
    # No ray is decided in soft tissue; all but those along the speck are, by lung, in the lung.
    assert clot > 0.9 and 0.4 < speck <= 0.5 and beside == tissue == 0


def measure(phantom, candidates):
    """Distance in mm from each embolus to each candidate, [emboli, candidates]."""
    spacing = np.array(phantom.spacing)
    positions = np.array([c.position for c in candidates]) * spacing
    out = []
    for e in phantom.emboli:
        voxels = np.argwhere(phantom.labels == e.label) * spacing
        out.append(np.linalg.norm(voxels[:, None] - positions, axis=2).min(axis=0))
    return np.array(out)


def test_finds_the_emboli_of_phantoms_among_few_candidates():
    hit, emboli = 0, 0
    for seed in range(40, 43):
        phantom = ctpa_phantom(seed, emboli=5)
        candidates = find_candidates(Volume(phantom.hu, phantom.spacing, (0, 0, 0), str(seed)))
        assert len(candidates) <= 60
        scores = [c.score for c in candidates]
        assert scores == sorted(scores, reverse=True)
        hit += (measure(phantom, candidates).min(axis=1) <= 5).sum()
        emboli += len(phantom.emboli)
    assert hit >= 0.9 * emboli


def test_positions_lie_in_their_clusters_and_clusters_in_range():
    phantom = ctpa_phantom(41, emboli=2)
    config = CandidateConfig(max_candidates=12)
    candidates = find_candidates(Volume(phantom.hu, phantom.spacing, (0, 0, 0), "p"), config)
    assert len(candidates) == 12
    smooth = ndimage.gaussian_filter(
        phantom.hu, config.smooth_mm / np.array(phantom.spacing), output=np.float32, truncate=3.0
    )
    for c in candidates:
        assert (c.cluster == c.position).all(axis=1).any()
        values = smooth[tuple(c.cluster.T)]
        assert values.min() >= config.low - 1 and values.max() <= config.high + 1


def test_healthy_patient_still_yields_false_candidates():
    phantom = ctpa_phantom(4, emboli=0)
    assert find_candidates(Volume(phantom.hu, phantom.spacing, (0, 0, 0), "p"))


def test_no_lung_is_refused():
    hu = np.full((30, 40, 40), 40, np.int16)
    with pytest.raises(UserError, match="no lung found"):
        find_candidates(Volume(hu, (1.0, 1.0, 1.0), (0, 0, 0), "p"))
