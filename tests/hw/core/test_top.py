"""Which component a configuration becomes."""

import pytest

from wingbeat.hw.array.array import Array
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.core.axi_processor import AxiProcessor
from wingbeat.hw.core.processor import Processor
from wingbeat.hw.core.top import core
from wingbeat.hw.errors import WingbeatError


def test_sections_decide():
    array = CoreConfig.of(layers=1, half_words=16, coefficient_words=16)
    processor = CoreConfig.of(layers=1, half_words=16, coefficient_words=16, memory_bits=8)
    assert type(core(array)) is Array and type(core(processor)) is Processor
    assert type(core(processor.changed(bus={"memory": "axi4"}))) is AxiProcessor


def test_bus_that_does_not_fit_names_its_field():
    config = CoreConfig.of(memory_bits=8).changed(bus={"memory": "axi4", "data_width": 8, "longest_burst": 1})
    with pytest.raises(WingbeatError, match="^bus.longest_burst: 1 is less than the 8 transfers"):
        core(config)
