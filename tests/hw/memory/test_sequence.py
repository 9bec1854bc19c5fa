"""Beat sequence: random descriptors against ``Descriptor.positions``, under stalls; latency, throughput, resets; with
ids, the places of rows that a table names."""

from dataclasses import replace
import random

import numpy as np
import pytest

from wingbeat.hw.config import CoreConfig, Pipeline
from wingbeat.hw.isa.descriptor import DESCRIPTOR_WORDS, Descriptor, Move
from wingbeat.hw.memory.sequence import BeatSequence
from wingbeat.sim.bench.stream import Bench, Stall

pytestmark = pytest.mark.thin(4)

MEMORY_BITS = 20
PIPELINES = pytest.mark.parametrize("pipeline", list(Pipeline), ids=lambda p: p.value)
SINKS = pytest.mark.parametrize("sink", [Stall.NEVER, Stall.RANDOM, Stall.BURSTS, Stall.SHY], ids=lambda s: s.value)


def config(groups, pipeline=Pipeline.DEEP, **options):
    return CoreConfig.of(engines=groups, layers=1, stream_words=2, memory_bits=MEMORY_BITS, pipeline=pipeline,
                         **{"descriptors": 3, **options})


def random_descriptor(rng, groups, most=150):
    """Any moves, in any order of bits, of as many beats as ``most`` allows."""
    def move():
        reach = rng.choice([2, 8, 200])
        return Move(rng.randint(-reach, reach), rng.choice([0, rng.randint(-reach, reach)]))

    while True:
        sub, step = rng.choice([0, 0, 1, 2, 3, 7]), rng.randint(0, 6)
        steps = rng.choice([0, rng.randint(1, 1 << step)])
        if (steps or 1 << step) * groups << sub <= most:
            break
    chunks = rng.choice([0, rng.randint(1, 9), rng.randint(1, 300)])
    kind = rng.randrange(3)
    steps_moves = tuple(move() for _ in range(step))
    if kind == 0:  # rows in bit-reversed order, chunks in groups
        steps_moves = tuple(Move(1 << step - 1 - bit) for bit in range(step))
    elif kind == 1:  # a matrix by columns: steps of no power of two
        steps_moves = tuple(Move(3 << bit) for bit in range(step))
    origin = rng.choice([Move(0), Move(rng.randint(0, 99), rng.randint(0, 9))])
    return Descriptor(tuple(move() for _ in range(sub)), move(), steps_moves, pitch=rng.randrange(1, 500),
                      chunks=chunks, tail=rng.choice([0, 3]), origin=origin,
                      other=rng.getrandbits(32), steps=steps, keep=rng.getrandbits(32))


def table_writes(descriptors, groups):
    """Words of ``write``."""
    return [(number * DESCRIPTOR_WORDS + at, word) for number, descriptor in enumerate(descriptors)
            for at, word in enumerate(descriptor.words(groups)) if word]


def place_of(number):
    """Where the row of an id begins."""
    return number * 0x9E3B1 + 77 & (1 << MEMORY_BITS) - 1


def beats_of(descriptor, groups, base, rows):
    """The fields of every beat of a block. By id, the address of a beat that is not valid is open: 0."""
    row, chunk = descriptor.positions(groups)
    address = (base + row * descriptor.pitch + (0 if descriptor.by_id else chunk)) % (1 << MEMORY_BITS)
    row, chunk = row & 0xFFFF, chunk & 0xFFFF
    at_end = chunk == (descriptor.chunks - 1) % (1 << 16)
    tail = at_end & (descriptor.tail != 0)
    valid = (row < rows) & (chunk < descriptor.chunks)
    if descriptor.by_id:
        address = np.where(valid, place_of(address) + chunk & (1 << MEMORY_BITS) - 1, 0)
    last = np.arange(len(row)) == len(row) - 1
    names = ("address", "row", "chunk", "valid", "first_chunk", "last_chunk", "tail", "tail_elements", "last")
    columns = (address, row, chunk, valid, chunk == 0, at_end, tail, np.where(tail, descriptor.tail, 0), last)
    return [dict(zip(names, map(int, beat))) for beat in zip(*columns)]


def fields(dut, word):
    beat = dut.o.payload.shape().from_bits(word)
    seen = {name: beat[name] for name in dut.o.payload.shape().members}
    return seen | {"tail_elements": seen["tail"] * seen["tail_elements"]}


class Setup:
    """A sequence, its descriptors, and a bench that writes the table and then starts ``blocks``, tuples of number of
    the descriptor, base and rows. ``starts`` are the cycles in which blocks were taken. With ``has_ids`` a block of a
    descriptor ``by_id`` is one, and the bench has the table of places."""

    def __init__(self, seed, groups, descriptors, blocks, pipeline=Pipeline.DEEP, source=Stall.NEVER, sink=Stall.NEVER,
                 has_ids=False):
        self.dut, self._has_ids = BeatSequence(config(groups, pipeline), has_ids), has_ids
        self.bench, self.starts, self._groups = Bench(self.dut, seed), [], groups
        self.bench.noise(self.dut.write, self.dut.write_en)
        self._descriptors, self._blocks = descriptors, blocks
        self.writes = table_writes(descriptors, groups)
        self.blocks = [beats_of(descriptors[number], groups, base, rows) for number, base, rows in blocks]
        self.expected = sum(self.blocks, [])
        self.seen = []  # (chunks, other, keep) in the cycles in which a beat moves
        self._go = source.willing(random.Random(seed))
        self.bench.process(self._drive, background=True)
        self.bench.process(self._watch, background=True)
        if has_ids:
            self._stages = [0] * pipeline.ram_latency
            self.bench.process(self._look_up, background=True)
        self.got = self.bench.sink(self.dut.o, len(self.expected), sink)

    def run(self, reset_at=None):
        """``reset_at`` counts from the first cycle after the table."""
        at = None if reset_at is None else reset_at + len(self.writes) + 1
        self.bench.run(len(self.writes) + 40 * len(self.expected) + 60 * len(self.blocks) + 100, at)
        note = self.bench.seed_note
        got = [fields(self.dut, word) for word in self.got.words]
        by_id = [self._descriptors[number].by_id for (number, _, _), block in zip(self._blocks, self.blocks)
                 for _ in block]
        for number, beat in enumerate(got):
            if by_id[number] and not beat["valid"]:
                beat["address"] = 0
            assert beat == self.expected[number], f"beat {number}, {note}"
        shapes = [(each.chunks, each.other, each.keep) for each in (self._descriptors[number]
                                                             for number, _, _ in self._blocks)]
        assert self.seen == [shape for shape, block in zip(shapes, self.blocks) for _ in block], note

    async def _drive(self, ctx):
        for address, word in self.writes:
            ctx.set(self.dut.write, {"address": address, "data": word})
            ctx.set(self.dut.write_en, 1)
            await ctx.tick()
        ctx.set(self.dut.write_en, 0)
        cycle = len(self.writes)
        async for _, reset, valid, ready in ctx.tick().sample(self.dut.start.valid, self.dut.start.ready):
            if reset:
                cycle, self.starts[:] = -1, []
            elif valid and ready:
                self.starts.append(cycle)
            cycle += 1
            held = valid and not ready and not reset
            waits = len(self.starts) < len(self._blocks) and (held or next(self._go))
            ctx.set(self.dut.start.valid, waits)
            if waits:
                number, base, rows = self._blocks[len(self.starts)]
                self._offer(ctx, number, base, rows, self._descriptors[number].by_id)
            else:
                self._offer(ctx, 7, 12345, 77, random.Random(cycle).random() < 0.5)

    def _offer(self, ctx, number, base, rows, by_id):
        fields = {"descriptor": number, "base": base, "rows": rows, **({"by_id": by_id} if self._has_ids else {})}
        ctx.set(self.dut.start.payload, fields)

    async def _look_up(self, ctx):
        """A RAM whose stages move with ``moving``."""
        async for _, _, moving, number in ctx.tick().sample(self.dut.moving, self.dut.id_number):
            if moving:
                self._stages = [place_of(number), *self._stages[:-1]]
            ctx.set(self.dut.place, self._stages[-1])

    async def _watch(self, ctx):
        dut = self.dut
        moves = ctx.tick().sample(dut.o.valid, dut.o.ready, dut.chunks, dut.other, dut.keep)
        async for _, reset, valid, ready, *shape in moves:
            if reset:
                self.seen.clear()
            elif valid and ready:
                self.seen.append(tuple(shape))


def random_blocks(rng, descriptors, count):
    return [(rng.randrange(len(descriptors)), rng.getrandbits(MEMORY_BITS), rng.choice([5, 100, 0xFFFF]))
            for _ in range(count)]


@SINKS
@pytest.mark.parametrize("source", [Stall.NEVER, Stall.RANDOM], ids=lambda s: s.value)
@PIPELINES
@pytest.mark.parametrize("groups", [1, 3, 6])
def test_random_blocks(groups, pipeline, source, sink):
    """Back to back, and apart."""
    seed = 1000 * groups + list(Stall).index(sink) + 10 * list(Stall).index(source)
    rng = random.Random(seed)
    descriptors = [random_descriptor(rng, groups) for _ in range(3)]
    Setup(seed, groups, descriptors, random_blocks(rng, descriptors, 6), pipeline, source, sink).run()


@pytest.mark.parametrize("seed", range(20))
def test_more_descriptors(seed):
    rng = random.Random(seed)
    groups = rng.choice([1, 2, 5])
    descriptors = [random_descriptor(rng, groups, 60) for _ in range(3)]
    Setup(seed, groups, descriptors, random_blocks(rng, descriptors, 8), rng.choice(list(Pipeline)), Stall.NEVER,
          Stall.RANDOM).run()


def test_all_bits_of_the_steps():
    """Every event of a long count, up to the highest that fits a test."""
    moves = tuple(Move(1 << bit % 12, bit) for bit in range(13))
    descriptor = Descriptor((), Move(0), moves, pitch=3, chunks=40)
    Setup(0, 1, [descriptor], [(0, 7, 3000)]).run()


@SINKS
@pytest.mark.parametrize("source", [Stall.NEVER, Stall.RANDOM], ids=lambda s: s.value)
@PIPELINES
@pytest.mark.parametrize("groups", [1, 3])
def test_random_blocks_with_ids(groups, pipeline, source, sink):
    """By id and not, in turn and at random."""
    seed = 7000 + 1000 * groups + list(Stall).index(sink) + 10 * list(Stall).index(source)
    rng = random.Random(seed)
    descriptors = [replace(random_descriptor(rng, groups, 80), by_id=number > 0, pitch=rng.choice([1, 1, 9]))
                   for number in range(3)]
    blocks = random_blocks(rng, descriptors, 8)
    blocks[:4] = [(number, *block[1:]) for number, block in zip((1, 0, 2, 0), blocks)]
    setup = Setup(seed, groups, descriptors, blocks, pipeline, source, sink, has_ids=True)
    setup.run()


@PIPELINES
@pytest.mark.parametrize("has_ids", [False, True])
def test_stated_latency_and_throughput(has_ids, pipeline):
    descriptors = [Descriptor((Move(1),) * 2, Move(9), (Move(4),) * 3, pitch=8, chunks=1),
                   Descriptor((), Move(0), (), pitch=1, chunks=1),
                   Descriptor((), Move(1), (Move(3),) * 4, pitch=1, chunks=1)]
    descriptors = [replace(each, by_id=has_ids and at != 1) for at, each in enumerate(descriptors)]
    setup = Setup(0, 3, descriptors, [(0, 0, 9), (1, 0, 9), (2, 0, 9), (0, 0, 9)], pipeline, has_ids=has_ids)
    setup.run()
    assert setup.dut.latency == ((13, 8) if has_ids else (10, 6))[pipeline is Pipeline.SHORT]
    cycle = setup.starts[0] + setup.dut.latency
    for block, start in zip(setup.blocks, setup.starts):
        assert start + setup.dut.latency == cycle
        for _ in block:
            assert setup.got.cycles.pop(0) == cycle
            cycle += 1
        cycle += setup.dut.latency + 1  # the last beat has left in cycle - 1, the start moves two behind


@pytest.mark.parametrize("reset_at", [3, 8, 11, 12, 20, 33])
def test_reset_mid_block(reset_at):
    rng = random.Random(reset_at)
    descriptors = [random_descriptor(rng, 3, 60) for _ in range(3)]
    Setup(reset_at, 3, descriptors, random_blocks(rng, descriptors, 4), sink=Stall.RANDOM).run(reset_at)
    descriptors = [replace(each, by_id=True) for each in descriptors]
    Setup(reset_at, 3, descriptors, random_blocks(rng, descriptors, 4), sink=Stall.RANDOM, has_ids=True).run(reset_at)


def test_a_row_by_id_is_as_long_as_its_chunks():
    """Ids in any order of rows; the beats of a row follow its begin, also beyond the end of the memory."""
    descriptor = Descriptor((), Move(0), (Move(0, 1), Move(2), Move(1)), pitch=3, chunks=2, by_id=True)
    setup = Setup(0, 1, [descriptor], [(0, 40, 9)], has_ids=True)
    setup.run()
    begins = [place_of(40 + 3 * row) for row in (0, 2, 1, 3)]
    words = [fields(setup.dut, word)["address"] for word in setup.got.words]
    assert words == [begin + chunk & (1 << MEMORY_BITS) - 1 for begin in begins for chunk in (0, 1)]


def test_words_outside_the_table_are_dropped():
    """Three descriptors end at word 192; RAM addresses behind would wrap."""
    descriptor = Descriptor((), Move(0), (Move(1),) * 3, pitch=2, chunks=1)
    setup = Setup(0, 1, [descriptor], [(0, 5, 9)])
    setup.writes += [(address, 0x1010101) for address in (192, 255, 256, 257, 256 + 2 * 9, 2048, 4095)]
    setup.run()
