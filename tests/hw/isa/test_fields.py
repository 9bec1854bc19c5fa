"""Bit fields: packing, unpacking, places, words."""

import random

import numpy as np
import pytest

from wingbeat.hw.isa.fields import bits_of_words, field_places, pack, unpack, words_of_bits

FIELDS = [("low", 3), ("flag", 1), ("high", 40)]
SEED = 1


def test_fields_follow_each_other_from_bit_0():
    assert pack(FIELDS, {"low": 5, "flag": 1, "high": 3}) == 5 | 1 << 3 | 3 << 4
    assert field_places(FIELDS) == {"low": (0, 3), "flag": (3, 1), "high": (4, 40)}
    assert field_places(FIELDS, 7) == {"low": (7, 3), "flag": (10, 1), "high": (11, 40)}


def test_unpack_is_the_inverse():
    rng = random.Random(SEED)
    for _ in range(200):
        values = {name: rng.getrandbits(bits) for name, bits in FIELDS}
        assert unpack(FIELDS, pack(FIELDS, values)) == values, f"seed {SEED}"


def test_unpack_takes_arrays():
    bits = np.array([pack(FIELDS, {"low": n, "flag": n & 1, "high": n << 20}) for n in range(8)])
    values = unpack(FIELDS, bits)
    assert values["low"].tolist() == list(range(8)) and values["high"].tolist() == [n << 20 for n in range(8)]


@pytest.mark.parametrize("change, message", [
    ({"low": 8}, "^low: 8 does not fit 3 bits$"), ({"flag": -1}, "^flag: -1 does not fit 1 bits$"),
    ({"high": 1 << 40}, "^high: 1099511627776 does not fit 40 bits$")])
def test_what_does_not_fit_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        pack(FIELDS, {"low": 0, "flag": 0, "high": 0} | change)


def test_words():
    assert words_of_bits(0x1_2345_6789_ABCD_EF01, 3) == [0xABCDEF01, 0x23456789, 1]
    assert bits_of_words([0xABCDEF01, 0x23456789, 1]) == 0x1_2345_6789_ABCD_EF01
    assert words_of_bits(1 << 40, 1) == [0]
