"""Candidates to FROC: each embolus once, misses and healthy volumes counted."""

import numpy as np

from medtune_jax.applications.embolism.task import sensitivities
from medtune_jax.applications.embolism.truth import Truth, truth_of

# Three volumes: two emboli, one of them missed by every candidate; one embolus; healthy.
TRUTH = Truth(
    ("a", "b", "c"),
    np.array([0, 0, 1]),
    ("a/c000", "a/c001", "a/c002", "b/c000", "b/c001", "c/c000"),
    np.array([0, 0, 0, 1, 1, 2]),
    np.array([[0, 0], [1, 0], [3, 2]]),
)


def test_scores_are_means_over_variants_in_any_order():
    names = np.repeat(TRUTH.candidates, 2)
    values = np.repeat(np.arange(6.0), 2) + np.tile([-0.25, 0.25], 6)
    order = np.random.default_rng(0).permutation(12)
    np.testing.assert_allclose(TRUTH.scores(names[order], values[order]), np.arange(6))


def test_sensitivity_counts_misses_and_healthy_volumes():
    scores = np.array([0.9, 0.2, 0.8, 0.7, 0.1, 0.95])
    # At 1 false mark a volume (3 in all) everything but the missed embolus is found.
    assert sensitivities(TRUTH, scores) == [2 / 3] * 5
    detections = TRUTH.detections(scores)
    assert detections.images == 3 and detections.false.sum() == 3
    assert detections.first_hit.sum() == 2


def test_a_candidate_on_two_emboli_hits_both():
    both = Truth(("a",), np.array([0, 0]), ("a/c000",), np.array([0]), np.array([[0, 0], [0, 1]]))
    assert sensitivities(both, np.array([0.5])) == [1.0] * 5


def test_json_round_trip():
    again = Truth.from_json(TRUTH.to_json())
    for name, value in vars(TRUTH).items():
        np.testing.assert_array_equal(value, getattr(again, name))


def test_no_volume_has_candidates():
    empty = truth_of({})
    assert Truth.from_json(empty.to_json()).hits.shape == (0, 2)
