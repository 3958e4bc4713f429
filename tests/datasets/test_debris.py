"""What systems and archives leave beside data is passed over by every reader of folders."""

import numpy as np
import pytest
from PIL import Image

from medtune_jax.datasets.carotid.files import read_plain
from medtune_jax.datasets.colonoscopy import layouts, plain
from medtune_jax.datasets.ct.cases import find_cases, load_case
from medtune_jax.folders import HIDDEN, walk
from medtune_jax.phantoms.ctpa.files import write_dicom_series, write_nifti
from tests.phantoms.subjects import write_subjects


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(path)


def littered(folder):
    """Debris in a folder and all folders below it, a copy of it as macOS packs one included."""
    below = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    for place in below:
        for name in ("._0.png", ".DS_Store", "Thumbs.db", "._1.dcm", ".0.nii.gz"):
            (place / name).write_bytes(b"Mac OS X")
        (place / "@eaDir" / "x.png").mkdir(parents=True)
        (place / "__MACOSX").mkdir()
        (place / "__MACOSX" / "._volume.nrrd").write_bytes(b"Mac OS X")
        (place / ".ipynb_checkpoints").mkdir()
        (place / ".ipynb_checkpoints" / "0-checkpoint.png").write_bytes(b"an image of old")
    return folder


def test_video_folders(tmp_path):
    for video in ("v1", "v2"):
        for name in ("0", "1"):
            image(tmp_path / video / f"{name}.png")
            image(tmp_path / video / "masks" / f"{name}.png")
    files = plain.read(littered(tmp_path)).files
    assert [(file.video, file.name, file.mask.name) for file in files] == [
        (v, n, f"{n}.png") for v in ("v1", "v2") for n in ("0", "1")
    ]


def test_images_with_masks(tmp_path):
    for name in ("0", "1"):
        image(tmp_path / "images" / f"{name}.png")
        image(tmp_path / "masks" / f"{name}.png")
    assert [file.name for file in layouts.paired(littered(tmp_path))] == ["0", "1"]


@pytest.mark.parametrize("form", ["dicom", "nifti"])
def test_ct_folders(tmp_path, form):
    hu = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    folder = tmp_path / "p1"
    folder.mkdir()
    if form == "dicom":
        write_dicom_series(folder / "dicom", hu, (1.0, 0.7, 0.7), "p1")
    else:
        write_nifti(folder / "volume.nii.gz", hu, (1.0, 0.7, 0.7))
    (case,) = find_cases(littered(tmp_path))
    assert case.patient == "p1"
    np.testing.assert_array_equal(load_case(case)[0].hu, hu)


def test_ultrasound_folders(tmp_path):
    folder = write_subjects(tmp_path / "study", subjects=2, rois=1, seed=1)
    names = [roi.name for roi in read_plain(folder)]
    assert [roi.name for roi in read_plain(littered(folder))] == names


def test_debris_is_counted(tmp_path):
    image(tmp_path / "v1" / "0.png")
    found = walk(littered(tmp_path))
    assert [path.name for path in found.files] == ["0.png"]
    assert found.passed_over == {
        HIDDEN: 14
    }  # of either folder: five files, and one in each of two folders
