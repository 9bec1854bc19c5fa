"""Bank hash: no two words of a beat share a bank, and the lane-to-bank map is one XOR. Exhaustive, S =
1..4."""

from itertools import product

import numpy as np
import pytest

from wingbeat.hw.isa.walk import Walk, walk_indices
from wingbeat.sim.model.shuffle import bank_of, lane_order, pass_indices, reverse_lanes, route, row_of, xor_lanes

LAYERS = [1, 2, 3, 4]
BITS = {1: 8, 2: 10, 3: 12, 4: 12}


def legal_windows(layers, bits):
    """Every window that Walk accepts among ``bits`` index bits: one bit of each residue, rotated or
    reversed."""
    by_residue = [range(r, bits, layers) for r in range(layers)]
    orders = {
        tuple((r + sign * j) % layers for j in range(layers)) for r in range(layers) for sign in (1, -1)
    }
    for order in sorted(orders):
        yield from product(*(by_residue[r] for r in order))


@pytest.mark.parametrize("layers", LAYERS)
def test_bank_and_row_name_an_index(layers):
    index = np.arange(1 << BITS[layers])
    places = set(zip(bank_of(index, layers).tolist(), row_of(index, layers).tolist()))
    assert len(places) == len(index)
    assert max(bank for bank, _ in places) == (1 << layers) - 1
    assert max(row for _, row in places) == (len(index) >> layers) - 1


def test_bank_is_the_xor_of_the_digits():
    assert bank_of(0b11_01_10, 2) == 0b11 ^ 0b01 ^ 0b10
    assert bank_of(0b101_011, 3) == 0b101 ^ 0b011
    assert bank_of(0b1011, 1) == 1


@pytest.mark.parametrize("layers", LAYERS)
def test_pass_groups_have_no_conflict(layers):
    """Every digit: each group hits all banks, by XOR with the bank of lane 0; the groups visit each word
    once."""
    lane = np.arange(1 << layers)
    for digit in range(BITS[layers] // layers):
        index = pass_indices(digit, 1 << (BITS[layers] - layers), layers)
        banks, rows = route(index, layers)
        assert np.array_equal(banks, lane ^ banks[:, :1]), f"digit {digit}"
        assert np.array_equal(np.sort(index.ravel()), np.arange(1 << BITS[layers])), f"digit {digit}"
        assert np.array_equal(
            index >> (digit * layers) & ((1 << layers) - 1), np.broadcast_to(lane, index.shape)
        )
        assert np.array_equal(np.take_along_axis(rows, banks, axis=1), index >> layers)


@pytest.mark.parametrize("layers", LAYERS)
def test_walks_have_no_conflict(layers):
    """Every window Walk accepts: all banks in each beat, lane bits permuted as lane_order says, then one
    XOR."""
    bits, count = BITS[layers], 0
    for window in legal_windows(layers, bits):
        rest = (1 << bits) - 1 - sum(1 << b for b in window)
        walk = Walk(window, rest, 0)
        banks, _ = route(walk_indices(walk), layers)
        order = lane_order(walk.rotation, walk.reverse, layers)
        assert np.array_equal(banks, order ^ banks[:, :1]), f"window {window}"
        count += 1
    assert count == {1: 8, 2: 50, 3: 384, 4: 648}[layers]


@pytest.mark.parametrize("layers", [2, 3, 4])
def test_other_windows_conflict_and_are_refused(layers):
    """Two window bits of one residue mod S put two lanes in one bank, so Walk must refuse them."""
    window = tuple(range(layers - 1)) + (layers,)
    with pytest.raises(ValueError, match="^window: index bits"):
        Walk(window, 0, 0)
    index = np.zeros((1, 1 << layers), dtype=np.int64)
    for j, bit in enumerate(window):
        index[0] |= (np.arange(1 << layers) >> j & 1) << bit
    with pytest.raises(ValueError, match="^indices: beat 0 reaches banks"):
        route(index, layers)


@pytest.mark.parametrize("layers", LAYERS)
def test_shuffle_network(layers):
    words = np.arange(1 << layers)
    for constant in words:
        out = xor_lanes(words, int(constant))
        assert [out[lane ^ constant] for lane in words] == words.tolist()
        assert np.array_equal(xor_lanes(out, int(constant)), words)


@pytest.mark.parametrize("layers", LAYERS)
def test_reversed_lanes(layers):
    want = [int(format(lane, f"0{layers}b")[::-1], 2) for lane in range(1 << layers)]
    assert reverse_lanes(layers).tolist() == want
