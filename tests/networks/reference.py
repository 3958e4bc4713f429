"""What the tests of layers and of convolutions share: draws, and XLA's own convolution to compare with."""

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from medtune_jax.networks import forms

RNG = np.random.default_rng(0)


def every_form(*fields):
    """A decorator: the test runs with the forms of one backend for each way in which they differ in `fields`."""
    told = {tuple(getattr(own, f) for f in fields): name for name, own in forms.BY_BACKEND.items()}
    each = pytest.mark.parametrize("every_form", sorted(told.values()), indirect=True)
    return lambda test: pytest.mark.usefixtures("every_form")(each(test))


def draw(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def assert_near(got, want, tolerance=1e-5):
    """By norm: programs compiled otherwise round single values otherwise."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    assert np.linalg.norm(got - want) <= tolerance * np.linalg.norm(want)


def reference_convolution(x, kernel, stride, pad, groups=1):
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(pad, pad)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
