"""Whether a core fits a part."""

from wingbeat.gen.estimate.estimate import estimate_core
from wingbeat.gen.estimate.part import overfull, smaller_field
from wingbeat.gen.presets.select import load_preset
from wingbeat.gen.synth.devices import TARGETS, ecp5_part


def test_a_core_that_is_too_large():
    part, config = ecp5_part("LFE5U-25F"), load_preset("ulx3s-16", ["array.coefficient_words=65536"])
    assert part is TARGETS["ecp5"].devices["25k"]
    found = estimate_core(config)
    assert overfull(found, part) == {"bram": (found.bram, 56)}
    field, value = smaller_field(config, part).split(" = ")
    assert field == "array.coefficient_words"
    assert not overfull(estimate_core(config.changed(coefficient_words=int(value))), part)


def test_parts_by_name():
    assert ecp5_part("LFE5U-85F") is ecp5_part("LFE5UM5G-85F") is TARGETS["ecp5"].devices["85k"]
    assert ecp5_part("iCE40UP5K") is None and ecp5_part("LFE5U-12F") is None
