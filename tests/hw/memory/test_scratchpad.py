"""Scratchpad: reads, writes and strobes against a list, under stalls; order, latency, refusals, resets."""

import random

import pytest

from wingbeat.hw.config import Pipeline
from wingbeat.hw.memory.port import MemoryParameters
from wingbeat.hw.memory.scratchpad import Scratchpad, ScratchpadParameters
from wingbeat.sim.bench.stream import CROSS, Bench, Stall

MEMORY = MemoryParameters(elements=4, element_width=9, address_bits=6)
STALLS = pytest.mark.parametrize("source,sink", CROSS, ids=lambda stall: stall.value)


def pad(depth=32, **options):
    return Scratchpad(ScratchpadParameters(MEMORY, depth, **options))


def merged(old, new, strobe):
    """A beat after a write."""
    mask = sum(0x1FF << 9 * i for i in range(4) if strobe >> i & 1)
    return old & ~mask | new & mask


class Watch:
    """Cycles in which a single-bit output is high."""

    def __init__(self, bench, port):
        self.cycles, self._port = [], port
        bench.process(self._run, background=True)

    async def _run(self, ctx):
        cycle = 0
        async for _, _, value in ctx.tick().sample(self._port):
            if value:
                self.cycles.append(cycle)
            cycle += 1


def write_of(address, strobe, beat):
    return address | strobe << 6 | beat << 10


@STALLS
@pytest.mark.parametrize("pipeline", list(Pipeline))
def test_reads_after_writes(source, sink, pipeline):
    """Random strobes and addresses, some outside; then every beat number is read, the outside ones as zeros."""
    rng, beats = random.Random(3), [0] * 64
    writes = [(rng.randrange(64), rng.getrandbits(4), rng.getrandbits(36)) for _ in range(150)]
    for address, strobe, beat in writes:
        if address < 32:
            beats[address] = merged(beats[address], beat, strobe)
    dut = pad(pipeline=pipeline)
    bench = Bench(dut, 3)
    written, refused = Watch(bench, dut.port.written), Watch(bench, dut.port.refused)
    bench.feed(dut.port.write, [write_of(*write) for write in writes], source)
    bench.run(2000)
    assert len(written.cycles) == len(writes), bench.seed_note
    assert len(refused.cycles) == sum(address >= 32 for address, *_ in writes)

    # The same writes once more, so that the second bench starts from the same memory.
    dut = pad(pipeline=pipeline)
    bench = Bench(dut, 4)
    order = [rng.randrange(64) for _ in range(120)]
    got = bench.sink(dut.port.beats, len(order), sink)

    async def reads_follow(ctx):
        for write in writes:
            ctx.set(dut.port.write.payload, dut.port.write.payload.shape().from_bits(write_of(*write)))
            ctx.set(dut.port.write.valid, 1)
            await ctx.tick()
        ctx.set(dut.port.write.valid, 0)
        await ctx.tick().until(dut.port.written)
        for address in order:
            while source is not Stall.NEVER and rng.random() < 0.4:
                await ctx.tick()
            ctx.set(dut.port.read.payload, address)
            ctx.set(dut.port.read.valid, 1)
            await ctx.tick().until(dut.port.read.ready)
            ctx.set(dut.port.read.valid, 0)

    bench.process(reads_follow)
    bench.run(3000)
    assert got.words == [beats[address] for address in order], bench.seed_note


@pytest.mark.parametrize("pipeline", list(Pipeline))
def test_stated_latency_and_throughput(pipeline):
    dut = pad(pipeline=pipeline)
    bench = Bench(dut)
    feed, got = bench.feed(dut.port.read, range(30)), bench.sink(dut.port.beats, 30)
    bench.run(100)
    assert feed.cycles == list(range(30))
    assert got.cycles == [cycle + dut.parameters.read_latency for cycle in range(30)]


@pytest.mark.parametrize("pipeline", list(Pipeline))
def test_a_write_shows_from_written_on(pipeline):
    dut = pad(pipeline=pipeline)
    bench = Bench(dut)
    got, seen = bench.sink(dut.port.beats, 1), []

    async def write_then_read(ctx):
        ctx.set(dut.port.write.payload, dut.port.write.payload.shape().from_bits(write_of(5, 15, 0x123456789)))
        ctx.set(dut.port.write.valid, 1)
        await ctx.tick()
        ctx.set(dut.port.write.valid, 0)
        while not ctx.get(dut.port.written):
            seen.append(0)
            await ctx.tick()
        ctx.set(dut.port.read.payload, 5)
        ctx.set(dut.port.read.valid, 1)
        await ctx.tick()
        ctx.set(dut.port.read.valid, 0)

    bench.process(write_then_read)
    bench.run(50)
    assert got.words == [0x123456789] and len(seen) == 1


@pytest.mark.parametrize("reset_at", [2, 5, 9])
def test_reset_mid_stream(reset_at):
    dut = pad()
    bench = Bench(dut, reset_at)
    bench.feed(dut.port.read, range(30), Stall.RANDOM)
    got = bench.sink(dut.port.beats, 30, Stall.RANDOM)
    bench.run(400, reset_at)
    assert got.words == [0] * 30, bench.seed_note


@pytest.mark.parametrize("options, message", [
    (dict(depth=1), "^depth: 1 is out of range; allowed are 2..64$"),
    (dict(depth=65), "^depth: 65 is out of range; allowed are 2..64$")])
def test_refused_depth(options, message):
    with pytest.raises(ValueError, match=message):
        ScratchpadParameters(MEMORY, **options)


@pytest.mark.parametrize("options, message", [
    (dict(elements=3), "^elements: 3 is not a power of two of at least 2$"),
    (dict(element_width=19), r"^element_width: 19 is not in 8\.\.18$"),
    (dict(address_bits=33), r"^address_bits: 33 is not in 1\.\.32$")])
def test_refused_memory(options, message):
    with pytest.raises(ValueError, match=message):
        MemoryParameters(**(dict(elements=4, element_width=9, address_bits=6) | options))
