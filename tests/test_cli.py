"""The command line: help, one-sentence errors with exit code 2, Ctrl-C with 130."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medtune_jax import cli
from medtune_jax.study import default_config

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
CONFIG = str(CONFIGS / "image_folder.py")


@pytest.fixture
def images(tmp_path, write_images):
    return write_images(tmp_path, 12, 2, 63)


def _sweep(images, *more):
    return [
        "sweep",
        f"--config={CONFIG}",
        f"--config.data.dir={images}",
        "--config.image_size=63",
        *more,
    ]


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_has_help_with_an_example(verb, capsys):
    assert cli.run([verb, "--help"]) == 0
    text = capsys.readouterr().out
    assert "example:" in text and f"medtune {verb}" in text


@pytest.mark.parametrize("name", ["embolism", "image_folder", "polyps"])
def test_help_of_a_config_shows_all_its_fields(name, capsys):
    assert cli.run(["sweep", f"--config={CONFIGS / name}.py", "--help"]) == 0
    text = capsys.readouterr().out
    for field in default_config(name).data:
        assert f"--config.data.{field}" in text
    assert "--config.training.batch" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["swep"], "did you mean 'medtune sweep'"),
        (["sweep"], "no config given"),
        (["sweep", f"--config={CONFIG}"], "no output directory"),
        (
            ["sweep", f"--config={CONFIG}", "--config.sweep.depth=fc8"],
            "did you mean --config.sweep.depths?",
        ),
        (
            ["sweep", f"--config={CONFIG}", "--config.trainin.batch=4"],
            "did you mean --config.training.batch?",
        ),
        (
            ["sweep", f"--config={CONFIG}", "--config.training.xyzxyz=1"],
            "no flag --config.training.xyzxyz",
        ),
        (["sweep", f"--config={CONFIG}", "--config.data.dri=x"], "did you mean --config.data.dir?"),
        (["sweep", f"--config={CONFIG}", "--config.training.batch=many"], "batch"),
        (["sweep", "--config=nowhere.py", "--output=x"], "nowhere.py"),
        (["sweep", f"--config={CONFIG}", "--outptu=x"], "did you mean --output"),
        (["report", "/nonexistent"], "no study"),
        (["report", "x" * 300], "File name too long"),
        (["status", "~nobody-of-this-name/x"], "~nobody-of-this-name/x holds no study"),
        (["status", "~root/x"], "medtune: /"),
        (["cancel", ""], "give the directory of one study (got '')"),
        (["status", "--watch=3", "x"], "--watch=3: give true or false, or no value"),
        (
            ["sweep", f"--config={CONFIG}", "--output=x", "--executor.workers="],
            "--executor.workers is ''",
        ),
        (["networks", "alexnett"], "alexnet"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(arguments, said, capsys):
    assert cli.run(arguments) == 2
    text = capsys.readouterr().err
    assert said in text
    assert text.startswith("medtune: ") and text.count("\n") == 1


@pytest.mark.parametrize("name", ["embolism", "frame_quality", "intima_media", "polyps"])
def test_an_unknown_preset_is_one_sentence_and_exit_code_2(name, tmp_path, capsys):
    config = f"--config={CONFIGS / name}.py:tiny"
    assert cli.run(["sweep", config, f"--output={tmp_path}/o"]) == 2
    said = capsys.readouterr().err
    assert said == f"medtune: configs/{name}.py has no preset 'tiny': use :small or none\n"
    assert not (tmp_path / "o").exists()


def test_a_preset_of_a_config_without_any_is_refused(tmp_path, capsys):
    arguments = ["sweep", f"--config={CONFIGS / 'demo'}.py:tiny", f"--output={tmp_path}/o"]
    assert cli.run(arguments) == 2
    said = "medtune: this config has no presets: leave out the colon and what follows it\n"
    assert capsys.readouterr().err == said


def test_an_unknown_depth_names_the_nearest(images, tmp_path, capsys):
    arguments = _sweep(images, f"--output={tmp_path}/o", "--config.sweep.depths=fire11")
    assert cli.run(arguments) == 2
    assert "did you mean 'fire" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("flag", "said"),
    [("--config.rates.head=-1", "rates.head"), ("--config.training.batch=0", "training.batch")],
)
def test_an_impossible_number_is_refused(images, tmp_path, capsys, flag, said):
    assert cli.run(_sweep(images, f"--output={tmp_path}/o", flag)) == 2
    assert said in capsys.readouterr().err


def test_a_file_is_no_output_directory(images, capsys):
    assert cli.run(_sweep(images, f"--output={images}/labels.csv")) == 2
    assert "is a file" in capsys.readouterr().err


def test_ctrl_c_ends_with_130_and_keeps_finished_runs(images, tmp_path):
    arguments = _sweep(
        images,
        f"--output={tmp_path}/o",
        "--config.sweep.depths=conv10",
        "--config.sweep.seeds=50",
        "--config.training.epochs=2",
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.quick", "medtune_jax", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    runs = tmp_path / "o" / "runs"
    until = time.monotonic() + 300
    while not list(runs.glob("conv10-*")) and time.monotonic() < until:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "interrupted" in said and "Traceback" not in said
    finished = list(runs.glob("conv10-*"))
    assert finished and all((run / "result.json").is_file() for run in finished)


SHORT = ("--config.sweep.depths=conv10", "--config.sweep.seeds=1", "--config.training.epochs=1")


def test_a_sweep_in_which_no_run_succeeds_exits_with_1(images, tmp_path, capsys, monkeypatch):
    def broken(*_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr("medtune_jax.study.runs._train", broken)
    arguments = _sweep(images, *SHORT, f"--output={tmp_path / 'study'}")
    assert cli.run(arguments) == 1
    assert "runs failed" in capsys.readouterr().err
    assert "out of memory" in (tmp_path / "study" / "results.csv").read_text()
    monkeypatch.undo()
    assert cli.run(arguments) == 0


def test_the_home_folder_may_be_written_as_a_tilde(images, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    arguments = [
        a.replace(f"dir={tmp_path}", "dir=~") for a in _sweep(images, *SHORT, "--output=~/study")
    ]
    assert any("data.dir=~" in argument for argument in arguments) or not images.is_relative_to(
        tmp_path
    )
    assert cli.run(arguments) == 0
    assert (tmp_path / "study" / "report.html").is_file()
    assert cli.run(["report", "~/study"]) == 0
