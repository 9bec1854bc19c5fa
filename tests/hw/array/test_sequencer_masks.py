"""Sequencer: how long a MASK holds. What MACs make of it: test_sequencer.py."""

import pytest

from amaranth.sim import Simulator

from wingbeat.hw.array.parameters import PASS_LATENCY
from wingbeat.hw.array.sequencer import Sequencer
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.instruction import Mac, Mask, Softmax
from wingbeat.sim.model.ring import panel_words

CONFIG = CoreConfig.of(engines=1, layers=2, half_words=256, coefficient_words=64, ring_words=64, stream_words=4,
                       memory_bits=8, records=True, partial_words=16, softmax_pairs=4)


@pytest.mark.parametrize("clears", [False, True])
def test_a_start_forgets_the_mask(field_bits, clears):
    dut, mask = Sequencer(CONFIG), Mask(8, -3, True, 5, 2, 9)
    mac = Mac(4, 1, 2, 4, 8, 4, 0, first=True, last=True, softmax=Softmax.LOGITS, fresh=True)
    seen = []

    async def bench(ctx):
        ctx.set(dut.loaded, 1)
        ctx.set(dut.filled, panel_words(CONFIG, mac))
        for step in (mask, mac):
            ctx.set(dut.i.payload.fields, field_bits(step))
            ctx.set(dut.i.payload.mask, isinstance(step, Mask))
            ctx.set(dut.i.payload.mac, isinstance(step, Mac))
            ctx.set(dut.i.valid, 1)
            await ctx.tick()
            ctx.set(dut.i.valid, 0)
            ctx.set(dut.clear, clears and step is mask)
            await ctx.tick()
            ctx.set(dut.clear, 0)
        for _ in range(PASS_LATENCY + 4):
            await ctx.tick()
            if ctx.get(dut.valid):
                seen.append(ctx.get(dut.mask_fields.as_value()))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert set(seen) == {0 if clears else field_bits(mask)}
