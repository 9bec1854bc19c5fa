"""Loader: all words in order, reads that are owed, what passes, words for the control register, a stop, latency."""

import random

import pytest

from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.bit_fields import pack, unpack
from wingbeat.hw.isa.record import record_beats
from wingbeat.hw.isa.setup import NO_TARGET, SETUP, SETUP_CONTROL, SETUP_PROGRAM, SETUP_READER
from wingbeat.hw.memory.loader import Loader
from wingbeat.sim.bench.stream import Bench, bits_of

STALLS = pytest.mark.parametrize("share", [1, 0.5, 0.1], ids=["never", "often", "mostly"])
SHAPES = pytest.mark.parametrize("stream_words, width", [(2, 16), (4, 8), (4, 18), (16, 17)])
READ_BITS = 2
FIRST = 0xF00


def config_of(stream_words=4, width=16):
    return CoreConfig.of(engines=8, layers=1, width=18, element_width=width, stream_words=stream_words, memory_bits=12)


def writes_of(rng, count):
    return [(rng.choice([0, 3, SETUP_PROGRAM, SETUP_READER, NO_TARGET]), rng.getrandbits(16), rng.getrandbits(40))
            for _ in range(count)]


class Memory:
    """Beats by number on the reads of ``dut``, in order; ``asked`` lists the reads, ``most`` were owed at once."""

    def __init__(self, bench, dut, beats, share, seed=0):
        self.asked, self.most, self._rng, self._share = [], 0, random.Random(seed), share
        self._beats = beats
        bench.process(lambda ctx: self._run(ctx, dut), background=True)

    async def _run(self, ctx, dut):
        queue = []
        ready = valid = False
        async for *_, asks, address, taken in ctx.tick().sample(dut.o_read.valid, dut.o_read.payload,
                                                                    dut.i_beats.ready):
            if valid and taken:
                queue.pop(0)
                valid = False
            if asks and ready:
                self.asked.append(address)
                queue.append(self._beats[address])
                self.most = max(self.most, len(queue))
            ready = self._rng.random() < self._share
            valid = bool(queue) and (valid or self._rng.random() < self._share)
            ctx.set(dut.o_read.ready, ready)
            ctx.set(dut.i_beats.valid, valid)
            if valid:
                ctx.set(dut.i_beats.payload.as_value(), queue[0])


class Setup:
    """The words that leave, as (target, address, data), and their cycles."""

    def __init__(self, bench, dut, share, seed=1):
        self.words, self.cycles, self.loading, self.refused = [], [], [], []
        self._rng, self._share = random.Random(seed), share
        bench.process(lambda ctx: self._run(ctx, dut), background=True)

    async def _run(self, ctx, dut):
        ready, cycle = False, 0
        async for *_, valid, word, loading, refused in ctx.tick().sample(
                dut.o_setup.valid, dut.o_setup.payload, dut.loading, dut.refused):
            if valid and ready:
                self.words.append(tuple(unpack(SETUP, bits_of(dut.o_setup.payload.shape(), word)).values()))
                self.cycles.append(cycle)
            if refused:
                self.refused.append(cycle)
            self.loading.append(bool(loading))
            ready = self._rng.random() < self._share
            ctx.set(dut.o_setup.ready, ready)
            cycle += 1


def image(config, writes):
    width = config.element_width
    return {FIRST + number: sum((element & (1 << width) - 1) << width * at for at, element in enumerate(beat))
            for number, beat in enumerate(record_beats(config, writes).tolist())}


async def load(ctx, dut, beats):
    ctx.set(dut.load.address, FIRST)
    ctx.set(dut.load.beats, beats)
    ctx.set(dut.load.valid, 1)
    await ctx.tick()
    ctx.set(dut.load.valid, 0)


def loaded(config, writes, share, seed):
    dut = Loader(config, READ_BITS)
    bench = Bench(dut, seed)
    beats = image(config, writes)
    memory, found = Memory(bench, dut, beats, share, seed), Setup(bench, dut, share, seed + 1)

    async def host(ctx):
        await load(ctx, dut, len(beats))
        assert ctx.get(dut.loading)
        await ctx.tick().until(~dut.loading)
        await ctx.tick().repeat(20)
    bench.process(host)
    bench.run(len(writes) * 100 + 200)
    return bench, beats, memory, found


@STALLS
@SHAPES
def test_all_words_in_order(stream_words, width, share, seed=3):
    config = config_of(stream_words, width)
    places = config.memory_elements // config.record_elements
    writes = writes_of(random.Random(seed), 17 * places)
    bench, beats, memory, found = loaded(config, writes, share, seed)
    assert found.words == writes and memory.asked == sorted(beats) and not found.refused, bench.seed_note
    assert 1 <= memory.most < 1 << READ_BITS
    if share == 1:
        assert found.cycles == list(range(found.cycles[0], found.cycles[0] + len(writes)))
        assert not found.loading[found.cycles[-1] + 2] and found.loading[found.cycles[-1] + 1]


def test_nothing_to_load():
    bench, _, memory, found = loaded(config_of(), [], 1, 1)
    assert not memory.asked and not found.words and not any(found.loading[-20:])


def test_words_for_the_control_register_are_refused():
    writes = [(0, 1, 2), (SETUP_CONTROL, 0, 1), (1, 2, 3), (SETUP_PROGRAM, 0, 0)]
    bench, _, _, found = loaded(config_of(), writes, 1, 1)
    assert found.words == [writes[0], writes[2], writes[3]] and len(found.refused) == 1


def test_others_wait_and_pass(seed=6):
    """The host's words and the processor's reads pass before and behind a load, and wait meanwhile."""
    config = config_of()
    writes, own = writes_of(random.Random(seed), 12), (7, 8, 9)
    dut = Loader(config, READ_BITS)
    bench, beats = Bench(dut, seed), image(config, writes)
    memory, found = Memory(bench, dut, {**beats, 5: 0xABC}, 1), Setup(bench, dut, 1)

    async def host(ctx):
        ctx.set(dut.i_setup.payload.as_value(), pack(SETUP, dict(zip(("target", "address", "data"), own))))
        ctx.set(dut.i_read.payload, 5)
        ctx.set(dut.o_beats.ready, 1)
        for _ in range(2):
            await load(ctx, dut, len(beats))
            ctx.set(dut.i_setup.valid, 1)
            ctx.set(dut.i_read.valid, 1)
            taken = await ctx.tick().sample(dut.loading).until(dut.i_setup.ready)
            assert not taken[0]
            ctx.set(dut.i_setup.valid, 0)
            await ctx.tick().until(dut.o_beats.valid)
            ctx.set(dut.i_read.valid, 0)
            await ctx.tick().until(~dut.o_beats.valid)
    bench.process(host)
    bench.run(400)
    assert found.words == [*writes, own, *writes, own]
    first, second = (memory.asked.index(FIRST, at) for at in (0, len(beats)))
    assert set(memory.asked[first:first + len(beats)]) == set(beats) == set(memory.asked[second:second + len(beats)])
    assert set(memory.asked) - set(beats) == {5}


def test_a_stop(seed=7):
    """The read on offer stays until it is taken, no other follows; the host's words pass at once."""
    config = config_of()
    dut = Loader(config, READ_BITS)
    bench = Bench(dut, seed)

    async def host(ctx):
        ctx.set(dut.o_setup.ready, 1)
        await load(ctx, dut, 9)
        await ctx.tick().until(dut.o_read.valid)
        ctx.set(dut.stop, 1)
        ctx.set(dut.i_setup.valid, 1)
        for _ in range(3):
            _, _, valid, address, ready, loading = await ctx.tick().sample(
                dut.o_read.valid, dut.o_read.payload, dut.i_setup.ready, dut.loading)
            assert valid and address == FIRST and ready and not loading
    bench.process(host)
    bench.run(60)


def test_a_beat_less_than_a_record_is_refused():
    with pytest.raises(ValueError, match="^stream_words: a beat of 4 elements is less than a record; a Loader needs"):
        Loader(CoreConfig.of(engines=2, stream_words=2, width=8, element_width=8, memory_bits=12), READ_BITS)
