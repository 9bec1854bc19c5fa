"""Unpack: every element at its place and once, the ring full again and again, latency, throughput, clear, reset; the
same of sparse matrices, and every pick beside its word."""

import random

from amaranth.hdl import Const, Module, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In
import numpy as np
import pytest

from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.instruction import Mac
from wingbeat.hw.isa.sparse import PICK_BITS, pick_sets
from wingbeat.hw.memory.gather import memory_beat
from wingbeat.hw.memory.parameters import UNPACK_LATENCY
from wingbeat.hw.memory.unpack import Unpack
from wingbeat.sim.bench.stream import Bench, Stall
from wingbeat.sim.model import ring as model

STALLS = pytest.mark.parametrize("stall", [Stall.NEVER, Stall.RANDOM, Stall.BURSTS], ids=lambda stall: stall.value)
# S, K, element width, coefficient width: one, two and four columns; sets of S words, of more and of fewer.
SHAPES = [(1, 2, 16, 17), (1, 4, 8, 18), (1, 8, 18, 12), (2, 4, 16, 17), (2, 4, 16, 16), (2, 8, 18, 8), (4, 16, 12, 16),
          (4, 32, 17, 16)]
ALL_SHAPES = pytest.mark.parametrize("shape", SHAPES, ids=str)
SPARSE_SHAPES = pytest.mark.parametrize("shape", SHAPES[:6], ids=str)


def config_of(layers=2, stream_words=4, width=16, coefficient_width=17, ring_words=16):
    return CoreConfig.of(engines=max(1, stream_words >> layers), layers=layers, width=18, element_width=width,
                         coefficient_width=coefficient_width, stream_words=stream_words, coefficient_words=64,
                         ring_words=ring_words, memory_bits=12, records=True)


def matrix_of(config, sets, seed=0):
    """Elements of whole sets, a row for each beat; the first set has the corners."""
    half, rng = 1 << config.element_width - 1, np.random.default_rng(seed)
    matrix = rng.integers(-half, half, (sets * config.layers, config.memory_elements))
    matrix[0, :4] = -half, half - 1, -1, 1
    return matrix


def beats_of(config, matrix):
    """Bit patterns of the beats."""
    width = config.element_width
    return [sum((int(element) & (1 << width) - 1) << width * at for at, element in enumerate(beat)) for beat in matrix]


def twin(config, matrix):
    """(c0, c1) of every bank in every wide word: what the docstring says, in numpy."""
    width, wanted, lanes = config.element_width, config.coefficient_width, np.arange(config.lanes)
    values = matrix * 2 ** (wanted - 1 - width) if width < wanted else matrix // 2 ** (width - wanted)
    words = values.reshape(-1, config.layers, config.memory_elements // config.lanes, config.lanes)
    words = words.transpose(0, 2, 1, 3).reshape(-1, config.layers, config.lanes)  # word, column, lane
    banks = []
    for column in range(config.layers):
        low = lanes[lanes >> column & 1 == 0]
        banks.append(np.stack([words[:, column, low + (1 << column)], words[:, column, low]], -1))
    return np.concatenate(banks, 1)


def numbers_of(config, bits):
    """(c0, c1) of every bank in the bits of a wide word."""
    width = config.coefficient_width
    fields = np.array([bits >> width * at & (1 << width) - 1 for at in range(2 * config.n_units)])
    return ((fields ^ 1 << width - 1) - (1 << width - 1)).reshape(-1, 2)


def lanes_of(config, bits):
    """What each lane of every column has in the bits of a wide word."""
    found, lanes = np.zeros((config.layers, config.lanes), dtype=np.int64), np.arange(config.lanes)
    for column, pairs in enumerate(numbers_of(config, bits).reshape(config.layers, -1, 2)):
        low = lanes[lanes >> column & 1 == 0]
        found[column, low + (1 << column)], found[column, low] = pairs.T
    return found


class Ring:
    """The owner of the banks: keeps what is written, holds the port and releases words as ``hold`` and ``slow`` say,
    and checks in every cycle the counters, the address, ``hold``, ``idle`` and that the ring does not overflow.

    ``words``: all that were written, ``picks``: those beside them, ``cycles``: when, ``held``: the cycles of ``hold``,
    ``full``: those in which the ring was full, ``faults``: what was wrong. ``of_set``: the present beat is one of a
    set.
    """

    def __init__(self, bench, dut, config, hold=Stall.NEVER, slow=False, of_set=Const(1)):
        self.words, self.picks, self.cycles, self.held, self.full, self.faults = [], [], [], [], [], []
        self._dut, self._config, self._slow, self._note = dut, config, slow, bench.seed_note
        self._taken = dut.i.valid & dut.i.ready & of_set
        self._picks = Value.cast(dut.write.picks) if config.sparse else Const(0)
        self._rng = random.Random(bench.seed_note)
        self._free = hold.willing(random.Random(f"hold, {bench.seed_note}"))
        bench.process(self._own, background=True)

    async def _own(self, ctx):
        dut, config = self._dut, self._config
        size, words_of_set = config.ring_words, config.memory_elements // config.lanes
        cycle = beats = released = patience = 0
        hold = self._set_hold(ctx)
        async for _, rst, clear, taken, write_en, address, bits, picks, filled, idle in ctx.tick().sample(
                dut.clear, self._taken, dut.write_en, dut.write.address, Value.cast(dut.write.words), self._picks,
                dut.filled, dut.idle):
            count = len(self.words)
            wrong = {
                "written in spite of hold": hold and write_en,
                f"filled counts {filled} for {count}": filled != count % (2 * size),
                f"idle is {idle}": bool(idle) != (beats * words_of_set == count * config.layers),
                f"word {count} at {address}": write_en and address != count % size,
                f"word {count} over one that is in use": write_en and count - released >= size}
            self.faults += [f"cycle {cycle}, {self._note}: {what}" for what, is_so in wrong.items() if is_so]
            self.full += [cycle] * (count - released == size)
            self.held += [cycle] * hold
            if write_en:
                self.words.append(bits)
                self.picks.append(picks)
                self.cycles.append(cycle)
            cycle, beats = cycle + 1, beats + taken
            # A slow owner waits until the ring is full, and some cycles more, then releases any number.
            patience = patience + 1 if count - released == size else 0
            if not self._slow or patience > self._rng.randint(0, 9):
                released = self._rng.randint(released, count) if self._slow else count
            if rst or clear:
                for each in (self.words, self.picks, self.cycles, self.held, self.full):
                    each.clear()
                cycle = beats = released = 0
            ctx.set(dut.released, released % (2 * size))
            hold = self._set_hold(ctx)

    def _set_hold(self, ctx):
        hold = not next(self._free)
        ctx.set(self._dut.hold, hold)
        return hold

    def check(self, matrix):
        assert not self.faults[:3]
        expected = twin(self._config, matrix)
        found = np.array([numbers_of(self._config, bits) for bits in self.words]).reshape(-1, *expected.shape[1:])
        np.testing.assert_array_equal(found, expected, err_msg=self._note)


def wait_for(ring, words, most):
    """A testbench that ends some cycles after so many words."""
    async def testbench(ctx):
        for _ in range(most):
            await ctx.tick()
            if len(ring.words) >= words:
                break
        await ctx.tick().repeat(12)
    return testbench


def run(config, matrix, stall=Stall.NEVER, hold=Stall.NEVER, slow=False, seed=5, reset_at=None):
    """Feed and Ring of a whole run."""
    dut = Unpack(config)
    bench = Bench(dut, seed)
    feed, ring = bench.feed(dut.i, beats_of(config, matrix), stall), Ring(bench, dut, config, hold, slow)
    words = matrix.size // (config.layers * config.lanes)
    bench.process(wait_for(ring, words, 60 * words + 200))
    bench.run(60 * words + 300, reset_at)
    assert not ring.faults[:3]
    return feed, ring


@ALL_SHAPES
@STALLS
def test_all_elements_at_their_places(shape, stall):
    config = config_of(*shape)
    matrix = matrix_of(config, 12)
    ring = run(config, matrix, stall)[1]
    ring.check(matrix)


@ALL_SHAPES
@STALLS
def test_hold_and_a_full_ring(shape, stall):
    config = config_of(*shape)
    matrix = matrix_of(config, 5 * config.ring_words * config.lanes // config.memory_elements, 1)
    ring = run(config, matrix, stall, Stall.RANDOM, slow=True)[1]
    ring.check(matrix)
    assert len(ring.full) > 4 and ring.held


@pytest.mark.parametrize("hold", [Stall.OFTEN, Stall.BURSTS, Stall.ALTERNATE], ids=lambda stall: stall.value)
def test_hold(hold):
    config = config_of()
    matrix = matrix_of(config, 40, 2)
    run(config, matrix, Stall.NEVER, hold)[1].check(matrix)


@pytest.mark.parametrize("coefficient_width", [8, 9, 10, 18])
def test_every_element_of_8_bits(coefficient_width):
    config = config_of(1, 4, 8, coefficient_width)
    matrix = np.arange(-128, 128).reshape(-1, config.memory_elements)
    ring = run(config, matrix)[1]
    ring.check(matrix)
    found = np.array([numbers_of(config, bits) for bits in ring.words])[:, 0, ::-1].reshape(-1)  # c1 is the lower lane
    scale = 1 if coefficient_width == 8 else 1 << coefficient_width - 9
    assert found.tolist() == [element * scale for element in range(-128, 128)]


@pytest.mark.parametrize("ring_words", [4, 64])
def test_the_smallest_and_the_largest_ring(ring_words):
    config = config_of(2, 4, ring_words=ring_words)
    matrix = matrix_of(config, 2 * ring_words + 10, 3)
    ring = run(config, matrix, Stall.OFTEN if ring_words == 4 else Stall.NEVER, Stall.RANDOM, slow=ring_words == 64)[1]
    ring.check(matrix)


@ALL_SHAPES
def test_latency(shape):
    config = config_of(*shape)
    feed, ring = run(config, matrix_of(config, 1))
    assert ring.cycles[0] == feed.cycles[config.layers - 1] + UNPACK_LATENCY


@ALL_SHAPES
def test_throughput(shape):
    """A word per cycle, a set in S cycles at least."""
    config, sets = config_of(*shape), 10
    words = config.memory_elements // config.lanes
    feed, ring = run(config, matrix_of(config, sets))
    first = feed.cycles[0] + config.layers - 1 + UNPACK_LATENCY
    spacing = max(words, config.layers)
    assert ring.cycles == [first + spacing * at + word for at in range(sets) for word in range(words)]


@pytest.mark.parametrize("shape", [(1, 4, 8, 18), (2, 4, 16, 17), (2, 8, 18, 8), (4, 32, 17, 16)],
                         ids=str)
def test_hold_costs_its_cycles_and_no_more(shape):
    config = config_of(*shape)
    ring = run(config, matrix_of(config, 12), hold=Stall.RANDOM)[1]
    cycles = range(ring.cycles[0], ring.cycles[-1] + 1)
    assert ring.cycles == [cycle for cycle in cycles if cycle not in ring.held]


def test_room_is_used_in_the_next_cycle():
    config = config_of(ring_words=4)
    dut = Unpack(config)
    bench = Bench(dut)
    bench.feed(dut.i, beats_of(config, matrix_of(config, 6)))
    written = []

    async def testbench(ctx):
        await ctx.tick().repeat(20)
        for released in (1, 3, 7, 8):  # one word, two, a whole ring, one
            ctx.set(dut.released, released % 8)
            written.append([(await ctx.tick().sample(dut.write_en))[-1] for _ in range(8)])
    bench.process(testbench)
    bench.run(200)
    assert written == [[0] + [1] * n + [0] * (7 - n) for n in (1, 2, 4, 1)]


@pytest.mark.parametrize("hold", [Stall.NEVER, Stall.BURSTS], ids=lambda stall: stall.value)
@pytest.mark.parametrize("beats", range(9))
def test_clear(beats, hold):
    """After any number of beats, some of which still are inside, the counters and the place in the set begin anew, also
    while somebody else writes the banks."""
    config = config_of(2, 8, ring_words=16)
    before, after = matrix_of(config, 5, 7)[:beats], matrix_of(config, 9, 8)
    dut = Unpack(config)
    bench = Bench(dut)
    ring = Ring(bench, dut, config, hold)
    run_with_clear(bench, dut, dut.clear, beats_of(config, before), beats_of(config, after))
    ring.check(after)


def run_with_clear(bench, dut, clear, before, after):
    """Bits of beats, ``clear`` in the cycle behind the last one, and those of others."""
    async def send(ctx, beats):
        for bits in beats:
            ctx.set(dut.i.payload, dut.i.payload.shape().from_bits(bits))
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
        ctx.set(dut.i.valid, 0)

    async def testbench(ctx):
        await send(ctx, before)
        ctx.set(clear, 1)
        await ctx.tick()
        ctx.set(clear, 0)
        await send(ctx, after)
        await ctx.tick().repeat(40)
    bench.process(testbench)
    bench.run(600)


@pytest.mark.parametrize("reset_at", [4, 5, 23, 24, 25])
def test_reset(reset_at):
    """In the middle of a set, of its words, of a full ring."""
    config = config_of(2, 8, ring_words=16)
    matrix = matrix_of(config, 20, 9)
    run(config, matrix, Stall.NEVER, Stall.RANDOM, slow=True, reset_at=reset_at)[1].check(matrix)


def test_without_a_ring_there_is_none():
    with pytest.raises(ValueError, match="^ring_words: 0; an Unpack needs a ring$"):
        Unpack(CoreConfig.of(engines=2, stream_words=2, memory_bits=12))


# --- Sparse matrices ----------------------------------------------------------------------------------------------

class Fetched(wiring.Component):
    """An Unpack that gets its beats as in a processor: each knows whether its FETCH is ``sparse`` and whether it is the
    ``last`` one; without ``present`` it has not come from memory. ``of_set``: it has, and is no beat of picks."""

    def __init__(self, config):
        self.unpack = Unpack(config)
        super().__init__({"i": In(stream.Signature(data.StructLayout(
            {"beat": memory_beat(config), "sparse": 1, "last": 1, "present": 1, "of_set": 1})))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.unpack = unpack = self.unpack
        beat = self.i.payload
        m.d.comb += [
            unpack.i.payload.eq(beat.beat), unpack.i.valid.eq(self.i.valid & beat.present),
            self.i.ready.eq(unpack.i.ready | ~beat.present), unpack.sparse.eq(beat.sparse),
            unpack.restart.eq(self.i.valid & self.i.ready & beat.last)]
        return m


def beats_of_picks(config, picks, rng):
    """The beats in front of the sets of a FETCH, a row of ``picks`` for each set: what the docstring of ``pick_sets``
    says. Bits that are no picks are noise."""
    width, served, found = config.element_width, pick_sets(config), []
    for first in range(0, len(picks), served):
        own = picks[first:first + served]
        noise = [rng.getrandbits(width) >> PICK_BITS * len(own) << PICK_BITS * len(own)
                 for _ in range(config.memory_elements)]
        found.append(sum((noise[e] | sum(int(own[s][e]) << PICK_BITS * s for s in range(len(own)))) << width * e
                         for e in range(config.memory_elements)))
    return found


class Fetches:
    """A matrix in FETCHes of any number of sets, by ``chance`` sparse ones; dense ones may end in the middle of a set.
    ``alone``: it is one sparse FETCH, of beats that all have come from memory.

    ``beats``: bits for a Fetched, some of which have not come from memory; ``matrix``, ``picks`` (sets, 2K): what they
    hold, -1 of a dense set.
    """

    def __init__(self, config, sets, seed, chance=0.7, alone=False):
        self.rng, self._config, self._absent = random.Random(f"fetches, {seed}"), config, 0 if alone else 0.1
        self.matrix, self.beats = matrix_of(config, sets, seed), []
        numbers, served = np.random.default_rng(seed), pick_sets(config)
        self.picks = numbers.integers(0, 1 << PICK_BITS, (sets, config.memory_elements))
        first = 0
        while first < sets:
            counts = [sets] if alone else [1, served, served + 1, self.rng.randint(1, 3 * served)]
            end = min(sets, first + self.rng.choice(counts))
            beats = beats_of(config, self.matrix[first * config.layers:end * config.layers])
            if alone or self.rng.random() < chance:
                self._add_sparse(beats, self.picks[first:end])
            else:
                self.picks[first:end] = -1
                cut = self.rng.randint(1, len(beats))
                self._add([(bits, True) for bits in beats[:cut]], False)
                self._add([(bits, True) for bits in beats[cut:]], False)
            first = end

    def _add_sparse(self, beats, picks):
        served, found = pick_sets(self._config) * self._config.layers, []
        for number, own in enumerate(beats_of_picks(self._config, picks, self.rng)):
            found += [(own, False), *((bits, True) for bits in beats[number * served:(number + 1) * served])]
        self._add(found, True)

    def _add(self, beats, is_sparse):
        """A FETCH. It ends with a beat that has come from memory, or with one that has not."""
        size, words = self._config.memory_elements * self._config.element_width, []
        for bits, of_set in beats:
            words += [is_sparse << size] * (self.rng.random() < self._absent)
            words.append(bits | is_sparse << size | 1 << size + 2 | of_set << size + 3)
        if words:
            words += [is_sparse << size] * (self.rng.random() < self._absent)
            words[-1] |= 1 << size + 1
        self.beats += words

    def check(self, ring):
        ring.check(self.matrix)
        wanted = self.picks.reshape(-1, self._config.lanes)
        found = picks_of(self._config, ring)
        np.testing.assert_array_equal(np.where(wanted < 0, -1, found), wanted)


def picks_of(config, ring):
    """Picks of the words that were written, a row for each word."""
    return np.array([[bits >> PICK_BITS * lane & (1 << PICK_BITS) - 1 for lane in range(config.lanes)]
                     for bits in ring.picks])


def run_fetches(config, fetches, stall=Stall.NEVER, hold=Stall.NEVER, slow=False, seed=5, reset_at=None):
    """Feed and Ring of a whole run, which is checked."""
    dut = Fetched(config)
    bench = Bench(dut, seed)
    feed = bench.feed(dut.i, fetches.beats, stall)
    ring = Ring(bench, dut.unpack, config, hold, slow, dut.i.payload.of_set)
    words = fetches.matrix.size // (config.layers * config.lanes)
    bench.process(wait_for(ring, words, 60 * words + 200))
    bench.run(60 * words + 300, reset_at)
    fetches.check(ring)
    return feed, ring


@SPARSE_SHAPES
@STALLS
def test_picks_beside_their_words(shape, stall):
    """FETCHes of one set, of as many as a beat of picks serves, of one more and of any number, dense ones between
    them."""
    config = config_of(*shape).changed(sparse=True)
    for seed in range(2):
        fetches = Fetches(config, 30, seed)
        run_fetches(config, fetches, stall, seed=seed)
        assert 0 < np.count_nonzero(fetches.picks < 0) < fetches.picks.size, seed


@SPARSE_SHAPES
@STALLS
def test_picks_under_hold_and_with_a_full_ring(shape, stall):
    config = config_of(*shape).changed(sparse=True)
    fetches = Fetches(config, 5 * config.ring_words * config.lanes // config.memory_elements, 1)
    ring = run_fetches(config, fetches, stall, Stall.RANDOM, slow=True)[1]
    assert len(ring.full) > 4 and ring.held


@SPARSE_SHAPES
def test_words_and_picks_are_those_of_the_model(shape):
    """The words at the places that their picks say are the matrix that a MAC takes in the model, zeros elsewhere."""
    config = config_of(*shape).changed(sparse=True, coefficient_words=128, ring_words=128)
    steps, sets = config.lanes // config.layers, pick_sets(config) + 1  # in all, and of each
    inputs = sets * config.memory_elements // config.lanes
    rng = np.random.default_rng(11)
    outputs = matrix_of(config, steps * sets, 11).reshape(config.lanes, -1)
    picks = rng.integers(0, 1 << PICK_BITS, (steps, inputs * config.lanes))
    beats, taken = model.sparse_beats(config, outputs, picks), model.Ring(config)
    taken.fetch(beats, True)

    size, served = config.memory_elements * config.element_width, pick_sets(config) * config.layers + 1
    dut = Fetched(config)
    bench = Bench(dut)
    bench.feed(dut.i, [bits | 1 << size | (number == len(beats) - 1) << size + 1 | 1 << size + 2
                       | (number % served > 0) << size + 3 for number, bits in enumerate(beats_of(config, beats))])
    ring = Ring(bench, dut.unpack, config, of_set=dut.i.payload.of_set)
    bench.process(wait_for(ring, steps * inputs, 1000))
    bench.run(1100)
    assert not ring.faults[:3]
    found = np.zeros((steps, config.layers, inputs, 1 << PICK_BITS, config.lanes), dtype=np.int64)
    for number, (bits, members) in enumerate(zip(ring.words, picks_of(config, ring))):
        step, place = divmod(number, inputs)
        found[step, :, place, members, np.arange(config.lanes)] = lanes_of(config, bits).T
    mac = Mac(inputs, 1, 1, 0, 0, 0, 0, picks=1, log2_group=PICK_BITS)
    np.testing.assert_array_equal(found.reshape(config.lanes, -1), taken.take(mac))


@SPARSE_SHAPES
def test_throughput_of_sparse_sets(shape):
    """A beat of picks takes a cycle, which is none more where a set has more words than beats."""
    config = config_of(*shape).changed(sparse=True, coefficient_words=128, ring_words=128)
    sets, words = 2 * pick_sets(config) + 1, config.memory_elements // config.lanes
    feed, ring = run_fetches(config, Fetches(config, sets, 6, alone=True))
    last = feed.cycles[0] + config.layers  # beat of the first set
    wanted = []
    for number in range(sets):
        wanted += [last + UNPACK_LATENCY + word for word in range(words)]
        last += max(words, config.layers + ((number + 1) % pick_sets(config) == 0))
    assert ring.cycles == wanted


@pytest.mark.parametrize("width", [8, 16])
@pytest.mark.parametrize("beats", range(9))
def test_clear_between_sets_and_picks(width, beats):
    """The beat behind ``clear`` is one of picks, whatever the last ones served; it is none in a dense FETCH."""
    config = config_of(2, 8, width, ring_words=16).changed(sparse=True)
    before = Fetches(config, 6, 7, alone=True)
    before.beats = before.beats[:beats]  # the FETCH does not end
    for chance in (1.0, 0.0):
        after = Fetches(config, 9, 8, chance)
        dut = Fetched(config)
        bench = Bench(dut)
        ring = Ring(bench, dut.unpack, config, of_set=dut.i.payload.of_set)
        run_with_clear(bench, dut, dut.unpack.clear, before.beats, after.beats)
        after.check(ring)


@pytest.mark.parametrize("reset_at", [1, 2, 4, 5, 23, 24, 25])
def test_reset_of_sparse_sets(reset_at):
    """Behind the picks, in the middle of a set, of its words, of a full ring."""
    config = config_of(2, 8, ring_words=16).changed(sparse=True)
    run_fetches(config, Fetches(config, 12, 9), Stall.NEVER, Stall.RANDOM, slow=True, reset_at=reset_at)
