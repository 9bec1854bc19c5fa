"""Scatter: every mode against numpy, mixed blocks of random configurations under all stalls, stated latencies and
waits, the way back of Gather, resets."""

import random

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
import numpy as np
import pytest

from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.instruction import MemoryMode
from wingbeat.hw.memory.gather import Gather
from wingbeat.hw.memory.scatter import Scatter, scatter_beat
from wingbeat.sim.bench.stream import CROSS, Bench, Stall

pytestmark = pytest.mark.thin(4)

COLUMNS, ROWS, PAIRS, REAL, FOLD, SPLIT = MODES = tuple(MemoryMode)
STALLS = pytest.mark.parametrize("source,sink", CROSS, ids=lambda stall: stall.value)
SHAPES = pytest.mark.parametrize("side,layers", [(1, 1), (1, 2), (2, 1), (2, 2), (4, 1), (4, 2), (8, 1)])


def make(side, layers, element_width=8):
    return CoreConfig.of(engines=side, layers=layers, stream_words=side << layers, element_width=element_width,
                         width=18, memory_bits=12)


def tile_beats(config, mode):
    """Array beats of a tile."""
    side = config.engines_per_beat
    return {COLUMNS: 1, ROWS: side, SPLIT: 2}.get(mode, 2 * side)


def ratio(mode):
    """Array beats per memory beat."""
    return 2 if mode in (REAL, FOLD, SPLIT) else 1


def delay(config, mode):
    """Cycles from the array beat n * ratio to memory beat n, for SPLIT from the one after it."""
    side = config.engines_per_beat
    tiles = 2 * side + 2 if side > 1 else 2
    return {COLUMNS: 1, SPLIT: 1, ROWS: side + 1 if side > 1 else 1}.get(mode, tiles)


def scattered(config, mode, words):
    """The table of docs/reference/processor.md: array beats (n, K, 2) of whole tiles to memory beats (n / ratio, 2K),
    and the first beats of SPLIT."""
    j, p = config.engines_per_beat, config.lanes
    beats = words.reshape(len(words), -1)
    if mode is SPLIT:
        return beats[1::2], beats[0::2]
    if mode is ROWS:  # (tile, beat c, engine j, lane and part): engine j of beat c -> cell c of row j
        beats = words.reshape(-1, j, j, 2 * p).transpose(0, 2, 1, 3)
    elif mode is not COLUMNS:  # (tile, cell, engine r, lane, part) -> (tile, row pair r, part, cell, lane)
        beats = words.reshape(-1, 2 * j, j, p, 2).transpose(0, 2, 4, 1, 3)
        beats = beats if mode is PAIRS else beats[:, :, 0]
    return beats.reshape(len(words) // ratio(mode), -1), None


class Traffic:
    """Random blocks, each (mode, tiles), as bit patterns of both sides; ``masks`` are the bits that mean something."""

    def __init__(self, config, blocks, seed, lane_bits):
        rng, w, e = np.random.default_rng(seed), config.element_width, config.memory_elements
        self.sent, self.expected, self.masks, before = [], [], [], COLUMNS
        for mode, tiles in blocks:
            words = rng.integers(-1 << w - 1, 1 << w - 1, (tiles * tile_beats(config, mode), e // 2, 2))
            changes, before = mode is not before, mode
            self.sent += [lane_bits(beat, w) | mode << e * w | (i == len(words) - 1) << e * w + 3
                          | (changes and i == 0) << e * w + 4
                          for i, beat in enumerate(words)]
            beats, others = scattered(config, mode, words)
            for i, beat in enumerate(beats):
                other = 0 if others is None else lane_bits(others[i], w) << e * w
                self.expected.append(lane_bits(beat, w) | other
                                     | mode << 2 * e * w | (i == len(beats) - 1) << 2 * e * w + 3)
                self.masks.append((1 << 2 * e * w + 4) - 1 - (0 if others is not None else (1 << e * w) - 1 << e * w))


def check(config, blocks, lane_bits, source=Stall.NEVER, sink=Stall.NEVER, seed=0, reset_at=None):
    traffic, dut = Traffic(config, blocks, seed, lane_bits), Scatter(config)
    bench = Bench(dut, seed)
    feed, got = bench.feed(dut.i, traffic.sent, source), bench.sink(dut.o, len(traffic.expected), sink)
    bench.run(20 * len(traffic.sent) + 300, reset_at)
    assert [word & mask for word, mask in zip(got.words, traffic.masks)] == traffic.expected, bench.seed_note
    return feed.cycles, got.cycles


def test_the_table_on_a_tile_by_hand():
    """J = 2, P = 2, words named beat * 100 + engine * 10 + lane, im negative: the reference itself."""
    config = make(2, 1)
    names = np.arange(4)[:, None, None] * 100 + np.arange(2)[:, None] * 10 + np.arange(2) + 1
    words = np.stack([names, -names], axis=-1).reshape(4, 4, 2)
    assert scattered(config, ROWS, words[:2])[0].tolist() == [[1, -1, 2, -2, 101, -101, 102, -102],
                                                              [11, -11, 12, -12, 111, -111, 112, -112]]
    pairs = scattered(config, PAIRS, words)[0]
    assert pairs.tolist()[2] == [11, 12, 111, 112, 211, 212, 311, 312]
    assert pairs.tolist()[1] == [-1, -2, -101, -102, -201, -202, -301, -302]
    assert scattered(config, REAL, words)[0].tolist() == pairs[0::2].tolist()


@STALLS
@pytest.mark.parametrize("side,layers", [(1, 1), (2, 2), (4, 1)])
def test_mixed_blocks(side, layers, source, sink, lane_bits):
    rng = random.Random(side)
    check(make(side, layers), [(rng.choice(MODES), rng.randint(1, 3)) for _ in range(14)], lane_bits,
          source, sink, side)


@pytest.mark.parametrize("seed", range(24))
def test_random_configurations(seed, lane_bits):
    rng = random.Random(seed)
    config = make(rng.choice([1, 2, 4, 8]), rng.choice([1, 2]), rng.choice([8, 11, 16, 18]))
    blocks = [(rng.choice(MODES), rng.choice([1, 1, 2, 5])) for _ in range(12)]
    check(config, blocks, lane_bits, rng.choice(list(Stall)[:-1]), rng.choice(list(Stall)), seed)


@SHAPES
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_stated_latency_and_throughput(side, layers, mode, lane_bits):
    """Blocks of one tile and of several follow one another without a gap, and the last one leaves by itself."""
    config, blocks = make(side, layers), [(mode, tiles) for tiles in (1, 1, 3, 1, 2)]
    moved, left = check(config, blocks, lane_bits)
    assert [cycle - moved[0] for cycle in moved] == list(range(8 * tile_beats(config, mode)))
    first = 1 if mode is SPLIT else 0
    assert left == [cycle + delay(config, mode) for cycle in moved[first::ratio(mode)]]


@SHAPES
def test_stated_cost_of_another_mode(side, layers, lane_bits):
    config = make(side, layers)
    order = (ROWS, REAL, FOLD, COLUMNS, SPLIT, PAIRS, ROWS, SPLIT, FOLD, SPLIT, COLUMNS, REAL, PAIRS, COLUMNS)
    blocks = [(mode, tiles) for mode in order for tiles in (1, 2)]
    moved, left = check(config, blocks, lane_bits)
    at = out = 0
    for number, (mode, tiles) in enumerate(blocks):
        n = tiles * tile_beats(config, mode)
        if number % 2 == 0 and number:
            assert moved[at] == left[out - 1] + 1, mode
        assert moved[at + n - 1] - moved[at] == n - 1, mode
        at, out = at + n, out + n // ratio(mode)


def test_a_block_leaves_at_its_end_and_not_before(lane_bits):
    """Without ``last`` a tile waits for the next one."""
    config = make(2, 1)
    traffic, dut = Traffic(config, [(REAL, 1), (REAL, 1)], 3, lane_bits), Scatter(config)
    bench = Bench(dut, 3)
    bench.feed(dut.i, [*traffic.sent[:-1], traffic.sent[-1] & ~(1 << config.memory_elements * 8 + 3)])
    got = bench.sink(dut.o, 2)
    bench.run(100)
    assert [word & traffic.masks[0] for word in got.words] == traffic.expected[:2], bench.seed_note


class ThereAndBack(wiring.Component):
    """A Gather whose beats a Scatter takes, with the mode and the last mark of a single endless block."""

    def __init__(self, config, mode):
        self._parts, self._mode = (Gather(config), Scatter(config)), mode
        super().__init__({"i": In(self._parts[0].i.signature.flip()), "o": Out(self._parts[1].o.signature)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.gather, m.submodules.scatter = gather, scatter = self._parts
        first = Signal(init=1)
        wiring.connect(m, wiring.flipped(self.i), gather.i)
        wiring.connect(m, scatter.o, wiring.flipped(self.o))
        m.d.comb += [scatter.i.valid.eq(gather.o.valid), gather.o.ready.eq(scatter.i.ready),
                     scatter.i.payload.words.eq(gather.o.payload.words), scatter.i.payload.mode.eq(self._mode),
                     scatter.i.payload.changes.eq(first & (self._mode != COLUMNS))]
        with m.If(scatter.i.valid & scatter.i.ready):
            m.d.sync += first.eq(0)
        return m


@pytest.mark.parametrize("mode", [COLUMNS, ROWS, PAIRS], ids=lambda mode: mode.name)
@pytest.mark.parametrize("side,layers", [(1, 2), (2, 1), (4, 2)])
def test_the_way_back_of_gather(side, layers, mode):
    config, rng = make(side, layers), random.Random(side)
    bits, tile = config.memory_elements * 8, tile_beats(config, mode)
    beats = [rng.getrandbits(bits) for _ in range(5 * tile)]
    dut = ThereAndBack(config, mode)
    bench = Bench(dut, side)
    bench.feed(dut.i, [beat | mode << bits | (i == len(beats) - 1) << bits + 2
                       | (i == 0 and mode is not COLUMNS) << bits + 3 for i, beat in enumerate(beats)], Stall.RANDOM)
    whole = len(beats) if mode is COLUMNS or side == 1 else 4 * tile  # the last tile waits in the Scatter
    got = bench.sink(dut.o, whole, Stall.BURSTS)
    bench.run(2000)
    assert [word & (1 << bits) - 1 for word in got.words] == beats[:whole], bench.seed_note


@pytest.mark.parametrize("reset_at", [1, 4, 9, 20, 37, 60])
def test_reset_mid_block(reset_at, lane_bits):
    check(make(4, 1), [(mode, 2) for mode in (SPLIT, PAIRS, REAL, ROWS, COLUMNS, FOLD, SPLIT)], lane_bits,
          Stall.RANDOM, Stall.RANDOM, reset_at, reset_at)


def test_refuses_a_configuration_without_memory():
    with pytest.raises(ValueError, match=r"^memory_bits: 0 means no memory; allowed are 1\.\.32$"):
        scatter_beat(CoreConfig())
