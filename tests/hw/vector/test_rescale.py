"""Rescale unit: bit-exact against sim/model/vector.py, its lanes alone and streams of writes under stalls; latency,
throughput, saturation, resets."""

import random

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
import numpy as np
import pytest

from wingbeat.hw.config import CoreConfig, Pipeline, Target
from wingbeat.hw.isa.parameter_set import BELOW_BITS, WIDE_BITS, SET_WORDS, Activation, WriteSet
from wingbeat.hw.isa.vector_tables import SCALE_BITS, GeluTable, channel_word
from wingbeat.hw.numeric import largest, smallest, unpack_signed
from wingbeat.hw.vector.activation import ActivationLane, VectorLaneParameters
from wingbeat.hw.vector.rescale import Rescale, RescaleParameters, ScaleLane
from wingbeat.sim.bench.stream import CROSS, Bench, Stall
from wingbeat.sim.model.vector import clamped_element, gelu, relu, rescale
from wingbeat.sim.reference.functions import erf_complement

pytestmark = pytest.mark.thin(4)

BITS = 12
CHANNELS = 7
STALLS = pytest.mark.parametrize("source,sink", CROSS, ids=lambda stall: stall.value)
WIDTHS = pytest.mark.parametrize("width", [8, 9, 10, 11, 16, 18])
PIPELINES = pytest.mark.parametrize("pipeline", list(Pipeline), ids=lambda p: p.value)


def config(width=16, stream_words=4, pipeline=Pipeline.DEEP):
    return CoreConfig.of(engines=4, layers=1, stream_words=stream_words, half_words=32, width=18, element_width=width,
                         memory_bits=BITS, pipeline=pipeline)


def extremes(rng, width, shape, share=0.6):
    """Integers of ``width`` bits, most of them corners."""
    low, high = smallest(width), largest(width)
    corners = rng.choice([low, low + 1, -1, 0, 1, high - 1, high], shape)
    return np.where(rng.random(shape) < share, corners, rng.integers(low, high + 1, shape))


def signed_bits(values, width):
    return [int(value) & (1 << width) - 1 for value in np.ravel(values)]


def as_signed(bits, width):
    """Of bits or of what they stand for already."""
    return np.array([unpack_signed(int(value), width) for value in bits])


# --- one lane ------------------------------------------------------------------------------------------------

@WIDTHS
@PIPELINES
def test_scale_lane(drive, width, pipeline):
    """Every shift; products that saturate, that just do not, and biases that pull them back."""
    rng, n, fraction = np.random.default_rng(width), 4000, SCALE_BITS - width
    x, scale = extremes(rng, width, n), extremes(rng, SCALE_BITS, n)
    bias, shift, wide = extremes(rng, SCALE_BITS, n), rng.integers(0, 19, n), rng.integers(0, 2, n)
    # Sums near the ends of the range: a bias close to an end less the product.
    product = x * scale >> shift
    ends = [smallest(SCALE_BITS + WIDE_BITS), largest(SCALE_BITS + WIDE_BITS)]
    wanted = rng.choice(ends, n) + rng.integers(-2 << fraction, 2 << fraction, n)
    near = rng.random(n) < 0.4
    pulled = (wanted - product) >> WIDE_BITS * wide
    bias = np.where(near, np.clip(pulled, smallest(SCALE_BITS), largest(SCALE_BITS)), bias)
    lane = ScaleLane(VectorLaneParameters(width, pipeline=pipeline))
    steps = [dict(zip(("x", "scale", "bias", "shift", "wide"), step)) for step in zip(
        signed_bits(x, width), signed_bits(scale, SCALE_BITS), signed_bits(bias, SCALE_BITS), map(int, shift),
        map(int, wide))]
    seen = drive(lane, steps + [{}] * lane.latency, ("y", "clamped"))
    expected = [rescale(*values, width, wide=bool(w))
                for *values, w in zip(x, scale, bias, (shift + fraction).tolist(), wide)]
    assert 0.1 < np.mean([clamped for _, clamped in expected]) < 0.9, f"width {width} exercises the clamp"
    np.testing.assert_array_equal(as_signed(seen["y"][lane.latency:], width + WIDE_BITS),
                                  [int(y) for y, _ in expected])
    np.testing.assert_array_equal(seen["clamped"][lane.latency:], [bool(clamped) for _, clamped in expected])


@WIDTHS
@PIPELINES
def test_activation_lane(drive, width, pipeline):
    """Every element of 10 and 11 bits in every mode and with every fall, corners and random ones of the others."""
    rng = np.random.default_rng(width)
    every = np.arange(smallest(width), largest(width) + 1)
    some = np.concatenate([extremes(rng, width, 400), np.arange(-300, 300), extremes(rng, width + WIDE_BITS, 200)])
    y = np.unique(np.concatenate([every, some]) if width < 12 else some)
    table = GeluTable.of(width, erf_complement)
    steps = [{"write": word, "write_index": index, "write_en": 1} for index, word in enumerate(table.words())]
    lane, before, expected = ActivationLane(VectorLaneParameters(width, pipeline=pipeline)), len(steps) + 1, []
    steps += [{"write_en": 0}]
    modes = [(Activation.NONE, BELOW_BITS), (Activation.RELU, BELOW_BITS)]
    modes += [(Activation.GELU, fall) for fall in range(8)]
    for activation, fall in modes:
        z, clamped = {Activation.NONE: lambda v: clamped_element(v, width),
                      Activation.RELU: lambda v: clamped_element(relu(v), width),
                      Activation.GELU: lambda v, f=fall: gelu(v, table, f, width)}[activation](y)
        expected += zip(z.tolist(), clamped.tolist())
        steps += [{"y": bits, "rectify": activation != Activation.NONE, "gelu": activation == Activation.GELU,
                   "fall": fall} for bits in signed_bits(y, width + WIDE_BITS)]
    seen = drive(lane, steps + [{}] * lane.latency, ("z", "clamped"))
    got = zip(as_signed(seen["z"], width).tolist(), map(bool, seen["clamped"]))
    assert list(got)[before + lane.latency:] == expected
    assert any(clamped for _, clamped in expected)


def test_any_table_is_taken(drive):
    """Bases and slopes at their ends, random otherwise."""
    rng, width = np.random.default_rng(3), 16
    slope = extremes(rng, 10, 512, 0.5)
    base = np.where(rng.random(512) < 0.5, rng.choice([0, (1 << 18) - 1], 512), rng.integers(0, 1 << 18, 512))
    table, y = GeluTable(base, slope), extremes(rng, width + WIDE_BITS, 9000, 0.2)
    steps = [{"write": word, "write_index": index, "write_en": 1} for index, word in enumerate(table.words())]
    steps += [{"write_en": 0, "rectify": 1, "gelu": 1, "fall": 2}]
    lane, before = ActivationLane(VectorLaneParameters(width)), len(steps)
    steps += [{"y": v} for v in signed_bits(y, width + WIDE_BITS)] + [{}] * lane.latency
    seen = drive(lane, steps, ("z", "clamped"))
    z, clamped = gelu(y, table, 2, width)
    np.testing.assert_array_equal(as_signed(seen["z"], width)[before + lane.latency:], z)
    np.testing.assert_array_equal(seen["clamped"][before + lane.latency:], clamped)


# --- the unit --------------------------------------------------------------------------------------------------

class Gated(wiring.Component):
    """A Rescale whose input waits for ``go``."""

    def __init__(self, unit):
        self.unit, self.go = unit, Signal(reset_less=True)
        super().__init__(dict(unit.signature.members))

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = self.unit
        for name, member in self.signature.members.items():
            if member.is_port:
                pair = (self.unit, self) if member.flow is wiring.In else (self, self.unit)
                m.d.comb += getattr(pair[0], name).eq(getattr(pair[1], name))
        wiring.connect(m, self.unit.o, wiring.flipped(self.o))
        m.d.comb += [self.unit.i.payload.eq(self.i.payload), self.unit.i.valid.eq(self.i.valid & self.go),
                     self.i.ready.eq(self.unit.i.ready & self.go)]
        return m


def random_sets(rng, width):
    """A set of every kind, some that only others have business with."""
    fraction = SCALE_BITS - width
    sets = {}
    for number in range(1, 16):
        mask = rng.choice([0, 1, 3, 0xFFFF])
        sets[number] = WriteSet(
            rescale=rng.random() < 0.7, base=rng.randrange(CHANNELS - (mask & 3)), chunk_mask=mask,
            shift=rng.randint(fraction, fraction + 18), bias_row=rng.random() < 0.5,
            wide_bias=rng.random() < 0.2,
            activation=rng.choice(list(Activation)), fall=rng.randint(0, 7), residual=rng.random() < 0.5,
            offset=rng.getrandbits(32), a=rng.randrange(8))
    sets[1] = WriteSet(residual=True, offset=123)  # nothing to do here
    sets[2] = WriteSet(rescale=True, base=3, chunk_mask=3, shift=fraction + 16)
    sets[3] = WriteSet(activation=Activation.GELU, fall=1)
    return sets


def works(chosen):
    return chosen is not None and (chosen.rescale or chosen.activation is not Activation.NONE)


class Harness:
    """A unit, tables, and a stream of writes with what must come of each."""

    def __init__(self, seed, numbers, source=Stall.NEVER, sink=Stall.NEVER, width=16, lanes=8, stream_words=4,
                 pipeline=Pipeline.DEEP, strobes=True, share=0.6):
        c = config(width, stream_words, pipeline)
        self.unit = unit = Rescale(c, lanes, CHANNELS)
        self.width, self.elements, self.steps = width, c.memory_elements, c.memory_elements // lanes
        rng, self._rng = random.Random(seed), np.random.default_rng(seed)
        self.sets = random_sets(rng, width)
        self.table = GeluTable.of(width, erf_complement)
        self.scale = extremes(self._rng, SCALE_BITS, (CHANNELS, self.elements), 0.3) >> self._rng.integers(
            0, 12, (CHANNELS, self.elements))
        self.bias = extremes(self._rng, SCALE_BITS, (CHANNELS, self.elements), 0.3)
        self.inputs, self.expected, self.flags = [], [], []
        for number in numbers:
            self._write(rng, number, strobes, share)
        self.dut = Gated(unit)
        self.bench = Bench(self.dut, seed)
        self.bench.noise(self.dut.write, self.dut.write_set_en, self.dut.write_channel_en, self.dut.write_gelu_en)
        self.bench.process(self._tables)
        self.bench.process(self._watch, background=True)
        self.fed = self.bench.feed(self.dut.i, self.inputs, source)
        self.out = self.bench.sink(self.dut.o, len(self.inputs), sink)
        self.pulses, self.first_out, self.first_in = [], None, None

    def _write(self, rng, number, strobes, share):
        full = (1 << self.elements) - 1
        strobe = rng.choice([full, full, 1, full - 1, rng.getrandbits(self.elements)]) if strobes else full
        address, row0, first = rng.getrandbits(BITS), rng.getrandbits(1), rng.getrandbits(1)
        chosen = self.sets.get(number)
        if chosen and chosen.chunk_mask == 0xFFFF:
            address %= CHANNELS - chosen.base
        x = extremes(self._rng, self.width, self.elements, share)
        self.inputs.append({"write": {"address": address, "strobe": strobe,
                                      "beat": {"elements": signed_bits(x, self.width)}},
                            "row0": row0, "first": first, "set": number})
        written = np.array([strobe >> bit & 1 for bit in range(self.elements)], dtype=bool)
        z, flags = self._finish(chosen, x, address, row0)
        self.expected.append((number, first, address, strobe, tuple(z[written].tolist())))
        self.flags.append([(flag & written).reshape(self.steps, -1).any(axis=1) for flag in flags])

    def _finish(self, chosen, x, address, row0):
        """The elements and what each of the two clamps has changed."""
        none = np.zeros(len(x), dtype=bool)
        flags = [none, none]
        if not works(chosen):
            return x, flags
        if chosen.rescale:
            beat = chosen.base + (address & chosen.chunk_mask)
            bias = self.bias[beat] if row0 or not chosen.bias_row else 0
            x, flags[0] = rescale(x, self.scale[beat], bias, chosen.shift, self.width,
                                  wide=chosen.wide_bias)
        if chosen.activation is Activation.GELU:
            x, flags[1] = gelu(x, self.table, chosen.fall, self.width)
        else:
            x, flags[1] = clamped_element(relu(x) if chosen.activation is Activation.RELU else x, self.width)
        return x, flags

    async def _tables(self, ctx):
        """Words outside the tables and of set 0 go along, and change nothing."""
        d = self.dut

        async def put(enable, words):
            ctx.set(getattr(d, enable), 1)
            for address, word in words:
                ctx.set(d.write, {"address": address, "data": word})
                await ctx.tick()
            ctx.set(getattr(d, enable), 0)

        every = (1 << 36) - 1
        sets = [(number * SET_WORDS + at, word) for number, chosen in self.sets.items()
                for at, word in enumerate(chosen.words())]
        channels = [channel_word(int(s), int(b)) for s, b in zip(self.scale.ravel(), self.bias.ravel())]
        await put("write_set_en", sets + [(0, every), (1, every), (64 + 8, every), (1 << 15, every)])
        await put("write_channel_en", list(enumerate(channels)) + [(len(channels), every), (1 << 15, every)])
        if any(works(self.sets.get(w["set"])) and self.sets[w["set"]].activation is Activation.GELU
               for w in self.inputs):
            await put("write_gelu_en", list(enumerate(self.table.words())) + [(512, every), (1 << 15, every)])
        await ctx.tick().repeat(2)
        ctx.set(d.go, 1)

    async def _watch(self, ctx):
        cycle, d = 0, self.dut
        self.busy = False
        async for _, reset, pulse, busy, inside in ctx.tick().sample(d.saturated, d.busy, d.o.valid):
            if pulse:
                self.pulses.append(cycle)
            assert busy or not inside, f"a write inside and not busy ({self.bench.seed_note})"
            cycle, self.busy = cycle + 1, busy
            if reset:
                cycle = 0
                self.pulses.clear()

    def write_of(self, bits):
        word = self.unit.parameters.output.from_bits(bits)
        strobe = word.write.strobe
        z = as_signed(word.write.beat.elements, self.width)
        written = [bool(strobe >> bit & 1) for bit in range(self.elements)]
        return word.set, word.first, word.write.address, strobe, tuple(z[written].tolist())

    def check(self, reset_at=None):
        self.bench.run(3000 + 60 * self.steps * len(self.inputs), reset_at)
        note = self.bench.seed_note
        for number, bits in enumerate(self.out.words):
            assert self.write_of(bits) == self.expected[number], f"write {number}, {note}"
        assert len(self.out.words) == len(self.inputs) and not self.busy, note
        clamped = [number for number, flags in enumerate(self.flags) if np.any(flags)]
        assert bool(self.pulses) == bool(clamped), note
        if clamped:
            assert self.fed.cycles[clamped[0]] < self.pulses[0] <= self.out.cycles[clamped[0]], note
            assert self.fed.cycles[clamped[-1]] < self.pulses[-1] <= self.out.cycles[clamped[-1]], note


def mixed(seed, count):
    """Sets of writes: runs of one set, single ones, many that have nothing to do."""
    rng, numbers = random.Random(seed), []
    while len(numbers) < count:
        numbers += [rng.choice([0, 0, 1, 2, 3, *range(16)])] * rng.choice([1, 1, 2, 5, 12])
    return numbers[:count]


@STALLS
@pytest.mark.parametrize("lanes", [8, 2])
def test_mixed_stream(lanes, source, sink):
    harness = Harness(5, mixed(5, 120), source, sink, lanes=lanes)
    assert np.any(harness.flags), "seed 5 exercises the clamp"
    harness.check()


@pytest.mark.parametrize("seed", range(10))
def test_random_shapes(seed):
    rng = random.Random(seed)
    stream_words = rng.choice([2, 4, 8])
    lanes = rng.choice([n for n in (1, 2, 4, 8, 16) if n <= 2 * stream_words])
    harness = Harness(seed, mixed(seed, 80), rng.choice(list(Stall)[:4]), rng.choice(list(Stall)),
                      rng.choice([10, 12, 16, 18]), lanes, stream_words, rng.choice(list(Pipeline)))
    harness.check()


@pytest.mark.parametrize("lanes", [8, 4, 2])
@PIPELINES
def test_stated_latency_and_throughput(lanes, pipeline):
    """Work without a gap, one write per cycle with nothing to do, both in turn; pulses in their cycles."""
    harness = Harness(11, [2] * 30 + [3] * 30, lanes=lanes, pipeline=pipeline)
    harness.check()
    unit, steps = harness.unit, harness.steps
    done = [harness.fed.cycles[0] + unit.latency + steps * number for number in range(60)]
    assert harness.out.cycles == done
    assert set(np.diff(harness.fed.cycles)[4:]) == {steps}
    pulses = set()
    for cycle, flags in zip(done, harness.flags):
        for clamp, ahead in enumerate((unit.parameters.timing.lane.activation_latency, 0)):
            pulses |= {cycle - ahead - (steps - 1) + step for step in range(steps) if flags[clamp][step]}
    assert pulses and harness.pulses == sorted(pulses)


@pytest.mark.parametrize("lanes", [8, 2])
def test_nothing_to_do_takes_one_cycle(lanes):
    harness = Harness(12, [0, 1] * 40, lanes=lanes)
    harness.check()
    assert harness.out.cycles == [cycle + harness.unit.pass_latency for cycle in harness.fed.cycles]
    assert harness.fed.cycles == list(range(harness.fed.cycles[0], harness.fed.cycles[0] + 80))


@pytest.mark.parametrize("lanes", [8, 4, 2, 1])
def test_change_of_set_costs_nothing(lanes):
    """Writes with work, then others behind them: those leave one per cycle as soon as the last of the first has."""
    harness = Harness(13, [2] * 6 + [0] * 40 + [2] * 6, lanes=lanes)
    harness.check()
    first, steps = harness.out.cycles[0], harness.steps
    assert harness.out.cycles[:46] == [first + steps * n for n in range(6)] + [
        first + steps * 5 + 1 + n for n in range(40)]


@pytest.mark.parametrize("lanes", [8, 2])
@pytest.mark.parametrize("reset_at", [9, 30, 57])
def test_reset_mid_stream(lanes, reset_at):
    """``reset_at`` counts from the end of the tables, which stay."""
    harness = Harness(reset_at, mixed(reset_at, 60), Stall.RANDOM, Stall.RANDOM, lanes=lanes)
    tables = 15 * SET_WORDS + 4 + CHANNELS * 8 + 2 + 514 + 2
    harness.check(tables + reset_at)


@pytest.mark.parametrize("lanes,channels,message", [
    (3, 8, "lanes: 3 does not divide a beat of 8 elements; allowed are powers of two up to 8"),
    (16, 8, "lanes: 16 does not divide a beat of 8 elements; allowed are powers of two up to 8"),
    (0, 8, "lanes: 0 does not divide a beat of 8 elements; allowed are powers of two up to 8"),
    (8, 0, "channels: 0 beats is not the size of a channel table; allowed are 1..8192"),
    (8, 8193, "channels: 8193 beats is not the size of a channel table; allowed are 1..8192")])
def test_parameters(lanes, channels, message):
    with pytest.raises(ValueError) as error:
        RescaleParameters.of(config(), lanes, channels)
    assert str(error.value) == message


def test_element_width():
    with pytest.raises(ValueError, match="element_width: 7 is not an element of the vector unit; allowed are 8..18"):
        VectorLaneParameters(7, Target.ECP5)
