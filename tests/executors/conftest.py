"""A study of twelve jobs, each long enough to be interrupted, and its results by one process that nobody disturbs."""

from functools import partial
from pathlib import Path

import pytest

from tests.sharing import launchers
from tests.sharing.launchers import command, finished, results

launch = partial(launchers.launch, quick=False)

TWELVE = {
    "sweep__depths": "fire9",
    "sweep__fractions": ",".join(f"{1 - 0.05 * n:.2f}" for n in range(12)),
    "sweep__seeds": 1,
    "training__epochs": 25,
    "training__patience": 25,
    "training__batch": 4,
}


@pytest.fixture(scope="session")
def images(tmp_path_factory, write_images):
    return write_images(tmp_path_factory.mktemp("images"), 24, 4, 64)


@pytest.fixture(scope="session")
def alone(images, tmp_path_factory):
    study = tmp_path_factory.mktemp("alone") / "study"
    code, said = finished(launch(command(images, study, **TWELVE)))
    assert code == 0, said
    found = results(study)
    assert len(found) == 12 * 3
    return found


def lives(pid):
    """Whether a process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
