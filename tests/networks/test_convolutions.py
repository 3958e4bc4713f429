"""Every form of a convolution against XLA's own, and grouped ones against PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medtune_jax.networks import convolutions
from medtune_jax.networks.convolutions import convolution
from tests.networks.reference import draw, every_form, reference_convolution

convolution_forms = every_form("products", "split_groups", "depthwise_products", "space_to_depth")


@convolution_forms
@pytest.mark.parametrize(
    ("size", "stride", "pad", "channels"),
    [
        (11, 4, 2, 3),
        (11, 4, 0, 3),
        (7, 2, 0, 3),
        (7, 2, 3, 3),
        (3, 1, 1, 8),
        (3, 1, 1, 64),  # Winograd
        (1, 1, 0, 16),
        (1, 1, 1, 48),  # to a twelfth of the features
    ],
)
def test_every_form_has_the_gradients_of_the_convolution(size, stride, pad, channels):
    x, kernel = draw(2, 29, 30, channels), draw(size, size, channels, 4)
    _assert_as_reference(x, kernel, stride, pad)


@convolution_forms
@pytest.mark.parametrize(
    ("sides", "size", "stride", "pad"),
    [
        ((4, 4), 5, 1, 2),  # GoogLeNet's inception_4a to 4e at 64 px
        ((2, 2), 3, 1, 1),  # and 5a, 5b
        ((1, 1), 3, 1, 1),
        ((6, 2), 3, 1, 1),
        ((2, 3), 3, 2, 1),
        ((4, 5), 5, 3, 3),
    ],
)
def test_maps_smaller_than_the_kernel(sides, size, stride, pad):
    x, kernel = draw(3, *sides, 8), draw(size, size, 8, 4)
    assert convolutions._cpu_form(x, kernel, stride) is convolutions._convolve_windows
    _assert_as_reference(x, kernel, stride, pad)


def _assert_as_reference(x, kernel, stride, pad):
    """The convolution and both its gradients."""
    weight = draw(*reference_convolution(x, kernel, stride, pad).shape)

    def results(form):
        def both(a, b):
            y, back = jax.vjp(lambda a, b: form(a, b, stride, pad), a, b)
            return y, *back(weight)

        return jax.jit(both)(x, kernel)

    for got, want in zip(results(convolution), results(reference_convolution), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("sides", "pad"), [((7, 7), 1), ((8, 11), 0), ((8, 11), 2), ((12, 8), 0), ((12, 8), 1)]
)
def test_winograd_is_as_exact_as_the_direct_form(sides, pad):
    """Whole and broken tiles; float64 is the truth."""
    x, kernel = draw(2, *sides, 48), draw(3, 3, 48, 5)
    weight = draw(*reference_convolution(x, kernel, 1, pad).shape)

    def results(form, *arguments):
        def both(a, b):
            y, back = jax.vjp(lambda a, b: form(a, b, 1, pad), a, b)
            return y, *back(weight.astype(y.dtype))

        return jax.jit(both)(*arguments)

    with jax.enable_x64(True):
        wide = (np.asarray(x, np.float64), np.asarray(kernel, np.float64))
        truth = [np.asarray(a) for a in results(reference_convolution, *wide)]
    got = results(convolutions._convolve_winograd, x, kernel)
    direct = results(reference_convolution, x, kernel)
    for ours, xla, true in zip(got, direct, truth, strict=True):
        assert ours.shape == true.shape
        scale = abs(true).max()
        assert abs(ours - true).max() / scale < max(2e-6, 3 * abs(xla - true).max() / scale)


@pytest.mark.parametrize(
    ("shape", "dtype", "winograd"),
    [
        ((2, 28, 28, 96), jnp.float32, True),
        ((2, 28, 28, 96), jnp.bfloat16, False),  # too few digits for the transforms
        ((2, 224, 224, 64), jnp.float32, False),  # VGG-16's maps: too much memory
        ((2, 7, 7, 192), jnp.float32, False),
        ((2, 13, 13, 64), jnp.float32, False),
        ((2, 56, 56, 32), jnp.float32, False),
    ],
)
def test_where_winograd_is_chosen(shape, dtype, winograd):
    x, kernel = jnp.zeros(shape, dtype), jnp.zeros((3, 3, shape[-1], 4), dtype)
    form = convolutions._cpu_form(x, kernel, 1)
    assert (form is convolutions._convolve_winograd) == winograd


@convolution_forms
def test_grouped_convolution_and_its_gradients():
    x, kernel = draw(2, 9, 8, 6), draw(3, 3, 3, 8)
    weight = draw(2, 9, 8, 8)

    def total(form):
        return jax.jit(jax.value_and_grad(lambda a, b: (form(a, b) * weight).sum(), (0, 1)))(
            x, kernel
        )

    got = total(lambda a, b: convolution(a, b, 1, 1, groups=2))
    want = total(lambda a, b: reference_convolution(a, b, 1, 1, 2))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), got, want)


@convolution_forms
@pytest.mark.parametrize(
    ("size", "stride", "pad", "side"), [(5, 1, 2, 13), (3, 1, 1, 7), (3, 2, 0, 9)]
)
def test_grouped_convolution_against_torch(size, stride, pad, side):
    torch = pytest.importorskip("torch")
    x, kernel = draw(2, side, side + 1, 6), draw(size, size, 3, 8)
    y, back = jax.vjp(lambda a, b: convolution(a, b, stride, pad, groups=2), x, kernel)
    g = draw(*y.shape)
    images = torch.tensor(np.asarray(x).transpose(0, 3, 1, 2).copy(), requires_grad=True)
    weights = torch.tensor(np.asarray(kernel).transpose(3, 2, 0, 1).copy(), requires_grad=True)
    out = torch.nn.functional.conv2d(images, weights, stride=stride, padding=pad, groups=2)
    out.backward(torch.tensor(np.asarray(g).transpose(0, 3, 1, 2).copy()))
    of_x, of_kernel = back(g)
    for ours, theirs in (
        (y, out.detach().numpy().transpose(0, 2, 3, 1)),
        (of_x, images.grad.numpy().transpose(0, 2, 3, 1)),
        (of_kernel, weights.grad.numpy().transpose(2, 3, 1, 0)),
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)


@convolution_forms
@pytest.mark.parametrize(
    ("size", "stride", "pad", "side"), [(5, 1, 2, 13), (3, 1, 1, 7), (3, 2, 0, 9), (1, 1, 2, 4)]
)
def test_each_channel_alone(size, stride, pad, side):
    x, kernel = draw(3, side, side + 1, 6), draw(size, size, 1, 6)
    y, backward = jax.vjp(lambda a, b: convolution(a, b, stride, pad, groups=6), x, kernel)
    want, reference = jax.vjp(
        lambda a, b: reference_convolution(a, b, stride, pad, groups=6), x, kernel
    )
    g = draw(*y.shape)
    for ours, theirs in zip((y, *backward(g)), (want, *reference(g)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)
    kept = sum(leaf.size for leaf in jax.tree.leaves(backward))
    assert kept <= x.size + kernel.size  # and not what each tap saw
