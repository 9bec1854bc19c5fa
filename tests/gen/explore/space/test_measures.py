"""Figures, objectives, limits."""

import pytest

from wingbeat.gen.explore.space.measures import complete_figures, core_figures, parse_limit, parse_objective
from wingbeat.gen.presets.select import load_preset

FIGURES = {"bram": 57, "fmax_mhz": 80.0, "fft.cycles": 40.0}


def test_more_is_better_of_clock_and_rate():
    costs = {name: parse_objective("o", name, ["fft"]).cost(complete_figures(FIGURES))
             for name in ("bram", "fmax_mhz", "fft.cycles", "fft.per_second")}
    assert costs == {"bram": 57, "fmax_mhz": -80.0, "fft.cycles": 40.0, "fft.per_second": -2e6}


@pytest.mark.parametrize("text, excess", [("bram <= 57", 0), ("bram<=50", 0.14), ("bram >= 57", 0),
                                          ("bram >= 76", 0.25), ("bram <= 0", 57),
                                          ("fmax_mhz >= 160.0", 0.5), ("fmax_mhz <= 100", -0.2)])
def test_limits(text, excess):
    assert parse_limit("l", text, []).excess(FIGURES) == pytest.approx(excess)


def test_words_of_a_core():
    """tiny: 2 engines of two halves of 64 words, 4 units with 64 coefficients each."""
    assert core_figures(load_preset("tiny")) == {"multipliers": 32, "memory_words": 2 * 2 * 64 + 4 * 64}
