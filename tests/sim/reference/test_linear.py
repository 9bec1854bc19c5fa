"""The float reference against dense matrices, numpy's transforms and a direct sum."""

import numpy as np
import pytest

from wingbeat.sim.reference.linear import butterfly_multiply, fft, inverse_fft, mixing
from wingbeat.sim.reference.metrics import sqnr_db


def dense_factor(pairs, n, stride):
    """Dense matrix of one factor, entry by entry from the layout's definition."""
    matrix = np.zeros((n, n), dtype=pairs.dtype)
    for p in range(n // 2):
        a = p // stride * 2 * stride + p % stride
        b = a + stride
        matrix[a, a], matrix[a, b], matrix[b, a], matrix[b, b] = pairs[p].ravel()
    return matrix


@pytest.mark.parametrize("increasing", [True, False])
@pytest.mark.parametrize(
    "n_stacks, n_blocks, log_n, in_size, out_size",
    [
        (1, 1, 1, 2, 2),
        (1, 1, 4, 16, 16),
        (1, 2, 3, 8, 8),
        (1, 3, 3, 5, 8),
        (3, 1, 3, 8, 24),
        (3, 2, 3, 7, 19),
        (1, 2, 4, 13, 3),
    ],
)
def test_product_of_dense_factors(increasing, n_stacks, n_blocks, log_n, in_size, out_size):
    seed = 11
    rng = np.random.default_rng(seed)
    n = 1 << log_n
    twiddle = rng.standard_normal((n_stacks, n_blocks, log_n, n // 2, 2, 2))
    x = rng.standard_normal((4, in_size))
    stacks = []
    for stack in range(n_stacks):
        matrix, up = np.eye(n), increasing
        for block in range(n_blocks):
            for factor in range(log_n):
                stride = 2**factor if up else 2 ** (log_n - 1 - factor)
                matrix = dense_factor(twiddle[stack, block, factor], n, stride) @ matrix
            up = not up
        stacks.append(matrix[:, :in_size])
    want = x @ np.concatenate(stacks)[:out_size].T
    got = butterfly_multiply(twiddle, x, increasing, out_size)
    assert np.abs(got - want).max() < 1e-12 * np.abs(want).max(), f"seed {seed}"


@pytest.mark.parametrize("log_n", [1, 3, 6])
def test_fourier_transform_is_a_butterfly(log_n):
    """Factors [[1, w], [1, -w]] on bit-reversed input with increasing stride are the FFT."""
    seed, n = 5, 1 << log_n
    twiddle = np.ones((1, 1, log_n, n // 2, 2, 2), dtype=complex)
    for factor in range(log_n):
        w = np.exp(-2j * np.pi * (np.arange(n // 2) % 2**factor) / 2 ** (factor + 1))
        twiddle[0, 0, factor, :, 0, 1], twiddle[0, 0, factor, :, 1, 1] = w, -w
    x = np.random.default_rng(seed).standard_normal((3, n)) * (1 + 0.5j)
    order = [int(format(i, f"0{log_n}b")[::-1], 2) for i in range(n)]
    assert np.allclose(butterfly_multiply(twiddle, x[:, order]), fft(x), atol=1e-12), f"seed {seed}"


def test_transforms_by_direct_sum():
    seed = 6
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((4, 8)) + 1j * rng.standard_normal((4, 8))
    wave = np.exp(-2j * np.pi * np.outer(np.arange(8), np.arange(8)) / 8)
    assert np.allclose(fft(x), x @ wave), f"seed {seed}"
    assert np.allclose(inverse_fft(x), x @ wave.conj() / 8), f"seed {seed}"
    tokens = np.exp(-2j * np.pi * np.outer(np.arange(4), np.arange(4)) / 4)
    assert np.allclose(mixing(x.real), (tokens @ x.real @ wave).real), f"seed {seed}"


def test_sqnr():
    assert sqnr_db(np.array([3.0, 4.0]), np.array([3.0, 4.5])) == pytest.approx(20.0)
    assert sqnr_db(np.array([1j]), np.array([1.1j])) == pytest.approx(20.0)
    assert sqnr_db(np.ones(3), np.ones(3)) == float("inf")
    assert sqnr_db(np.zeros(3), np.ones(3)) == float("-inf")


@pytest.mark.parametrize(
    "shape, in_size, out_size, message",
    [
        ((1, 1, 3, 4, 2), 8, None, r"^twiddle: shape \(1, 1, 3, 4, 2\) is not"),
        ((1, 1, 3, 8, 2, 2), 8, None, "^twiddle: 8 blocks in a factor of size 8; allowed are 4$"),
        ((1, 1, 3, 4, 2, 2), 9, None, "^x: 9 elements in a row; at most 8 fit"),
        ((2, 1, 3, 4, 2, 2), 8, 17, "^out_size: 17 is not in 1..16$"),
    ],
)
def test_refused_shapes(shape, in_size, out_size, message):
    with pytest.raises(ValueError, match=message):
        butterfly_multiply(np.zeros(shape), np.zeros((1, in_size)), True, out_size)
