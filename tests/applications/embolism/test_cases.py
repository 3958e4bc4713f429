"""What is kept of a volume is what the volume shows; the cache follows content and settings."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from medtune_jax.applications.embolism import cases
from medtune_jax.applications.embolism.candidates import CandidateConfig, find_candidates
from medtune_jax.applications.embolism.cases import Settings, examine, hit_table, read_patient
from medtune_jax.applications.embolism.patches import (
    PLANES,
    PatchGrid,
    plane_affines,
    sample_planes,
)
from medtune_jax.applications.embolism.vessel import VesselConfig, body_frame, vessel_frame
from medtune_jax.datasets.ct.cases import find_cases
from medtune_jax.datasets.ct.grid import Volume
from medtune_jax.phantoms.ctpa.files import write_dicom_series, write_nifti
from medtune_jax.phantoms.ctpa.phantom import ctpa_phantom

SHAPE, SPACING = (48, 96, 96), (2.4, 1.8, 1.8)
SETTINGS = Settings(CandidateConfig(max_candidates=8), VesselConfig(), 17.3)


@pytest.fixture(scope="module")
def phantom():
    return ctpa_phantom(3, SHAPE, SPACING, emboli=3)


@pytest.fixture(scope="module")
def volume(phantom):
    return Volume(phantom.hu, SPACING, (0, 0, 0), "p")


@pytest.fixture(scope="module")
def patient(volume, phantom):
    return examine(volume, phantom.labels, SETTINGS)


@pytest.fixture
def case(phantom, tmp_path):
    write_dicom_series(tmp_path / "p" / "dicom", phantom.hu, SPACING)
    write_nifti(tmp_path / "p" / "emboli.nii.gz", phantom.labels, SPACING)
    return find_cases(tmp_path)[0]


def test_hits_are_inside_or_within_five_millimetres():
    mask = np.zeros((9, 30, 30), np.uint16)
    mask[4, 10, 10], mask[4, 10, 20] = 3, 7
    spacing = np.array([2.0, 1.0, 1.0])
    positions = np.array(
        [
            [4, 10, 10],  # inside
            [4, 15, 10],  # 5 mm from the first
            [4, 16, 10],  # 6 mm
            [6, 13, 10],  # 4 mm along z and 3 mm along y: 5 mm
            [4, 10, 15],  # 5 mm from both
            [7, 10, 20],  # 6 mm along z, though 3 voxels
        ]
    )
    hits = hit_table(positions, mask, np.array([3, 7]), spacing)
    assert hits.tolist() == [
        [True, False],
        [True, False],
        [False, False],
        [True, False],
        [True, True],
        [False, False],
    ]
    assert hit_table(positions, mask * 0, np.array([], int), spacing).shape == (6, 0)


def test_planes_of_a_block_are_those_of_the_volume(volume, patient):
    grid = PatchGrid((20.0,), (-0.2, 0.2), 2, 24)
    candidates = find_candidates(volume, SETTINGS.candidates)
    assert len(patient) == len(candidates) == 8
    for representation in PLANES:
        for k, candidate in enumerate(candidates):
            if not inside(candidate.position, 17.5):
                continue
            vessel = representation == "vessel"
            frame = vessel_frame(volume, candidate) if vessel else body_frame(candidate)
            whole = plane_affines(frame, SPACING, representation, grid)
            local = plane_affines(patient.frame(k, representation), SPACING, representation, grid)
            block = patient.blocks[k][tuple(slice(n) for n in patient.shapes[k])]
            np.testing.assert_allclose(
                sample_planes(block, local, 24), sample_planes(volume.hu, whole, 24), atol=0.5
            )


def inside(position, margin):
    near = np.minimum(position, np.array(SHAPE) - 1 - position) * SPACING
    return near.min() > margin


def test_emboli(patient):
    assert patient.labels.tolist() == [1, 2, 3]
    assert patient.hits.shape == (8, 3) and patient.hits.any()
    assert (patient.first_hit >= 0).tolist() == patient.hits.any(1).tolist()


def test_a_volume_is_read_once(case, tmp_path, monkeypatch):
    first = read_patient(case, SETTINGS, tmp_path / "cache")

    def refuse(_):
        raise AssertionError("the volume was read again")

    with monkeypatch.context() as patch:
        patch.setattr(cases, "load_case", refuse)
        again = read_patient(case, SETTINGS, tmp_path / "cache")
        for name, value in vars(first).items():
            np.testing.assert_array_equal(value, getattr(again, name))
        with pytest.raises(AssertionError):  # other settings
            read_patient(case, replace(SETTINGS, reach_mm=9.0), tmp_path / "cache")
        write_nifti(case.emboli, np.ones(SHAPE, np.uint8), SPACING)  # other content
        with pytest.raises(AssertionError):
            read_patient(case, SETTINGS, tmp_path / "cache")


def test_a_copy_of_the_files_is_told_of_without_the_place_of_the_first(case, tmp_path, monkeypatch):
    write_nifti(
        case.emboli, np.pad(np.ones((2, 4, 4), np.uint8), [(20, 26), (40, 52), (40, 52)]), SPACING
    )
    (case,) = find_cases(tmp_path)
    first = read_patient(case, SETTINGS, tmp_path / "cache")
    shutil.copytree(tmp_path / "p", tmp_path / "other" / "q")
    (copy,) = find_cases(tmp_path / "other")
    monkeypatch.setattr(cases, "load_case", None)
    again = read_patient(copy, SETTINGS, tmp_path / "cache")
    said = "emboli.nii.gz: marks clots without numbering them; 1 connected clots count as emboli."
    assert again.notes.tolist() == first.notes.tolist() == [said]


def test_a_damaged_cache_is_made_again(case, tmp_path):
    first = read_patient(case, SETTINGS, tmp_path / "cache")
    (kept,) = (tmp_path / "cache").glob("*.npz")
    kept.write_bytes(kept.read_bytes()[:1000])
    again = read_patient(case, SETTINGS, tmp_path / "cache")
    np.testing.assert_array_equal(first.blocks, again.blocks)


def test_healthy_patient(volume):
    patient = examine(volume, np.zeros(SHAPE, np.uint16), SETTINGS)
    assert len(patient) and not patient.true.any() and patient.hits.shape == (len(patient), 0)
