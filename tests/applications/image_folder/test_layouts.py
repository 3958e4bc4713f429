"""Folders as downloads have them: what is a split, a class, a patient, and what is passed over."""

from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from medtune_jax.applications.image_folder.listing import read_listing
from medtune_jax.applications.image_folder.reader import read_images
from medtune_jax.errors import UserError
from medtune_jax.folders import HIDDEN, LINKS, named, walk


def write(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4, 3), 90, np.uint8)).save(path)
    return folder


def labels(table):
    return dict(Counter(row.label for row in table.rows))


def by_split(table):
    return dict(Counter((row.split, row.label) for row in table.rows))


def grid(*levels, images=2):
    """All paths of these levels: grid(("train", "test"), ("a", "b")) -> train/a/0.png ..."""
    paths = [""]
    for names in levels:
        paths = [f"{path}{name}/" for path in paths for name in names]
    return [f"{path}{number}.png" for path in paths for number in range(images)]


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "val", "test"),
        ("Training", "Validation", "Testing"),
        ("TRAIN", "dev", "Test"),
        ("training_set", "val_set", "test_set"),
        ("Train Data", "ValidationData", "Test data"),
        ("01_train", "02_val", "03_test"),
        ("train_images", "valid-images", "test_images"),
        ("TrainSet", "val1", "TestSet"),
        ("train2017", "eval", "hold-out"),
        ("learn", "development", "data_test"),
        ("Entrenamiento", "Validación", "conjunto_de_prueba"),
        ("entraînement", "Évaluation", "test"),
        ("训练集", "验证集", "测试集"),
    ],
)
def test_split_folders_are_a_given_split(tmp_path, train, val, test):
    table = read_listing(write(tmp_path, *grid((train, val, test), ("NORMAL", "PNEUMONIA"))))
    assert by_split(table) == {
        ("train", "NORMAL"): 4,
        ("train", "PNEUMONIA"): 4,
        ("test", "NORMAL"): 2,
        ("test", "PNEUMONIA"): 2,
    }
    assert sum("validation set (4 images) joins" in note for note in table.notes) == 1


def test_what_is_called_as_splits_are_is_never_taken_as_classes_in_silence(tmp_path):
    one = write(tmp_path / "one", *grid(("train", "bus")))
    assert any("'train' is called as a training or test set" in n for n in read_listing(one).notes)
    masks = write(tmp_path / "masks", *grid(("a", "b", "masks")))
    assert any("'masks' is called as masks are" in n for n in read_listing(masks).notes)
    for names in [("trainA", "trainB", "testA", "testB"), ("train_pos", "train_neg", "test_pos")]:
        flat = write(tmp_path / names[-1], *grid(names))
        with pytest.raises(UserError, match=r"would be classes.*--config\.data\.layout='CLASS'"):
            read_listing(flat)
        assert len(labels(read_listing(flat, layout="CLASS"))) == len(names)
    extra = write(tmp_path / "extra", *grid(("train", "test", "other"), ("a", "b")))
    assert read_listing(extra).passed_over == {"images of other, which is called as no split is": 4}


@pytest.mark.parametrize("levels", [0, 1])
def test_splits_in_a_language_that_is_not_known_are_asked_about(tmp_path, levels):
    splits, classes = ("opplæring", "prøve"), [f"species_{name}" for name in "abcdefghij"]
    order = (splits, classes) if levels else (classes, splits)
    with pytest.raises(UserError, match="must be called train and test"):
        read_listing(write(tmp_path, *grid(*order, images=1)))
    if levels:
        with pytest.raises(UserError, match=r"images of opplæring, .*: call them train and test"):
            read_listing(tmp_path, layout="SPLIT/CLASS")


def test_the_same_below_a_folder_of_the_archive_and_beside_a_second_copy(tmp_path):
    write(tmp_path / "chest_xray", *grid(("train", "test"), ("a", "b")))
    write(tmp_path, "__MACOSX/chest_xray/train/a/._0.png")
    assert by_split(read_listing(tmp_path))["test", "b"] == 2
    write(tmp_path, *grid(("train", "test"), ("a", "b")))  # as Kaggle packed it
    table = read_listing(tmp_path)
    assert labels(table) == {"a": 4, "b": 4}
    assert table.passed_over == {HIDDEN: 1, "images of chest_xray, a second copy": 8}


def test_class_folders_beside_a_second_copy(tmp_path):
    write(tmp_path, *grid(("a", "b")), *grid(("cells",), ("a", "b")))
    table = read_listing(tmp_path)
    assert labels(table) == {"a": 2, "b": 2}
    assert table.passed_over == {"images of cells, a second copy": 4}
    write(tmp_path, "cells/a/another.png")
    with pytest.raises(
        UserError, match=r"cells holds folders of the same names .*\(a, b\), but other images"
    ):
        read_listing(tmp_path)


def test_train_and_val_alone(tmp_path):
    table = read_listing(write(tmp_path, *grid(("train", "valid"), ("a", "b"))))
    assert by_split(table)["test", "a"] == 2
    assert any("is the test set, for there is no other" in note for note in table.notes)


def test_test_images_without_a_class_are_no_class(tmp_path):
    write(tmp_path, *grid(("train",), ("cat", "dog")), "test/1.png", "test/2.png", "test/3.png")
    table = read_listing(tmp_path)
    assert labels(table) == {"cat": 2, "dog": 2} and {row.split for row in table.rows} == {""}
    assert table.passed_over == {"images outside class folders": 3}
    assert any("no test images with a class" in note for note in table.notes)


def test_splits_without_classes_are_refused(tmp_path):
    write(tmp_path, "train/1.png", "train/2.png", "test/1.png", "test/2.png")
    with pytest.raises(UserError, match=r"nor class sub-folders .*4 images in none"):
        read_listing(tmp_path)


def test_a_class_may_be_called_train(tmp_path):
    assert labels(read_listing(write(tmp_path, *grid(("train", "bus"))))) == {"train": 2, "bus": 2}


def test_splits_within_the_classes(tmp_path):
    table = read_listing(write(tmp_path, *grid(("a", "b"), ("train", "test"))))
    assert by_split(table) == {(s, c): 2 for s in ("train", "test") for c in ("a", "b")}


def test_a_class_spelled_otherwise_in_the_other_split(tmp_path):
    table = read_listing(
        write(tmp_path, *grid(("train",), ("Ill", "Well")), *grid(("test",), ("ill", "well")))
    )
    assert labels(table) == {"Ill": 4, "Well": 4}
    assert "class folders 'ill' are read as 'Ill'" in table.notes


def test_patients_below_classes_and_classes_below_patients(tmp_path):
    patients = [f"p{n:02}" for n in range(9)]
    for number, name in enumerate(patients):  # each patient in one class
        write(tmp_path / "below", *grid((("benign", "malignant")[number % 2],), (name,)))
    write(tmp_path / "above", *grid(patients, ("0", "1")))  # each patient in both
    for folder, classes in (
        ("below", {"benign": 10, "malignant": 8}),
        ("above", {"0": 18, "1": 18}),
    ):
        table = read_listing(tmp_path / folder)
        assert labels(table) == classes and table.patients_known
        assert {row.patient for row in table.rows} == set(patients)


@pytest.mark.parametrize(
    ("names", "last"),
    [
        (("fold1", "fold2", "fold3"), "fold3"),
        (("Fold_1", "Fold_2", "Fold_10"), "Fold_10"),
        (("0fold", "1fold"), "1fold"),
        (("cv 1", "cv 2"), "cv 2"),
        (tuple(f"k-fold-{n}" for n in range(10)), "k-fold-9"),
    ],
)
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("around", ["", "data/"])
def test_folds_of_a_cross_validation(tmp_path, names, last, inside, around):
    for fold in names:
        for label in ("benign", "malignant"):
            place = f"{label}/{fold}" if inside else f"{fold}/{label}"
            write(tmp_path, *(f"{around}{place}/{fold}_{label}_{n}.png" for n in range(3)))
    table = read_listing(tmp_path)
    assert labels(table) == {"benign": 3 * len(names), "malignant": 3 * len(names)}
    assert {row.split for row in table.rows if f"/{last}/" in f"/{row.image}"} == {"test"}
    assert {row.split for row in table.rows if f"/{last}/" not in f"/{row.image}"} == {"train"}
    assert not table.patients_known
    assert any(
        f"{len(names)} folds of a cross-validation: {last} is the test set" in n
        for n in table.notes
    )
    levels = ("* " if around else "") + ("CLASS *" if inside else "* CLASS")
    drawn = read_listing(tmp_path, layout="/".join(levels.split()))
    assert labels(drawn) == labels(table) and {row.split for row in drawn.rows} == {""}


def test_patients_within_folds(tmp_path):
    for number in range(20):
        label = ("benign", "malignant")[number % 2]
        write(
            tmp_path,
            f"fold{number // 4}/{label}/p{number}/a.png",
            f"fold{number // 4}/{label}/p{number}/b.png",
        )
    table = read_listing(tmp_path)
    assert table.patients_known and len({row.patient for row in table.rows}) == 20
    assert {row.patient for row in table.rows if row.split == "test"} == {
        f"p{n}" for n in range(16, 20)
    }


def test_folds_with_a_pattern_for_the_class_and_without_any(tmp_path):
    write(tmp_path, *(f"fold{n}/{side}_{n}.png" for n in (1, 2) for side in "ab"))
    table = read_listing(tmp_path, class_pattern="/([ab])_")
    assert by_split(table) == {(s, c): 1 for s in ("train", "test") for c in "ab"}
    with pytest.raises(UserError, match="nor class sub-folders"):
        read_listing(tmp_path)


def test_folds_with_splits_of_their_own_are_asked_about(tmp_path):
    for fold in ("fold1", "fold2"):
        for side in ("train", "test"):
            write(tmp_path, f"{fold}/{side}/a/1.png", f"{fold}/{side}/b/2.png")
    with pytest.raises(UserError, match=r"a test set each: .*--config\.data\.dir=.*fold1$"):
        read_listing(tmp_path)


def test_two_levels_that_tell_neither_are_asked_about(tmp_path):
    write(tmp_path, *grid(("glioma", "meningioma", "pituitary"), ("axial", "sagittal")))
    with pytest.raises(UserError, match=r"axial, sagittal: say which.*--config\.data\.layout"):
        read_listing(tmp_path)
    table = read_listing(tmp_path, layout="CLASS/*")
    assert labels(table) == {"glioma": 4, "meningioma": 4, "pituitary": 4}
    assert not table.patients_known
    assert labels(read_listing(tmp_path, layout="PATIENT/CLASS")) == {"axial": 6, "sagittal": 6}
    with pytest.raises(UserError, match=r"data\.layout is 'KIND/PATIENT'"):
        read_listing(tmp_path, layout="KIND/PATIENT")


def test_one_folder_is_asked_about(tmp_path):
    write(tmp_path, *grid(("xrays",), ("ill", "well")))
    with pytest.raises(UserError, match=r"holds one folder .* --config\.data\.dir=.*xrays"):
        read_listing(tmp_path)


def test_masks_beside_images_are_none(tmp_path):
    names = [
        f"{c}/{c} ({n}){end}.png"
        for c in ("benign", "normal")
        for n in (1, 2)
        for end in ("", "_mask")
    ]
    table = read_listing(write(tmp_path, *names, "benign/benign (2)_mask_1.png"))
    assert labels(table) == {"benign": 2, "normal": 2}
    assert table.passed_over == {"masks": 5}


@pytest.mark.parametrize(
    "named",
    ["{}_mask", "{}-Masks", "{}_seg", "{}_segm", "{} GT", "{}_ground_truth", "{}_anno", "{}_label", "{}_superpixels",
     "{}_overlay", "{}_contour_2", "{}_manual1", "{}.png_mask", "{}.mask", "mask_{}", "seg-{}", "label {}"],
)  # fmt: skip
def test_a_mask_is_known_by_the_image_it_is_called_after(tmp_path, named):
    names = [f"{c}/{c}{n}" for c in ("benign", "normal") for n in (1, 2)]
    images = [f"{name}.png" for name in names]
    masks = [str(Path(name).parent / f"{named.format(Path(name).name)}.png") for name in names]
    table = read_listing(write(tmp_path, *images, *masks))
    assert labels(table) == {"benign": 2, "normal": 2} and table.passed_over == {"masks": 4}
    alone = read_listing(write(tmp_path / "alone", *masks))
    assert labels(alone) == {"benign": 2, "normal": 2} and not alone.passed_over


def test_folders_of_masks_are_passed_over_and_of_images_looked_into(tmp_path):
    table = read_listing(write(tmp_path, *grid(("ill", "well"), ("images", "masks"))))
    assert labels(table) == {"ill": 2, "well": 2} and table.passed_over == {"masks": 4}
    worn = read_listing(write(tmp_path / "worn", *grid(("mask", "no_mask"))))
    assert labels(worn) == {"mask": 2, "no_mask": 2} and not worn.passed_over


def test_every_kind_of_image_is_read_and_every_other_file_counted(tmp_path):
    kinds = ("webp", "gif", "jp2", "jfif", "PNG", "JPG", "tif", "bmp")
    write(tmp_path, *(f"a/{n}.{kind}" for n, kind in enumerate(kinds)), *grid(("b",)))
    (tmp_path / "a" / "0.webp").rename(tmp_path / "a" / "bare")
    for name in (
        "a/notes.txt",
        "a/Thumbs.db",
        "b/.DS_Store",
        "b/@eaDir/0.png/x",
        "b/table.xlsx",
        "b/readme",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("no image")
    table = read_listing(tmp_path)
    assert labels(table) == {"a": len(kinds), "b": 2}
    assert table.passed_over == {HIDDEN: 3, ".txt": 1, ".xlsx": 1, "without a suffix": 1}
    assert read_images([tmp_path / row.image for row in table.rows], 4).shape == (10, 4, 4, 3)


def test_a_dicom_file_without_a_suffix(tmp_path):
    source = pydicom.data.get_testdata_file("CT_small.dcm")
    for name in ("a/1.2.840.1", "a/bare", "b/1.2.840.3", "b/IM4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(open(source, "rb").read())  # noqa: PTH123, SIM115
    table = read_listing(tmp_path)
    assert labels(table) == {"a": 2, "b": 2}
    assert read_images([tmp_path / row.image for row in table.rows], 8).std() > 10


def test_links_are_followed_once(tmp_path):
    store = write(tmp_path / "store", *grid(("ill",)))
    data = write(tmp_path / "data", *grid(("well",)))
    (data / "ill").symlink_to(store / "ill", target_is_directory=True)
    (data / "ill again").symlink_to(store / "ill", target_is_directory=True)
    (data / "well" / "around").symlink_to(data, target_is_directory=True)
    (data / "well" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    table = read_listing(data)
    assert labels(table) == {"ill": 2, "well": 2}
    assert table.passed_over == {LINKS: 3}


def test_kinds_are_named_most_first(tmp_path):
    assert named({".txt": 2, "masks": 1200}) == "1,200 masks, 2 .txt"
    assert walk(tmp_path).files == ()


def test_folders_that_hold_no_readable_image_are_named(tmp_path):
    write(tmp_path, *grid(("a", "b")))
    (tmp_path / "c").mkdir()
    (tmp_path / "d").mkdir()
    for number in range(3):
        (tmp_path / "d" / f"{number}.heic").touch()
    said = [note for note in read_listing(tmp_path).notes if "no image that is read" in note]
    assert said == [
        "folder 'c' holds no image that is read (it is empty): is it a class?",
        "folder 'd' holds no image that is read (3 .heic): is it a class?",
    ]
    for path in (tmp_path / "b").iterdir():
        path.rename(path.with_suffix(".heic"))
    with pytest.raises(UserError, match=r"one class only \('a'\); passed over: 5 \.heic"):
        read_listing(tmp_path)


def test_a_name_composed_otherwise_is_the_same_class_and_patient(tmp_path):
    one, other = "Be\u0301nin", "B\u00e9nin"
    write(tmp_path, *grid(("train",), (one, "Malin")), *grid(("test",), (other, "Malin")))
    assert set(labels(read_listing(tmp_path))) == {other, "Malin"}


def test_a_table_further_down_is_named(tmp_path):
    write(tmp_path, *grid(("images",)))
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "labels.csv").write_text("image,label,patient\n")
    with pytest.raises(UserError, match=r"--config\.data\.table=annotations/labels\.csv"):
        read_listing(tmp_path)


def test_folders_of_masks_called_after_class_folders(tmp_path):
    """benign/ beside benign_masks/."""
    table = read_listing(
        write(tmp_path, *grid(("benign", "benign_masks", "malignant", "malignant_masks")))
    )
    assert labels(table) == {"benign": 2, "malignant": 2} and table.passed_over == {"masks": 4}


def test_drawings_and_thumbnails_of_images_are_none(tmp_path):
    write(tmp_path, *grid(("a", "b")))
    for word in ("bbox", "heatmap", "thumb", "gradcam_1", "annotated"):
        write(tmp_path, f"a/0_{word}.png", f"b/own_{word}.png")
    table = read_listing(tmp_path)
    assert labels(table) == {"a": 2, "b": 7}
    assert table.passed_over == {"drawings or thumbnails of images": 5}


@pytest.mark.parametrize(
    "names",
    [
        ("x.png", "x_flip.png", "x_rot90.png", "x_aug_3.png"),
        tuple(f"x_png.rf.{number}a1b2c3d4e.png" for number in range(4)),
    ],
)
def test_copies_that_were_changed_on_disk_are_warned_about(tmp_path, names):
    write(tmp_path, *grid(("a", "b")), *(f"a/{name}" for name in names))
    notes = [n for n in read_listing(tmp_path).notes if "changed copies of others" in n]
    assert len(notes) == 1 and notes[0].startswith("3 images")
    assert not [n for n in read_listing(tmp_path, patient_pattern="^(.+)").notes if "changed" in n]


@pytest.mark.parametrize(
    ("pattern", "said"),
    [("(P", "is no regular expression"), ("0(x)?", "finds no patient in 0.png")],
)
def test_patterns_that_find_nothing(tmp_path, pattern, said):
    with pytest.raises(UserError, match=said):
        read_listing(write(tmp_path, *grid(("a", "b"))), patient_pattern=pattern)
