"""A mesh of devices gives the result of one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.quick import devices
from tests.sharing.test_several_hosts import places


def test_eight_devices_equal_one():
    """Batches, score batches and training sets that do not divide by eight; runs spread over the run axis."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.quick", "tests.training.eight_devices"],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **devices(8)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    forms = ("step by step", "stage by stage", "streamed")
    kinds = ("one run", "four runs", *forms, "batch norms")
    assert done.stdout.splitlines() == [f"equal: {kind}" for kind in kinds]


@pytest.mark.slow
def test_each_of_two_processes_holds_its_part_of_patches_and_features():
    """Four devices each: of 80 rows a device has ten, a process reads and computes forty; the figures of one device.

    Of 80 crops there are 40 sources, and a streamed batch has 40 patches.
    """
    alone, *both = _parted([devices(1), *({**place, **devices(4)} for place in places())])
    assert alone.pop("devices") == 1 and [each["devices"] for each in both] == [8, 8]
    for kind in alone:
        rows = 80 if kind in ("pixels", "features", "features of crops") else 40
        assert alone[kind]["kept"] == rows
        for each in both:
            assert (each[kind]["kept"], each[kind]["a_device"]) == (rows // 2, [rows // 8] * 4)
            for figure in ("losses", "scores"):
                np.testing.assert_allclose(each[kind][figure], alone[kind][figure], atol=1e-5)


def _parted(environments):
    """What parted.py prints as a process of each."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.quick", "tests.training.parted"],
            cwd=Path(__file__).parents[2],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for environment in environments
    ]
    ends = [process.communicate(timeout=300) for process in processes]
    assert all(process.returncode == 0 for process in processes), ends
    return [json.loads(printed.splitlines()[-1]) for printed, _ in ends]
