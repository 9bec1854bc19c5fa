"""Depths and widths of the smallest parts, and that the parts have them."""

from amaranth.hdl import Value
import pytest

from wingbeat.hw.primitives.parameters import LUT_PLACES, RAM_BITS, SKID_WORDS
from wingbeat.hw.primitives.ram import RamParameters
from wingbeat.hw.primitives.stream import SkidBuffer
from wingbeat.sim.bench.stream import Bench


def test_a_skid_buffer_takes_so_many_words():
    dut, taken = SkidBuffer(4), []
    bench = Bench(dut, 1)

    async def fill(ctx):
        ctx.set(dut.i.valid, 1)
        for _ in range(6):
            _, _, ready = await ctx.tick().sample(Value.cast(dut.i.ready))
            taken.append(ready)

    bench.process(fill)
    bench.run(20)
    assert sum(taken) == SKID_WORDS == 2


def test_the_widest_ram():
    assert RamParameters(RAM_BITS, 2).width == RAM_BITS == 144
    with pytest.raises(ValueError, match="^width: 145 is out of range; allowed are 1..144$"):
        RamParameters(RAM_BITS + 1, 2)


def test_memories_of_luts_are_a_power_of_two():
    assert LUT_PLACES & LUT_PLACES - 1 == 0
