"""The MAC model against Python integers and against real arithmetic."""

from itertools import product

import numpy as np
import pytest

from wingbeat.hw.numeric import (MAC_TERMS, coefficient_fraction_bits, largest, mac_bits, mac_guard_bits, smallest,
                                 streamed_coefficient)
from wingbeat.sim.model.mac import mac
from wingbeat.sim.reference.metrics import sqnr_db

SEED = 17


def brute_force(x, weights, shift, width, coefficient_width):
    """Value and flag of every row and output, from the words of ``hw/numeric.py``: 8 guard bits or all there are."""
    one = 2 ** max(0, coefficient_width - 10)
    results = []
    for row, weight in product(x.tolist(), weights.tolist()):
        total = sum(a * c // one for a, c in zip(row, weight))
        value = (2 * total + 2**shift) // 2 ** (shift + 1)
        clamped = min(max(value, -(2 ** (width - 1))), 2 ** (width - 1) - 1)
        results.append((clamped, clamped != value))
    return results


def check(x, weights, shift, width, coefficient_width, note):
    values, clamped = mac(x, weights, shift, width, coefficient_width)
    assert values.shape == clamped.shape == (len(x), len(weights))
    assert values.dtype == np.int64 and clamped.dtype == bool
    got = list(zip(values.ravel().tolist(), clamped.ravel().tolist()))
    want = brute_force(x, weights, shift, width, coefficient_width)
    wrong = [i for i, (g, w) in enumerate(zip(got, want, strict=True)) if g != w]
    assert not wrong, f"{note}: {len(wrong)} of {len(want)}, first {wrong[0]}: {got[wrong[0]]} where {want[wrong[0]]}"
    return clamped


def operands(rng, width, shape):
    """Half of them the ends of the range."""
    low, high = smallest(width), largest(width)
    return np.where(rng.random(shape) < 0.5, rng.choice([low, high], shape), rng.integers(low, high + 1, shape))


def test_every_product_of_twelve_bits():
    """Words of 4 bits and all coefficients of 12, which lose 2 bits: alone, and as a sum with all others of a word."""
    words, coefficients = np.arange(-8, 8), np.arange(-2048, 2048)
    for shift in (0, 1, 8, 9):
        check(words[:, None], coefficients[:, None], shift, 10, 12, f"one product, shift {shift}")
    rows = np.stack([np.roll(np.repeat(words, 256), i) for i in range(3)])
    check(rows, np.stack([coefficients, coefficients[::-1]]), 6, 10, 12, "4096 products")


@pytest.mark.parametrize("width, coefficient_width", [(8, 8), (8, 18), (16, 16), (18, 17), (18, 11), (18, 18)])
def test_random_sums(width, coefficient_width):
    """Few rows and few outputs, which the model treats differently; shifts that clamp and shifts that do not."""
    rng = np.random.default_rng([SEED, width, coefficient_width])
    flags = []
    for rows, outputs, terms in ((1, 1, 1), (2, 30, 7), (30, 2, 64), (5, 5, 300)):
        for shift in (0, mac_guard_bits(coefficient_width) + 1, 20, 31):
            x, weights = operands(rng, width, (rows, terms)), operands(rng, coefficient_width, (outputs, terms))
            flags.append(check(x, weights, shift, width, coefficient_width,
                               f"seed {SEED}, {rows} rows, {outputs} outputs, {terms} terms, shift {shift}"))
    flags = np.concatenate(flags, axis=None)
    assert 100 < flags.sum() < len(flags) - 100, f"seed {SEED}"


def test_slices_meet():
    """More words than one slice holds, on either side."""
    rng = np.random.default_rng(SEED)
    many, few = operands(rng, 17, (200, MAC_TERMS)), operands(rng, 17, (2, MAC_TERMS))
    for x, weights in ((many, few), (few, many)):
        values, clamped = mac(x, weights, 20, 18, 17)
        cut = np.stack([(x * row >> 7).sum(axis=1) for row in weights], axis=1)
        want = cut + (1 << 19) >> 20
        assert np.array_equal(values, np.clip(want, -1 << 17, (1 << 17) - 1)), f"seed {SEED}"
        assert np.array_equal(clamped, values != want), f"seed {SEED}"


@pytest.mark.parametrize("width, coefficient_width, element_width", [(8, 8, 8), (18, 17, 16), (18, 18, 18)])
def test_extremes_fit_the_accumulator(width, coefficient_width, element_width):
    """MAC_TERMS products of the most negative operands are in mac_bits, with a bit fewer they would not be; and the
    model sums them."""
    bits = mac_bits(width, coefficient_width, element_width)
    ends = [streamed_coefficient(end(element_width), element_width, coefficient_width) for end in (smallest, largest)]
    x = np.repeat([[smallest(width)], [largest(width)]], MAC_TERMS, axis=1)
    weights = np.repeat(np.array(ends)[:, None], MAC_TERMS, axis=1)
    cut = coefficient_fraction_bits(coefficient_width) - mac_guard_bits(coefficient_width)
    sums = [MAC_TERMS * (int(a) * int(c) >> cut) for a, c in product(x[:, 0], weights[:, 0])]
    assert max(sums) == sums[0] and min(sums) >= smallest(bits) and max(sums) <= largest(bits)
    assert sums[0] > largest(bits - 1)
    for shift in (0, bits - width - 1, bits - width, 31):
        check(x, weights, shift, width, coefficient_width, f"shift {shift}")


def test_streamed_coefficients():
    """Every element of 8 bits in every width: half of the range where C is larger, so that -1 is the smallest, else the
    bits above what is cut off; on arrays as on integers."""
    elements = np.arange(-128, 128)
    for width in range(8, 19):
        found = streamed_coefficient(elements, 8, width)
        assert found.tolist() == [streamed_coefficient(int(element), 8, width) for element in elements]
        if width == 8:
            assert found.tolist() == elements.tolist()
        else:
            assert (found / 2.0 ** coefficient_fraction_bits(width) == elements / 128).all(), width
    for e_width, c_width in product(range(8, 19), repeat=2):
        ends = [streamed_coefficient(end(e_width), e_width, c_width) for end in (smallest, largest)]
        if e_width < c_width:
            assert ends == [-(1 << c_width - 2), (1 << c_width - 2) - (1 << c_width - 1 - e_width)]
        else:
            assert ends == [smallest(c_width), largest(c_width)]


@pytest.mark.parametrize("width, coefficient_width, element_width, bits", [
    (8, 8, 8, 28), (18, 17, 16, 39), (18, 18, 18, 40), (16, 16, 16, 38), (18, 8, 8, 38), (18, 9, 8, 38)])
def test_bits_of_an_accumulator(width, coefficient_width, element_width, bits):
    """Of a product: W, 8 fraction bits or as many as a coefficient has, one more where a coefficient may be -2; then 12
    for MAC_TERMS, and the sign of the largest sum."""
    assert mac_bits(width, coefficient_width, element_width) == bits
    assert mac_guard_bits(coefficient_width) == min(8, coefficient_width - 2)


def test_every_format_holds_the_longest_sum():
    """All widths there are: the largest sum is of the most negative word and coefficient."""
    for width, c_width, e_width in product(range(8, 19), range(8, 19), range(8, 19)):
        if e_width <= width:
            c = streamed_coefficient(smallest(e_width), e_width, c_width)
            cut = coefficient_fraction_bits(c_width) - mac_guard_bits(c_width)
            total = MAC_TERMS * (smallest(width) * c >> cut)
            assert total <= largest(mac_bits(width, c_width, e_width)), f"W {width}, C {c_width}, element {e_width}"


# K, right shift behind the guard bits, SQNR in dB that is to be reached. What the rounding to W = 18 bits alone would
# leave is 0.2, 0.2 and 2 dB more: the cuts are a bias of half a guard bit each.
ACCURACY = [(64, 1, 100), (256, 3, 94), (1024, 3, 98)]


@pytest.mark.parametrize("terms, shift, least", ACCURACY)
def test_accuracy(terms, shift, least):
    """W = 18, C = 17, elements of 16 bits: Gaussian words and weights, a quarter of the range their standard
    deviation, quantised to elements. The truth is their product in float64, scaled by 2^-shift; compared are the 18
    bits of the model, before anything is rounded to elements. The shift is the smallest that clamps nothing."""
    width, coefficient_width, element_width = 18, 17, 16
    rng = np.random.default_rng([SEED, terms])
    quarter = 1 << element_width - 3
    elements = np.clip(np.rint(rng.normal(0, quarter, (2, 64, terms))), smallest(element_width),
                       largest(element_width)).astype(np.int64)
    x, weights = elements[0] << width - element_width, streamed_coefficient(elements[1], element_width,
                                                                            coefficient_width)
    truth = x.astype(float) @ (weights / 2.0 ** coefficient_fraction_bits(coefficient_width)).T / 2**shift
    guard = mac_guard_bits(coefficient_width)
    values, clamped = mac(x, weights, guard + shift, width, coefficient_width)
    assert mac(x, weights, guard + shift - 1, width, coefficient_width)[1].any(), f"seed {SEED}"
    sqnr = sqnr_db(truth, values)
    print(f"K {terms}, shift {guard} + {shift}: {sqnr:.1f} dB, rounding alone {sqnr_db(truth, np.rint(truth)):.1f} dB")
    assert not clamped.any() and sqnr >= least, f"seed {SEED}: {sqnr} dB"


@pytest.mark.parametrize("x, weights, message", [
    ((2, MAC_TERMS + 1), (3, MAC_TERMS + 1), "^x: 4097 words of a sum are too many; allowed are 4096$"),
    ((2, 5), (3, 4), r"^weights: shape \(3, 4\) does not fit x of shape \(2, 5\); allowed are \(rows, K\) and "
                     r"\(outputs, K\)$"),
    ((5,), (3, 5), r"^weights: shape \(3, 5\) does not fit x of shape \(5,\)")])
def test_refuses(x, weights, message):
    with pytest.raises(ValueError, match=message):
        mac(np.zeros(x, dtype=np.int64), np.zeros(weights, dtype=np.int64), 0, 18, 17)
