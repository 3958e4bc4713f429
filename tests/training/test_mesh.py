"""A mesh of devices gives the result of one."""

import os
import subprocess
import sys
from pathlib import Path


def test_eight_devices_equal_one():
    """Batches, score batches and training sets that do not divide by eight; runs spread over the run axis."""
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.eight_devices"],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    forms = ("step by step", "stage by stage", "streamed")
    kinds = ("one run", "four runs", *forms, "batch norms")
    assert done.stdout.splitlines() == [f"equal: {kind}" for kind in kinds]
