"""Units of a processor by themselves: a reset is asked for until it comes. All else in test_processor.py."""

import pytest
from support.copying import CLEAR, CONFIG

from wingbeat.hw.config import CoreConfig
from wingbeat.hw.core.processor_units import ProcessorUnits
from wingbeat.sim.bench.stream import Bench


def test_a_reset_is_asked_for_until_it_comes():
    dut = ProcessorUnits(CONFIG)
    bench = Bench(dut)

    async def script(ctx):
        ctx.set(dut.port.refused, 1)
        await ctx.tick()
        ctx.set(dut.port.refused, 0)
        await ctx.tick().repeat(3)
        assert ctx.get(dut.status.error)
        ctx.set(dut.i_setup.payload.as_value(), CLEAR)
        ctx.set(dut.i_setup.valid, 1)
        await ctx.tick().until(dut.i_setup.ready)
        ctx.set(dut.i_setup.valid, 0)
        await ctx.tick().until(dut.restart)
        for _ in range(5):
            assert ctx.get(dut.restart) and not ctx.get(dut.i_setup.ready)
            await ctx.tick()
    bench.process(script)
    bench.run(200)


def test_without_a_memory_there_are_none():
    with pytest.raises(ValueError, match="^memory_bits: 0; allowed are 1..32 for a processor$"):
        ProcessorUnits(CoreConfig.of())
