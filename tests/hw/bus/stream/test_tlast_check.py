"""Marks of stream beats against ends of blocks: words pass, flags are those since the clear and of each block."""

from collections import deque
import random

import pytest

from wingbeat.hw.bus.stream.tlast_check import TlastCheck
from wingbeat.hw.config import CoreConfig
from wingbeat.sim.bench.stream import Bench

SEED = 31
CONFIGS = {parts: CoreConfig.of(layers=2, width=8, element_width=8, half_words=16, stream_words=4 // parts)
           for parts in (1, 2, 4)}


class Model:
    """What TlastCheck says after each cycle; ``inside``: the stream beats that have come in and not left."""

    def __init__(self, parts):
        self.parts, self.found, self.blocks, self.inside = parts, (0, 0), [(0, 0), (0, 0)], deque()

    def step(self, arrives, leaves, clear, block_in, loaded, half):
        """``arrives``: the word and mark of a stream beat, or None. Returns the words of a beat that leaves."""
        before, gone = self.found, []
        if arrives:
            self.inside.append(arrives)
        unexpected, missing = before
        if leaves:
            gone = [self.inside.popleft() for _ in range(self.parts)]
            *early, final = [mark for _, mark in gone]
            unexpected |= any(early) or (final and not block_in)
            missing |= block_in and not final
        self.found = (0, 0) if clear else (int(unexpected), int(missing))
        if loaded:
            self.blocks[half] = before
        return [word for word, _ in gone]

    @property
    def flags(self):
        waits = any(mark for at, (_, mark) in enumerate(self.inside) if at % self.parts != self.parts - 1)
        return int(self.found[0] or waits), self.found[1]


@pytest.mark.parametrize("parts", CONFIGS)
def test_flags_are_those_of_the_model(parts):
    dut, rng, seen = TlastCheck(CONFIGS[parts]), random.Random(SEED + parts), set()
    bench, bits = Bench(dut, SEED), 16 * CONFIGS[parts].stream_words

    async def drive(ctx):
        model, held = Model(parts), None
        for _ in range(4000):
            if held is None and rng.random() < 0.8:
                held = rng.getrandbits(bits), int(rng.random() < 0.15)
            inputs = {"clear": int(rng.random() < 0.05), "block_in": int(rng.random() < 0.3),
                      "loaded": int(rng.random() < 0.2), "half": rng.getrandbits(1)}
            if held and len(model.inside) % parts == parts - 1 and rng.random() < 0.8:
                held = held[0], inputs["block_in"]
            for name, value in inputs.items():
                ctx.set(getattr(dut, name), value)
            ctx.set(dut.i.valid, held is not None)
            ctx.set(dut.i.payload.as_value(), (held[0] | held[1] << bits) if held else rng.getrandbits(bits + 1))
            ctx.set(dut.o.ready, rng.random() < 0.6)
            arrives = held if ctx.get(dut.i.valid) and ctx.get(dut.i.ready) else None
            leaves = ctx.get(dut.o.valid) and ctx.get(dut.o.ready)
            words = ctx.get(dut.o.payload.as_value())
            gone = model.step(arrives, leaves, **inputs)
            assert not leaves or words == sum(word << bits * at for at, word in enumerate(gone)), f"seed {SEED}"
            held = None if arrives else held
            await ctx.tick()
            found = [(ctx.get(flags.tlast_unexpected), ctx.get(flags.tlast_missing))
                     for flags in (dut.flags, dut.blocks[0], dut.blocks[1])]
            assert found == [model.flags, *model.blocks], f"seed {SEED}"
            seen.add(model.flags)
    bench.process(drive)
    bench.run(5000)
    assert len(seen) == 4
