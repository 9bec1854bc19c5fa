"""Dividers of the PLL: exact, inside the ranges of the data sheet."""

import pytest

from wingbeat.boards.ecp5_pll import pll_dividers
from wingbeat.hw.errors import WingbeatError


@pytest.mark.parametrize("source, clock", [(25e6, 75e6), (25e6, 100e6), (100e6, 75e6), (48e6, 60e6), (25e6, 50e6)])
def test_dividers_make_the_clock(source, clock):
    divide, multiply, out = pll_dividers(source, clock)
    assert source * multiply == clock * divide
    assert 400e6 <= clock * out <= 800e6 and source / divide >= 3.125e6
    assert all(1 <= each <= 128 for each in (divide, multiply, out))


def test_a_clock_without_dividers_is_refused():
    with pytest.raises(WingbeatError, match="^clock_hz: 75000001 cannot be made out of 25000000; allowed are ratios"):
        pll_dividers(25e6, 75000001)
