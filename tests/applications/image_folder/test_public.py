"""Layouts of public data sets as they are downloaded, written small: one documented command reads each."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from medtune_jax import cli
from medtune_jax.applications.image_folder.task import load
from medtune_jax.errors import UserError
from medtune_jax.study import default_config

SIDE = 16


def write(folder, *names):
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE), np.uint8)
        Image.fromarray(pixels).save(path)


def read(folder, **fields):
    config = default_config()
    config.data.dir = str(folder)
    config.data.update(fields)
    return load(config, SIDE)


def sides(dataset):
    """(class, test) -> images."""
    names = np.array(dataset.classes)[dataset.labels]
    return dict(Counter(zip(names.tolist(), dataset.test.tolist(), strict=True)))


def test_kaggle_chest_xray(tmp_path):
    write(
        tmp_path,
        *(
            f"chest_xray/{split}/{label}/{label}-{split}-{n}.jpeg"
            for split, number in (("train", 6), ("val", 2), ("test", 3))
            for label in ("NORMAL", "PNEUMONIA")
            for n in range(number)
        ),
    )
    found = read(tmp_path)
    assert sides(found) == {
        ("NORMAL", False): 8,
        ("PNEUMONIA", False): 8,
        ("NORMAL", True): 3,
        ("PNEUMONIA", True): 3,
    }
    assert not found.groups_known


def test_busi_with_masks(tmp_path):
    for label in ("benign", "malignant", "normal"):
        names = [f"{label}/{label} ({n}).png" for n in range(6)]
        write(tmp_path, *names)
        for name in names:
            Image.new("L", (SIDE, SIDE)).save(tmp_path / name.replace(".png", "_mask.png"))
    found = read(tmp_path, duplicates="none")
    assert found.classes == ("benign", "malignant", "normal") and len(found.labels) == 18
    assert found.passed_over == {"masks": 18}


def test_ham10000_by_lesion(tmp_path):
    rows = ["lesion_id,image_id,dx,dx_type,age,sex,localization"]
    for n in range(24):
        folder = "HAM10000_images_part_1" if n < 12 else "HAM10000_images_part_2"
        write(tmp_path, f"{folder}/ISIC_{n:07d}.jpg")
        rows.append(f"HAM_{n // 2:07d},ISIC_{n:07d},{('nv', 'mel')[n // 2 % 2]},histo,50,male,back")
    (tmp_path / "HAM10000_metadata.csv").write_text("\n".join(rows))
    found = read(
        tmp_path,
        table="HAM10000_metadata.csv",
        columns="image_id,dx,lesion_id",
        duplicates="none",
    )
    assert found.classes == ("mel", "nv") and found.groups_known
    assert len(np.unique(found.groups)) == 12
    assert not {*found.groups[found.test]} & {*found.groups[~found.test]}


def test_mura_by_study(tmp_path):
    """The class is part of a folder's name, and a patient has studies of several parts of the body."""
    names = []
    for split, first in (("train", 0), ("valid", 8)):
        for patient in range(first, first + 8):
            for part in ("XR_ELBOW", "XR_HAND"):
                study = f"study{1 + patient % 3}_{('negative', 'positive')[patient % 2]}"
                names.append(f"MURA-v1.1/{split}/{part}/patient{patient:05d}/{study}/image1.png")
    write(tmp_path, *names)
    pattern = "_(negative|positive)/"
    found = read(tmp_path / "MURA-v1.1", layout="SPLIT/*/PATIENT/*", class_pattern=pattern)
    assert sides(found) == {
        ("negative", False): 8,
        ("positive", False): 8,
        ("negative", True): 8,
        ("positive", True): 8,
    }
    assert len(np.unique(found.groups)) == 16 and found.groups_known
    alone = read(
        tmp_path, class_pattern=pattern
    )  # without the layout: split and class, no patients
    assert sides(alone) == sides(found) and not alone.groups_known
    with pytest.raises(UserError, match=r"class_pattern '_.*' finds no class in MURA-v1.1/train"):
        read(tmp_path, class_pattern="_(left|right)/")
    with pytest.raises(UserError, match=r"or none with data\.class_pattern"):
        read(tmp_path, layout="SPLIT/*/PATIENT/CLASS", class_pattern=pattern)


def test_aptos_without_suffixes(tmp_path):
    rows = ["id_code,diagnosis"]
    for n in range(20):
        write(tmp_path, f"train_images/{n:012x}.png")
        rows.append(f"{n:012x},{n % 2}")
    (tmp_path / "train.csv").write_text("\n".join(rows))
    found = read(
        tmp_path, table="train.csv", columns="id_code,diagnosis,id_code", duplicates="none"
    )
    assert found.classes == ("0", "1") and len(found.labels) == 20


def medmnist(path, shape=(28, 28), labels=(1,)):
    rng = np.random.default_rng(0)
    arrays = {}
    for split, number in (("train", 12), ("val", 4), ("test", 6)):
        arrays[f"{split}_images"] = rng.integers(0, 256, (number, *shape), np.uint8)
        marks = np.arange(number).reshape(-1, *(1,) * len(labels)) % 2 * 3
        arrays[f"{split}_labels"] = np.broadcast_to(marks, (number, *labels)).astype(np.uint8)
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 3)])
def test_medmnist_arrays(tmp_path, shape):
    path = medmnist(tmp_path / "pneumoniamnist.npz", shape)
    found = read(path)
    assert found.classes == ("0", "3") and not found.groups_known
    assert sides(found) == {("0", False): 8, ("3", False): 8, ("0", True): 3, ("3", True): 3}
    assert any("validation set (4 images) joins the training set" in note for note in found.notes)
    first = np.load(path)["train_images"][0]
    small = Image.fromarray(first).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(found.patches.pixels[0], small)
    assert cli.run(["check", str(path)]) == 0


def test_other_arrays_are_refused(tmp_path):
    for path, message in (
        (medmnist(tmp_path / "chest.npz", labels=(14,)), r"train_labels is uint8 \[12, 14\]"),
        (medmnist(tmp_path / "organ3d.npz", shape=(8, 8, 8)), "volumes are not read"),
        (tmp_path / "none.npz", "there is no file"),
    ):
        with pytest.raises(UserError, match=message):
            read(path)
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(UserError, match=r"holds x: it needs the arrays train_images"):
        read(tmp_path / "other.npz")
    (tmp_path / "torn.npz").write_bytes((tmp_path / "chest.npz").read_bytes()[:200])
    with pytest.raises(UserError, match=r"cannot be read as NumPy's \.npz"):
        read(tmp_path / "torn.npz")


def test_patch_camelyon_folders(tmp_path):
    write(
        tmp_path,
        *(
            f"{s}/{c}/{s}_{n}.tif"
            for s in ("train", "valid", "test")
            for c in "01"
            for n in range(4)
        ),
    )
    found = read(tmp_path, duplicates="none")
    assert sides(found) == {("0", False): 8, ("1", False): 8, ("0", True): 4, ("1", True): 4}


def test_malaria_cells_by_patient(tmp_path):
    """A second copy inside, and a Thumbs.db in each class folder; the file's name says the patient."""
    write(
        tmp_path,
        *(
            f"cell_images/{label}/C{patient}P{patient}ThinF_IMG_{n}_cell_{n}.png"
            for label in ("Parasitized", "Uninfected")
            for patient in range(6)
            for n in range(2)
        ),
    )
    for label in ("Parasitized", "Uninfected"):
        (tmp_path / "cell_images" / label / "Thumbs.db").write_text("x")
    found = read(tmp_path / "cell_images", patient_pattern=r"^(C\d+P\d+)", duplicates="none")
    assert found.classes == ("Parasitized", "Uninfected")
    assert len(np.unique(found.groups)) == 6 and found.passed_over == {"hidden or system files": 2}


def test_isic_2020_by_patient(tmp_path):
    head = "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,target"
    rows = [head]
    for n in range(24):
        write(tmp_path, f"train/ISIC_{n:07d}.jpg")
        kind = ("benign", "malignant")[n // 2 % 2]
        rows.append(f"ISIC_{n:07d},IP_{n // 2:07d},male,45.0,torso,unknown,{kind},{n // 2 % 2}")
    (tmp_path / "train.csv").write_text("\n".join(rows))
    found = read(
        tmp_path,
        table="train.csv",
        columns="image_name,benign_malignant,patient_id",
        duplicates="none",
    )
    assert found.classes == ("benign", "malignant") and len(found.labels) == 24
    assert len(np.unique(found.groups)) == 12 and found.groups_known
    assert not {*found.groups[found.test]} & {*found.groups[~found.test]}


def test_isic_2019_with_a_column_for_each_class(tmp_path):
    """Exactly one is 1.0 in each row; images of superpixels beside them are none that the table names."""
    folder, rows = "ISIC_2019_Training_Input", ["image,MEL,NV,BCC,UNK"]
    for n in range(24):
        write(tmp_path, f"{folder}/ISIC_{n:07d}.jpg", f"{folder}/ISIC_{n:07d}_superpixels.png")
        marks = ",".join("1.0" if n % 3 == k else "0.0" for k in range(4))
        rows.append(f"ISIC_{n:07d},{marks}")
    (tmp_path / "ISIC_2019_Training_GroundTruth.csv").write_text("\n".join(rows))
    found = read(
        tmp_path,
        table="ISIC_2019_Training_GroundTruth.csv",
        columns="image",
        findings="MEL,NV,BCC",
        patient_pattern="^(ISIC_[0-9]+)",
        duplicates="none",
    )
    assert found.classes == ("MEL", "NV", "BCC") and found.labels.shape == (24, 3)
    first = found.names.tolist().index(f"{folder}/ISIC_0000001.jpg")
    assert found.labels[first].tolist() == [0, 1, 0]
    assert found.labels.sum(0).tolist() == [8, 8, 8]


def test_chest_xray14_with_several_findings(tmp_path):
    """The header of Data_Entry_2017.csv has commas inside two of its names, and one at its end."""
    head = (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
        "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
    )
    words = ("No Finding", "Effusion", "Effusion|Mass", "Mass")
    rows = [head]
    for n in range(32):
        name = f"{1 + n // 2:08d}_{n % 2:03d}.png"
        write(tmp_path, f"images_{1 + n // 16:03d}/images/{name}")
        rows.append(
            f"{name},{words[n // 2 % 4]},{n % 2},{1 + n // 2},058Y,M,PA,2682,2749,0.143,0.143,"
        )
    (tmp_path / "Data_Entry_2017.csv").write_text("\n".join(rows))
    found = read(
        tmp_path,
        table="Data_Entry_2017.csv",
        columns="Image Index,Finding Labels,Patient ID",
        findings="all",
        duplicates="none",
    )
    assert found.classes == ("Effusion", "Mass") and found.labels.shape == (32, 2)
    truth = dict(zip(found.names.tolist(), found.labels.tolist(), strict=True))
    assert truth["images_001/images/00000003_001.png"] == [1, 1]
    assert truth["images_001/images/00000001_000.png"] == [0, 0]
    assert found.labels.sum(0).tolist() == [16, 16]
    assert len(np.unique(found.groups)) == 16 and found.groups_known
    assert not {*found.groups[found.test]} & {*found.groups[~found.test]}
