"""Normalise unit: rows, sums of rows and beats that pass against formulas of the test's own; latency, throughput."""

from dataclasses import dataclass
import math
import random

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
import pytest

from wingbeat.hw.config import ArrayConfig, Pipeline
from wingbeat.hw.normalise import Normalise
from wingbeat.hw.numeric import largest, pack_signed, smallest, unpack_signed
from wingbeat.hw.rowsums import NormaliseParameters
from wingbeat.hw.vectorset import SET_WORDS, ReadSet
from wingbeat.sim.bench import CROSS, Bench, Stall

STALLS = pytest.mark.parametrize("source,sink", CROSS, ids=lambda stall: stall.value)


def config_of(width=16, stream_words=4, **fields):
    return ArrayConfig(**(dict(layers=1, engines=4, stream_words=stream_words, half_words=32, width=max(width, 16),
                               element_width=width, memory_bits=10) | fields))


# ---- The formulas of hw/rowsums.py, on integers of Python

def half_up(value, bits):
    return value + (1 << bits >> 1) >> bits


def statistics(row, n, epsilon, width):
    """M, m and p of a row of ``n`` elements."""
    s1, s2 = sum(row), sum(x * x for x in row)
    d = n * s2 - s1 * s1 + epsilon
    k, log2_n = (d.bit_length() - 1) // 2, n.bit_length() - 1
    a, w = (n * n << 18) >> 2 * log2_n, (d << 18) >> 2 * k
    j = a < w
    return ((s1 * 32 + n) // (2 * n), math.isqrt((a << 32 + 2 * j) // w),
            min(31, max(0, width + log2_n - k - j)))


def normalised(x, entry, width):
    """One element, and whether it was clamped."""
    mean, mantissa, up = entry
    operand_width = min(18, width + 2)
    u = half_up((x * 16 - mean) << up, 8 + width - operand_width)
    y = half_up(u * mantissa, 16 + operand_width - width)
    clamped = min(max(y, smallest(width)), largest(width))
    return clamped, clamped != y or not smallest(operand_width) <= u <= largest(operand_width)


# ---- Blocks of beats

@dataclass
class Case:
    """Beats for the unit, in order, and what must come of them."""

    config: ArrayConfig
    rows: int
    inputs: list
    outputs: list
    clamps: int
    sets: dict
    table: dict

    def __init__(self, config, sets, rows=64):
        self.config, self.sets, self.rows = config, sets, rows
        self.inputs, self.outputs, self.clamps, self.table, self.number = [], [], 0, {}, 0

    def entry(self, chosen, row, chunk):
        return (chosen.first + (row << chosen.row_shift) + (chunk >> chosen.chunk_shift)) % self.rows

    def _beat(self, elements, row, chunk, number, sums=0, last=0, keep=None):
        size = self.config.memory_elements
        kept = (1 << size) - 1 if keep is None else keep
        self.number = self.number + 1 & 31
        self.inputs.append({
            "beat": {"elements": [pack_signed(int(x), self.config.element_width) for x in elements]}, "keep": kept,
            "row": row, "chunk": chunk, "set": number, "sums": sums, "last_chunk": last, "sideband": self.number})
        return elements, kept

    def _out(self, elements):
        self.outputs.append(([int(x) for x in elements], self.number))

    def passes(self, elements):
        self._beat(elements, 0, 0, 0, last=1)
        self._out(elements)

    def sum_row(self, number, row, values, chunk=0):
        """A row, its chunks from ``chunk`` on."""
        size, chosen = self.config.memory_elements, self.sets[number]
        for at in range(0, len(values), size):
            last = at + size >= len(values)
            self._beat(values[at:at + size], row, chunk + at // size, number, 1, last)
        place = self.entry(chosen, row, chunk + (len(values) - 1) // size)
        self.table[place] = statistics(values, chosen.n, chosen.epsilon, self.config.element_width)

    def normalise(self, number, row, chunk, elements, keep=None):
        _, kept = self._beat(elements, row, chunk, number, keep=keep)
        found = self.table[self.entry(self.sets[number], row, chunk)]
        pairs = [normalised(x, found, self.config.element_width) if kept >> i & 1 else (0, False)
                 for i, x in enumerate(elements)]
        self._out([y for y, _ in pairs])
        self.clamps += any(clamped for _, clamped in pairs)

    def normalise_row(self, number, row, values, chunk=0):
        size = self.config.memory_elements
        for at in range(0, len(values), size):
            self.normalise(number, row, chunk + at // size, values[at:at + size])


class Configured(wiring.Component):
    """A Normalise that writes its parameter sets before it takes a beat."""

    def __init__(self, dut, words):
        self._dut, self._words = dut, [(0, 0), *words]
        super().__init__({name: dut.signature.members[name] for name in ("i", "o", "saturated", "idle", "busy")})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self._dut
        m.submodules.words = words = Memory(
            shape=44, depth=len(self._words), init=[address | data << 12 for address, data in self._words])
        read, done = words.read_port(domain="comb"), Signal()
        m.d.comb += [Value.cast(dut.write).eq(read.data), dut.write_en.eq(~done),
                     dut.i.valid.eq(self.i.valid & done), self.i.ready.eq(dut.i.ready & done),
                     dut.i.payload.eq(self.i.payload)]
        m.d.sync += done.eq(done | (read.addr == len(self._words) - 1))
        with m.If(~done):
            place = Signal.like(read.addr)
            m.d.sync += place.eq(place + 1)
            m.d.comb += read.addr.eq(place)
        wiring.connect(m, dut.o, wiring.flipped(self.o))
        m.d.comb += [getattr(self, name).eq(getattr(dut, name)) for name in ("saturated", "idle", "busy")]
        return m


class Harness:
    """A Normalise with the beats of a case."""

    def __init__(self, case, lanes, seed=0, source=Stall.NEVER, sink=Stall.NEVER):
        self.case, self.dut = case, Normalise(case.config, lanes, case.rows, 5)
        words = [(number * SET_WORDS + at, word)
                 for number, chosen in case.sets.items() for at, word in enumerate(chosen.words())]
        top = Configured(self.dut, words)
        self.bench = Bench(top, seed)
        self.beats = self.bench.feed(top.i, case.inputs, source)
        self.out = self.bench.sink(top.o, len(case.outputs), sink)
        self.bench.process(self._watch(top), background=True)

    def _watch(self, top):
        async def watch(ctx):
            self.saturated = 0
            async for _, reset, saturated, busy, idle in ctx.tick().sample(top.saturated, top.busy, top.idle):
                self.saturated = 0 if reset else self.saturated + saturated
                self.busy, self.idle = busy, idle
        return watch

    def check(self, deadline, reset_at=None):
        self.bench.run(deadline, reset_at)
        c, note = self.case.config, self.bench.seed_note
        bits = c.memory_elements * c.element_width
        got = [([unpack_signed(word >> c.element_width * i & (1 << c.element_width) - 1, c.element_width)
                 for i in range(c.memory_elements)], word >> bits) for word in self.out.words]
        for number, (found, wanted) in enumerate(zip(got, self.case.outputs)):
            assert found == wanted, f"beat {number} ({note})"
        assert self.dut.parameters.pieces > 1 or self.saturated == self.case.clamps, note
        assert bool(self.saturated) == bool(self.case.clamps), note


# ---- Rows

def random_rows(rng, width, n, count):
    """Rows of every kind: noise of all sizes around all means, constants, extremes, one element that differs."""
    low, high = smallest(width), largest(width)
    rows = [[low] * n, [high] * n, [low, high] * (n // 2), [high] + [low] * (n - 1), [0] * (n - 1) + [1],
            [rng.choice([low, high]) for _ in range(n)], [high - 1] * (n - 1) + [high], [0] * n]
    while len(rows) < count:
        mean, sigma = rng.uniform(low, high) * rng.choice([0, 1]), 2 ** rng.uniform(-2, width - 1)
        rows.append([min(max(round(rng.gauss(mean, sigma)), low), high) for _ in range(n)])
    rng.shuffle(rows)
    return rows[:count]


def rows_case(width=16, stream_words=4, chunks=3, count=6, seed=0, epsilon=None, **fields):
    """Sums of ``count`` rows, then the rows; then the next rows."""
    rng = random.Random(seed)
    c = config_of(width, stream_words, **fields)
    n = chunks * c.memory_elements
    case = Case(c, {5: ReadSet(first=3, n=n, epsilon=epsilon or rng.choice([1, 77, n * n * 5]))})
    for _ in range(2):
        rows = random_rows(rng, width, n, count)
        for number, values in enumerate(rows):
            case.sum_row(5, number, values)
        for number, values in enumerate(rows):
            case.normalise_row(5, number, values)
    return case


@pytest.mark.parametrize("width", [8, 12, 16, 17, 18])
@pytest.mark.parametrize("lanes", [8, 2])
def test_widths(width, lanes):
    """Every kind of row at every width; N = 24."""
    Harness(rows_case(width, count=16, seed=width), lanes, width).check(8000)


@STALLS
@pytest.mark.parametrize("lanes", [8, 4])
def test_stalls(source, sink, lanes):
    """Beats that pass, sums, rows of three sets with places of their own, elements that do not count."""
    Harness(mixed_case(7), lanes, 7, source, sink).check(12000)


def mixed_case(seed, width=16, stream_words=4, pipeline=Pipeline.DEEP):
    """Two matrices interleaved: set 1 has a row of four chunks, set 2 two of two chunks, set 9 one chunk a row."""
    rng = random.Random(seed)
    c = config_of(width, stream_words, pipeline=pipeline)
    size = c.memory_elements
    case = Case(c, {1: ReadSet(first=40, chunk_shift=2, n=4 * size, epsilon=12345),
                    2: ReadSet(first=8, row_shift=1, chunk_shift=1, n=2 * size - 3),
                    9: ReadSet(first=60, n=size, epsilon=(1 << 2 * width + 1) + 1)})
    shapes = {1: (1, 4, 5), 2: (2, 2, 3), 9: (1, 1, 7)}  # parts of a row of memory, chunks of one, rows
    for _ in range(2):
        held = {}
        for number, (parts, chunks, rows) in shapes.items():
            for row in range(rows):
                values = [random_rows(rng, width, chunks * size, 1)[0] for _ in range(parts)]
                for part in range(parts):
                    if number == 2:
                        values[part][-3:] = [0] * 3  # the tail of a row
                    case.sum_row(number, row, values[part], part * chunks)
                held[number, row] = sum(values, [])
                if rng.random() < 0.4:
                    case.passes([rng.randint(smallest(width), largest(width)) for _ in range(size)])
        places = [(number, row, chunk) for (number, row), values in held.items() for chunk in range(len(values) // size)]
        for number, row, chunk in rng.sample(places, len(places)):
            keep = rng.getrandbits(size) if rng.random() < 0.3 else None
            case.normalise(number, row, chunk, held[number, row][chunk * size:][:size], keep)
            if rng.random() < 0.2:
                case.passes([rng.randint(smallest(width), largest(width)) for _ in range(size)])
    return case


@pytest.mark.parametrize("width,stream_words,lanes,pipeline", [
    (16, 2, 4, Pipeline.SHORT), (12, 8, 2, Pipeline.SHORT), (9, 8, 1, Pipeline.DEEP), (18, 8, 16, Pipeline.DEEP),
    (16, 1, 1, Pipeline.DEEP)])
def test_shapes(width, stream_words, lanes, pipeline):
    """Beats and lanes of other sizes, short pipelines."""
    fields = dict(layers=1) if stream_words > 1 else dict(layers=1)
    case = mixed_case(width, width, max(2, stream_words), pipeline)
    Harness(case, lanes, width, Stall.RANDOM, Stall.BURSTS).check(60000)
