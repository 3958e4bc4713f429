"""A study of 1 positive to 200 negatives, under each training.balance."""

import json

import numpy as np
import pytest
from PIL import Image

from medtune_jax.errors import UserError
from medtune_jax.study import default_config, report, sweep

SICK, WELL, SIDE = 5, 1000, 64


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Every image is a patient; the sick ones are brighter."""
    folder, rng = tmp_path_factory.mktemp("rare"), np.random.default_rng(0)
    rows = ["image,label,patient"]
    for number in range(SICK + WELL):
        sick = number < SICK
        pixels = rng.normal(80 + 50 * sick, 20, (SIDE, SIDE)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        rows.append(f"{number}.png,{'sick' if sick else 'a_well'},p{number}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def config(images, balance):
    made = default_config()
    made.data.dir, made.image_size = str(images), SIDE
    made.sweep.depths, made.sweep.seeds = "conv10", 1
    made.training.epochs, made.training.balance = 2, balance
    return made


@pytest.mark.parametrize(
    ("balance", "trained", "mix"),
    [
        ("downsample", 6, "of a mix with each class equally often"),
        ("weights", 643, "of a mix with each class equally often"),
        ("none", 643, "of the mix of their training set"),
    ],
)
def test_at_1_to_200(images, tmp_path, balance, trained, mix):
    sweep(config(images, balance), tmp_path, quiet=True)
    (result,) = (json.loads(p.read_text()) for p in tmp_path.glob("runs/*/result.json"))
    assert result["status"] == "done", result["reason"]
    assert result["train_images"] == trained
    assert result["test"] > 0.9
    report(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert f"(training.balance={balance})" in page and mix in page


def test_an_unknown_balance_is_refused_before_anything_is_trained(images, tmp_path):
    with pytest.raises(UserError, match=r"training\.balance is 'weight'; did you mean 'weights'"):
        sweep(config(images, "weight"), tmp_path, quiet=True)
