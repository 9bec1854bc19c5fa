"""Unit-pivot algebra against the dense product of the blocks, in float64."""

import numpy as np
import pytest

from wingbeat.gen.compiler.kernel.layers import pair_indices
from wingbeat.gen.compiler.kernel.unit_pivot import block_layers, merge_layers, stack_layers, unit_pivot
from wingbeat.sim.reference.linear import butterfly_multiply

TOLERANCE = 1.5e-15  # relative, root mean square over all elements


def blocks(kind, n_blocks, log_n, rng):
    """A twiddle (nblocks, log_n, n/2, 2, 2) of one kind."""
    shape = (n_blocks, log_n, 1 << log_n >> 1)
    if kind == "orthogonal":
        angle = rng.uniform(0, 2 * np.pi, shape)
        c, s = np.cos(angle), np.sin(angle)
        return np.stack([c, s, -s, c], axis=-1).reshape(*shape, 2, 2)
    twiddle = rng.standard_normal((*shape, 2, 2)) / np.sqrt(2)
    if kind == "zero-rows":
        twiddle[rng.random((*shape, 2)) < 0.2] = 0
    elif kind == "trained":
        twiddle = np.eye(2) + 0.3 * twiddle
    elif kind == "wild":
        twiddle = twiddle * np.exp(6 * rng.standard_normal((*shape, 2, 2)))
    return twiddle


def relative_error(measured, exact):
    return np.sqrt(np.sum((measured - exact) ** 2) / np.sum(exact ** 2))


@pytest.mark.parametrize("increasing", [True, False])
@pytest.mark.parametrize("kind", ["random", "orthogonal", "zero-rows", "trained", "wild"])
@pytest.mark.parametrize("log_n", [1, 2, 3, 5, 8, 10, 12])
def test_equals_the_product(kind, log_n, increasing):
    seed = [log_n, increasing, len(kind)]
    rng = np.random.default_rng(seed)
    for n_blocks in (1, 2, 3):
        twiddle = blocks(kind, n_blocks, log_n, rng)
        x = rng.standard_normal((8, 1 << log_n))
        exact = butterfly_multiply(twiddle[None], x, increasing)
        pivot = unit_pivot(block_layers(twiddle, increasing))
        measured = pivot.apply(x)
        if np.any(exact):
            # "wild" sums cancel in the reference as well as here.
            bound = 20 * TOLERANCE if kind == "wild" else TOLERANCE * np.sqrt(n_blocks)
            assert relative_error(measured, exact) < bound, f"seed {seed}, {n_blocks} blocks"
        assert np.array_equal(pivot.scale == 0, np.all(exact == 0, axis=0)), f"seed {seed}"


@pytest.mark.parametrize("increasing", [True, False])
def test_equals_the_dense_matrix(increasing):
    """Independent of the row-wise reference: explicit sparse matrices, multiplied."""
    rng = np.random.default_rng(5)
    log_n = 4
    twiddle = blocks("random", 2, log_n, rng)
    dense = np.eye(1 << log_n)
    for number, block in enumerate(twiddle):
        for idx in range(log_n):
            log_stride = idx if increasing ^ (number == 1) else log_n - 1 - idx
            factor, stride, pair = np.zeros_like(dense), 1 << log_stride, 0
            for start in range(0, 1 << log_n, 2 * stride):
                for offset in range(stride):
                    at = np.array([start + offset, start + offset + stride])
                    factor[np.ix_(at, at)] = block[idx, pair]
                    pair += 1
            dense = factor @ dense
    measured = unit_pivot(block_layers(twiddle, increasing)).apply(np.eye(1 << log_n)).T
    assert relative_error(measured, dense) < TOLERANCE, "seed 5"


@pytest.mark.parametrize("kind", ["random", "zero-rows", "wild"])
def test_coefficients_are_at_most_one(kind):
    twiddle = blocks(kind, 2, 6, np.random.default_rng(6))
    for layer in unit_pivot(block_layers(twiddle, True)).layers:
        assert np.max(np.abs(layer.c0)) <= 1 and np.max(np.abs(layer.c1)) <= 1, "seed 6"


@pytest.mark.parametrize("n_blocks", [1, 2, 3, 4])
@pytest.mark.parametrize("increasing", [True, False])
def test_meeting_layers_merge(n_blocks, increasing):
    log_n = 4
    twiddle = blocks("random", n_blocks, log_n, np.random.default_rng(7))
    layers = merge_layers(block_layers(twiddle, increasing))
    assert len(layers) == n_blocks * log_n - (n_blocks - 1)
    assert all(a.bit != b.bit for a, b in zip(layers, layers[1:]))
    assert [layer.bit for layer in layers[:log_n]] == list(range(log_n))[::1 if increasing else -1]


def test_rectangular_drops_what_is_not_needed():
    rng = np.random.default_rng(8)
    twiddle, log_n, in_size, out_size = blocks("random", 1, 5, rng), 5, 20, 9
    pivot = unit_pivot(block_layers(twiddle, True), in_size, out_size)
    x = np.pad(rng.standard_normal((8, in_size)), ((0, 0), (0, (1 << log_n) - in_size)))
    exact = butterfly_multiply(twiddle[None], x)
    assert relative_error(pivot.apply(x)[:, :out_size], exact[:, :out_size]) < TOLERANCE, "seed 8"
    assert np.all(pivot.scale[out_size:] == 0)
    # Layer 0 joins neighbours: behind the padding of 20 inputs both inputs are zero.
    assert not np.any(pivot.layers[0].live[in_size:])
    assert np.all(pivot.layers[0].live[:in_size])


def test_zero_rows_never_exceed_a_live_value():
    """A dead element is a copy of an earlier value, so it cannot saturate where that did not."""
    rng = np.random.default_rng(9)
    pivot = unit_pivot(block_layers(blocks("zero-rows", 2, 6, rng), True))
    x = rng.standard_normal((4, 64))
    for layer in pivot.layers:
        before, x = x, layer.apply(x)
        low, high = pair_indices(64, layer.bit)
        partner = np.maximum(np.abs(before[:, low]), np.abs(before[:, high]))
        for index in (low, high):
            dead = ~layer.live[index]
            assert np.all(np.abs(x[:, index[dead]]) <= partner[:, dead]), "seed 9"


def test_long_chains_do_not_underflow():
    """1e-12 per layer over 36 layers is far below the smallest double; the coefficients do not notice."""
    rng = np.random.default_rng(10)
    twiddle = blocks("random", 9, 4, rng)
    plain, small = (unit_pivot(block_layers(factor * twiddle, True)) for factor in (1.0, 2.0 ** -40))
    for a, b in zip(plain.layers, small.layers):
        assert np.array_equal(a.c0, b.c0) and np.array_equal(a.s1, b.s1) and np.all(b.live), "seed 10"


@pytest.mark.parametrize("increasing", [True, False])
@pytest.mark.parametrize("n_stacks, n_blocks, log_n, least_bits", [
    (1, 1, 3, 0), (3, 2, 3, 3), (2, 1, 1, 2), (4, 1, 2, 4), (5, 2, 2, 4), (1, 1, 1, 5), (9, 3, 1, 3), (3, 1, 2, 6)])
def test_small_stacks_go_together(n_stacks, n_blocks, log_n, least_bits, increasing):
    """The outputs of the stacks follow one another, those of missing stacks are zero."""
    seed = [n_stacks, n_blocks, log_n, least_bits, increasing]
    rng = np.random.default_rng(seed)
    twiddle = np.stack([blocks("random", n_blocks, log_n, rng) for _ in range(n_stacks)])
    x, bits = rng.standard_normal((8, 1 << log_n)), max(log_n, least_bits)
    together = 1 << bits - log_n
    stacks = stack_layers(twiddle, increasing, least_bits)
    assert len(stacks) == -(-n_stacks // together)
    padded = np.pad(x, ((0, 0), (0, (1 << bits) - x.shape[1])))
    found = np.concatenate([unit_pivot(layers, in_size=1 << log_n).apply(padded) for layers in stacks], axis=1)
    exact = butterfly_multiply(twiddle, x, increasing)
    assert relative_error(found[:, :exact.shape[1]], exact) < 3 * TOLERANCE, f"seed {seed}"
    assert not found[:, exact.shape[1]:].any(), f"seed {seed}"
