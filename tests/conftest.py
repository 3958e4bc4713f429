"""Settings and fixtures for all tests."""

import os
import signal
import tempfile
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from PIL import Image

from tests import quick

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# A shell starts what it runs in the background with Ctrl-C ignored, and launchers would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Compiling is most of the tests' time, and many compile the same program: one cache for the session.
_CACHE = tempfile.TemporaryDirectory(prefix="medtune-tests-")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", _CACHE.name)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

os.environ.setdefault("XLA_FLAGS", quick.xla_flags())

# No test measures time, on a busy machine least of all.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

_BESIDE = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture(scope="session", autouse=True)
def quickly():
    with quick.programs(), quick.pictures():
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the repository; tests that need it are skipped without it."""
    data = Path(os.environ.get("MEDTUNE_SHARED", _BESIDE)) / "data"
    if not data.is_dir():
        pytest.skip(f"no real data at {data} (set MEDTUNE_SHARED)")
    return data


@pytest.fixture(scope="session")
def write_images():
    """A function that writes an image folder: `each` images of every patient, all dark or all bright."""

    def write(folder: Path, patients: int, each: int, side: int) -> Path:
        rng = np.random.default_rng(0)
        rows = ["image,label,patient"]
        for number in range(patients * each):
            bright = number // each % 2
            shape = (side, side, 3)
            pixels = rng.normal(80 + 90 * bright, 30, shape).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
            label = "bright" if bright else "dark"
            rows.append(f"{number}.png,{label},p{number // each}")
        (folder / "labels.csv").write_text("\n".join(rows) + "\n")
        return folder

    return write


@pytest.fixture(scope="session")
def images(tmp_path_factory, write_images):
    """Forty of ten patients, which no test changes."""
    return write_images(tmp_path_factory.mktemp("images"), 10, 4, 64)
