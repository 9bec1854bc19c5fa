"""Beats of an array as transfers of AXI4-Stream: places of elements, signs, flags, and no valid that waits for a ready.
"""

import random

from amaranth.lib import wiring
import pytest

from wingbeat.hw.bus.stream.axi_stream import AxiStreamPorts, axi_stream_pins
from wingbeat.hw.config import CoreConfig
from wingbeat.sim.bench.stream import Bench

SEED = 5


def config(width, words=2):
    return CoreConfig.of(layers=1, width=max(width, 8), element_width=width, stream_words=words).changed(
        bus={"stream": "axi4-stream"})


def signed(bits, width):
    return bits - (bits >> width - 1 << width)


@pytest.mark.parametrize("width, slot", [(8, 8), (9, 16), (16, 16), (17, 32), (18, 32)])
def test_elements_have_slots(width, slot):
    c = config(width)
    dut, rng, n = AxiStreamPorts(c), random.Random(SEED), c.memory_elements
    bench = Bench(dut, SEED)

    async def drive(ctx):
        for _ in range(50):
            slots = [rng.getrandbits(slot) for _ in range(n)]
            elements = [rng.getrandbits(width) for _ in range(n)]
            exponent, saturated, unexpected, missing, last = (rng.getrandbits(bits) for bits in (6, 1, 1, 1, 1))
            ctx.set(dut.s_axis_tdata.as_value(), sum(value << slot * at for at, value in enumerate(slots)))
            ctx.set(dut.s_axis_tlast, last)
            beat = sum(value << width * at for at, value in enumerate(elements))
            tags = exponent | saturated << 6 | unexpected << 7 | missing << 8
            ctx.set(dut.i.payload.as_value(), beat | (tags | (1 - last) << 9) << width * n)
            for number in range(4):  # all that valid and ready may be
                valid, ready = number & 1, number >> 1
                for port, value in ((dut.s_axis_tvalid, valid), (dut.o.ready, ready), (dut.i.valid, valid),
                                    (dut.m_axis_tready, ready)):
                    ctx.set(port, value)
                assert [ctx.get(port) for port in (dut.o.valid, dut.s_axis_tready, dut.m_axis_tvalid, dut.i.ready)] \
                    == [valid, ready, valid, ready]
            came = ctx.get(dut.o.payload.as_value())
            assert [came >> width * at & (1 << width) - 1 for at in range(n)] \
                == [value & (1 << width) - 1 for value in slots]
            assert came >> width * n == last
            left = ctx.get(dut.m_axis_tdata.as_value())
            assert [signed(left >> slot * at & (1 << slot) - 1, slot) for at in range(n)] \
                == [signed(value, width) for value in elements]
            assert (ctx.get(dut.m_axis_tuser.as_value()), ctx.get(dut.m_axis_tlast)) == (tags, 1 - last)
            await ctx.tick()
    bench.process(drive)
    bench.run(60)


def test_pins_are_those_of_the_standard():
    pins = axi_stream_pins(config(12))
    widths = {name: wiring.Signature({name: member}).members[name].shape.size for name, member in pins.items()
              if name.endswith(("tdata", "tuser"))}
    assert widths == {"s_axis_tdata": 64, "m_axis_tdata": 64, "m_axis_tuser": 9}
    assert set(pins) == {f"{side}_axis_{name}" for side in "sm" for name in ("tdata", "tlast", "tvalid", "tready")} \
        | {"m_axis_tuser"}
