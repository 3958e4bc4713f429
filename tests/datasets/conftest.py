"""Fixtures of the tests of data sets."""

import numpy as np
import pytest


@pytest.fixture
def hu():
    """int16 [6, 9, 11]."""
    return np.random.default_rng(0).integers(-1024, 3071, (6, 9, 11)).astype(np.int16)
