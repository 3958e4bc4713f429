"""New images in, contours and thickness out, with a network that knows dark from bright only."""

import csv
import re

import numpy as np
import pytest
from PIL import Image, ImageDraw

from medtune_jax import cli, weights
from medtune_jax.applications.ensemble import Ensemble
from medtune_jax.applications.intima_media.doubts import warn_about
from medtune_jax.applications.intima_media.overlay import overlay
from medtune_jax.applications.intima_media.patches import LI, MA
from medtune_jax.applications.intima_media.predict import (
    ERRORS,
    classifier_of,
    measure,
    summary,
)
from medtune_jax.applications.intima_media.show import show
from medtune_jax.applications.intima_media.truth import error_row
from medtune_jax.applications.predict import load, predict
from medtune_jax.applications.show import picture_of
from medtune_jax.datasets.carotid.files import read_new
from medtune_jax.datasets.carotid.roi import Roi
from medtune_jax.errors import UserError
from medtune_jax.phantoms.ultrasound import generate
from medtune_jax.study import default_config, sweep
from medtune_jax.weights import pretrained
from tests.phantoms.subjects import write_subjects

CONFIG = {**default_config("intima_media").to_dict(), "image_size": 67}
CONFIG["data"]["patch"] = 32.0


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with kept weights, as a sweep leaves it: pre-trained stages, an untrained head."""
    folder = tmp_path_factory.mktemp("run")
    save_weights(folder / "weights", CONFIG)
    (folder / "result.json").write_text("{}")
    return folder


def save_weights(folder, config, classes=3):
    source = pretrained("squeezenet")
    kernel = np.random.default_rng(0).normal(0, 0.002, (1, 1, 512, classes)).astype(np.float32)
    head = {"kernel": kernel, "bias": np.zeros(classes, np.float32)}
    provenance = {"source": "a test", "config": config}
    params = {**source.params, "conv10": head}
    return weights.save(folder, params, "squeezenet", source.preprocessing, provenance)


@pytest.fixture
def images(tmp_path):
    return write_subjects(tmp_path / "new", subjects=1, rois=2, seed=4)


class Oracle:
    """Knows the interfaces of a phantom: stands in for a trained network."""

    patch = 32.0

    def __init__(self, phantom, confidence=0.9):
        self._truth, self._confidence = (phantom.li, phantom.ma), confidence

    def convolutional(self, image, columns):
        found = np.zeros((*image.shape, 3))
        rows = np.arange(len(image))[:, None]
        for label, truth in zip((LI, MA), self._truth, strict=True):
            bump = np.exp(-((rows - truth) ** 2) / 2)
            found[..., label] = self._confidence * bump
        return found[:, columns]

    exact = convolutional


def roi_of(phantom, image=None, mm_per_pixel=1 / 15):
    untraced = np.full(92, np.nan)
    image = phantom.image if image is None else image
    return Roi(image, untraced, untraced, mm_per_pixel, "s", "new/roi.png")


def test_thickness_is_measured_in_millimetres():
    phantom = generate(0, 1, seed=4)[0]
    found = measure(Oracle(phantom), roi_of(phantom))
    truth = (phantom.ma - phantom.li) / 15
    assert found.thickness.mean == pytest.approx(truth.mean(), abs=0.01)
    assert found.thickness.maximum == pytest.approx(truth.max(), abs=0.03)
    assert found.thickness.unit == "mm"
    assert (found.roi.li < found.roi.ma).all()
    assert not found.warnings


def test_low_confidence_and_burnt_in_text_are_warned_about():
    phantom = generate(0, 1, seed=4)[0]
    unsure = measure(Oracle(phantom, confidence=0.3), roi_of(phantom))
    assert any("confidence is low in 100%" in line for line in unsure.warnings)
    picture = Image.fromarray(phantom.image)
    ImageDraw.Draw(picture).text((20, 8), "CCA L 7.5", fill=255)
    marked = measure(Oracle(phantom), roi_of(phantom, np.asarray(picture)))
    assert any("text or marks" in line for line in marked.warnings)
    assert marked.contours.low_confidence[20:60].any()


def test_without_calibration_pixels_are_offered():
    phantom = generate(0, 1, seed=4)[0]
    with pytest.raises(UserError, match=r"no calibration.*--mm_per_pixel.*--unit=px"):
        measure(Oracle(phantom), roi_of(phantom, mm_per_pixel=None))
    found = measure(Oracle(phantom), roi_of(phantom, mm_per_pixel=None), unit="px")
    assert found.thickness.mean == pytest.approx((phantom.ma - phantom.li).mean(), abs=0.15)


def test_an_image_smaller_than_a_patch_is_refused():
    phantom = generate(0, 1, seed=4)[0]
    with pytest.raises(UserError, match="92 x 20 px, smaller than a patch of 32 px"):
        measure(Oracle(phantom), roi_of(phantom, phantom.image[:20]))
    with pytest.raises(UserError, match="mode is 'fast'"):
        measure(Oracle(phantom), roi_of(phantom), mode="fast")


def test_the_verb_writes_contours_thickness_and_overlays(run, images, tmp_path, capsys):
    image, output = images / "subject0000" / "roi0.png", tmp_path / "out"
    Image.open(image).crop((0, 10, 40, 50)).save(image)  # a small one is measured sooner
    given = [f"--run={run}", str(image), f"--output={output}", "--labels=none"]
    assert cli.run(["predict", *given]) == 0
    assert "mm" in capsys.readouterr().out
    (row,) = csv.DictReader((output / "thickness.csv").open())
    assert row["unit"] == "mm"
    columns = list(csv.DictReader((output / "subject0000-roi0.contours.csv").open()))
    assert [int(c["x"]) for c in columns] == list(range(40))
    thickness = np.array([float(c["thickness_mm"]) for c in columns])
    assert float(row["mean"]) == pytest.approx(thickness.mean(), abs=1e-3)
    assert float(row["maximum"]) == pytest.approx(thickness.max(), abs=1e-3)
    for c in columns:
        assert float(c["ma"]) - float(c["li"]) == pytest.approx(
            15 * float(c["thickness_mm"]), abs=0.01
        )
    assert Image.open(output / "subject0000-roi0.overlay.png").size == (40 * 6, 40 * 6)


def test_a_run_without_weights_says_how_to_keep_them(images, tmp_path):
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(UserError, match="kept no weights"):
        predict(tmp_path, [images], tmp_path / "out")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"application": "intima_media", "data": {"patch": 32.0}},
            r"another version.*no data\.layout",
        ),
        ({}, "not trained by a study"),
    ],
)
def test_a_network_that_cannot_predict_is_refused(images, tmp_path, config, message):
    save_weights(tmp_path / "other", config)
    with pytest.raises(UserError, match=message):
        predict(tmp_path / "other", [images], tmp_path / "out")


def test_the_options_of_a_run_are_its_application_s(run, images, tmp_path, capsys):
    assert cli.run(["predict", "--help"]) == 0
    assert "--unit" not in capsys.readouterr().out
    assert cli.run(["predict", f"--run={run}", "--help"]) == 0
    assert "--unit='mm': of the thickness: mm or px" in capsys.readouterr().out
    command = ["predict", f"--run={run}", str(images), f"--output={tmp_path}"]
    assert cli.run([*command, "--unitt=px"]) == cli.BAD_INPUT
    assert "did you mean --unit?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output=x", "a.png"], "no network given"),
        (["--run=x", "a.png"], "no output directory given"),
        (["--run=x", "--output=y", "a.png"], "x is neither a study nor a run of one: give STUDY"),
        (["--run={run}", "--output=y"], "no input given"),
        (["--run={run}", "--output=y", "nowhere.png"], "nowhere.png does not exist"),
    ],
)
def test_bad_command_lines_say_what_is_missing(run, arguments, message, capsys):
    assert cli.run(["predict", *(a.format(run=run) for a in arguments)]) == cli.BAD_INPUT
    assert message in capsys.readouterr().err


def test_what_was_mended_beside_an_image_is_read_anew(run, images, tmp_path):
    image, table = images / "subject0000" / "roi0.png", images / "calibration.csv"
    Image.open(image).crop((0, 10, 40, 50)).save(image)
    content = table.read_bytes()
    table.unlink()
    with pytest.raises(UserError, match=r"1 of 1 could not be used; mend.*\n.*no calibration"):
        predict(run, [image], tmp_path / "out", labels="none")
    table.write_bytes(content)
    assert "mean" in predict(run, [image], tmp_path / "out", labels="none").summary


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unit": "cm"}, "unit is 'cm': choose mm or px"),
        ({"mm_per_pixel": 0.0}, "0 mm per pixel is not plausible"),
        ({"mm_per_pixel": -0.06}, "-0.06 mm per pixel is not plausible"),
    ],
)
def test_options_that_measure_nothing_are_refused(run, images, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        predict(run, [images], tmp_path / "out", **options)


def test_what_is_half_there_is_said(run, tmp_path):
    """A contour without its twin, and a calibration of other images."""
    new = write_subjects(tmp_path / "new", subjects=1, rois=1, seed=4)
    folder = new / "subject0000"
    (folder / "roi0.MA.csv").unlink()
    (note,) = warn_about(read_new(folder / "roi0.png"))
    assert "roi0.LI.csv is alone" in note
    (new / "calibration.csv").write_text("image,mm_per_pixel\nelsewhere.png,0.06\n")
    with pytest.raises(UserError, match=r"no calibration \(.*calibration\.csv does not name it"):
        predict(run, [folder / "roi0.png"], tmp_path / "out")


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ("film.mp4", {}, r"film\.mp4 is no image, which this study was trained on"),
        ("empty", {}, "empty holds no image, which"),
        ("empty", {"labels": "truth.csv"}, r"labels is 'truth\.csv': contours are read from"),
    ],
)
def test_inputs_of_another_kind_are_refused(run, tmp_path, given, options, message):
    (tmp_path / "film.mp4").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=message):
        predict(run, [tmp_path / given], tmp_path / "out", **options)


def test_two_images_of_one_name_are_refused(run, images, tmp_path):
    image = images / "subject0000" / "roi0.png"
    with pytest.raises(UserError, match="same name"):
        predict(run, [image, image], tmp_path / "out")


def test_the_summary_lists_warnings_below_their_image():
    phantom = generate(0, 1, seed=4)[0]
    lines = summary([measure(Oracle(phantom, 0.3), roi_of(phantom))]).splitlines()
    assert lines[0].startswith("new/roi.png: mean 0.")
    assert lines[1].startswith("  warning: ")


def test_contours_are_drawn_where_they_are():
    image = np.zeros((40, 50), np.uint8)
    picture = np.asarray(overlay(image, np.full(50, 10.0), np.full(50, 25.0), np.arange(50) == 7))
    yellow = (picture[..., 0] > 200) & (picture[..., 2] < 50) & (picture[..., 1] > 150)
    rows = np.flatnonzero(yellow.any(axis=1)) / 6 - 0.5
    assert rows.mean() == pytest.approx(10.0, abs=0.3)
    red = (picture[..., 0] > 200) & (picture[..., 1] < 100)
    assert set(np.flatnonzero(red.any(axis=0)) // 6) <= {7, 8}


def test_show_draws_the_regions_of_a_folder(images):
    sheet = show(images)
    np.testing.assert_array_equal(picture_of(images), sheet)  # as `medtune data show`
    assert sheet.width > 2 * 92 * 6
    yellow = (np.asarray(sheet) == (255, 214, 0)).all(axis=-1)
    assert yellow[:, : sheet.width // 2].any()
    assert yellow[:, sheet.width // 2 :].any()


def test_several_networks_labels_and_what_cannot_be_read(run, tmp_path):
    new = write_subjects(tmp_path / "new", subjects=2, rois=1, seed=4)
    (new / "subject0000" / "broken.png").write_bytes(b"no")
    one, two = tmp_path / "one", tmp_path / "two"
    found = predict(run, [new], one)
    assert "1 of 3 could not be used" in found.unreadable and "broken.png" in found.unreadable
    assert len((one / "thickness.csv").read_text().splitlines()) == 3
    metrics = list(csv.DictReader((one / "metrics.csv").open()))
    assert [row["figure"] for row in metrics] == [f"{name}_um" for name in ERRORS]
    image = new / "subject0000" / "roi0.png"
    roi = read_new(image)
    measured = measure(classifier_of(load(run)), roi)
    direct = error_row(roi, measured.roi.li, measured.roi.ma)["li_px"] * roi.mm_per_pixel * 1000
    alone = tmp_path / "alone"
    predict(run, [image], alone)
    first = next(csv.DictReader((alone / "metrics.csv").open()))
    assert float(first["estimate"]) == pytest.approx(direct, rel=1e-4)
    assert "at least" in first["why"]  # of one subject there is no interval
    predict(run, [image], tmp_path / "unlabelled", labels="none")
    assert not (tmp_path / "unlabelled" / "metrics.csv").exists()
    # Two networks that are the same say the same, and differ by nothing.
    predict(Ensemble((load(run), load(run))), [image], two)
    own = [next(csv.DictReader((folder / "thickness.csv").open())) for folder in (alone, two)]
    assert own[0]["mean"] == own[1]["mean"] and float(own[1]["spread"]) == 0


@pytest.mark.slow
def test_the_test_regions_own_pixels_get_the_scores_of_the_study(tmp_path):
    data = write_subjects(tmp_path / "data", subjects=5, rois=1, seed=0)
    config = default_config("intima_media")
    config.network, config.image_size, config.data.dir = "squeezenet", 67, str(data)
    config.data.train_patches, config.data.column_step = 90, 30
    config.sweep.depths, config.sweep.fractions, config.sweep.seeds = "conv10", "1.0", 1
    config.training.epochs, config.training.keep_weights = 1, True
    sweep(config, tmp_path / "study", quiet=True)
    (run,) = (tmp_path / "study" / "runs").iterdir()
    classifier = classifier_of(load(run))
    seen = {}
    compared = 0
    for row in csv.DictReader((run / "scores.csv").open()):
        name, y, x = re.fullmatch(r"(.+) row ([0-9.]+) column (\d+)", row["image"]).groups()
        if (name, x) not in seen:
            image = np.asarray(Image.open(data / f"{name}.png").convert("L"))
            seen[name, x] = classifier.exact(image, np.array([int(x)]))[:, 0]
        own = [float(row[kind]) for kind in ("background", "lumen-intima", "media-adventitia")]
        np.testing.assert_allclose(seen[name, x][int(float(y))], own, atol=1e-6)
        compared += 1
    assert compared > 100
