"""The estimator as the exploration asks it."""

from wingbeat.gen.explore.space.area import estimated_area
from wingbeat.gen.presets.select import load_preset


def test_names_and_order():
    """The names that limits and objectives have; the larger core is larger."""
    small, large = (estimated_area(load_preset(name)) for name in ("ulx3s-16", "hybrid-16"))
    assert set(small) == {"lut", "ff", "comb", "bram", "dsp", "fmax_mhz", "fmax_low", "fmax_high"}
    assert all(type(value) in (int, float) for value in small.values())
    assert small["fmax_low"] < small["fmax_mhz"] < small["fmax_high"]
    assert small["dsp"] < large["dsp"] and small["bram"] < large["bram"] and small["comb"] < large["comb"]
