"""Any prepared TFDS image data set can be read by name, without its code."""

import io
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from medtune_jax.datasets import store
from medtune_jax.errors import UserError
from tests.datasets.dataset_files import picture


class Swatches(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Six small pictures of two classes and three patients, in two splits; one feature is gray."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3)),
                    "gray": tfds.features.Image(shape=(None, None, 1)),
                    "label": tfds.features.ClassLabel(names=["plain", "striped"]),
                    "patient": tfds.features.Text(),
                }
            ),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(0, 4), "test": self._generate_examples(4, 6)}

    def _generate_examples(self, first, last):
        for number in range(first, last):
            yield (
                number,
                {
                    "image": encoded(picture(number), "PNG"),
                    "gray": encoded(picture(number)[..., 0], "JPEG"),
                    "label": number % 2,
                    "patient": f"patient {number // 2}",
                },
            )


def encoded(array, kind):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind)
    buffer.seek(0)
    return buffer


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    Swatches(data_dir=str(folder), file_format="array_record").download_and_prepare()
    return folder


def test_a_split_with_groups(data_dir):
    images, labels, groups = store.read_tfds_images(
        "swatches", data_dir, "train", "image", "label", "patient"
    )
    for number, image in enumerate(images):
        np.testing.assert_array_equal(image, picture(number))
    assert labels.tolist() == [0, 1, 0, 1] and labels.dtype == np.int64
    assert groups.tolist() == [f"patient {n // 2}" for n in range(4)]
    assert store.tfds_class_names("swatches", data_dir) == ["plain", "striped"]


def test_a_split_without_groups(data_dir):
    images, labels, groups = store.read_tfds_images("swatches", data_dir, "train")
    assert len(images) == 4 and labels.tolist() == [0, 1, 0, 1]
    assert len(set(groups)) == 4


def test_gray_images_become_rgb(data_dir):
    images, _, _ = store.read_tfds_images("swatches", data_dir, "train", image_feature="gray")
    assert images[0].shape == (24, 32, 3) and (images[0][..., :1] == images[0]).all()


def test_tensorflow_is_not_needed(data_dir):
    store.read_tfds_images("swatches", data_dir, "train")
    assert "tensorflow" not in sys.modules


def test_bad_requests(data_dir, tmp_path):
    with pytest.raises(UserError, match="no feature 'picture'; choose from gray, image, label"):
        store.read_tfds_images("swatches", data_dir, "train", image_feature="picture")
    with pytest.raises(UserError, match="no split 'validation'; choose from test, train"):
        store.read_tfds_images("swatches", data_dir, "validation")
    with pytest.raises(UserError, match="'swatches' is not prepared there"):
        store.read_tfds_images("swatches", tmp_path, "train")
    with pytest.raises(UserError, match="'patient' of data set 'swatches' is no class label"):
        store.tfds_class_names("swatches", data_dir, "patient")
