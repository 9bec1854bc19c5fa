"""Cycle models of the ring against the blocks that they are of, in every cycle, with all that may come at random."""

import random

import pytest

from wingbeat.hw.array.mac_counter import MacCounter
from wingbeat.hw.array.parameters import release_delay
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.bit_fields import bits_of_words
from wingbeat.hw.isa.encoding import OPCODE_BITS, encode
from wingbeat.hw.isa.instruction import Mac
from wingbeat.hw.isa.sparse import pick_sets
from wingbeat.hw.memory.unpack import Unpack
from wingbeat.sim.bench.stream import Bench
from wingbeat.sim.cycles import ring
from wingbeat.sim.model.ring import mac_groups, mac_words, panel_words, word_sets

SEED = 73
# S, K, words of the ring: a set of S beats makes 2K/P words, fewer than S, as many and more.
SHAPES = [(1, 2, 8), (1, 8, 16), (2, 4, 4), (2, 16, 16), (4, 32, 8), (4, 64, 16)]


def config_of(layers, stream_words, ring_words):
    return CoreConfig.of(engines=stream_words >> layers, layers=layers, stream_words=stream_words,
                         half_words=64 << layers, coefficient_words=ring_words, ring_words=ring_words, memory_bits=8,
                         records=True)


class FilledRing:
    """An Unpack and its model. Beats come with probability ``offer``, the setup port holds the banks with ``hold``,
    words that were written are released with ``release``, some at a time. Where matrices may be sparse, so is every
    other FETCH, of any number of sets. ``seen``: by name, what the model has said."""

    def __init__(self, config, seed, offer, hold, release):
        self.c, self.note = config, f"{config.layers} layers, seed {seed}"
        self.rng, self.chances = random.Random(seed), (offer, hold, release)
        self.model, self.dut = ring.Unpack(config), Unpack(config)
        self.seen = {"ready": set(), "idle": set(), "full": set()}
        self.beats = 0  # of sets
        self.picks = 0  # beats of them
        self.is_sparse, self.fetch = False, []  # whether each beat that is left of it is one of a set

    def _begin(self):
        """The next FETCH; a sparse one where the one before was not."""
        self.is_sparse = self.c.sparse and not self.is_sparse
        sets = self.rng.choice([1, pick_sets(self.c), self.rng.randint(1, 3 * pick_sets(self.c))])
        for number in range(sets):
            self.fetch += [False] * (self.is_sparse and number % pick_sets(self.c) == 0) + [True] * self.c.layers
        if self.c.sparse and self.rng.random() < 0.3:
            self.fetch.append(None)  # it has not come from memory

    async def run(self, ctx, cycles):
        dut, model, rng, (offer, hold, release) = self.dut, self.model, self.rng, self.chances
        released, offered = 0, False
        for cycle in range(cycles):
            note = f"cycle {cycle}, {self.note}"
            offered, holds = offered or rng.random() < offer, rng.random() < hold
            if not self.fetch:
                self._begin()
            if rng.random() < release:
                released = rng.randint(released, model.filled)
            of_set = self.fetch[0]
            is_there = offered and of_set is not None
            ctx.set(dut.i.valid, is_there)
            ctx.set(dut.i.payload, dut.i.payload.shape().from_bits(rng.getrandbits(len(dut.i.payload.as_value()))))
            ctx.set(dut.hold, holds)
            ctx.set(dut.released, released % (2 * self.c.ring_words))
            if self.c.sparse:
                ctx.set(dut.sparse, self.is_sparse)
                taken = offered and (of_set is None or ctx.get(dut.i.ready))
                ctx.set(dut.restart, taken and len(self.fetch) == 1)
            _, _, ready, filled, idle = await ctx.tick().sample(dut.i.ready, dut.filled, dut.idle)
            wanted = model.ready(holds, self.is_sparse), model.idle
            assert (bool(ready), bool(idle)) == wanted, f"ready and idle {ready, idle} where {wanted}, {note}"
            assert filled == model.filled % (2 * self.c.ring_words), f"filled, {note}"
            for name, value in zip(self.seen, (*wanted, model.filled - released == self.c.ring_words)):
                self.seen[name].add(value)
            taken = offered and (of_set is None or ready)
            model.step(is_there, holds, released, self.is_sparse, taken and len(self.fetch) == 1)
            if taken:
                self.fetch.pop(0)
                self.beats, self.picks = self.beats + (of_set is True), self.picks + (of_set is False)
            offered = offered and not taken


CHANCES = ((0.9, 0.1, 0.9), (1.0, 0.3, 0.04), (0.3, 0.5, 0.5))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.thin(1)
def test_unpack(shape):
    """Much comes and little is held, and the ring full most of the time; little comes into an empty one."""
    config = config_of(*shape)
    for chances in CHANCES:
        fill(config, f"{SEED} {shape} {chances}", chances)


@pytest.mark.parametrize("shape", SHAPES[:4], ids=str)
@pytest.mark.thin(1)
def test_unpack_of_sparse_matrices(shape):
    """The same with beats of picks, which wait for nothing."""
    config = config_of(*shape).changed(sparse=True)
    runs = [fill(config, f"{SEED} sparse {shape} {chances}", chances) for chances in CHANCES]
    assert sum(filled.picks for filled in runs) > 8, f"{shape}, seed {SEED}"


def fill(config, seed, chances):
    """A FilledRing that has run."""
    filled = FilledRing(config, seed, *chances)
    bench = Bench(filled.dut)
    bench.process(lambda ctx: filled.run(ctx, 300))
    bench.simulator.run()
    assert filled.seen["ready"] == filled.seen["idle"] == {False, True}, filled.note
    left = word_sets(config, filled.beats) - filled.model.filled
    assert 0 <= left <= config.memory_elements // config.lanes and filled.model.filled > 8, filled.note
    if chances[2] < 0.1:
        assert True in filled.seen["full"], filled.note
    return filled


class EmptiedRing:
    """A MacCounter and its model, which also says what may happen: groups, panels and MACs begin where it lets them,
    with probability ``go``; a word comes with ``fill``."""

    def __init__(self, config, macs, seed, go, fill):
        self.c, self.macs, self.note = config, list(macs), f"{config.layers} layers, seed {seed}"
        self.rng, self.go, self.fill = random.Random(seed), go, fill
        self.model, self.dut = ring.MacCounter(config), MacCounter(config)
        self.words = sum(mac_words(config, mac) for mac in macs)
        self.groups = sum(mac_groups(config, mac) for mac in macs)
        self.filled = self.issued = 0
        self.is_open = self.is_running = self.is_known = False  # a panel; a MAC; ``first_filled`` of the one at hand
        self.following, self.fields = None, 0  # the MAC at hand; the fields of the present one
        self.together = 0  # MACs that were loaded with the last group of the one before

    def _decide(self):
        """Whether a group is issued, the MAC that is loaded, and whether a panel is opened."""
        model, rng = self.model, self.rng
        issued = self.is_open and rng.random() < self.go
        closes = issued and model.is_last
        is_free = closes or not self.is_open
        is_over = (closes and model.panels == 1) or not self.is_running
        load = None
        if is_free and is_over and self.is_known and model.first_filled and rng.random() < self.go:
            load = self.following
            self.together += closes
        opens = load is not None or (is_free and not is_over and model.next_filled and rng.random() < self.go)
        self.is_open = opens or (self.is_open and not closes)
        self.is_running = load is not None or not is_over
        return issued, load, opens

    def _check(self, values, issued, note):
        model, count = self.model, 2 * self.c.ring_words
        released, first, following, panel_last, ends = values
        assert released == model.released % count, f"released, {note}"
        if self.fields:
            assert following == model.next_filled, f"is_next_filled {following}, {note}"
        if self.is_known:
            assert first == model.first_filled, f"is_first_filled {first}, {note}"
        if issued:
            wanted = model.is_last, model.ends
            assert (panel_last, ends) == wanted, f"{panel_last, ends} where {wanted}, {note}"

    async def run(self, ctx, cycles):
        dut, model, rng, c = self.dut, self.model, self.rng, self.c
        cycle = 0
        while cycle < cycles and (self.macs or self.following or self.is_running):
            if self.following is None and self.macs and rng.random() < 0.2:
                self.following = self.macs.pop(0)
            issued, load, opens = self._decide()
            for name, value in (("step", issued), ("load", load is not None), ("opens", opens),
                                ("filled", self.filled % (2 * c.ring_words))):
                ctx.set(getattr(dut, name), value)
            noise = rng.getrandbits(64)
            ctx.set(dut.next_fields.as_value(), bits_of(self.following) if self.following else noise)
            ctx.set(dut.fields.as_value(), self.fields)
            _, _, *values = await ctx.tick().sample(dut.released, dut.is_first_filled, dut.is_next_filled,
                                                    dut.panel_last, dut.ends)
            self._check(values, issued, f"cycle {cycle}, {self.note}")
            model.step(load, issued, opens, self.following, self.filled)
            self.is_known = self.following is not None
            if load is not None:
                self.fields, self.following, self.is_known = bits_of(load), None, False
            self.issued += issued
            self.filled += (rng.random() < self.fill and self.filled < self.words
                            and self.filled - model.released < c.ring_words)
            cycle += 1
        ctx.set(dut.step, 0)
        ctx.set(dut.opens, 0)
        ctx.set(dut.load, 0)
        await ctx.tick().repeat(release_delay(c) + 1)
        for _ in range(release_delay(c) + 1):
            model.step(None, False, False, None, self.filled)
        assert ctx.get(dut.released) == model.released % (2 * c.ring_words), self.note


def bits_of(mac):
    return bits_of_words(encode([mac])) >> OPCODE_BITS


def random_mac(config, rng):
    panel, steps = config.ring_words, config.lanes // config.layers
    inputs = rng.choice([2, 3, panel // steps, rng.randint(2, panel // steps)])
    return Mac(inputs, rng.choice([1, 1, 2, 4]), rng.choice([1, 1, 2, 3]), 5, 0, 5, 0)


@pytest.mark.parametrize("go, fill", [(1.0, 1.0), (0.7, 0.4)])
@pytest.mark.parametrize("layers, ring_words", [(1, 16), (2, 8), (4, 32)])
def test_mac_counter(layers, ring_words, go, fill):
    """MACs of any shape, whose panels fill the ring or a part of it; every word is released once."""
    config, seed = config_of(layers, 2 << layers, ring_words), f"{SEED} {layers} {go}"
    rng = random.Random(seed)
    emptied = EmptiedRing(config, [random_mac(config, rng) for _ in range(8)], seed, go, fill)
    bench = Bench(emptied.dut)
    bench.process(lambda ctx: emptied.run(ctx, 6000))
    bench.simulator.run()
    assert emptied.issued == emptied.groups and emptied.filled == emptied.words, emptied.note
    assert emptied.model.released == emptied.words == emptied.model.begun, emptied.note
    assert max(panel_words(config, random_mac(config, rng)) for _ in range(40)) == ring_words


def test_a_mac_that_is_loaded_with_the_last_group_of_the_one_before():
    """Small panels in a large ring, and no cycle lost."""
    config, seed = config_of(1, 4, 64), f"{SEED} together"
    macs = [Mac(2 + number % 3, 1, 12, 5, 0, 5, 0) for number in range(6)]
    emptied = EmptiedRing(config, macs, seed, 1.0, 1.0)
    bench = Bench(emptied.dut)
    bench.process(lambda ctx: emptied.run(ctx, 2000))
    bench.simulator.run()
    assert emptied.issued == emptied.groups and emptied.together >= 4, emptied.note
