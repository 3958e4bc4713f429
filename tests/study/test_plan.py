"""From a config to runs with stable names."""

import pytest

from medtune_jax import applications
from medtune_jax.errors import UserError
from medtune_jax.study import default_config, make_plan


def plan(data="d", weights="w", **changes):
    config = default_config()
    config.image_size = 64
    config.sweep.depths = "scratch,conv10,fire9"
    config.sweep.fractions = "0.25,1"
    config.sweep.seeds = 2
    config.update_from_flattened_dict(changes)
    return make_plan(config, 2, data, weights)


def names(found):
    return [run.name for run in found.runs]


def test_the_product_shallow_to_deep_and_large_to_small():
    found = plan()
    assert [(run.depth.name, run.fraction, run.seed) for run in found.runs] == [
        (depth, fraction, seed)
        for depth in ("conv10", "fire9", "scratch")
        for fraction in (1.0, 0.25)
        for seed in (0, 1)
    ]
    assert len(set(names(found))) == 12
    assert names(found)[0].startswith("conv10-f1-s0-")
    assert [run.name for run in found.of_depth(found.depths[1])] == names(found)[4:8]
    assert all(run.depth in found.depths for run in found.runs)


def test_the_manifest_says_all_of_a_depth():
    told = plan(**{"sweep.depths": "fire9,scratch-xavier"}).manifest()
    fire9, scratch = told["depths"]
    assert fire9 == {
        "name": "fire9",
        "label": "fire9-conv10",
        "tuned": ("fire9", "conv10"),
        "scratch": False,
    }
    assert (scratch["name"], scratch["label"]) == ("scratch-xavier", "scratch (xavier)")
    assert scratch["scratch"] and len(scratch["tuned"]) == 10
    assert [run["depth"] for run in told["runs"]] == ["fire9"] * 4 + ["scratch-xavier"] * 4


def test_all_depths():
    assert len(plan(**{"sweep.depths": "all"}).depths) == 11


def test_names_are_stable():
    assert names(plan()) == names(plan())
    longer = plan(**{"sweep.seeds": 3, "sweep.depths": "all"})
    assert set(names(plan())) < set(names(longer))
    assert plan().identity == longer.identity


@pytest.mark.parametrize(
    "change", [{"data.dir": "/elsewhere"}, {"memory.device_gib": 1.0}, {"device": "cpu"}]
)
def test_what_changes_no_result_changes_no_name(change):
    assert names(plan(**change)) == names(plan())


def test_fields_that_came_later_change_no_name_at_their_defaults():
    """Or no study of before could be continued. The names are those of the commit before `rates.search`."""
    assert names(plan())[0] == "conv10-f1-s0-5aaa36d3"
    assert names(plan(**{"augment.depths": "none"}))[-1] == "scratch-f0.25-s1-1a09d9d1"


def by_depth(found):
    return {depth.name: [run.name for run in found.of_depth(depth)] for depth in found.depths}


def test_augmentation_is_in_the_names_of_the_depths_that_it_changes():
    plain, mild = by_depth(plan(**{"augment.depths": "none"})), by_depth(plan())
    assert mild["conv10"] == plain["conv10"] and mild["fire9"] == plain["fire9"]
    assert not set(mild["scratch"]) & set(plain["scratch"])
    views = by_depth(plan(**{"augment.copies": 4}))
    assert views["scratch"] == mild["scratch"] and views["fire9"] != mild["fire9"]
    more = by_depth(plan(**{"augment.rotation": 20.0}))
    assert more["fire9"] == plain["fire9"] and more["scratch"] != mild["scratch"]
    assert plan().identity != plan(**{"augment.depths": "none"}).identity


def test_amounts_that_nothing_uses_are_in_no_name():
    off = {"augment.depths": "none"}
    found = plan(**off, **{"augment.rotation": 20.0})
    assert names(found) == names(plan(**off)) and found.identity == plan(**off).identity
    nothing = dict.fromkeys(("rotation", "scale", "shift", "brightness", "contrast"), 0.0)
    assert names(plan(**{f"augment.{name}": zero for name, zero in nothing.items()})) == names(
        plan(**off)
    )


@pytest.mark.parametrize("name", applications.APPLICATIONS)
def test_only_own_images_are_augmented_by_default(name):
    assert default_config(name).augment.depths == ("pixels" if name == "image_folder" else "none")


@pytest.mark.parametrize(
    "change",
    [
        {"training.epochs": 5},
        {"optimizer.name": "adamw"},
        {"rates.tuned": 0.5},
        {"rates.search": 3},
        {"training.scratch.epochs": 40},
        {"image_size": 80},
        {"data": "e"},
        {"weights": "v"},
    ],
)
def test_what_decides_the_result_is_in_every_name(change):
    assert not set(names(plan(**change))) & set(names(plan()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sweep.depths": "conv10,fier5"}, "no stage 'fier5'; did you mean 'fire5'"),
        ({"sweep.depths": " , "}, "sweep.depths is empty"),
        ({"sweep.fractions": "1.0,x"}, "sweep.fractions is '1.0,x': give numbers"),
        ({"sweep.fractions": "0"}, "above 0 and at most 1"),
        ({"sweep.fractions": "1.5"}, "above 0 and at most 1"),
        ({"sweep.seeds": 0}, "sweep.seeds is 0"),
        ({"image_size": 32}, "at least 63 px, not 32"),
        ({"augment.depths": "all"}, "augment.depths is 'all': give pixels or none"),
        ({"augment.copies": 0}, "augment.copies is 0"),
        ({"augment.depths": "none", "augment.copies": 4}, "set augment.depths=pixels too"),
        ({"augment.flip": "yes"}, "augment.flip is 'yes'"),
        ({"network": "sqeezenet"}, "did you mean 'squeezenet'"),
    ],
)
def test_impossible_plans(change, message):
    with pytest.raises(UserError, match=message):
        plan(**change)


def test_an_unknown_field_names_the_nearest():
    config = default_config().lock()
    with pytest.raises(AttributeError, match="epochs"):
        config.training.epoch = 3
    with pytest.raises(KeyError, match="fractions"):
        config.update_from_flattened_dict({"sweep.fraction": "1.0"})


def test_words_for_the_balance_of_classes_change_no_name_of_before():
    """`False` is how studies of before say none; the name is that of the commit before the words came."""
    assert names(plan(**{"training.balance": "True"})) == names(plan())
    assert names(plan(**{"training.balance": "none"}))[0] == "conv10-f1-s0-ac4b745a"
    assert names(plan(**{"training.balance": "False"}))[0] == "conv10-f1-s0-ac4b745a"
    assert not set(names(plan(**{"training.balance": "weights"}))) & set(names(plan()))
