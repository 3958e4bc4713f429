"""Candidates to FROC: each embolus once, misses and healthy volumes counted."""

import numpy as np

from medtune_jax.applications.embolism.truth import read_truth, truth_files, truth_of
from medtune_jax.applications.truth import Truth
from medtune_jax.evaluation.froc import PER_VOLUME


def truth(volumes, embolus_volume, candidates, candidate_volume, hits):
    return Truth(
        images=np.array(volumes),
        groups=np.array(volumes),
        lesion_image=np.array(embolus_volume),
        candidates=np.array(candidates),
        candidate_image=np.array(candidate_volume),
        hits=np.array(hits),
        hand_crafted=np.linspace(0.125, 0.75, len(candidates)),
    )


# Three volumes: two emboli, one of them missed by every candidate; one embolus; healthy.
TRUTH = truth(
    ["a", "b", "c"],
    [0, 0, 1],
    ["a/c000", "a/c001", "a/c002", "b/c000", "b/c001", "c/c000"],
    [0, 0, 0, 1, 1, 2],
    [[0, 0], [1, 0], [3, 2]],
)


def sensitivities(truth, scores):
    return list(truth.figures(truth.candidates, np.array(scores), PER_VOLUME).values())


def test_sensitivity_counts_misses_and_healthy_volumes():
    scores = np.array([0.9, 0.2, 0.8, 0.7, 0.1, 0.95])
    # At 1 false mark a volume (3 in all) everything but the missed embolus is found.
    assert sensitivities(TRUTH, scores) == [2 / 3] * 5
    detections = TRUTH.detections(scores)
    assert detections.images == 3 and detections.false.sum() == 3
    assert detections.first_hit.sum() == 2


def test_a_candidate_on_two_emboli_hits_both():
    both = truth(["a"], [0, 0], ["a/c000"], [0], [[0, 0], [0, 1]])
    assert sensitivities(both, [0.5]) == [1.0] * 5 and both.reachable == 1


def test_files_say_all(tmp_path):
    for name, content in truth_files(TRUTH).items():
        (tmp_path / "application").mkdir(exist_ok=True)
        (tmp_path / "application" / name).write_bytes(content)
    again = read_truth(tmp_path)
    for name, value in vars(TRUTH).items():
        np.testing.assert_array_equal(value, getattr(again, name))


def test_no_volume_has_candidates():
    assert truth_of({}, np.zeros(0)).hits.shape == (0, 2)
