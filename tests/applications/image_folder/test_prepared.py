"""config.data.tfds: a prepared TFDS image data set by name, in place of a folder."""

import io

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from medtune_jax.applications import get
from medtune_jax.errors import UserError
from medtune_jax.study import default_config, sweep


class Tissue(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """24 tiles of two classes from 12 slides; in the config "split" a given test set."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in ("whole", "split", "leaky")]  # noqa: RUF012

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3)),
                    "label": tfds.features.ClassLabel(names=["dark", "bright"]),
                    "slide": tfds.features.Text(),
                }
            ),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        if self.builder_config.name == "whole":
            return {"train": self._generate_examples(range(24))}
        boundary = 16 if self.builder_config.name == "split" else 17
        return {
            "train": self._generate_examples(range(boundary)),
            "test": self._generate_examples(range(boundary, 24)),
        }

    def _generate_examples(self, numbers):
        for number in numbers:
            slide = number // 2
            yield (
                number,
                {"image": tile(number, slide % 2), "label": slide % 2, "slide": f"s{slide}"},
            )


def tile(seed, bright):
    rng = np.random.default_rng(seed)
    pixels = rng.normal(70 + 110 * bright, 20, (30, 40, 3)).clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    buffer.seek(0)
    return buffer


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    for name in ("whole", "split", "leaky"):
        builder = Tissue(config=name, data_dir=str(folder), file_format="array_record")
        builder.download_and_prepare()
    return folder


def config(data_dir, name="tissue/whole", **changes):
    made = default_config()
    made.data.update({"dir": str(data_dir), "tfds": name, "group_feature": "slide"})
    made.data.update(changes)
    made.image_size = 67
    return made


def load(*given, **changes):
    return get("image_folder").load(config(*given, **changes), 67)


def test_the_named_feature_is_the_group(data_dir):
    dataset = load(data_dir, test_fraction=0.5)
    assert dataset.classes == ("dark", "bright") and dataset.groups_known
    assert dataset.patches.pixels.shape == (24, 67, 67, 3)
    bright = dataset.patches.pixels.mean((1, 2, 3)) > 125
    np.testing.assert_array_equal(bright, dataset.labels == 1)
    assert set(dataset.groups) == {f"s{k}" for k in range(12)}
    assert not set(dataset.groups[dataset.test]) & set(dataset.groups[~dataset.test])
    assert dataset.test.sum() == 12 and len(set(dataset.names)) == 24


def test_a_test_split_is_the_test_set(data_dir):
    dataset = load(data_dir, "tissue/split")
    assert dataset.test.sum() == 8
    assert set(dataset.groups[dataset.test]) == {"s8", "s9", "s10", "s11"}


def test_without_a_group_every_image_is_its_own(data_dir):
    dataset = load(data_dir, group_feature="")
    assert not dataset.groups_known and len(set(dataset.groups)) == 24


def test_a_sweep_runs_on_it(data_dir, tmp_path):
    made = config(data_dir, test_fraction=0.5)
    made.sweep.depths, made.sweep.seeds, made.training.epochs = "conv10", 1, 1
    study = sweep(made, tmp_path, quiet=True)
    assert len(list(study.glob("runs/*/scores.csv"))) == 1


def test_bad_requests(data_dir):
    with pytest.raises(UserError, match="patient 's8' is in the training and in the test split"):
        load(data_dir, "tissue/leaky")
    with pytest.raises(UserError, match="no feature 'patient'; choose from image, label, slide"):
        load(data_dir, group_feature="patient")
    with pytest.raises(UserError, match=r"feature 'slide' .* is no class label"):
        load(data_dir, label_feature="slide")
    with pytest.raises(UserError, match="'liver' is not prepared there"):
        load(data_dir, "liver")
    with pytest.raises(UserError, match=r"set --config\.data\.dir to where it was prepared"):
        load("")
