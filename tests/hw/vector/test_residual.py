"""Residual against the contract (docs/reference/vector.md), alone and beside a reader, before a memory that stalls."""

import random
from typing import Literal, NamedTuple

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
import numpy as np
import pytest

from wingbeat.hw.config import CoreConfig, Pipeline
from wingbeat.hw.memory.read_arbiter import ReadArbiter
from wingbeat.hw.numeric import largest, smallest
from wingbeat.hw.vector.residual import ResidualAdder
from wingbeat.sim.bench.stream import CROSS, Bench, SlowMemory, Stall
from wingbeat.sim.model.vector import add_residual

pytestmark = pytest.mark.thin(4)

BITS = 10  # of a beat number
STALLS = pytest.mark.parametrize("source, sink", CROSS, ids=lambda stall: stall.value)
PIPELINES = pytest.mark.parametrize("pipeline", list(Pipeline), ids=lambda p: p.value)


def config_of(stream_words=2, element_width=8, pipeline=Pipeline.DEEP, engines=8):
    return CoreConfig.of(engines=engines, stream_words=stream_words, half_words=32, width=18,
                         element_width=element_width, memory_bits=BITS, pipeline=pipeline)


def pack(values, width):
    return sum((int(v) & (1 << width) - 1) << width * i for i, v in enumerate(values))


class Plan(NamedTuple):
    """One write: which elements (all, all but element 0, or that alone), and the start of its WRITE."""

    address: int
    part: Literal["all", "others", "zero"] = "all"
    first: bool = False
    residual: bool = True


def random_plan(c, rng, count, share):
    """Short WRITEs; writes of element 0 alone are where one that left it out was, lately or not so lately."""
    plan, mirrored = [], []
    for number in range(count):
        part = rng.choice(["all", "others", "others", "zero", "zero", "zero"])
        recent = [mirrored[-1 - back] for back in (0, 0, 1, c.engines, c.engines, c.engines + 1)
                  if part == "zero" and back < len(mirrored)]
        address = rng.choice(recent) if recent and rng.random() < 0.9 else rng.getrandbits(BITS)
        plan.append(Plan(address, part, number == 0 or rng.random() < 0.04, rng.random() < share))
        if part == "others" and plan[-1].residual:
            mirrored.append(address)
    return plan


def reads_of(plan, engines):
    """Which of the writes read, by the rule of the unit's contract."""
    reads, mirrored = [], []
    for write in plan:
        if write.first:
            mirrored = []
        known = mirrored[-1:] + mirrored[-1 - engines:][:len(mirrored) > engines]
        reads.append(write.residual and not (write.part == "zero" and not write.first and write.address in known))
        if write.residual and write.part == "others":
            mirrored.append(write.address)
    return reads


class Writes:
    """Writes of ``c`` (random ones, or those of ``plan``), what is to become of them, and the memory they are added to.
    Most values are extremes. ``kept``: writes that need not read."""

    def __init__(self, c, seed, count, share=0.7, scales=None, plan=None):
        self.c, rng, numbers = c, random.Random(seed), np.random.default_rng(seed)
        self._width, self._n = c.element_width, c.memory_elements
        self._memory = self._values(numbers, (1 << BITS, self._n))
        plan = plan or random_plan(c, rng, count, share)
        self.words, self.expected, self.places, self.clamps, offset = [], [], [], 0, 0
        reads = reads_of(plan, c.engines)
        self.kept = sum(write.residual for write in plan) - sum(reads)
        for number, (write, asks, beat) in enumerate(zip(plan, reads, self._values(numbers, (len(plan), self._n)))):
            offset = rng.getrandbits(BITS) if write.first else offset
            self._add(write, asks, offset, scales[number] if scales else [rng.randrange(8) for _ in range(3)], beat,
                      rng.getrandbits(4))

    def _add(self, plan, asks, offset, scale, beat, number):
        full, place = (1 << self._n) - 1, (plan.address + offset) % (1 << BITS)
        write = {"address": plan.address, "strobe": {"all": full, "others": full - 1, "zero": 1}[plan.part],
                 "beat": {"elements": [int(v) & (1 << self._width) - 1 for v in beat]}}
        self.words.append({"write": write, "set": number, "first": plan.first, "residual": plan.residual,
                           "offset": offset, **dict(zip("abc", scale))})
        if plan.residual:
            beat, clamped = add_residual(beat, self._memory[place], *scale, self._width)
            strobed = [write["strobe"] >> i & 1 for i in range(self._n)]
            self.clamps += bool((np.asarray(clamped) & strobed).any())
        if asks:
            self.places.append(place)
        self.expected.append(self.masked(self.bits(write, beat, number)))

    def bits(self, write, beat, number):
        """A write as it leaves the unit."""
        beat_at = BITS + self._n
        return (write["address"] | write["strobe"] << BITS | pack(beat, self._width) << beat_at
                | number << beat_at + self._n * self._width)

    def _values(self, numbers, shape):
        low, high = smallest(self.c.element_width), largest(self.c.element_width)
        values = numbers.integers(low, high + 1, shape)
        return np.where(numbers.random(shape) < 0.4, numbers.choice([low, high, low + 1, -1, 0], shape), values)

    def content(self, place):
        return pack(self._memory[place], self.c.element_width)

    def masked(self, word):
        """Elements that are not written are nobody's business."""
        n, width = self.c.memory_elements, self.c.element_width
        kept = sum((1 << width) - 1 << width * i for i in range(n) if word >> BITS + i & 1)
        return word & ((1 << BITS + n) - 1 | kept << BITS + n | 15 << BITS + n + n * width)


class Filter:
    """A Residual (or what contains one) with its writes; ``saturated`` counts its pulses."""

    def __init__(self, dut, bench, writes, source=Stall.NEVER, sink=Stall.NEVER):
        self._dut, self._bench, self._writes = dut, bench, writes
        self.feed = bench.feed(dut.i, writes.words, source)
        self.sink = bench.sink(dut.o, len(writes.words), sink)
        bench.process(self._watch, background=True)

    async def _watch(self, ctx):
        self.saturated, self.inside = 0, 0
        d, entered = self._dut, 0
        moves = (d.i.valid & d.i.ready, d.o.valid & d.o.ready)
        async for _, reset, saturated, self.busy, accepted, left in ctx.tick().sample(d.saturated, d.busy, *moves):
            assert self.busy == (entered > 0), f"busy with {entered} inside, {self._bench.seed_note}"
            self.saturated = 0 if reset else self.saturated + saturated
            entered = 0 if reset else entered + accepted - left

    def check(self):
        note = self._bench.seed_note
        got = [self._writes.masked(word) for word in self.sink.words]
        assert got == self._writes.expected, note
        assert self.saturated == self._writes.clamps and not self.busy, note


def filtered(writes, seed, *, depth=16, source=Stall.NEVER, sink=Stall.NEVER, latency=lambda: 1, ready=Stall.NEVER,
             reset_at=None):
    """Run ``writes`` through a Residual alone; returns the filter and the memory."""
    dut = ResidualAdder(writes.c, depth)
    bench = Bench(dut, seed)
    run = Filter(dut, bench, writes, source, sink)
    memory = SlowMemory(bench, dut.read, dut.beats, writes.content, random.Random(seed), latency, ready)
    bench.run(400 + 60 * len(writes.words), reset_at)
    run.check()
    assert memory.moves == writes.places, bench.seed_note
    return run, memory


@pytest.mark.parametrize("depth", [4, 48, 2048])
def test_refused_depth(depth):
    with pytest.raises(ValueError, match=rf"^depth: {depth} is not a power of two in 8\.\.1024$"):
        ResidualAdder(config_of(), depth)


@STALLS
def test_random_writes(source, sink):
    seed = 100 + 10 * list(Stall).index(source) + list(Stall).index(sink)
    rng, writes = random.Random(seed), Writes(config_of(), seed, 150)
    assert 30 < writes.clamps, f"seed {seed} exercises the clamp"
    assert writes.kept > 8, f"seed {seed} has writes that need not read"
    filtered(writes, seed, source=source, sink=sink, latency=lambda: rng.choice([1, 2, 5, 20]),
             ready=rng.choice([Stall.NEVER, Stall.RANDOM, Stall.BURSTS]))


def test_every_scale():
    """All a, b, c, with 8 elements of extremes and others each."""
    scales = [(a, b, c) for a in range(8) for b in range(8) for c in range(8)]
    filtered(Writes(config_of(4), 7, len(scales), share=1, scales=scales), 7)


@pytest.mark.parametrize("element_width", [8, 16, 18])
def test_extremes(element_width):
    """Sums at, just inside and just outside of the range, before and after rounding."""
    c = config_of(4, element_width)
    low, high = smallest(element_width), largest(element_width)
    own = [low, high, low, high, low, high, low + 1, high]
    other = [[low] * 8, [high] * 8, [-1, 1, 0, 0, 1, -1, -2, -2], [-1] * 8, [1] * 8, [-3, 3, -2, 2, -1, 1, -4, 4]]
    scales = [(a, b, c) for a in (0, 1, 2, 7) for b in (0, 7) for c in (0, 1, 2, 7)] * len(other)
    writes = Writes(c, 1, len(scales), scales=scales, plan=[Plan(number) for number in range(len(scales))])
    writes.expected.clear()
    writes.clamps = 0
    writes.content = lambda place: pack(other[place], element_width)
    for number, (word, (a, b, shift)) in enumerate(zip(writes.words, scales)):
        place = number % len(other)
        word["write"] |= {"beat": {"elements": [v & (1 << element_width) - 1 for v in own]}}
        word["offset"], writes.places[number] = (place - word["write"]["address"]) % (1 << BITS), place
        exact = [v * 2**a + r * 2**b for v, r in zip(own, other[place])]
        rounded = [(t + (1 << shift >> 1)) // 2**shift for t in exact]
        clamped = [min(max(y, low), high) for y in rounded]
        writes.clamps += clamped != rounded
        writes.expected.append(writes.bits(word["write"], clamped, word["set"]))
    assert 20 < writes.clamps < len(scales) - 20
    filtered(writes, 1)


@pytest.mark.parametrize("seed", range(6))
def test_random_widths(seed):
    rng = random.Random(seed)
    c = config_of(rng.choice([2, 4, 8]), rng.choice([8, 9, 12, 16, 18]), rng.choice(list(Pipeline)))
    filtered(Writes(c, seed, 80), seed, depth=rng.choice([8, 64]), source=rng.choice(list(Stall)[:5]),
             sink=rng.choice(list(Stall)), latency=lambda: rng.choice([1, 3, 40]), ready=rng.choice(list(Stall)[:5]))


@PIPELINES
@pytest.mark.parametrize("share, latency, depth", [(0, 1, 8), (1, 1, 16), (0.5, 23, 32), (1, None, 64)])
def test_stated_latency_and_throughput(share, latency, depth, pipeline):
    """One write per cycle; with a beat for each the latency of the memory comes on top, None: the highest stated."""
    latency = latency or depth - 4 + pipeline.ram_latency
    run, memory = filtered(Writes(config_of(pipeline=pipeline), 3, 200, share), 3, depth=depth, latency=lambda: latency)
    first = 8 + pipeline.ram_latency
    if share:
        assert memory.cycles[0] == run.feed.cycles[run_first(run)] + 2
    if share == 1:
        first = max(first, 2 + latency + 6)
    assert run.feed.cycles == list(range(200)), run.feed.cycles
    if share != 0.5:
        assert run.sink.cycles == list(range(first, first + 200))
    else:
        assert run.sink.cycles[-1] <= 200 + 2 + latency + 6


def run_first(run):
    """Number of the first write with a residual."""
    return [word["residual"] for word in run._writes.words].index(True)


@pytest.mark.parametrize("reset_at", [3, 9, 14, 30, 77])
def test_reset_mid_stream(reset_at):
    filtered(Writes(config_of(), reset_at, 60), reset_at, source=Stall.RANDOM, sink=Stall.RANDOM, latency=lambda: 6,
             ready=Stall.RANDOM, reset_at=reset_at)


def folded(engines, rows, chunks, mirrored_rows, first=True):
    """A WRITE in mode FOLD whose beats go through the chunks of ``engines`` rows in turn; ``mirrored_rows`` of them are
    mirrored, and none behind ``rows`` is written. The mirror images stand at 512 and up."""
    plan = []
    for group in range(0, rows, engines):
        for chunk in range(chunks):
            for row in range(group, min(group + engines, rows)):
                address = row * chunks + chunk
                plan.append(Plan(address, first=first and not plan))
                if row % engines < mirrored_rows:
                    mirrored = 512 + (rows - row) * chunks - 1 - chunk
                    plan += [Plan(mirrored, "others"), Plan(mirrored + 1 - (0 if chunk else chunks), "zero")]
    return plan


@pytest.mark.parametrize("engines", [1, 2, 5])
@pytest.mark.parametrize("chunks", [1, 2, 7])
def test_folded_rows_are_read_once(engines, chunks):
    """But for the first chunk of each row, whose element 0 belongs to the last one; a row of one chunk is its own."""
    plan = folded(engines, 3 * engines, chunks, engines)
    writes = Writes(config_of(engines=engines), chunks, 0, plan=plan)
    _, memory = filtered(writes, chunks, source=Stall.RANDOM, sink=Stall.RANDOM)
    beats = 3 * engines * chunks
    assert len(memory.moves) == 2 * beats + (3 * engines if chunks > 1 else 0)


@pytest.mark.parametrize("engines, rows", [(2, 5), (5, 7)])
def test_rows_that_are_not_mirrored(engines, rows):
    """Fewer mirrored rows than engines: the beat before stands elsewhere, and is read again; two WRITEs."""
    plan = folded(engines, rows, 4, engines - 1) + folded(engines, rows, 4, engines)
    filtered(Writes(config_of(engines=engines), rows, 0, plan=plan), rows, source=Stall.BURSTS, sink=Stall.RANDOM)


@pytest.mark.parametrize("engines", [1, 2, 5])
@pytest.mark.parametrize("first", [0, 1, 2])
def test_nothing_is_kept_from_one_write_to_the_next(engines, first):
    """The same addresses again, but memory has changed: the second WRITE begins with any of the three parts."""
    once = folded(engines, engines, 2, engines)
    again = [write._replace(first=not at) for at, write in enumerate(once[first:])]
    writes = Writes(config_of(engines=engines), first, 0, plan=once + again)
    offsets = {word["offset"] for word in writes.words}
    assert len(offsets) == 2, "what stands behind an address has changed"
    filtered(writes, first, latency=lambda: 12)


@pytest.mark.parametrize("engines", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(3))
def test_random_engines(engines, seed):
    rng = random.Random(seed)
    writes = Writes(config_of(engines=engines), seed, 150, share=rng.choice([0.8, 1]))
    assert writes.kept > 20, f"seed {seed}"
    filtered(writes, seed, source=rng.choice(list(Stall)[:5]), sink=rng.choice(list(Stall)),
             latency=lambda: rng.choice([1, 4, 30]), ready=rng.choice(list(Stall)[:5]))


def test_beats_are_taken_while_no_request_moves():
    """``read`` stops for ever after five requests: their writes leave all the same, and those before the sixth."""
    writes = Writes(config_of(), 5, 12, plan=[Plan(number) for number in range(12)])
    dut = ResidualAdder(writes.c, 16)
    bench = Bench(dut, 5)

    class Five:
        moved = 0

        def __iter__(self):
            return self

        def __next__(self):
            return len(memory.moves) < 5

    memory = SlowMemory(bench, dut.read, dut.beats, writes.content, random.Random(5), lambda: 9)
    memory.ready = iter(Five())
    bench.feed(dut.i, writes.words[:7])
    sink = bench.sink(dut.o, 5)
    bench.run(200)
    assert [writes.masked(word) for word in sink.words] == writes.expected[:5]


class Both(wiring.Component):
    """A Residual that shares the port with a reader."""

    def __init__(self, c, depth, in_flight):
        self.residual, self.arbiter = ResidualAdder(c, depth), ReadArbiter(c, in_flight)
        beat = self.residual.beats.payload.shape()
        super().__init__({
            "i": In(stream.Signature(self.residual.i.payload.shape())),
            "o": Out(stream.Signature(self.residual.o.payload.shape())),
            "reader_read": In(stream.Signature(BITS)), "reader_beats": Out(stream.Signature(beat)),
            "read": Out(stream.Signature(BITS)), "beats": In(stream.Signature(beat)),
            "busy": Out(1), "saturated": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.residual, m.submodules.arbiter = residual, arbiter = self.residual, self.arbiter
        wiring.connect(m, residual.read, arbiter.residual_read)
        wiring.connect(m, arbiter.residual_beats, residual.beats)
        for name, unit in (("i", residual), ("o", residual), ("read", arbiter), ("beats", arbiter),
                           ("reader_read", arbiter), ("reader_beats", arbiter)):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(unit, name))
        m.d.comb += [self.busy.eq(residual.busy), self.saturated.eq(residual.saturated)]
        return m


@pytest.mark.parametrize("stops_after", [0, 1, 30])
@pytest.mark.parametrize("in_flight", [4, 16])
def test_a_reader_that_stops_does_not_stop_the_residual(in_flight, stops_after):
    """It asks in every cycle and after some beats takes none, for ever; all writes leave."""
    seed = in_flight + stops_after
    writes, rng = Writes(config_of(), seed, 200), random.Random(seed)
    dut = Both(writes.c, 16, in_flight)
    bench = Bench(dut, seed)
    run = Filter(dut, bench, writes, Stall.RANDOM, Stall.RANDOM)
    SlowMemory(bench, dut.read, dut.beats, writes.content, rng, lambda: rng.choice([1, 6, 20]), Stall.RANDOM)
    requests, beats = [], []

    async def read(ctx):
        ctx.set(dut.reader_read.valid, 1)
        ctx.set(dut.reader_beats.ready, stops_after > 0)
        port = dut.reader_beats
        async for _, _, taken, valid, ready, beat in ctx.tick().sample(
                dut.reader_read.ready, port.valid, port.ready, port.payload.as_value()):
            if taken:
                requests.append(writes.content(len(requests) % (1 << BITS)))
            if valid and ready:
                beats.append(beat)
            ctx.set(dut.reader_read.payload, len(requests) % (1 << BITS))
            ctx.set(port.ready, len(beats) < stops_after)

    async def go_on(ctx):
        await ctx.tick().repeat(1500)

    bench.process(read, background=True)
    bench.process(go_on)
    bench.run(20000)
    run.check()
    assert len(beats) == stops_after and beats == requests[:stops_after], bench.seed_note
    # One at least has left the RAM, at most all in its output registers too; its last two places are taken seldom.
    least, most = in_flight - 2 + 1, in_flight + writes.c.ram_latency + 1
    assert least <= len(requests) - stops_after <= most, bench.seed_note


@STALLS
def test_residual_beside_a_reader(source, sink):
    """Both streams of the whole, bit for bit."""
    seed = 50 + 10 * list(Stall).index(source) + list(Stall).index(sink)
    writes, rng = Writes(config_of(), seed, 100), random.Random(seed)
    dut = Both(writes.c, 16, 8)
    bench = Bench(dut, seed)
    run = Filter(dut, bench, writes, source, sink)
    places = [rng.getrandbits(BITS) for _ in range(100)]
    bench.feed(dut.reader_read, places, source)
    got = bench.sink(dut.reader_beats, len(places), sink)
    SlowMemory(bench, dut.read, dut.beats, writes.content, rng, lambda: rng.choice([1, 6, 20]), Stall.BURSTS)
    bench.run(9000)
    run.check()
    assert got.words == [writes.content(place) for place in places], bench.seed_note
