"""The estimator against syntheses."""

import pytest

from wingbeat.gen.estimate.estimate import estimate_core
from wingbeat.gen.estimate.samples import SAMPLES, load_syntheses, sample_config
from wingbeat.gen.presets.select import load_preset
from wingbeat.gen.synth.flow import synthesize
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.errors import WingbeatError

MEASURED = {each.name: each.figures for each in load_syntheses()}


@pytest.mark.parametrize("name", MEASURED)
def test_measured_cells(name):
    found, figures = estimate_core(sample_config(name)), MEASURED[name]
    assert (found.bram, found.dsp) == (figures["bram"], figures["dsp"])
    assert found.lut == pytest.approx(figures["lut"], rel=0.12) and found.ff == pytest.approx(figures["ff"], rel=0.12)


def test_samples_that_check_are_many_and_not_fitted():
    checked = [name for name in MEASURED if not SAMPLES[name].is_fitted]
    assert len(checked) >= 12
    assert len({sample_config(name).changed(name="same") for name in SAMPLES}) == len(SAMPLES)


@pytest.mark.slow
def test_synthesis_now():
    """Of the hardware and tools as they are, not of those that the measurements came from."""
    config = CoreConfig.of(target="ecp5", engines=1, layers=1, half_words=16, coefficient_words=16, program_words=32,
                           width=8, element_width=8, coefficient_width=8)
    found, figures = estimate_core(config), synthesize(config)
    assert (found.bram, found.dsp) == (figures["bram"], figures["dsp"])
    assert found.lut == pytest.approx(figures["lut"], rel=0.12) and found.ff == pytest.approx(figures["ff"], rel=0.12)


def test_clock():
    """Falls with the size; the range is around the median."""
    small, large = (estimate_core(load_preset(name)) for name in ("ulx3s-16", "hybrid-16"))
    assert small.fmax_mhz > large.fmax_mhz
    for found in (small, large):
        assert 0 < found.fmax_low < found.fmax_mhz < found.fmax_high


def test_other_technologies():
    """A portable core is taken as one of the ECP5; a short pipeline is refused."""
    portable = load_preset("tiny")
    assert estimate_core(portable) == estimate_core(portable.changed(target="ecp5"))
    with pytest.raises(WingbeatError, match="pipeline: 'short'; allowed is 'deep'"):
        estimate_core(load_preset("icebreaker"))
