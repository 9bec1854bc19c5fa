"""Warnings of doubtful results: one line that names every place, and none where nothing is wrong."""

import math
import warnings

import pytest

from wingbeat.gen.compiler.quality import (AccuracyWarning, Clamped, SaturationWarning, least_sqnr_db, total_clamped,
                                           warn_clamped, warn_inaccurate)


def test_counts_of_a_place_are_added():
    parts = [[Clamped("inputs", 3), Clamped("a", 0, 0, 4)], [Clamped("a", 2, 1, 4), Clamped("b", 0, 0, 9)],
             [Clamped("inputs", 4), Clamped("a", 0, 2, 4)]]
    assert total_clamped(parts) == [Clamped("inputs", 7), Clamped("a", 2, 3, 12)]
    assert total_clamped([]) == []


@pytest.mark.parametrize("clamped, text", [
    ([Clamped("inputs", 7)], "clamped in inputs: 7 elements"),
    ([Clamped("a", 0, 1, 4)], "clamped in a: 1 of 4 blocks"),
    ([Clamped("a", 2, 1, 4), Clamped("b", 0, 0, 4), Clamped("c", 5, 0, 9)],
     "clamped in a: 2 elements and 1 of 4 blocks; c: 5 elements")])
def test_every_place_is_named(clamped, text):
    def run():  # what warns on behalf of its caller
        warn_clamped(clamped)

    with pytest.warns(SaturationWarning) as seen:
        run()
    assert [str(each.message) for each in seen] == [text] and seen[0].filename == __file__


def test_layers_below_the_least_are_named():
    def run():
        warn_inaccurate([("a", 61.0), ("b", 60.94), ("c", math.inf), ("d", -math.inf), ("e", math.nan)], 61.0)

    with pytest.warns(AccuracyWarning) as seen:
        run()
    assert [str(each.message) for each in seen] == ["below 61 dB against float in b: 60.9; d: -inf; e: nan"]
    assert seen[0].filename == __file__


def test_nothing_is_said_where_nothing_is_wrong():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_clamped([Clamped("inputs", 0), Clamped("a", 0, 0, 7)])
        warn_inaccurate([("a", 61.0)], 61.0)


def test_a_bit_less_is_six_decibels_less():
    assert [least_sqnr_db(width) for width in (18, 16, 15, 12, 8)] == [61, 61, 55, 37, 13]
