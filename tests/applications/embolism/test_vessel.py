"""Vessel axes and planes: known lines come out straight in rotated, anisotropic volumes."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from medtune_jax.applications.embolism.candidates import Candidate, find_candidates
from medtune_jax.applications.embolism.patches import PatchGrid, plane_affines, sample_planes
from medtune_jax.applications.embolism.vessel import Frame, body_frame, vessel_frame
from medtune_jax.datasets.ct.grid import Volume
from medtune_jax.phantoms.ctpa.phantom import ctpa_phantom
from tests.phantoms.vessels import vessel_at

SPACING = (1.3, 0.7, 0.9)
ONE = PatchGrid(widths_mm=(20.0,), shifts=(0.0,), rotations=0, size=41)


def tube_volume(direction, radius=3.0, clot=0.6, background=-850.0):
    """A straight vessel through the middle of an anisotropic grid, with a central clot."""
    shape = np.array([45, 81, 65])
    centre = (shape // 2).astype(float)
    offsets = (np.moveaxis(np.indices(shape), 0, -1) - centre) * SPACING
    along = offsets @ direction
    across = np.linalg.norm(offsets - along[..., None] * direction, axis=-1)
    # Partial volume at the wall, as the test of widths and areas needs it.
    share = np.clip(0.5 - (across - radius) / np.mean(SPACING), 0, 1)
    image = background + share * (300.0 - background)
    inner = (across <= clot * radius) & (abs(along) <= 4)
    image[inner] = 50
    hu = ndimage.gaussian_filter(image, 0.5 / np.array(SPACING)).astype(np.int16)
    candidate = Candidate(centre, np.argwhere(inner).astype(np.int32), 1.0)
    return Volume(hu, SPACING, (0, 0, 0), "tube"), candidate


DIRECTIONS = Rotation.random(6, rng=np.random.default_rng(2)).as_matrix()[:, 0]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("background", [-850.0, 40.0])
def test_axis_of_a_straight_vessel(direction, background):
    frame = vessel_frame(*tube_volume(direction, background=background))
    assert frame.found
    assert abs(frame.axes[0] @ direction) > np.cos(np.radians(4))
    np.testing.assert_allclose(frame.axes @ frame.axes.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(frame.axes) == pytest.approx(1)
    assert 2 < frame.radius_mm < 4.5


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_line_comes_out_straight_along_the_longitudinal_plane(direction):
    volume, candidate = tube_volume(direction, radius=2.5, clot=0.0)
    frame = vessel_frame(volume, candidate)
    assert frame.found
    affines = plane_affines(frame, SPACING, "vessel", ONE)
    cross, longitudinal = sample_planes(volume.hu, affines[0], ONE.size)
    columns = np.arange(ONE.size) - (ONE.size - 1) / 2
    bright = np.clip(longitudinal + 850, 0, None)
    middle = (bright * columns).sum(axis=1) / bright.sum(axis=1)
    # Straight down the middle: within half a millimetre (a pixel) over the whole 20 mm.
    assert abs(middle).max() < 1.1
    width = (longitudinal > -275).sum(axis=1) * 20 / ONE.size
    np.testing.assert_allclose(width, 5, atol=0.8)
    # Grey levels, not a count of pixels, resolve the round section's area and moments.
    share = np.clip(cross + 850, 0, None) / 1150
    assert share.sum() * (20 / ONE.size) ** 2 == pytest.approx(np.pi * 2.5**2, rel=0.06)
    pixels = np.indices(cross.shape).reshape(2, -1)
    minor, major = np.linalg.eigvalsh(np.cov(pixels, aweights=share.ravel()))
    assert np.sqrt(major / minor) < 1.06


def test_affines_are_physical_at_every_width_shift_and_rotation():
    axes = Rotation.random(rng=np.random.default_rng(0)).as_matrix()
    axes *= np.sign(np.linalg.det(axes))
    frame = Frame(np.array([20.0, 30.0, 40.0]), axes, np.ones(3), 3.0, True)
    grid = PatchGrid(size=64)
    affines = plane_affines(frame, SPACING, "vessel", grid)
    assert affines.shape == (grid.variants, 2, 3, 3) == (54, 2, 3, 3)
    assert affines.dtype == np.float32
    step = affines[..., :2] * np.array(SPACING)[:, None]
    lengths = np.linalg.norm(step, axis=-2)
    widths = np.repeat(grid.widths_mm, 18)
    np.testing.assert_allclose(
        lengths, np.broadcast_to((widths / 64)[:, None, None], (54, 2, 2)), 1e-5
    )
    np.testing.assert_allclose((step[..., 0] * step[..., 1]).sum(-1), 0, atol=1e-6)
    # The middle of the grid lies on the axis, at the stated share of the width.
    middle = affines @ np.array([31.5, 31.5, 1])
    offset = (middle - frame.centre) * SPACING
    shifts = np.tile(np.repeat(grid.shifts, 6), 3) * widths
    np.testing.assert_allclose(offset, (shifts[:, None] * axes[0])[:, None].repeat(2, 1), atol=1e-4)
    # Rotation turns the cross-section's rows about the vessel, evenly; its normal stays.
    rows = step[:6, 0, :, 0] / lengths[:6, 0, :1]
    np.testing.assert_allclose((rows * np.roll(rows, 1, 0)).sum(1), np.cos(np.pi / 3), atol=1e-4)
    np.testing.assert_allclose(rows @ axes[0], 0, atol=1e-5)
    np.testing.assert_allclose(step[:18, 1, :, 0] / lengths[:18, 1, :1], [axes[0]] * 18, atol=1e-4)


def test_orthogonal_slices_are_the_volume_itself():
    rng = np.random.default_rng(1)
    hu = rng.integers(-1000, 1000, (31, 31, 31)).astype(np.int16)
    volume = Volume(hu, (1.0, 1.0, 1.0), (0, 0, 0), "p")
    candidate = Candidate(np.array([15.0, 15, 15]), np.array([[15, 15, 15]]), 1.0)
    grid = PatchGrid(widths_mm=(11.0,), shifts=(0.0,), rotations=0, size=11)
    affines = plane_affines(body_frame(candidate), volume.spacing, "orthogonal", grid)
    assert affines.shape == (1, 3, 3, 3)
    axial, coronal, sagittal = sample_planes(hu, affines[0], 11)
    s = slice(10, 21)
    np.testing.assert_allclose(axial, hu[15, s, s])
    np.testing.assert_allclose(coronal, hu[s, s, 15])
    np.testing.assert_allclose(sagittal, hu[s, 15, s])


def test_no_vessel_falls_back_to_the_body_axes():
    hu = np.full((30, 40, 40), -850, np.int16)
    candidate = Candidate(np.array([15.0, 20, 20]), np.array([[15, 20, 20]]), 0.1)
    frame = vessel_frame(Volume(hu, SPACING, (0, 0, 0), "p"), candidate)
    assert not frame.found
    np.testing.assert_array_equal(frame.axes, body_frame(candidate).axes)


def test_candidate_at_the_border_and_samples_outside():
    volume, candidate = tube_volume(np.array([0.0, 0.0, 1.0]))
    edge = Candidate(candidate.position * [1, 1, 0], candidate.cluster, 1.0)
    frame = vessel_frame(volume, edge)
    affines = plane_affines(frame, SPACING, "vessel", ONE)
    assert abs(frame.axes[0, 2]) > 0.95
    longitudinal = sample_planes(volume.hu, affines[0], ONE.size)[1]
    assert (longitudinal[:19] == -1024).all() or (longitudinal[-19:] == -1024).all()


def axis_errors(phantom):
    """Degrees between the axis at each embolus in a vessel wider than 3 mm and the nearest vessel there.

    At a branching a candidate lies in several vessels, and the axis of each of them is a true one: those count whose
    middle line passes within their radius (and half a millimetre) of the candidate.
    """
    volume = Volume(phantom.hu, phantom.spacing, (0, 0, 0), "p")
    candidates, spacing = find_candidates(volume), np.array(phantom.spacing)
    positions = np.array([c.position for c in candidates]) * spacing
    errors = []
    for embolus in phantom.emboli:
        voxels = np.argwhere(phantom.labels == embolus.label) * spacing
        gaps = np.linalg.norm(voxels[:, None] - positions, axis=2).min(axis=0)
        near = np.flatnonzero(gaps <= 1.5) if (gaps <= 1.5).any() else [gaps.argmin()]
        chosen = max(near, key=lambda k: len(candidates[k].cluster))
        direction, radius = vessel_at(phantom.anatomy.arteries, embolus, positions[chosen])
        if gaps.min() > 5 or radius <= 1.5:
            continue
        tree = phantom.anatomy.arteries
        along = tree.end - tree.start
        share = ((positions[chosen] - tree.start) * along).sum(1) / (along**2).sum(1)
        middle = tree.start + np.clip(share, 0, 1)[:, None] * along
        there = np.linalg.norm(positions[chosen] - middle, axis=1) <= tree.radius.mean(1) + 0.5
        directions = np.concatenate([direction[None], tree.direction[there]])
        axis = vessel_frame(volume, candidates[chosen]).axes[0]
        errors.append(np.degrees(np.arccos(np.clip(np.abs(directions @ axis).max(), 0, 1))))
    return np.array(errors)


def test_axis_at_the_emboli_of_phantoms():
    errors = np.concatenate([axis_errors(ctpa_phantom(seed, emboli=5)) for seed in (500, 501, 502)])
    assert len(errors) >= 10 and (errors <= 15).mean() >= 0.9
