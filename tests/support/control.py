"""A register file in Python behind a bus slave, and flat pins of a channel as a stream."""

import random
from types import SimpleNamespace

from amaranth.hdl import Cat


def channel(dut, name, *pins):
    """Pins of an AXI channel as a stream port of the bench."""
    valid, ready, *parts = (getattr(dut, f"s_axi_ctrl_{name}{pin}") for pin in ("valid", "ready", *pins))
    return SimpleNamespace(valid=valid, ready=ready, payload=Cat(parts))


def is_bad(address):
    """Addresses of words that are answered with an error."""
    return address % 7 == 3


def content(address):
    """What is read there."""
    return 0 if is_bad(address) else address * 0x9E3779B1 & 0xFFFFFFFF


class Registers:
    """Answers every access on ``dut.o`` some cycles later on ``dut.i``; ``accesses`` lists them as (write, address,
    data, strobe), ``cycles`` when they came. At most one may be under way."""

    def __init__(self, seed, longest=0):
        self.accesses, self.cycles, self.answered = [], [], []
        self._rng, self._longest = random.Random(seed), longest

    async def run(self, ctx, dut):
        cycle, wait, payload = 0, None, dut.o.payload
        ready = self._longest == 0
        ctx.set(dut.o.ready, ready)
        async for _, _, valid, taken, write, address, data, strobe in ctx.tick().sample(
                dut.o.valid, dut.i.ready, payload.write, payload.address, payload.data, payload.strobe):
            cycle += 1
            if ctx.get(dut.i.valid) and taken:
                self.answered.append(cycle)
                ctx.set(dut.i.valid, 0)
            if valid and ready:
                assert len(self.accesses) == len(self.answered), "an access before the answer to the one before"
                self.accesses.append((write, address, data, strobe))
                self.cycles.append(cycle)
                wait = self._rng.randint(0, self._longest)
            elif wait is not None:
                wait -= 1
            if wait is not None and wait <= 0:
                write, address, *_ = self.accesses[-1]
                ctx.set(dut.i.valid, 1)
                ctx.set(dut.i.payload.data, 0 if write else content(address))
                ctx.set(dut.i.payload.error, is_bad(address))
                wait = None
            ready = self._longest == 0 or self._rng.random() < 0.5
            ctx.set(dut.o.ready, ready)
