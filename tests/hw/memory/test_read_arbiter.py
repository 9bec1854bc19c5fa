"""Read arbiter and its queues, before a memory that stalls: order, owners, bounds, latency and throughput, resets."""

import random

import pytest

from wingbeat.hw.config import CoreConfig, Pipeline, Target
from wingbeat.hw.memory.read_arbiter import ReadArbiter
from wingbeat.hw.primitives.queue import BeatQueue
from wingbeat.sim.bench.stream import CROSS, Bench, SlowMemory, Stall

pytestmark = pytest.mark.thin(4)

BITS = 10  # of a beat number
STALLS = pytest.mark.parametrize("source, sink", CROSS, ids=lambda stall: stall.value)
PIPELINES = pytest.mark.parametrize("pipeline", list(Pipeline), ids=lambda p: p.value)


def config_of(pipeline=Pipeline.DEEP):
    return CoreConfig.of(engines=8, stream_words=2, half_words=32, width=18, element_width=8, memory_bits=BITS,
                         pipeline=pipeline)


@pytest.mark.parametrize("in_flight", [3, 1025])
def test_refused_in_flight(in_flight):
    with pytest.raises(ValueError, match=rf"^in_flight: {in_flight} is not in 4\.\.1024$"):
        ReadArbiter(config_of(), in_flight)


@PIPELINES
@STALLS
@pytest.mark.parametrize("near", [0, 5])
def test_queue(source, sink, pipeline, near):
    """Words of three RAMs, of which some bits may lie nearer."""
    seed, places = 3, 6 + 4 * pipeline.is_deep
    rng = random.Random(seed)
    words = [rng.getrandbits(300) for _ in range(120)]
    dut = BeatQueue(Target.PORTABLE, pipeline, 300, places, near)
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
