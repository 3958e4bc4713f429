"""FROC figures of a study: every detector on the same candidates, means over seeds."""

from dataclasses import dataclass

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medtune_jax.evaluation.froc import Detections, sensitivities
from medtune_jax.report.evidence import Evidence
from medtune_jax.report.froc import FIRST_SEED, HAND_CRAFTED, FrocEvidence
from medtune_jax.report.load import load_study
from tests.report.fake_study import write_study

CELL = ("conv10", 1.0)


@dataclass(frozen=True)
class Truth:
    """The fake study's images as candidates, two a patient and frame; a true one hits the frame's lesion."""

    names: np.ndarray
    candidate_groups: np.ndarray
    positive: np.ndarray

    @property
    def groups(self):
        return self.candidate_groups[::2]

    def in_order(self, names, values):
        place = {name: i for i, name in enumerate(names)}
        return values[..., [place[name] for name in self.names]]

    def detections(self, scores):
        frame = np.arange(len(self.names)) // 2
        ill = np.unique(frame[self.positive])
        lesion = np.where(self.positive, np.searchsorted(ill, frame), -1)
        return Detections(len(self.groups), ill, frame, scores, lesion)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    directory = write_study(
        tmp_path_factory.mktemp("study"), depths=("conv10", "scratch"), fractions=(1.0,), seeds=5
    )
    evidence = Evidence(load_study(directory))
    test = evidence.study.test
    truth = Truth(test.names, test.groups, test.labels == 1)
    return FrocEvidence(evidence, truth, np.random.default_rng(0).normal(size=len(test.names)))


def test_figures_are_means_over_seeds(found):
    rates = [0.1, 1.0]
    each = [sensitivities([d], rates) for d in found.detections(CELL)]
    assert len(each) == 5
    assert found.curve(CELL, rates) == pytest.approx(np.mean(each, axis=0))
    assert [i.estimate for i in found.sensitivity(CELL, rates, FIRST_SEED)] == each[0].tolist()
    gain = found.difference(CELL, HAND_CRAFTED, rates)
    hand = sensitivities(found.detections(HAND_CRAFTED), rates)
    assert gain.estimate == pytest.approx(np.mean(each) - np.mean(hand)) and gain.low > 0


def test_the_auc_is_that_of_candidates(found):
    truth = found.truth.positive
    aucs = [roc_auc_score(truth, row) for row in found.scores(CELL)]
    hand = roc_auc_score(truth, found.scores(HAND_CRAFTED)[0])
    assert found.auc_difference(CELL, HAND_CRAFTED).estimate == pytest.approx(np.mean(aucs) - hand)


def test_a_model_per_seed_or_none(found):
    assert len(found.models(CELL)) == 5
    # Where all scores are alike they determine no model.
    alike = FrocEvidence(found.evidence, found.truth, np.zeros(len(found.truth.names)))
    assert alike.models(HAND_CRAFTED) == []
    assert found.label(CELL) == "only conv10" and found.label(HAND_CRAFTED) == HAND_CRAFTED
