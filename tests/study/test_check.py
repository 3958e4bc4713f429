"""`medtune check`: what is said of data before anything trains, and what is written."""

import csv
import json
import re
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medtune_jax import cli
from medtune_jax.study import default_config, report, sweep
from medtune_jax.study.check import check
from medtune_jax.study.prepare import prepare

SIDE = 40


@pytest.fixture
def folder(tmp_path):
    """train, val and test of two classes; NORMAL is gray, PNEUMONIA colour and brighter."""
    rng = np.random.default_rng(0)
    for split, number in (("train", 8), ("val", 2), ("test", 4)):
        for label, level in (("NORMAL", 90), ("PNEUMONIA", 160)):
            place = tmp_path / "data" / split / label
            place.mkdir(parents=True)
            for n in range(number):
                pixels = rng.normal(level, 30, (SIDE, SIDE)).clip(0, 255).astype(np.uint8)
                picture = Image.fromarray(pixels)
                picture = picture.convert("RGB") if label == "PNEUMONIA" else picture
                picture.save(place / f"{split}{n}.png")
    return tmp_path / "data"


def config_of(folder):
    config = default_config()
    config.data.dir = str(folder)
    config.image_size = 67
    config.sweep.depths = "conv10,fire9"
    config.sweep.seeds = 1
    return config


def small(application):
    path = Path(__file__).parents[2] / f"configs/{application}.py"
    return runpy.run_path(str(path))["get_config"]("small")


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_all_that_was_found_is_said(folder):
    train = folder / "train" / "NORMAL"
    shutil.copy(train / "train0.png", train / "train7.png")
    Image.open(train / "train1.png").save(train / "train6.jpg", quality=95)
    clear = Image.open(folder / "test" / "NORMAL" / "test0.png").convert("RGBA")
    clear.putpixel((3, 3), (0, 0, 0, 0))
    clear.save(folder / "test" / "NORMAL" / "test0.png")
    (folder / "Thumbs.db").write_text("x")
    (folder / "read.me").write_text("x")
    text = check(config_of(folder))
    for line in (
        f"{folder}: image_folder, classes NORMAL, PNEUMONIA",
        "found: 29 images",
        "files: PNG (28), JPEG (1)",
        "sizes (width x height): 40 x 40 (29)",
        "bits of a channel: 8 (29)",
        "colour: gray (14), RGB (14), RGB with alpha (1)",
        "data: transparent parts of 1 file with alpha are laid on white",
        "identical pictures of two images: 1 pair (train/NORMAL/train0.png = train/NORMAL/train7.png)",
        "nearly identical pictures of two images: 1 pair (train/NORMAL/train1.png = train/NORMAL/train6.jpg)",
        "data: folders are read as SPLIT/CLASS (--config.data.layout)",
        "data: passed over 1 .me, 1 hidden or system files",
        "class NORMAL: 11 images to train and validate on, 4 images to test",
        "class PNEUMONIA: 10 images to train and validate on, 4 images to test",
        "planned, fraction 1, seed 0: NORMAL 8 images to train on, 2 images to validate on; "
        "PNEUMONIA 8 images to train on, 2 images to validate on",
        "planned runs: 2, of depths only conv10, fire9-conv10",
    ):
        assert line in text.splitlines()


@pytest.mark.slow
def test_a_study_and_its_report_say_what_is_laid_on_white(folder, tmp_path):
    for path in sorted((folder / "train" / "PNEUMONIA").iterdir())[:3]:
        Image.open(path).convert("RGBA").save(path)
    config = config_of(folder)
    config.sweep.depths, config.training.epochs = "conv10", 1
    study = sweep(config, tmp_path / "study", quiet=True)
    report(study)
    said = "transparent parts of 3 files with alpha are laid on white"
    assert said in json.loads((study / "study.json").read_text())["data"]["notes"]
    assert f"Data: {said}." in (study / "report.html").read_text()


def test_warnings(folder):
    Image.new("L", (SIDE, SIDE), 7).save(folder / "test" / "NORMAL" / "blank.png")
    warned = [line for line in check(config_of(folder)).splitlines() if "warning" in line]
    assert any("the data name no patients" in line for line in warned)
    assert any("few images to test on ('NORMAL' 5, 'PNEUMONIA' 4)" in line for line in warned)
    assert any("1 image of one value everywhere (test/NORMAL/blank.png)" in line for line in warned)
    assert any("29 files smaller than the network's 67 px" in line for line in warned)
    assert any("the colour of its file tells the class" in line for line in warned)


def test_no_warning_of_what_tells_no_class(folder):
    for path in (folder / "test").rglob("*.png"):
        Image.open(path).convert("RGB").save(path)
    assert "tells the class" not in check(config_of(folder))


def test_a_class_many_times_the_other_is_warned_about(folder):
    rng = np.random.default_rng(1)
    for n in range(140):
        pixels = rng.integers(0, 255, (SIDE, SIDE), np.uint8)
        Image.fromarray(pixels).save(folder / "train" / "NORMAL" / f"more{n}.png")
    assert "warning: class 'NORMAL' is 11 times as large as 'PNEUMONIA'" in check(config_of(folder))


def test_patients_are_counted_with_their_images(tmp_path, write_images):
    text = check(config_of(write_images(tmp_path, 20, 2, SIDE)))
    assert (
        "class dark: 8 patients (16 images) to train and validate on, 2 patients (4 images) to test"
        in text
    )
    assert (
        "seed 0: bright 6 patients (12 images) to train on, 2 patients (4 images) to validate on"
        in text
    )
    assert "data: images, labels and patients are read from labels.csv" in text
    assert "identical pictures of two patients: none" in text
    assert "name no patients" not in text


def test_output_and_nothing_else(folder, tmp_path, capsys):
    before = files(folder)
    assert cli.run(["check", str(folder)]) == 0
    assert files(tmp_path) == files(folder.parent) and files(folder) == before
    out = tmp_path / "out"
    assert cli.run(["check", str(folder), f"--output={out}"]) == 0
    assert files(out) == ["check.txt", "sheet.png", "splits.csv"] and files(folder) == before
    assert capsys.readouterr().out.endswith((out / "check.txt").read_text())
    rows = list(csv.DictReader((out / "splits.csv").open()))
    assert len(rows) == 28 and {row["split"] for row in rows} == {"train", "test"}
    assert all(row["split"] == ("test" if "test/" in row["image"] else "train") for row in rows)


def test_the_sheet_has_a_row_a_class_of_its_own_pixels(folder, tmp_path):
    check(config_of(folder), tmp_path / "out")
    sheet = np.asarray(Image.open(tmp_path / "out" / "sheet.png").convert("L"), float)
    upper, lower = sheet[10:120], sheet[170:280]
    assert sheet.shape == (2 * (128 + 32) + 6, 8 * 134 + 6)
    assert abs(upper[:, 6:134].mean() - 90) < 5 and abs(lower[:, 6:134].mean() - 160) < 5
    assert abs(upper[:, -134:-6].mean() - 90) < 5


def test_splits_can_be_read_as_labels(folder, tmp_path):
    check(config_of(folder), tmp_path / "out")
    shutil.copy(tmp_path / "out" / "splits.csv", folder / "labels.csv")
    text = check(config_of(folder))
    assert "class NORMAL: 10 patients (10 images) to train and validate on, 4 patients" in text


def test_what_a_sweep_refuses_is_bad_input(tmp_path, folder, capsys):
    assert cli.run(["check", str(tmp_path / "nothing")]) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert cli.run(["check"]) == 2
    for path in (folder / "train" / "NORMAL").glob("*"):
        path.unlink()
    shutil.rmtree(folder / "val")
    assert cli.run(["check", str(folder)]) == 2
    assert "no image of class 'NORMAL'" in capsys.readouterr().err


def test_fields_of_a_config(folder, tmp_path, capsys):
    file = tmp_path / "c.py"
    file.write_text(
        "from medtune_jax.study import default_config\n"
        "def get_config():\n    return default_config('image_folder')\n"
    )
    given = [
        "check",
        str(folder),
        f"--config={file}",
        "--config.sweep.seeds=2",
        "--config.image_size=67",
    ]
    assert cli.run([*given, "--config.data.duplicates=none"]) == 0
    text = capsys.readouterr().out
    assert "seed 1" in text and "seed 2" not in text and "nearly" not in text
    assert cli.run([*given, "--config.data.duplicates=some"]) == 2


def test_several_findings_an_image(tmp_path):
    rng, said = np.random.default_rng(0), ("Effusion", "Mass", "Effusion|Mass", "No Finding")
    rows = ["image,label,patient"]
    for n in range(60):
        Image.fromarray(rng.integers(0, 255, (SIDE, SIDE), np.uint8)).save(tmp_path / f"{n}.png")
        rows.append(f"{n}.png,{said[n % 4]},p{n // 2}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    config = config_of(tmp_path)
    config.data.findings, config.training.balance = "all", "none"
    text = check(config, tmp_path / "check")
    assert "finding Effusion: 24 patients" in text
    with (tmp_path / "check" / "splits.csv").open(newline="") as stream:
        labels = [row["label"] for row in csv.DictReader(stream)]
    assert [labels.count(label) for label in said] == [15, 15, 15, 15]


@pytest.mark.slow
def test_frames_with_masks_beside_them(tmp_path):
    """The masks of frames are files too, and are said to be among those counted."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:64, :80]
    for video in range(6):
        folder = tmp_path / f"DATA/v{video}"
        (folder / "masks").mkdir(parents=True)
        polyp = np.hypot(rows - rng.integers(20, 44), columns - rng.integers(20, 60)) < 9
        for frame in range(2):
            light = rng.normal(110, 10, (64, 80, 3)) + 70 * polyp[..., None]
            Image.fromarray(light.clip(0, 255).astype(np.uint8)).save(folder / f"{frame}.png")
            Image.fromarray(polyp).save(folder / f"masks/{frame}.png")
    config = small("polyps")
    config.data.dir = str(tmp_path / "DATA")
    config.data.detector_frames, config.data.train_patches, config.sweep.fractions = 6, 80, "1.0"
    said = check(config)
    assert f"{tmp_path}/DATA: polyps, classes no polyp, polyp" in said
    assert "found: 6 videos, 12 frames, " in said
    assert "image files below the folder, masks too: PNG (24)" in said


def test_what_is_not_judged_is_counted_and_listed(tmp_path):
    config = small("intima_media")
    config.data.subjects, config.sweep.fractions = 6, "1.0"
    lines = check(config, tmp_path).splitlines()
    found, aside = (
        _patches(next(line for line in lines if line.startswith(start)))[0]
        for start in ("found: 6 subjects", "not judged, since their class is in doubt")
    )
    judged = [_patches(line) for line in lines if line.startswith("class ")]
    assert aside > 0 and found - aside == sum(map(sum, judged))
    dataset = prepare(config, tmp_path / "study").dataset
    with (tmp_path / "splits.csv").open(newline="") as stream:
        listed = {(row[0], row[-1]) for row in csv.reader(stream)}
    for split, chosen in (
        ("train", ~dataset.test),
        ("test", dataset.test & dataset.is_judged),
        ("not judged", dataset.test & ~dataset.is_judged),
    ):
        assert {name for name, side in listed if side == split} == set(dataset.names[chosen])


def _patches(line):
    return [int(number.replace(",", "")) for number in re.findall(r"([\d,]+) patches", line)]
