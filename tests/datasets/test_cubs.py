"""CUBS through TFDS: the same regions come out as are read from the downloaded folder."""

import numpy as np
import pytest
from PIL import Image

from medtune_jax.datasets.carotid.files import read_cubs
from medtune_jax.errors import UserError
from medtune_jax.phantoms.ultrasound import generate

tfds = pytest.importorskip("tensorflow_datasets")
cubs = pytest.importorskip("medtune_jax.datasets.carotid.cubs")


@pytest.fixture
def downloaded(tmp_path):
    root = tmp_path / "CUBS"
    for folder in ("IMAGES", "CF", "A1", "A2"):
        (root / folder).mkdir(parents=True)
    for name, subject in (("clin_0007_L", 0), ("clin_0007_R", 0), ("clin_0012_L", 1)):
        phantom = generate(subject, 1, seed=2)[0]
        Image.fromarray(phantom.image).save(root / "IMAGES" / f"{name}.tiff")
        columns = np.arange(20, 70)
        for expert, shift in (("A1", 0.0), ("A2", 1.5)):
            for which, rows in (("LI", phantom.li), ("MA", phantom.ma)):
                points = np.stack([columns, rows[columns] + shift], axis=1)
                np.savetxt(root / expert / f"{name}-{which}.txt", points)
    (root / "CF" / "clin_0007_L_CF.txt").write_text("0.0667")
    return root


@pytest.fixture
def prepared(downloaded, tmp_path):
    builder = cubs.Cubs(data_dir=str(tmp_path / "tfds"), file_format="array_record")
    config = tfds.download.DownloadConfig(manual_dir=str(downloaded))
    builder.download_and_prepare(download_config=config)
    return tmp_path / "tfds"


def test_regions_survive_the_round_trip(downloaded, prepared):
    for expert in ("A1", "A2"):
        before = read_cubs(downloaded, expert)
        after = cubs.read_prepared(prepared, expert)
        assert [roi.name for roi in after] == ["clin_0007_L", "clin_0007_R", "clin_0012_L"]
        assert [roi.subject for roi in after] == ["0007", "0007", "0012"]
        for one, other in zip(before, after, strict=True):
            np.testing.assert_array_equal(one.image, other.image)
            np.testing.assert_allclose(one.li, other.li, atol=1e-4)
            np.testing.assert_allclose(one.ma, other.ma, atol=1e-4)
        assert after[0].mm_per_pixel == pytest.approx(0.0667)
        assert after[1].mm_per_pixel is None


def test_one_expert_must_be_named(prepared):
    with pytest.raises(UserError, match="experts A1, A2; name one"):
        cubs.read_prepared(prepared)


def test_an_unprepared_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="data set 'cubs' is not prepared there"):
        cubs.read_prepared(tmp_path)
