"""Coefficients out of measurements."""

import pytest

from wingbeat.gen.estimate.calibrate import fit_model
from wingbeat.gen.estimate.census import KINDS


def test_a_law_is_found():
    """Designs that cost a LUT for each bit of a multiplexer and 0.9 flip-flops for each register."""
    measured = []
    for bits in (100, 1000, 5000):
        census = dict.fromkeys(KINDS, 0) | {"mux": bits, "register": 2 * bits, "carry": 10, "lutram": 10}
        measured.append((census, {"lut": bits, "ff": 1.8 * bits, "carry": 8, "lutram": 9, "tools": {}}))
    clocks = [{"comb": 10_000, "mhz": [100.0, 110.0, 120.0]}, {"comb": 20_000, "mhz": [90.0]}]
    model = fit_model(measured, clocks)
    assert model.lut["mux"] == pytest.approx(1, rel=0.02) and model.ff == pytest.approx(0.9)
    assert model.carry == pytest.approx(0.8) and model.clock(10_000) == pytest.approx(110)
    assert model.clock(1_000_000) == 90 and model.clock_low <= 0.9 <= 1.09 <= model.clock_high
