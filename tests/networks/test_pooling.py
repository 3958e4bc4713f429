"""Pooling against plain numpy and PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medtune_jax.networks.pooling import average_pool, max_pool
from tests.networks.reference import draw, every_form

pool_forms = every_form("pool_in_halves", "pool_windows")
POOLS = [(3, 2, 0, 13), (3, 2, 0, 14), (3, 2, 1, 12), (2, 2, 1, 3), (3, 1, 1, 6), (5, 3, 0, 14)]


def windows(x, window, stride, pad):
    """Every pooling window of a [H,W,C] map by Caffe's rule, clipped to the map: (row, column, values)."""
    height, width = x.shape[:2]

    def starts(n):
        # pooling_layer.cpp: ceil, then drop a last window that starts at or beyond n + pad
        out = int(np.ceil((n + 2 * pad - window) / stride)) + 1
        if pad and (out - 1) * stride >= n + pad:
            out -= 1
        return [i * stride - pad for i in range(out)]

    for i, top in enumerate(starts(height)):
        for j, left in enumerate(starts(width)):
            area = (min(top + window, height + pad) - top) * (
                min(left + window, width + pad) - left
            )
            part = x[max(top, 0) : top + window, max(left, 0) : left + window]
            yield i, j, part, area


@pool_forms
@pytest.mark.parametrize(("window", "stride", "pad", "side"), POOLS)
def test_pooling_follows_caffes_ceil_rule(window, stride, pad, side):
    x = np.asarray(draw(side, side + 1, 2)) - 5  # negative: padding must never win the maximum
    top = np.asarray(max_pool(jnp.asarray(x[None]), window, stride, pad))[0]
    mean = np.asarray(average_pool(jnp.asarray(x[None]), window, stride, pad))[0]
    expected = list(windows(x, window, stride, pad))
    rows, columns = expected[-1][0] + 1, expected[-1][1] + 1
    assert top.shape == mean.shape == (rows, columns, 2)
    for i, j, part, area in expected:
        np.testing.assert_allclose(top[i, j], part.max((0, 1)), rtol=1e-6)
        np.testing.assert_allclose(mean[i, j], part.sum((0, 1)) / area, rtol=1e-4)


@pool_forms
def test_ceil_pooling_keeps_the_last_column():
    """14 -> 7 with window 3 and stride 2: a floor rule would give 6 and lose the last pixel."""
    x = jnp.zeros((1, 14, 14, 1)).at[0, 13, 13, 0].set(1.0)
    y = max_pool(x, 3, 2)
    assert y.shape == (1, 7, 7, 1)
    assert y[0, 6, 6, 0] == 1


@pool_forms
@pytest.mark.parametrize(("window", "stride", "pad", "side"), POOLS)
def test_max_pool_gradient_goes_to_the_maximum(window, stride, pad, side):
    x = np.asarray(draw(side, side, 2))
    y, back = jax.vjp(lambda a: max_pool(a, window, stride, pad), jnp.asarray(x[None]))
    g = np.asarray(draw(*y.shape))
    want = np.zeros_like(x)
    for i, j, part, _ in windows(x, window, stride, pad):
        for c in range(2):
            row, column = np.argwhere(part[..., c] == part[..., c].max())[0]
            top, left = max(i * stride - pad, 0), max(j * stride - pad, 0)
            want[top + row, left + column, c] += g[0, i, j, c]
    np.testing.assert_allclose(back(jnp.asarray(g))[0][0], want, atol=1e-5)


@pool_forms
def test_a_tie_passes_its_gradient_to_the_first_maximum():
    gradient = jax.grad(lambda x: max_pool(x, 3, 2).sum())(jnp.zeros((1, 3, 3, 1)))
    want = np.zeros((1, 3, 3, 1))
    want[0, 0, 0, 0] = 1
    np.testing.assert_array_equal(gradient, want)


@pool_forms
def test_max_pool_against_torch():
    torch = pytest.importorskip("torch")
    x = draw(2, 14, 13, 3)
    y, back = jax.vjp(lambda a: max_pool(a, 3, 2), x)
    g = draw(*y.shape)
    other = torch.tensor(np.asarray(x).transpose(0, 3, 1, 2).copy(), requires_grad=True)
    out = torch.nn.functional.max_pool2d(other, 3, 2, ceil_mode=True)
    out.backward(torch.tensor(np.asarray(g).transpose(0, 3, 1, 2).copy()))
    np.testing.assert_allclose(y, out.detach().numpy().transpose(0, 2, 3, 1), atol=1e-6)
    np.testing.assert_allclose(back(g)[0], other.grad.numpy().transpose(0, 2, 3, 1), atol=1e-3)
