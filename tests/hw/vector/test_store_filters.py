"""The store side of the vector unit as a whole: every unit by its parameter set, in order, against
sim/model/vector.py."""

import random

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
import numpy as np
import pytest

from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.parameter_set import SET_WORDS, Activation, WriteSet
from wingbeat.hw.isa.setup import SETUP_CHANNELS, SETUP_WRITE_SETS
from wingbeat.hw.isa.vector_tables import channel_word
from wingbeat.hw.numeric import largest, smallest
from wingbeat.hw.vector.store_filters import VectorStore
from wingbeat.sim.bench.stream import CROSS, Bench, SlowMemory, Stall
from wingbeat.sim.model.vector import add_residual, argmax, relu, rescale

pytestmark = pytest.mark.thin(3)

BITS, CHANNELS = 10, 4
STALLS = pytest.mark.parametrize("source, sink", CROSS, ids=lambda stall: stall.value)
SETS = {1: WriteSet(rescale=True, shift=17, chunk_mask=3, residual=True, offset=300, b=1, argmax=True, classes=5),
        2: WriteSet(argmax=True, classes=7), 3: WriteSet(residual=True, offset=900, a=2, c=1),
        9: WriteSet(rescale=True, shift=16, chunk_mask=1, bias_row=True, activation=Activation.RELU, argmax=True,
                    classes=2),
        15: WriteSet(rescale=True, shift=18, chunk_mask=0, residual=True, offset=1, argmax=True, classes=1)}


def config_of(**fields):
    return CoreConfig.of(**(dict(engines=4, stream_words=4, half_words=32, width=18, element_width=16, memory_bits=BITS,
                                 vector_lanes=2, channel_beats=CHANNELS) | fields))


class Gated(wiring.Component):
    """A VectorStore whose writes wait for ``go``."""

    def __init__(self, c):
        self.store, self.go = VectorStore(c), Signal(reset_less=True)
        super().__init__(dict(self.store.signature.members))

    def elaborate(self, platform):
        m = Module()
        m.submodules.store = store = self.store
        for name in ("o", "read", "beats"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(store, name))
        m.d.comb += [
            store.i.payload.eq(self.i.payload), store.i.valid.eq(self.i.valid & self.go),
            self.i.ready.eq(store.i.ready & self.go), store.setup.eq(self.setup), store.setup_en.eq(self.setup_en),
            self.saturated.eq(store.saturated), self.busy.eq(store.busy)]
        return m


class Harness:
    """A VectorStore with its tables, a stream of writes with the parameter sets ``numbers``, with ``parts`` some of
    element 0 and some of the others, and a memory that is slow."""

    def __init__(self, c, seed, count, source, sink, numbers=(0, *SETS), latency=(1, 3, 20), parts=True):
        self.c, self.dut, self._parts = c, Gated(c), parts
        self.bench, rng = Bench(self.dut, seed), random.Random(seed)
        self.bench.noise(self.dut.setup, self.dut.setup_en)
        self._numbers = np.random.default_rng(seed)
        self._memory = self._values((1 << BITS, c.memory_elements))
        self._scale, self._bias = self._values((2, CHANNELS, c.memory_elements)) >> 1
        self.words, self.expected, self.clamped, self._mirrored, number = [], [], False, 0, 0
        for beat in self._values((count, c.memory_elements)):
            first = not self.words or rng.random() < 0.2
            number = rng.choice(numbers) if first else number  # of a whole WRITE
            self._add(rng, number, first, beat)
        self.bench.process(self._tables)
        self.bench.process(self._watch, background=True)
        self.memory = SlowMemory(self.bench, self.dut.read, self.dut.beats, self._content, rng,
                                 lambda: rng.choice(latency))
        self.feed = self.bench.feed(self.dut.i, self.words, source)
        self.out = self.bench.sink(self.dut.o, count, sink)

    def _values(self, shape):
        low, high = smallest(self.c.element_width), largest(self.c.element_width)
        return np.where(self._numbers.random(shape) < 0.2, self._numbers.choice([low, -1, 0, high], shape),
                        self._numbers.integers(low, high + 1, shape))

    def _add(self, rng, number, first, beat):
        row0, width, chosen = rng.getrandbits(1), self.c.element_width, SETS.get(number)
        # Element 0 alone, often where the last write without it was: of this WRITE or of another.
        full, mask = (1 << len(beat)) - 1, (1 << width) - 1
        strobe = rng.choice([full, full, full - 1, 1, 1]) if self._parts else full
        address = self._mirrored if strobe == 1 and rng.random() < 0.8 else rng.getrandbits(BITS)
        self._mirrored = address if strobe == full - 1 else self._mirrored
        written = np.array([strobe >> at & 1 for at in range(len(beat))], dtype=bool)
        self.words.append({"write": {"address": address, "strobe": strobe,
                                     "beat": {"elements": [int(v) & mask for v in beat]}},
                           "row0": row0, "first": first, "set": number})
        clamped = []
        if chosen and chosen.rescale:
            at = chosen.base + (address & chosen.chunk_mask)
            bias = self._bias[at] if row0 or not chosen.bias_row else 0
            beat, flags = rescale(beat, self._scale[at], bias, chosen.shift, width)
            clamped.append(flags)
        if chosen and chosen.activation is Activation.RELU:
            beat = relu(beat)
        if chosen and chosen.residual:
            added = self._memory[(address + chosen.offset) % (1 << BITS)]
            beat, flags = add_residual(beat, added, chosen.a, chosen.b, chosen.c, width)
            clamped.append(flags)
        if chosen and chosen.argmax:
            beat = argmax(beat, chosen.classes, width)
        self.clamped |= any((flags & written).any() for flags in clamped)
        self.expected.append((address, strobe, tuple((beat[written] & mask).tolist())))

    async def _tables(self, ctx):
        d = self.dut
        words = [(SETUP_WRITE_SETS, number * SET_WORDS + at, word) for number, chosen in SETS.items()
                 for at, word in enumerate(chosen.words())]
        words += [(SETUP_WRITE_SETS, at, 0xFFFFFFFF) for at in range(SET_WORDS)]  # set 0 stays what it is
        words += [(SETUP_CHANNELS, at, channel_word(int(scale), int(bias)))
                  for at, (scale, bias) in enumerate(zip(self._scale.ravel(), self._bias.ravel()))]
        ctx.set(d.setup_en, 1)
        for target, address, word in words:
            ctx.set(d.setup, {"target": target, "address": address, "data": word})
            await ctx.tick()
        ctx.set(d.setup_en, 0)
        await ctx.tick().repeat(5)
        ctx.set(d.go, 1)

    def _content(self, place):
        width = self.c.element_width
        return sum((int(v) & (1 << width) - 1) << width * at for at, v in enumerate(self._memory[place]))

    async def _watch(self, ctx):
        self.saturated = False
        d = self.dut
        async for _, _, saturated, self.busy in ctx.tick().sample(d.saturated, d.busy):
            self.saturated |= bool(saturated)

    def check(self):
        self.bench.run(1000 + 60 * len(self.words))
        shape = self.dut.o.payload.shape()
        got = [(word.address, word.strobe, tuple(int(v) & (1 << self.c.element_width) - 1 for at, v in
                                                 enumerate(word.beat.elements) if word.strobe >> at & 1))
               for word in map(shape.from_bits, self.out.words)]
        assert got == self.expected, self.bench.seed_note
        assert self.saturated == self.clamped and not self.busy, self.bench.seed_note


@STALLS
def test_random_writes(source, sink):
    seed = 10 * list(Stall).index(source) + list(Stall).index(sink)
    Harness(config_of(), seed, 60, source, sink).check()


@pytest.mark.parametrize("lanes, element_width", [(8, 8), (8, 16), (1, 9)])
def test_widths(lanes, element_width):
    Harness(config_of(vector_lanes=lanes, element_width=element_width), lanes, 60, Stall.NEVER, Stall.RANDOM).check()


@pytest.mark.parametrize("in_flight", [4, 16, 64])
def test_as_many_writes_wait_as_beats_may_be_on_their_way(in_flight):
    """So a residual never asks for less than the memory can bring, however slow it is."""
    late = 400
    harness = Harness(config_of(in_flight=in_flight), in_flight, 150, Stall.NEVER, Stall.NEVER, (3,), (late,), False)
    with pytest.raises(AssertionError, match="deadline of"):
        harness.bench.run(late)  # nothing has come yet
    asked = len(harness.memory.moves)
    assert in_flight <= asked <= max(8, in_flight) + 3, f"{asked} reads, {harness.bench.seed_note}"
