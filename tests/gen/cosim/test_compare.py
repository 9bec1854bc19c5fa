"""Counting what differs between simulated and expected blocks."""

import numpy as np

from wingbeat.gen.cosim.compare import count_mismatches
from wingbeat.sim.model.array import BlockResult


def block(*words, exponent=0, saturated=False):
    return BlockResult(np.array(words, np.int64).reshape(-1, 2), exponent, saturated)


def test_words_exponents_and_flags():
    good = [block((1, 2), (3, 4)), block((5, 6))]
    assert count_mismatches(good, good) == 0
    assert count_mismatches([block((1, 9), (3, 4)), good[1]], good) == 1
    assert count_mismatches([block((1, 2), (3, 4), exponent=1), block((5, 6), saturated=True)], good) == 2


def test_missing_and_surplus_blocks_count_as_all_their_words():
    good = [block((1, 2), (3, 4)), block((5, 6))]
    assert count_mismatches(good[:1], good) == 1 and count_mismatches(good, good[:1]) == 1
    assert count_mismatches([], good) == 3
