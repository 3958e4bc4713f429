"""LogME beside the density that it is the logarithm of; the linear probe on features of known worth."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from medtune_jax.evaluation import foresight
from medtune_jax.evaluation.foresight import linear_probe, log_me


def drawn(count=60, wide=5, signal=1.0, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % 2)
    features = rng.normal(size=(count, wide))
    features[:, 0] += signal * labels
    return features, labels


def best_density(features, target):
    """The greatest ln p(target) per image over a grid of both precisions, by the density itself."""
    grid = 10.0 ** np.arange(-3, 4.01, 0.25)
    gram, one = features @ features.T, np.eye(len(target))
    return max(
        multivariate_normal(cov=gram / alpha + one / beta).logpdf(target) / len(target)
        for alpha in grid
        for beta in grid
    )


@pytest.mark.parametrize(
    ("count", "wide"), [(40, 5), (20, 30)]
)  # fewer and more features than images
def test_log_me_is_the_greatest_evidence(count, wide):
    features, labels = drawn(count, wide, 2.0)
    want = np.mean([best_density(features, (labels == c).astype(float)) for c in (0, 1)])
    got = log_me(features, labels)
    assert want - 1e-6 <= got <= want + 0.02  # the grid is coarse, and never above the maximum


def test_log_me_ranks_by_what_features_tell_and_not_by_their_number():
    by_signal = [log_me(*drawn(signal=signal)) for signal in (0.0, 1.0, 3.0)]
    assert by_signal == sorted(by_signal)
    (few, labels), (many, _) = drawn(signal=1.0), drawn(wide=50)
    noise = np.hstack([few, many[:, 1:]])
    assert log_me(noise, labels) < log_me(few, labels)


def test_a_probe_ranks_new_images():
    features, labels = drawn(signal=3.0)
    others, truth = drawn(signal=3.0, seed=1)
    outputs = linear_probe(features, labels, others, 2)
    assert (outputs.argmax(axis=1) == truth).mean() > 0.85
    far = linear_probe(features, labels, 1e4 * others, 2)  # probabilities of 0 and 1
    assert np.isfinite(far).all() and len(np.unique(far[:, 1])) == len(others)


def test_three_classes_have_an_output_each():
    features, labels = drawn(90)
    labels = np.arange(90) % 3
    features[:, 0] = labels + 0.01 * features[:, 1]
    outputs = linear_probe(features, labels, features, 3)
    assert outputs.shape == (90, 3)
    assert (outputs[labels != 1].argmax(axis=1) == labels[labels != 1]).all()


def test_findings_are_probed_one_by_one_where_they_are_known():
    features, labels = drawn(signal=3.0)
    both = np.stack([labels, 1 - labels], axis=1)
    part = both.copy()
    part[:10, 0] = -1
    outputs = linear_probe(features, part, features, 2)
    alone = linear_probe(features[10:], both[10:], features, 2)
    np.testing.assert_allclose(outputs[:, 0], alone[:, 0])
    np.testing.assert_allclose(
        log_me(features, part),
        (
            foresight._evidence(features[10:], labels[10:].astype(float))
            + log_me(features, both[:, 1:])
        )
        / 2,
    )


def test_rare_classes_weigh_as_much_where_asked():
    features, labels = drawn(200, signal=1.0)
    rare = np.flatnonzero((labels == 0) | (np.arange(200) < 40))
    plain, balanced = (
        linear_probe(features[rare], labels[rare], features, 2, how) for how in (False, True)
    )
    assert (balanced[:, 1] > balanced[:, 0]).sum() > (plain[:, 1] > plain[:, 0]).sum()
