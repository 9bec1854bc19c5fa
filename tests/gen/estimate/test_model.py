"""Cells out of counts."""

from wingbeat.gen.estimate.census import KINDS
from wingbeat.gen.estimate.model import LUT_TERMS, load_model, lut_terms


def test_terms():
    """Every comparison is one term."""
    census = dict.fromkeys(KINDS, 1)
    assert lut_terms(census) == {term: 3 if term == "compare" else 1 for term in LUT_TERMS}


def test_cells_that_are_counted_are_not_scaled():
    cells = load_model().cells(dict.fromkeys(KINDS, 0) | {"bram": 7, "dsp": 5})
    assert cells == {"lut": 0, "ff": 0, "carry": 0, "lutram": 0, "bram": 7, "dsp": 5}
