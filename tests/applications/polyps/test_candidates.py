from dataclasses import replace

import joblib
import numpy as np
import pytest

from medtune_jax.applications.kept import keep
from medtune_jax.applications.polyps import candidates
from medtune_jax.applications.polyps.candidates import hits
from medtune_jax.applications.polyps.cases import read_cases
from medtune_jax.applications.polyps.detector import Candidate
from tests.applications.polyps.small_study import polyp_config, write_videos


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    """Candidates are kept in a folder of the test's own; no processes are started."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with joblib.parallel_config("threading"):
        yield


@pytest.fixture
def data(tmp_path):
    return polyp_config(write_videos(tmp_path / "videos", 6, 2), candidates=4).data


def test_candidates_are_kept_and_found_again(data, monkeypatch):
    cases = read_cases(data)
    found = candidates.find_candidates(cases, data)
    assert len(found) == 12 and 0 < max(map(len, found)) <= 4
    assert all(isinstance(c, Candidate) for row in found for c in row)
    monkeypatch.setattr(candidates, "fit", None)  # a second detection would fail
    assert candidates.find_candidates(cases, data) == found
    for field, value in {"candidates": 3, "detector_frames": 4, "detector_seed": 1}.items():
        other = data.copy_and_resolve_references()
        other[field] = value
        with pytest.raises(TypeError):
            candidates.find_candidates(cases, other)
    cases.frames[0] = replace(cases.frames[0], image=255 - cases.frames[0].image)
    with pytest.raises(TypeError):
        candidates.find_candidates(cases, data)


def test_frames_without_candidates_stay_empty_when_kept(tmp_path):
    mark = Candidate(1.0, 2.0, 3.0, 4.0, 0.5)
    for found in ([[], [mark, mark], []], [[mark], [], [mark]], [[], []]):
        frame, table = candidates._flat(found)
        keep(tmp_path / "kept.npz", frame=frame, table=table)
        assert candidates._read(tmp_path / "kept.npz", len(found)) == found


def test_the_detector_learns_from_training_videos_only(data, monkeypatch):
    cases = read_cases(data)
    seen = []

    def fit(frames, seed, jobs):
        seen.extend(image for image, _ in frames)
        raise InterruptedError

    monkeypatch.setattr(candidates, "fit", fit)
    for wanted, count in ((0, (~cases.test).sum()), (3, 3)):
        seen.clear()
        data.detector_frames = wanted
        with pytest.raises(InterruptedError):
            candidates.find_candidates(cases, data)
        assert len(seen) == count
        training = [f.image for f, test in zip(cases.frames, cases.test, strict=True) if not test]
        assert all(any(np.array_equal(image, own) for own in training) for image in seen)


def test_a_hit_is_a_centre_inside_the_mask():
    numbered = np.full((40, 40), -1)
    numbered[2:8, 2:8], numbered[20:, 20:] = 0, 1
    centres = [(4, 4), (7.4, 7.4), (7.6, 7.4), (39.9, 39.9), (12, 12)]
    marks = [Candidate(row, col, 10, 10, 1.0) for row, col in centres]
    assert hits(marks, numbered).tolist() == [0, 0, -1, 1, -1]
    assert hits([], numbered).shape == (0,)
