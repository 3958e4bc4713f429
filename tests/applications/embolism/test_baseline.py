"""Features mean what their names say, and the forest learns from bags with few witnesses."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medtune_jax.applications.embolism.baseline import (
    FEATURE_NAMES,
    MultiInstanceForest,
    candidate_features,
    haar_energies,
    haralick,
)
from medtune_jax.applications.embolism.candidates import find_candidates
from medtune_jax.applications.embolism.vessel import vessel_frame
from medtune_jax.datasets.ct.grid import Volume
from medtune_jax.errors import UserError
from medtune_jax.phantoms.ctpa.phantom import ctpa_phantom


def test_features_have_names_and_values():
    phantom = ctpa_phantom(2, emboli=3)
    volume = Volume(phantom.hu, phantom.spacing, (0, 0, 0), "p")
    candidates = find_candidates(volume)[:8]
    frames = [vessel_frame(volume, candidate) for candidate in candidates]
    features = candidate_features(volume, candidates, frames)
    assert features.shape == (8, len(FEATURE_NAMES)) and np.isfinite(features).all()
    first = candidates[0]
    hu = phantom.hu[tuple(first.cluster.T)]
    assert features[0, FEATURE_NAMES.index("hu_mean")] == pytest.approx(hu.mean())
    expected = len(first.cluster) * np.prod(phantom.spacing)
    assert features[0, FEATURE_NAMES.index("volume_mm3")] == pytest.approx(expected)
    assert candidate_features(volume, [], []).shape == (0, len(FEATURE_NAMES))


def test_haar_is_orthonormal_and_sees_direction():
    plane = np.random.default_rng(0).uniform(-200, 400, (32, 32))
    rms = haar_energies(plane, levels=5).reshape(5, 3)
    counts = np.array([256, 64, 16, 4, 1])[:, None]
    energy = (rms**2 * counts).sum() + 32**2 * plane.mean() ** 2
    assert energy == pytest.approx((plane**2).sum())
    stripes = np.tile([[0.0], [100.0]], (16, 32))
    rows, columns, diagonal = haar_energies(stripes, levels=1)
    assert (rows, columns, diagonal) == (100, 0, 0)


def test_haralick_of_flat_and_rough_planes():
    flat = haralick(np.zeros((32, 32))).reshape(2, 6)
    rough = haralick(np.random.default_rng(0).uniform(-200, 400, (32, 32))).reshape(2, 6)
    np.testing.assert_allclose(flat[:, [0, 1, 2, 3, 5]], [[0, 0, 1, 1, 0]] * 2, atol=1e-9)
    assert (rough[:, 0] > 20).all() and (rough[:, 5] > 4).all()


def bags_with_one_witness(rng, bags, negatives):
    """Each positive bag holds one true instance and three that look like negatives."""
    features, bag = rng.normal(size=(4 * bags + negatives, 4)), np.full(4 * bags + negatives, -1)
    bag[: 4 * bags] = np.repeat(np.arange(bags), 4)
    features[: 4 * bags : 4, 0] += 4
    return features, bag


def test_forest_finds_the_witness_of_each_bag():
    features, bags = bags_with_one_witness(np.random.default_rng(0), 40, 200)
    forest = MultiInstanceForest(trees=100).fit(features, bags)
    true = np.zeros(len(bags), bool)
    true[: 4 * 40 : 4] = True
    assert forest.witnesses_[true].mean() > 0.9
    assert forest.witnesses_[(bags >= 0) & ~true].mean() < 0.3
    test, test_bags = bags_with_one_witness(np.random.default_rng(1), 30, 200)
    score = forest.predict(test)
    best = [score[test_bags == b].max() for b in range(30)]
    labels = np.r_[np.ones(30), np.zeros(200)]
    assert roc_auc_score(labels, np.r_[best, score[test_bags < 0]]) > 0.95
    again = MultiInstanceForest(trees=100).fit(features, bags).predict(test)
    np.testing.assert_array_equal(score, again)


@pytest.mark.parametrize("bag", [-1, 0])
def test_one_class_is_refused(bag):
    with pytest.raises(UserError, match="to learn from"):
        MultiInstanceForest().fit(np.zeros((5, 2)), np.full(5, bag))
