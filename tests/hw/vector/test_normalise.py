"""Normalise unit: rows, sums of rows and beats that pass against formulas of the test's own; latency, throughput."""

import math
import random

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
import pytest

from wingbeat.hw.config import CoreConfig, Pipeline
from wingbeat.hw.isa.parameter_set import EPSILON_BITS, SET_WORDS, ReadSet
from wingbeat.hw.numeric import largest, pack_signed, smallest, unpack_signed
from wingbeat.hw.vector.normalise import Normalise
from wingbeat.hw.vector.parameters import FRACTION
from wingbeat.hw.vector.statistics import NormaliseParameters, StatisticsUnit
from wingbeat.sim.bench.stream import CROSS, Bench, Stall
from wingbeat.sim.model import vector as model

pytestmark = pytest.mark.thin(4)

STALLS = pytest.mark.parametrize("source,sink", CROSS, ids=lambda stall: stall.value)


def config_of(width=16, stream_words=4, **fields):
    return CoreConfig.of(**(dict(layers=1, engines=4, stream_words=stream_words, half_words=32, width=max(width, 16),
                                 element_width=width, memory_bits=10) | fields))


# ---- The formulas of hw/vector/statistics.py, on integers of Python

def half_up(value, bits):
    return value + (1 << bits >> 1) >> bits


def statistics(row, n, epsilon, width, range_bits=0):
    """M, m, p of a row of ``n`` elements, and whether p was below 0."""
    return statistics_of(sum(row), sum(x * x for x in row), n, epsilon, width, range_bits)


def statistics_of(s1, s2, n, epsilon, width, range_bits=0):
    d = n * s2 - s1 * s1 + epsilon
    k, log2_n = (d.bit_length() - 1) // 2, n.bit_length() - 1
    a, w = (n * n << 18) >> 2 * log2_n, (d << 18) >> 2 * k
    j = a < w
    p = width + log2_n - k - j - range_bits
    return (s1 * 32 + n) // (2 * n), math.isqrt((a << 32 + 2 * j) // w), min(31, max(0, p)), p < 0


def normalised(x, entry, width):
    """One element, and whether it was clamped."""
    mean, mantissa, up, _ = entry
    operand_width = min(18, width + 2)
    u = half_up((x * 16 - mean) << up, 8 + width - operand_width)
    y = half_up(u * mantissa, 16 + operand_width - width)
    clamped = min(max(y, smallest(width)), largest(width))
    return clamped, clamped != y or not smallest(operand_width) <= u <= largest(operand_width)


# ---- Blocks of beats

class Case:
    """Beats for the unit, in order, and what must come of them: ``outputs`` and the number of them with a clamp."""

    def __init__(self, config, sets, rows=64):
        self.config, self.sets, self.rows = config, sets, rows
        self.inputs, self.outputs, self.clamps, self.table, self.number = [], [], 0, {}, 0

    def entry(self, chosen, address):
        return (address >> chosen.chunk_shift) % self.rows

    def _beat(self, elements, address, number, sums=0, last=0, keep=None):
        size = self.config.memory_elements
        kept = (1 << size) - 1 if keep is None else keep
        self.number = self.number + 1 & 31
        self.inputs.append({
            "beat": {"elements": [pack_signed(int(x), self.config.element_width) for x in elements]}, "keep": kept,
            "address": address, "set": number, "sums": sums, "last_chunk": last, "sideband": self.number})
        return kept

    def _out(self, elements):
        self.outputs.append(([int(x) for x in elements], self.number))

    def passes(self, elements):
        self._beat(elements, 0, 0, last=1)
        self._out(elements)

    def sum_row(self, number, address, values):
        """A row whose first beat is at ``address``."""
        size, chosen = self.config.memory_elements, self.sets[number]
        for at in range(0, len(values), size):
            last = at + size >= len(values)
            self._beat(values[at:at + size], address + at // size, number, 1, last)
        place = self.entry(chosen, address + (len(values) - 1) // size)
        self.table[place] = found = statistics(values, chosen.n, chosen.epsilon, self.config.element_width,
                                               chosen.range_bits)
        self.clamps += found[-1]

    def normalise(self, number, address, elements, keep=None):
        kept = self._beat(elements, address, number, keep=keep)
        found = self.table[self.entry(self.sets[number], address)]
        pairs = [normalised(x, found, self.config.element_width) if kept >> i & 1 else (0, False)
                 for i, x in enumerate(elements)]
        self._out([y for y, _ in pairs])
        self.clamps += any(clamped for _, clamped in pairs)

    def normalise_row(self, number, address, values):
        size = self.config.memory_elements
        for at in range(0, len(values), size):
            self.normalise(number, address + at // size, values[at:at + size])


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
        # Behind the last word stands noise, what comes in.
        noise = Cat(self.i.payload.as_value(), self.i.payload.as_value())
        m.d.comb += [Value.cast(dut.write).eq(Mux(done, noise, read.data)), dut.write_en.eq(~done),
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

    def __init__(self, case, lanes, seed=0, source=Stall.NEVER, sink=Stall.NEVER, units=1):
        self.case, self.dut = case, Normalise(case.config, lanes, case.rows, units, 5)
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


def rows_case(width=16, stream_words=4, chunks=3, count=6, seed=0, epsilon=None, range_bits=0, **fields):
    """Sums of ``count`` rows, then the rows; then the next rows."""
    rng = random.Random(seed)
    c = config_of(width, stream_words, **fields)
    n, shift = chunks * c.memory_elements, (chunks - 1).bit_length()
    case = Case(c, {5: ReadSet(chunk_shift=shift, n=n, epsilon=epsilon or rng.choice([1, 77, n * n * 5]),
                               range_bits=range_bits)})
    for _ in range(2):
        rows = random_rows(rng, width, n, count)
        for number, values in enumerate(rows):
            case.sum_row(5, 3 + number << shift, values)
        for number, values in enumerate(rows):
            case.normalise_row(5, 3 + number << shift, values)
    return case


@pytest.mark.parametrize("width", [8, 12, 16, 17, 18])
@pytest.mark.parametrize("lanes, range_bits", [(8, 0), (2, 0), (8, 1), (2, 5)])
def test_widths(width, lanes, range_bits):
    """Every kind of row at every width and range; N = 24."""
    Harness(rows_case(width, count=16, seed=width, range_bits=range_bits), lanes, width).check(8000)


@STALLS
@pytest.mark.parametrize("lanes, units", [
    (4, 1), (8, 3), *(pytest.param(*more, marks=pytest.mark.campaign) for more in ((8, 1), (4, 2)))])
def test_stalls(source, sink, lanes, units):
    """Beats that pass, sums, rows of three sets with places of their own, elements that do not count."""
    Harness(mixed_case(7), lanes, 7, source, sink, units).check(12000)


def mixed_case(seed, width=16, stream_words=4, pipeline=Pipeline.DEEP):
    """Three matrices: set 1 has a row of four chunks, set 2 two of two chunks, set 9 one chunk a row, and its entries
    go round the end of the table."""
    rng = random.Random(seed)
    c = config_of(width, stream_words, pipeline=pipeline)
    size = c.memory_elements
    case = Case(c, {1: ReadSet(chunk_shift=2, n=4 * size, epsilon=12345), 2: ReadSet(chunk_shift=1, n=2 * size - 3),
                    9: ReadSet(chunk_shift=0, n=size, epsilon=(1 << 2 * width + 1) + 1)})
    # Address of row 0, parts of a row of memory, chunks of one, rows.
    shapes = {1: (0x8000 + 40 * 4, 1, 4, 5), 2: (8 * 2, 2, 2, 3), 9: (0xA00 + 60, 1, 1, 7)}
    for _ in range(2):
        held = {}
        for number, (base, parts, chunks, rows) in shapes.items():
            for address in range(base, base + rows * parts * chunks, parts * chunks):
                values = [random_rows(rng, width, chunks * size, 1)[0] for _ in range(parts)]
                for part in range(parts):
                    if number == 2:
                        values[part][-3:] = [0] * 3  # the tail of a row
                    case.sum_row(number, address + part * chunks, values[part])
                held[number, address] = sum(values, [])
                if rng.random() < 0.4:
                    case.passes([rng.randint(smallest(width), largest(width)) for _ in range(size)])
        places = [(number, address, chunk) for (number, address), values in held.items()
                  for chunk in range(len(values) // size)]
        for number, address, chunk in rng.sample(places, len(places)):
            keep = rng.getrandbits(size) if rng.random() < 0.3 else None
            case.normalise(number, address + chunk, held[number, address][chunk * size:][:size], keep)
            if rng.random() < 0.2:
                case.passes([rng.randint(smallest(width), largest(width)) for _ in range(size)])
    return case


@pytest.mark.parametrize("width,stream_words,lanes,pipeline", [
    (16, 2, 4, Pipeline.SHORT), (12, 8, 2, Pipeline.SHORT), (9, 8, 1, Pipeline.DEEP), (18, 8, 16, Pipeline.DEEP),
    (16, 2, 1, Pipeline.DEEP)])
def test_shapes(width, stream_words, lanes, pipeline):
    """Beats and lanes of other sizes, short pipelines."""
    case = mixed_case(width, width, stream_words, pipeline)
    Harness(case, lanes, width, Stall.RANDOM, Stall.BURSTS).check(60000)


@pytest.mark.parametrize("units", [1, 3])
@pytest.mark.parametrize("reset_at", [30, 77, 140, 300])
def test_reset_mid_stream(reset_at, units):
    """A reset at a beat that passes, in sums, in the statistics of a row, among results."""
    Harness(mixed_case(3), 4, reset_at, Stall.RANDOM, Stall.RANDOM, units).check(8000, reset_at)


@pytest.mark.parametrize("lanes", [8, 4, 2, 1])
def test_results_wait_for_a_slow_sink(lanes):
    """More normalised beats in a row than all places for them."""
    case = Case(config_of(), {1: ReadSet(n=240)})
    row = random_rows(random.Random(2), 16, 240, 1)[0]
    case.sum_row(1, 0, row)
    case.normalise_row(1, 0, row)
    Harness(case, lanes, 2, sink=Stall.OFTEN).check(4000)


# ---- Latency and throughput

@pytest.mark.parametrize("pipeline", list(Pipeline), ids=lambda pipeline: pipeline.value)
@pytest.mark.parametrize("lanes", [16, 8, 4, 1])
def test_stated_latency_and_throughput(lanes, pipeline):
    """Beats that pass: 2 cycles, one per cycle. A long row adds up and normalises at elements/lanes cycles a beat."""
    c = config_of(stream_words=8, pipeline=pipeline)
    case, chunks, passing = Case(c, {1: ReadSet(n=16 * 20)}), 20, 5
    row = random_rows(random.Random(1), 16, 16 * chunks, 1)[0]
    for _ in range(passing):
        case.passes(row[:16])
    case.sum_row(1, 0, row)
    case.normalise_row(1, 0, row)
    for _ in range(passing):
        case.passes(row[:16])
    harness = Harness(case, lanes)
    harness.check(4000)
    dut, given, got = harness.dut, harness.beats.cycles, harness.out.cycles
    pieces = dut.parameters.pieces
    assert [b - a for a, b in zip(given, got)][:passing] == [2] * passing
    assert given[:passing] == list(range(given[0], given[0] + passing))
    # The first sums are taken at once, the next waits for its turn at the input buffer of two beats.
    sums = given[passing:passing + chunks]
    assert [b - a for a, b in zip(sums[2:], sums[3:])] == [pieces] * (chunks - 3)
    first, last = got[passing], got[passing + chunks - 1]
    assert last - first == pieces * (chunks - 1), "results without a bubble"
    assert got[-passing:] == list(range(got[-passing], got[-passing] + passing))
    # The last sum leaves the buffer when the one before it, which came to its end a cycle earlier, has had its time.
    taken = sums[-1] + 2 * pieces - 1
    assert first == taken + (dut.settle - 1) + (dut.latency - 1)
    assert not harness.busy and harness.idle


@pytest.mark.parametrize("units, period", [(1, 38), (2, 19), (3, 13), (4, 10)])
@pytest.mark.parametrize("lanes", [8, 2])
def test_stated_period_of_rows(lanes, units, period):
    """Rows of one beat, of every kind: one per period."""
    rng = random.Random(4)
    case = Case(config_of(), {3: ReadSet(chunk_shift=0, n=8)})
    rows = random_rows(rng, 16, 8, 40)
    for number, values in enumerate(rows):
        case.sum_row(3, number, values)
    for number, values in enumerate(rows):
        case.normalise_row(3, number, values)
    harness = Harness(case, lanes, units=units)
    harness.check(4000)
    taken = harness.beats.cycles[3:len(rows)]
    assert [b - a for a, b in zip(taken, taken[1:])] == [harness.dut.period] * (len(taken) - 1)
    assert harness.dut.period == period


# ---- Statistics of a row by themselves

@pytest.mark.parametrize("width", [8, 12, 16, 18])
def test_statistics_of_all_lengths(width, drive):
    """Sums that no short row has: N from 1 to 2^16, D up to its largest, E from 1 to N^2 * 4^(EW-1) and beyond."""
    rng, low, high = random.Random(width), smallest(width), largest(width)
    parameters = NormaliseParameters(8, width, 8, 64)
    steps, wanted = [], []
    for number in range(150):
        n = rng.choice([1, 2, 3, 1 << rng.randint(0, 16), rng.randint(1, 1 << 16), 65535, 65536])
        kinds = rng.choice([(low, high), (rng.randint(low, high),) * 2, (0, 1), (low, rng.randint(low, high))])
        some = rng.choice([0, 1, n // 2, n - 1, rng.randint(0, n)])
        s1, s2 = (kinds[0]**power * (n - some) + kinds[1]**power * some for power in (1, 2))
        most = min((1 << EPSILON_BITS) - 1, n * n << 2 * (width - 1))
        epsilon = rng.choice([1, 2, most, rng.randint(1, most), (1 << EPSILON_BITS) - 1])
        range_bits = rng.choice([0, 0, 1, 2, 5, 7])
        steps += [dict(start=1, sum=s1 & (1 << width + 16) - 1, squares_sum=s2, n=n, epsilon=epsilon, row=number & 63,
                       range_bits=range_bits),
                  dict(start=0)] + [{}] * (parameters.timing.statistics_period - 2)
        wanted.append((*entry_of(s1, s2, n, epsilon, parameters, range_bits), number & 63))
    steps += [{}] * parameters.timing.statistics_latency
    seen = drive(StatisticsUnit(parameters), steps, ("done", "entry", "clamped", "o_row"))
    done = [cycle for cycle, flag in enumerate(seen["done"]) if flag]
    assert len(done) == len(wanted)
    for number, (at, found) in enumerate(zip(done, wanted)):
        assert (seen["entry"][at], seen["clamped"][at], seen["o_row"][at]) == found, f"row {number} (seed {width})"
    late = [at - number * parameters.timing.statistics_period for number, at in enumerate(done)]
    assert max(late) == parameters.timing.statistics_latency - 1


def entry_of(s1, s2, n, epsilon, p, range_bits):
    """Bits of the entry of the table of rows, and whether its shift was clamped."""
    mean, mantissa, up, clamped = statistics_of(s1, s2, n, epsilon, p.element_width, range_bits)
    shift = p.right_shift - up
    offset = -mean + (1 << shift >> 1 if shift > 0 else 0)
    bits = p.element_width + FRACTION + 1
    return pack_signed(offset, bits) | mantissa - (1 << 16) << bits | up << bits + 16, clamped


# ---- The model, and accuracy

@pytest.mark.parametrize("width", [8, 12, 16, 17, 18])
def test_formulas_are_those_of_the_model(width):
    rng = random.Random(width)
    for n in (2, 24, 1000):
        rows, epsilon = random_rows(rng, width, n, 30), rng.choice([1, 99, n * n * 7])
        found, _ = model.row_statistics(rows, epsilon, width)
        got = [part.tolist() for part in model.normalise(rows, found, n, width)]
        for number, row in enumerate(rows):
            wanted = [normalised(x, statistics(row, n, epsilon, width), width) for x in row]
            assert list(zip(got[0][number], got[1][number])) == wanted, f"row {number} of {n} (seed {width})"


@pytest.mark.parametrize("width", [8, 12, 16, 18])
def test_error_against_float(width):
    """At most half a last place, a quarter (18 bits: one) for the operand, 2^-16 of the result for m and what the mean
    is off by: 2^-(F+1) elements."""
    rng, worst = random.Random(width), 0
    for n in (48, 64, 1000, 1024):
        for row in random_rows(rng, width, n, 40):
            found = statistics(row, n, 1, width)
            sigma = math.sqrt(n * sum(x * x for x in row) - sum(row)**2 + 1) / n
            for x in set(row):
                real = (x - sum(row) / n) / sigma * 2**(width - 4)
                got, clamped = normalised(x, found, width)
                if not clamped:
                    operand = 0.25 if width <= 16 else 2.0**(width - 18)
                    bound = 0.5 + operand + abs(real) * 2.0**-15.8 + 2.0**(width - 4) / sigma / 32
                    assert abs(got - real) <= bound, f"{x} of {row} (seed {width})"
                    worst = max(worst, abs(got - real) / bound)
    assert worst > 0.5, "the bound is tight"


@pytest.mark.parametrize("fields,message", [
    (dict(lanes=3), "lanes: 3 does not divide a beat of 8 elements; allowed are powers of two up to 8"),
    (dict(lanes=16), "lanes: 16 does not divide a beat of 8 elements; allowed are powers of two up to 8"),
    (dict(rows=48), "rows: 48 is not the size of a table of rows; allowed are powers of two of 2..65536"),
    (dict(units=5), "units: 5 is not in 1..4"),
    (dict(element_width=7), "element_width: 7 is not in 8..18")])
def test_errors(fields, message):
    with pytest.raises(ValueError) as error:
        NormaliseParameters(**(dict(elements=8, element_width=16, lanes=8, rows=64) | fields))
    assert str(error.value) == message
