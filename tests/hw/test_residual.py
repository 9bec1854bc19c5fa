"""Residual and read arbiter against the contract (docs/vector.md), apart and together, before a memory that stalls."""

from collections import deque
import random

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
import numpy as np
import pytest

from wingbeat.hw.config import ArrayConfig, Pipeline
from wingbeat.hw.numeric import largest, smallest
from wingbeat.hw.readarbiter import BeatQueue, ReadArbiter
from wingbeat.hw.residual import Residual
from wingbeat.sim.bench import CROSS, Bench, Stall
from wingbeat.sim.vector import add_residual

BITS = 10  # of a beat number
STALLS = pytest.mark.parametrize("source, sink", CROSS, ids=lambda stall: stall.value)
PIPELINES = pytest.mark.parametrize("pipeline", list(Pipeline), ids=lambda p: p.value)


def config_of(stream_words=2, element_width=8, pipeline=Pipeline.DEEP):
    return ArrayConfig(engines=8, stream_words=stream_words, half_words=32, width=18, element_width=element_width,
                       memory_bits=BITS, pipeline=pipeline)


def pack(values, width):
    return sum((int(v) & (1 << width) - 1) << width * i for i, v in enumerate(values))


class SlowMemory:
    """The read side of a memory in a bench: beats of ``content``, in order, each ``latency()`` cycles after its request
    at least. Checks that requests hold. ``moves``: the numbers asked for, ``cycles``: when."""

    def __init__(self, bench, read, beats, content, rng, latency=lambda: 1, ready=Stall.NEVER):
        self._read, self._beats, self._content, self._rng, self._latency = read, beats, content, rng, latency
        self._ready, self._note = ready.willing(random.Random(rng.random())), bench.seed_note
        self.moves, self.cycles = [], []
        bench.process(self._serve, background=True)

    async def _serve(self, ctx):
        read, beats, queue, cycle, held = self._read, self._beats, deque(), 0, None
        shape, offered = beats.payload.shape(), False
        ready = next(self._ready)
        ctx.set(read.ready, ready)
        async for _, reset, valid, place, taken in ctx.tick().sample(read.valid, read.payload, beats.ready):
            assert held is None or (valid and place == held), f"request changed in cycle {cycle}, {self._note}"
            held = place if valid and not ready and not reset else None
            if offered and taken:
                queue.popleft()
            if valid and ready:
                queue.append((cycle + self._latency(), place))
                self.moves.append(place)
                self.cycles.append(cycle)
            cycle += 1
            if reset:
                queue.clear()
                self.moves.clear()
                self.cycles.clear()
                cycle = 0
            ready = next(self._ready)
            ctx.set(read.ready, ready)
            offered = bool(queue) and queue[0][0] <= cycle
            ctx.set(beats.valid, offered)
            noise = self._rng.getrandbits(shape.size)
            ctx.set(beats.payload, shape.from_bits(self._content(queue[0][1]) if offered else noise))


class Writes:
    """Random writes of ``c``, what is to become of them, and the memory they are added to. Most values are extremes."""

    def __init__(self, c, seed, count, share=0.7, scales=None):
        self.c, rng, numbers = c, random.Random(seed), np.random.default_rng(seed)
        width, n = c.element_width, c.memory_elements
        self._memory = self._values(numbers, (1 << BITS, n))
        beats = self._values(numbers, (count, n))
        self.words, self.expected, self.places, self.clamps = [], [], [], 0
        for number, beat in enumerate(beats):
            write = {"address": rng.getrandbits(BITS), "strobe": rng.choice([rng.getrandbits(n), (1 << n) - 1]),
                     "beat": {"elements": [int(v) & (1 << width) - 1 for v in beat]}}
            a, b, c_shift = scales[number] if scales else [rng.randrange(8) for _ in range(3)]
            residual, offset = rng.random() < share, rng.getrandbits(BITS)
            self.words.append({"write": write, "residual": residual, "offset": offset, "a": a, "b": b, "c": c_shift})
            if residual:
                self.places.append((write["address"] + offset) % (1 << BITS))
                beat, clamped = add_residual(beat, self._memory[self.places[-1]], a, b, c_shift, width)
                strobed = [write["strobe"] >> i & 1 for i in range(n)]
                self.clamps += bool((np.asarray(clamped) & strobed).any())
            self.expected.append(self.masked(self._bits(write, beat)))

    def _bits(self, write, beat):
        elements = pack(beat, self.c.element_width) << BITS + self.c.memory_elements
        return write["address"] | write["strobe"] << BITS | elements

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
        return word & ((1 << BITS + n) - 1 | kept << BITS + n)


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
    dut = Residual(writes.c, depth)
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
        Residual(config_of(), depth)


@pytest.mark.parametrize("in_flight", [3, 1025])
def test_refused_in_flight(in_flight):
    with pytest.raises(ValueError, match=rf"^in_flight: {in_flight} is not in 4\.\.1024$"):
        ReadArbiter(config_of(), in_flight)


@STALLS
def test_random_writes(source, sink):
    seed = 100 + 10 * list(Stall).index(source) + list(Stall).index(sink)
    rng, writes = random.Random(seed), Writes(config_of(), seed, 150)
    assert 30 < writes.clamps, f"seed {seed} exercises the clamp"
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
    writes = Writes(c, 1, len(scales), share=1, scales=scales)
    writes.expected.clear()
    writes.clamps, full = 0, (1 << 8) - 1
    writes.content = lambda place: pack(other[place], element_width)
    for number, (word, (a, b, shift)) in enumerate(zip(writes.words, scales)):
        place = number % len(other)
        word["write"] |= {"strobe": full, "beat": {"elements": [v & (1 << element_width) - 1 for v in own]}}
        word["offset"], writes.places[number] = (place - word["write"]["address"]) % (1 << BITS), place
        exact = [v * 2**a + r * 2**b for v, r in zip(own, other[place])]
        rounded = [(t + (1 << shift >> 1)) // 2**shift for t in exact]
        clamped = [min(max(y, low), high) for y in rounded]
        writes.clamps += clamped != rounded
        writes.expected.append(word["write"]["address"] | full << BITS | pack(clamped, element_width) << BITS + 8)
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


def test_beats_are_taken_while_no_request_moves():
    """``read`` stops for ever after five requests: their writes leave all the same, and those before the sixth."""
    writes = Writes(config_of(), 5, 12, share=1)
    dut = Residual(writes.c, 16)
    bench = Bench(dut, 5)

    class Five:
        moved = 0

        def __iter__(self):
            return self

        def __next__(self):
            return len(memory.moves) < 5

    memory = SlowMemory(bench, dut.read, dut.beats, writes.content, random.Random(5), lambda: 9)
    memory._ready = iter(Five())
    bench.feed(dut.i, writes.words[:7])
    sink = bench.sink(dut.o, 5)
    bench.run(200)
    assert [writes.masked(word) for word in sink.words] == writes.expected[:5]


@PIPELINES
@STALLS
def test_queue(source, sink, pipeline):
    """Words of three RAMs."""
    seed, places = 3, 6 + 4 * pipeline.is_deep
    rng = random.Random(seed)
    words = [rng.getrandbits(300) for _ in range(120)]
    dut = BeatQueue(config_of(pipeline=pipeline), 300, places)
    bench = Bench(dut, seed)
    out = bench.sink(dut.o, len(words), sink)

    async def write(ctx):
        go, sent, entered, left = source.willing(rng), 0, 0, 0
        moves = (dut.w_en, dut.o.valid & dut.o.ready)
        async for _, _, space, empty, enters, leaves in ctx.tick().sample(dut.space, dut.empty, *moves):
            assert empty == (entered == left), bench.seed_note
            entered, left = entered + enters, left + leaves
            wanted = space and sent < len(words) and next(go)
            ctx.set(dut.w_en, wanted)
            ctx.set(dut.w_data, words[sent] if wanted else rng.getrandbits(300))
            sent += wanted

    bench.process(write, background=True)
    bench.run(4000)
    assert out.words == words, bench.seed_note
    if source == sink == Stall.NEVER:
        first = 2 + pipeline.ram_latency  # the first ``w_en`` is in cycle 1
        assert out.cycles == list(range(first, first + len(words)))


def number_of(place):
    """A beat of 32 bits that tells its place."""
    return place * 0x9e3779b1 % (1 << 32)


class Clients:
    """A ReadArbiter between a memory and two clients; the reader asks for even places, the residual for odd ones."""

    def __init__(self, seed, reads, residuals, *, pipeline=Pipeline.DEEP, in_flight=16, latency=lambda: 1,
                 reader=(Stall.NEVER, Stall.NEVER), residual=(Stall.NEVER, Stall.NEVER), ready=Stall.NEVER):
        rng = random.Random(seed)
        self.dut = dut = ReadArbiter(config_of(pipeline=pipeline), in_flight)
        self.bench = Bench(dut, seed)
        self.reads = [rng.randrange(0, 1 << BITS, 2) for _ in range(reads)]
        self.residuals = [rng.randrange(1, 1 << BITS, 2) for _ in range(residuals)]
        self.asked = self.bench.feed(dut.reader_read, self.reads, reader[0])
        self.residual_asked = self.bench.feed(dut.residual_read, self.residuals, residual[0])
        self.got = self.bench.sink(dut.reader_beats, reads, reader[1])
        self.residual_got = self.bench.sink(dut.residual_beats, residuals, residual[1])
        self.memory = SlowMemory(self.bench, dut.read, dut.beats, number_of, rng, latency, ready)

    def run(self, reset_at=None):
        self.bench.run(400 + 60 * (len(self.reads) + len(self.residuals)), reset_at)
        note = self.bench.seed_note
        assert self.got.words == [number_of(place) for place in self.reads], note
        assert self.residual_got.words == [number_of(place) for place in self.residuals], note
        assert [place for place in self.memory.moves if place % 2] == self.residuals, note
        assert [place for place in self.memory.moves if not place % 2] == self.reads, note
        return self


@pytest.mark.parametrize("in_flight", [4, 64])
@STALLS
def test_both_clients(source, sink, in_flight):
    seed = in_flight + 100 * list(Stall).index(source) + 10 * list(Stall).index(sink)
    rng = random.Random(seed)
    others = (rng.choice(list(Stall)[:5]), rng.choice(list(Stall)))
    Clients(seed, 80, 80, in_flight=in_flight, reader=(source, sink), residual=others,
            pipeline=rng.choice(list(Pipeline)), latency=lambda: rng.choice([1, 2, 9, 30]),
            ready=rng.choice([Stall.NEVER, Stall.RANDOM, Stall.BURSTS])).run()


@PIPELINES
def test_stated_latency(pipeline):
    """A request a cycle later; its beat, if it comes at once, with the residual 2 + ram_latency cycles after the
    request, with the reader 2 + ram_latency cycles after it has moved."""
    ahead = 2 + pipeline.ram_latency
    for reads, residuals in ((1, 0), (0, 1)):
        run = Clients(0, reads, residuals, pipeline=pipeline).run()
        assert run.memory.cycles == [1]
        assert (run.got.cycles, run.residual_got.cycles) == ([ahead + 2 + pipeline.ram_latency] * reads,
                                                             [ahead] * residuals)
    late = Clients(0, 1, 1, pipeline=pipeline, latency=lambda: 30).run()
    assert late.memory.cycles == [1, 2] and late.residual_got.cycles == [31]
    assert late.got.cycles == [32 + 2 + pipeline.ram_latency]


@PIPELINES
@pytest.mark.parametrize("reads, residuals", [(200, 0), (0, 200), (150, 150)])
def test_stated_throughput(reads, residuals, pipeline):
    """One request and one beat per cycle; the residual goes first."""
    latency = 32 - 5
    run = Clients(2, reads, residuals, pipeline=pipeline, in_flight=32, latency=lambda: latency).run()
    count = reads + residuals
    assert run.memory.cycles == list(range(1, 1 + count)) and run.memory.moves == run.residuals + run.reads
    for cycles in (run.got.cycles, run.residual_got.cycles):
        assert cycles == list(range(cycles[0], cycles[0] + len(cycles))) if cycles else True


@pytest.mark.parametrize("reader, residual", [(True, False), (False, True), (True, True)])
def test_in_flight_bounds_the_requests(reader, residual):
    """A memory that never answers."""
    dut = ReadArbiter(config_of(), 8)
    bench = Bench(dut, 4)
    memory = SlowMemory(bench, dut.read, dut.beats, number_of, random.Random(4), latency=lambda: 1000)

    async def ask(ctx):
        ctx.set(dut.reader_read.valid, reader)
        ctx.set(dut.residual_read.valid, residual)
        await ctx.tick().repeat(100)

    bench.process(ask)
    bench.run(1)
    assert 6 <= len(memory.moves) <= 8 + 4


@pytest.mark.parametrize("reset_at", [2, 7, 19, 40])
def test_arbiter_reset(reset_at):
    stalls = (Stall.RANDOM, Stall.RANDOM)
    Clients(reset_at, 60, 60, reader=stalls, residual=stalls, latency=lambda: 8).run(reset_at)


class Both(wiring.Component):
    """A Residual that shares the port with a reader."""

    def __init__(self, c, depth, in_flight):
        self.residual, self.arbiter = Residual(c, depth), ReadArbiter(c, in_flight)
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
