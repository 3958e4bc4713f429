"""What a sweep would do, before it does it."""

import re

import pytest

from medtune_jax import cli
from tests.executors.conftest import TWELVE
from tests.sharing.launchers import command


@pytest.fixture
def images(tmp_path, write_images):
    folder = tmp_path / "images"
    folder.mkdir()
    return write_images(folder, 10, 4, 64)


def dry(images, study, capsys, *more, **fields):
    assert cli.run([*command(images, study, **fields), "--dry-run", *more]) == 0
    assert not study.exists()
    return capsys.readouterr().out


def test_jobs_sizes_and_hours_from_measured_steps(images, tmp_path, capsys):
    said = dry(
        images,
        tmp_path / "study",
        capsys,
        sweep__depths="conv10,scratch",
        training__epochs=5,
        training__batch=8,
    )
    assert "6 jobs, 12 runs, 1 workers (local)" in said
    lines = re.findall(
        r"  (\S+): 2 runs, (\d+) patches, (\d+) stages tuned, at most (\d+) steps, (\S+) ms a step",
        said,
    )
    assert [line[0] for line in lines][:4] == [
        "conv10-f1",
        "conv10-f0.75",
        "conv10-f0.5",
        "scratch-f1",
    ]
    assert lines[0][1] > lines[2][1]
    for _, patches, _, steps, _ in lines:  # five epochs of two seeds
        assert int(steps) == 5 * 2 * -(-int(patches) // 8)
    by_depth = {line[0].split("-")[0]: float(line[4]) for line in lines}
    assert len(by_depth) == 2 and all(ms > 0 for ms in by_depth.values())
    assert re.search(r"device hours: at most \S+, by steps measured on this machine", said)


def test_workers_are_counted(images, tmp_path, capsys):
    said = dry(images, tmp_path / "study", capsys, "--executor.workers=2", **TWELVE)
    assert "12 jobs, 12 runs, 2 workers (local)" in said


@pytest.mark.parametrize(
    "more",
    [["--executor=slurm", "--executor.gres=gpu:1"], ["--executor=ray", "--executor.num_gpus=1"]],
)
def test_what_cannot_be_measured_here_is_said(images, tmp_path, capsys, more):
    said = dry(images, tmp_path / "study", capsys, *more)
    assert "device hours: not estimated, since this machine has no accelerator" in said
    assert "ms a step" not in said and "conv10-f1: 2 runs" in said
