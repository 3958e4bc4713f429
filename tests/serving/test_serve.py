"""The page of a small study: over HTTP, in a browser, and what it refuses."""

import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlparse

import numpy as np
import pytest
from PIL import Image

from medtune_jax import cli
from medtune_jax.applications.predict import predict
from medtune_jax.errors import UserError
from medtune_jax.serving.answer import Served
from medtune_jax.study import default_config, sweep
from tests.serving.browser import CHROMIUM, Browser

SIDE = 64


@pytest.fixture(scope="module")
def study(tmp_path_factory, write_images):
    config = default_config()
    config.data.dir = str(write_images(tmp_path_factory.mktemp("images"), 14, 3, SIDE))
    config.image_size, config.training.epochs = SIDE, 3
    config.sweep.depths, config.sweep.seeds, config.sweep.fractions = "conv10", 2, "1.0"
    return sweep(config, tmp_path_factory.mktemp("study"), quiet=True)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("new") / "bright one.png"
    pixels = np.random.default_rng(1).normal(170, 30, (SIDE, SIDE, 3)).clip(0, 255)
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def address(study):
    """Of a server of its own process, as a user starts it."""
    pytest.importorskip("nicegui", reason="the extra serve is not installed")
    process = subprocess.Popen(
        [sys.executable, "-m", "medtune_jax.cli", "serve", str(study), "--port=0"],
        stdout=subprocess.PIPE,
        text=True,
        env={k: v for k, v in os.environ.items() if not k.startswith("PYTEST")},
    )
    yield process.stdout.readline().split()[0]
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0  # it is how a page ends


def dropped(folder, *files):
    """A folder of copies, as the page makes it."""
    (folder / "dropped").mkdir()
    for file in files:
        shutil.copy(file, folder / "dropped")
    return folder / "dropped"


def test_an_answer_is_what_predict_writes(study, image, tmp_path):
    predict(study, [image], tmp_path / "out", explain=True)
    head, row = ((tmp_path / "out" / "predictions.csv").read_text().splitlines())[:2]
    told = dict(zip(head.split(","), row.split(","), strict=True))
    found = Served(study).answer(dropped(tmp_path, image))
    assert found.called == told["called"]
    for name in ("bright", "dark"):
        assert found.probabilities[name] == (float(told[name]), float(told[f"spread_{name}"]))
    ((name, picture),) = found.pictures.items()
    assert picture.size == (2 * SIDE, SIDE) and name.startswith("maps/")
    assert not found.tables and all("/" not in note for note in found.notes)
    assert re.search(r"dark from \d\S* on, chosen on validation images", found.notes[0])


def test_files_that_are_dropped_together_are_answered_together(study, image, tmp_path):
    Image.new("RGB", (SIDE, SIDE)).save(tmp_path / "dark.png")
    (tmp_path / "no.png").write_bytes(b"no")
    files = (image, tmp_path / "dark.png", tmp_path / "no.png")
    found = Served(study).answer(dropped(tmp_path, *files))
    head, *rows = found.tables["predictions.csv"]
    assert [row[head.index("image")] for row in rows] == ["bright one.png", "dark.png"]
    assert str(tmp_path) not in str(found.tables)
    assert len(found.pictures) == 2 and not found.probabilities
    assert not any(name.startswith("logit") for name in head)
    assert found.notes[0] == "2 images"
    assert "1 of 3 could not be used" in " ".join(found.notes)


def test_what_cannot_be_read_is_one_sentence_without_a_path_of_ours(study, tmp_path, monkeypatch):
    (tmp_path / "no.png").write_bytes(b"no")
    served, given = Served(study), dropped(tmp_path, tmp_path / "no.png")
    with pytest.raises(UserError, match=r"no\.png") as error:
        served.answer(given)
    assert str(tmp_path) not in str(error.value)
    (given / "no.png").rename(given / "no.nii")
    (given / "b.nii").write_bytes(b"no")
    with pytest.raises(UserError, match="what was dropped holds no image"):
        served.answer(given)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    shutil.copy(Path(__file__).parents[2] / "docs/figures/serve.png", given / "a.png")
    served.answer(given)
    assert list(scratch.iterdir()) == []  # nothing of an answer stays


@pytest.mark.parametrize(
    "given, kept", [("../../a b.png", "a b.png"), ("..", "file"), (".x/<i>.dcm", "_i_.dcm")]
)
def test_a_name_is_no_path(given, kept):
    page = pytest.importorskip("medtune_jax.serving.page", reason="the extra serve is missing")
    assert page.plain(given) == kept


@pytest.mark.parametrize(
    "options, message",
    [
        ({"explain_stage": "fire99"}, "no stage 'fire99'"),
        ({"labels": "nowhere.csv"}, "there is no table"),
        ({"labels": __file__}, "takes no table of labels"),
    ],
)
def test_options_are_refused_before_the_first_file(study, options, message):
    with pytest.raises(UserError, match=message):
        Served(study, options)


def test_the_limits_are_those_of_the_model_card(study):
    limits = Served(study).limits
    assert list(limits) == ["Intended use", "Data", "Performance on the test set", "Limits"]
    assert re.search(r"AUC \| \d\.\d{3} \|", limits["Performance on the test set"])
    assert "no medical device" in limits["Intended use"]


def test_over_http(address):
    with urllib.request.urlopen(address) as answer:
        page = answer.read().decode()
    assert urlparse(address).hostname == "127.0.0.1"
    for text in ("bright / dark", "no medical device", "Performance on the test set"):
        assert text in page
    assert not re.search(r"(?:src|href)=\W*(?:https?:)?//", page)  # all is of this server
    other = urllib.request.Request(address, headers={"Host": "elsewhere.example"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(other)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_in_a_browser(address, image, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no")
    other = tmp_path / "other.png"
    Image.new("RGB", (SIDE, SIDE)).save(other)
    with Browser(tmp_path / "profile") as browser:
        browser.open(address, until="Drop here: an image")
        browser.give([image], until="Called: ")
        assert re.search(r"bright: [01]\.\d{3} ± 0\.\d{3} between networks", browser.text())
        browser.give([broken], until="could not be used")
        assert "Called" not in browser.text()
        browser.give([image, other], until="2 images")
        assert "predictions.csv" in browser.text()
    hosts = {urlparse(asked).hostname for asked in browser.requests if asked.startswith("http")}
    assert hosts == {"127.0.0.1"}
    assert browser.console == []


@pytest.mark.parametrize("port", ["x", "-1", "80.5", "65536"])
def test_what_is_no_port_is_refused(port, tmp_path, capsys):
    assert cli.run(["serve", str(tmp_path), f"--port={port}"]) == 2
    assert f"--port={port} is no port" in capsys.readouterr().err


def test_what_is_no_run_is_refused(tmp_path, capsys):
    pytest.importorskip("nicegui", reason="the extra serve is not installed")
    assert cli.run(["serve"]) == 2
    assert "give one run" in capsys.readouterr().err
    assert cli.run(["serve", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
