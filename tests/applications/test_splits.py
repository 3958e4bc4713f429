"""Splits: no patient on two sides, nested fractions, balanced classes."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medtune_jax.applications.protocol import Dataset
from medtune_jax.applications.splits import by_class, check_split, share_note, training_subset
from medtune_jax.applications.splits import test_split as split_test_set
from medtune_jax.errors import UserError
from medtune_jax.patches import Images
from medtune_jax.words import Words

CLASSES = ("healthy", "ill")


def cohort(patients=40, images=5, mixed=4, seed=0):
    """Labels and patients of a cohort with twice as many healthy patients, some having both kinds of image."""
    rng = np.random.default_rng(seed)
    groups = np.repeat([f"p{number:03}" for number in range(patients)], images)
    own = np.arange(patients) % 3 == 0
    labels = np.repeat(own, images).astype(np.int32)
    both = np.repeat(np.arange(patients) < mixed, images)
    labels[both] = rng.integers(0, 2, both.sum())
    order = rng.permutation(len(labels))
    return labels[order], groups[order]


def subset(labels, groups, fraction=1.0, seed=0, candidates=None, units=None, **keywords):
    test = np.zeros(len(labels), bool)
    if candidates is not None:
        test = ~np.isin(np.arange(len(labels)), candidates)
    patches = Images(np.zeros((len(labels), 1, 1, 3), np.uint8))
    units = groups if units is None else units
    dataset = Dataset(patches, labels, CLASSES, groups, groups, test, units)
    return training_subset(dataset, fraction, seed, 0.2, **keywords)


@settings(max_examples=30)
@given(
    seed=st.integers(0, 1000),
    fraction=st.sampled_from([1.0, 0.5, 0.25]),
    patients=st.integers(75, 100),
    mixed=st.integers(0, 6),
)
def test_no_patient_is_in_two_splits(seed, fraction, patients, mixed):
    labels, groups = cohort(patients, 3, mixed, seed)
    test = split_test_set(labels, groups, 0.2, seed)
    part = subset(labels, groups, fraction, seed, np.flatnonzero(~test))
    sides = [set(groups[part.train]), set(groups[part.valid]), set(groups[test])]
    assert all(sides)
    assert sum(map(len, sides)) == len(set.union(*sides))


def test_the_test_set_is_a_fifth_with_classes_in_proportion():
    labels, groups = cohort(100, 4)
    test = split_test_set(labels, groups, 0.2, 0)
    assert test.mean() == pytest.approx(0.2, abs=0.03)
    assert labels[test].mean() == pytest.approx(labels.mean(), abs=0.05)
    np.testing.assert_array_equal(test, split_test_set(labels, groups, 0.2, 0))
    assert (test != split_test_set(labels, groups, 0.2, 1)).any()


def test_wrong_test_fraction():
    with pytest.raises(UserError, match=r"data.test_fraction is 0.7"):
        split_test_set(*cohort(), 0.7, 0)


@pytest.mark.parametrize("seed", range(5))
def test_subsets_are_nested_over_fractions(seed):
    labels, groups = cohort()
    parts = [subset(labels, groups, f, seed, balance=False) for f in (1.0, 0.5, 0.25)]
    for larger, smaller in itertools.pairwise(parts):
        assert set(smaller.train) < set(larger.train)
        assert set(smaller.valid) <= set(larger.valid)
    counts = [len(np.unique(groups[part.train])) for part in parts]
    assert counts[1] / counts[0] == pytest.approx(0.5, abs=0.1)
    assert counts[2] / counts[0] == pytest.approx(0.25, abs=0.1)


@pytest.mark.parametrize("seed", range(5))
def test_balanced_subsets_come_from_nested_patients(seed):
    labels, groups = cohort()
    large, small = (subset(labels, groups, f, seed) for f in (1.0, 0.5))
    assert set(groups[small.train]) <= set(
        groups[subset(labels, groups, 1.0, seed, balance=False).train]
    )
    assert set(groups[small.train]).isdisjoint(groups[large.valid])


def test_the_majority_is_sampled_down():
    labels, groups = cohort()
    part = subset(labels, groups)
    counts = np.bincount(labels[part.train])
    assert counts[0] == counts[1] > 0
    free = subset(labels, groups, balance=False)
    assert np.bincount(labels[free.train])[1] == counts[1] < np.bincount(labels[free.train])[0]
    assert set(part.train) < set(free.train)
    assert len(np.unique(part.train)) == len(part.train)


def test_a_subset_depends_on_the_seed_only():
    labels, groups = cohort()
    one, same, other = (subset(labels, groups, 0.5, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.train, same.train)
    np.testing.assert_array_equal(one.valid, same.valid)
    assert set(one.valid) != set(other.valid)


def test_a_fraction_keeps_whole_patients():
    labels, groups = cohort(mixed=0)
    part = subset(labels, groups, 0.5, balance=False)
    for patient in np.unique(groups[part.train]):
        assert set(np.flatnonzero(groups == patient)) <= set(part.train)


def test_units_within_a_patient_are_dropped_whole_and_the_patient_stays_on_one_side():
    labels, groups = cohort(mixed=0)
    units = np.array([f"{g}-{i % 2}" for i, g in enumerate(groups)])
    part = subset(labels, groups, 0.5, units=units, balance=False)
    assert set(groups[part.train]).isdisjoint(groups[part.valid])
    for unit in np.unique(units[part.train]):
        assert set(np.flatnonzero(units == unit)) <= set(part.train)


def test_a_fraction_that_leaves_a_class_empty():
    labels, groups = cohort(10, 2, 0)
    with pytest.raises(UserError, match=r"fraction 0.1 leaves no patch of class '\w+' to train on"):
        subset(labels, groups, 0.1)


@st.composite
def cohorts(draw):
    """Few patients, some of several classes, as small data are: each class has three patients or more."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    patients, classes = draw(st.integers(9, 30)), draw(st.integers(2, 4))
    labels, groups = [], []
    for patient in range(patients):
        share = rng.dirichlet(np.full(classes, 0.4))
        for _ in range(rng.integers(1, 6)):
            groups.append(f"p{patient:02}")
            labels.append(int(rng.choice(classes, p=share)))
    known = [
        c
        for c in range(classes)
        if len({g for g, k in zip(groups, labels, strict=True) if k == c}) > 2
    ]
    kept = [n for n, label in enumerate(labels) if label in known]
    columns = np.array(labels)[kept], np.array(groups)[kept]
    return np.unique(columns[0], return_inverse=True)[1], columns[1]


@settings(max_examples=60)
@given(cohort=cohorts(), fraction=st.sampled_from([0.1, 0.2, 0.3, 0.5]))
def test_every_class_is_on_both_sides(cohort, fraction):
    labels, groups = cohort
    if len(np.unique(labels)) < 2:
        return
    test = split_test_set(labels, groups, fraction, 0)
    assert not set(groups[test]) & set(groups[~test])
    assert set(labels[test]) == set(labels[~test]) == set(labels)


@pytest.mark.parametrize(
    ("fraction", "share"), [(0.1, 0.1), (0.15, 0.15), (0.2, 0.2), (0.3, 0.3), (0.4, 0.4)]
)
def test_the_share_is_the_asked_one_though_a_class_is_rare(fraction, share):
    groups = np.array([f"p{n:03}" for n in range(100)])
    labels = (np.arange(100) < 3).astype(np.int32)  # three ill patients of a hundred
    test = split_test_set(labels, groups, fraction, 0)
    assert test.mean() == pytest.approx(share, abs=0.03)
    assert labels[test].any() and labels[~test].any()
    assert share_note(labels, groups, test, fraction) == []


def test_another_share_than_asked_is_said():
    groups = np.array([f"p{n}" for n in range(18)])
    labels = np.arange(18) % 6  # six classes of three patients: one of each must be tested
    test = split_test_set(labels, groups, 0.2, 0)
    assert sorted(labels[test]) == list(range(6))
    (note,) = share_note(labels, groups, test, 0.2)
    assert (
        "33% of the patients" in note and "not the 20% asked for" in note and "3 patients" in note
    )


def dataset_of(labels, groups, test):
    patches = Images(np.zeros((len(labels), 1, 1, 3), np.uint8))
    return Dataset(patches, np.array(labels), CLASSES, groups, groups, np.array(test, bool), groups)


def test_a_split_without_a_class_is_refused_with_all_counts():
    groups = np.array(["a", "b", "c", "d", "e", "e"])
    labels, test = [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]
    dataset = dataset_of(labels, groups, test)
    assert by_class(dataset) == {
        "healthy": {"train": (2, 2), "test": (1, 2)},
        "ill": {"train": (2, 2), "test": (0, 0)},
    }
    with pytest.raises(UserError) as error:
        check_split(dataset, Words())
    message = str(error.value)
    assert message.startswith("class 'ill' needs one patient in the test set")
    assert "healthy: 2 patients to train and validate on, 1 to test" in message
    assert "ill: 2 patients to train and validate on, 0 to test" in message


def test_patients_of_several_classes_leave_somebody_to_validate_on():
    # Each patient has a set of classes of his own, so that no stratum has two.
    groups = np.array(["a", "b", "b", "c", "c", "d"])
    labels = np.array([0, 0, 1, 1, 0, 1])
    part = subset(labels, groups)
    assert set(labels[part.train]) == set(labels[part.valid]) == {0, 1}
    assert not set(groups[part.train]) & set(groups[part.valid])
