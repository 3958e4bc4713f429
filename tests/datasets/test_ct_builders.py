"""CAD-PE and FUMPE folders become records that hold the same voxels, without TensorFlow."""

import sys

import numpy as np
import pytest
import SimpleITK
import tensorflow_datasets as tfds
from scipy import io

from medtune_jax.datasets.ct.builders import CT_DATASETS
from medtune_jax.errors import UserError
from medtune_jax.phantoms.ctpa.files import write_dicom_series

SPACING = (2.5, 0.8, 0.7)


@pytest.fixture
def hu():
    return np.random.default_rng(0).integers(-1024, 3071, (6, 9, 11)).astype(np.int16)


@pytest.fixture
def emboli():
    mask = np.zeros((6, 9, 11), np.uint8)
    mask[1:3, 2:4, 2:4], mask[4, 6:8, 7:9] = 1, 2
    return mask


def write_nrrd(path, array):
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing(SPACING[::-1])
    SimpleITK.WriteImage(image, str(path))


def prepared(name, folder, data_dir):
    builder = CT_DATASETS[name](data_dir=str(data_dir), file_format="array_record")
    config = tfds.download.DownloadConfig(manual_dir=str(folder))
    builder.download_and_prepare(download_config=config)
    return list(builder.as_data_source("train"))


def cad_pe(folder, hu, emboli):
    folder.mkdir()
    for number in ("001", "002"):
        write_nrrd(folder / f"{number}.nrrd", hu + int(number))
        write_nrrd(folder / f"{number}RefStd.nrrd", emboli)


def test_cad_pe(tmp_path, hu, emboli):
    cad_pe(tmp_path / "raw", hu, emboli)
    records = prepared("cad_pe", tmp_path / "raw", tmp_path / "tfds")
    assert [record["patient"] for record in records] == [b"001", b"002"]
    for number, record in enumerate(records, 1):
        np.testing.assert_array_equal(record["hu"], hu + number)
        np.testing.assert_array_equal(record["emboli"], emboli)
        assert record["hu"].dtype == np.int16 and record["spacing"] == pytest.approx(SPACING)
    assert "tensorflow" not in sys.modules


def test_fumpe(tmp_path, hu, emboli):
    raw = tmp_path / "raw"
    files = write_dicom_series(raw / "CT_scans" / "PAT001", hu, SPACING)
    assert sorted(files) == files[::-1]  # the mask follows the names, which count from the head
    (raw / "GroundTruth").mkdir()
    mask = (emboli[::-1] > 0).transpose(1, 2, 0).astype(np.uint8)
    io.savemat(raw / "GroundTruth" / "PAT001.mat", {"Mask": mask})
    (record,) = prepared("fumpe", raw, tmp_path / "tfds")
    np.testing.assert_array_equal(record["hu"], hu)
    np.testing.assert_array_equal(record["emboli"] > 0, emboli > 0)
    assert record["emboli"].max() == 2


def test_another_layout_is_refused(tmp_path, hu, emboli):
    cad_pe(tmp_path / "raw", hu, emboli)
    with pytest.raises(UserError, match="is no fumpe: expected CT_scans"):
        prepared("fumpe", tmp_path / "raw", tmp_path / "tfds")
