"""Gather: every mode against numpy, mixed blocks of random configurations under all stalls, stated latencies and
waits, resets."""

import itertools
import random

from amaranth.hdl import Value
import numpy as np
import pytest

from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.instruction import MemoryMode
from wingbeat.hw.memory.gather import Gather, gather_beat
from wingbeat.sim.bench.stream import CROSS, Bench, Stall

pytestmark = pytest.mark.thin(4)

COLUMNS, ROWS, PAIRS = MemoryMode.COLUMNS, MemoryMode.ROWS, MemoryMode.PAIRS
MODES = (COLUMNS, ROWS, PAIRS)
STALLS = pytest.mark.parametrize("source,sink", CROSS, ids=lambda stall: stall.value)
SHAPES = pytest.mark.parametrize("side,layers", [(1, 1), (1, 2), (2, 1), (2, 2), (4, 1), (4, 2), (8, 1)])


def make(side, layers, element_width=8):
    return CoreConfig.of(engines=side, layers=layers, stream_words=side << layers, element_width=element_width,
                         width=18, memory_bits=12)


def tile_beats(config, mode):
    """Memory beats of a tile; the array beats are as many."""
    side = config.engines_per_beat
    return {COLUMNS: 1, ROWS: side, PAIRS: 2 * side}[mode]


def delay(config, mode):
    """Cycles from a beat in to the beat of the same number out."""
    side = config.engines_per_beat
    return {COLUMNS: 1, ROWS: side + 1 if side > 1 else 1, PAIRS: 2 * side + 2 if side > 1 else 2}[mode]


def gathered(config, mode, beats):
    """The table of docs/reference/processor.md: memory beats (n, 2K) of whole tiles to array beats (n, K, 2)."""
    j, p = config.engines_per_beat, config.lanes
    if mode is COLUMNS:
        out = beats
    elif mode is ROWS:  # (tile, row, cell, lane and part): cell c of row r -> engine r in beat c
        out = beats.reshape(-1, j, j, 2 * p).transpose(0, 2, 1, 3)
    else:  # (tile, r, row 2r or 2r + 1, cell, lane) -> (tile, cell, engine r, lane, re or im)
        out = beats.reshape(-1, j, 2, 2 * j, p).transpose(0, 3, 1, 4, 2)
    return out.reshape(len(beats), -1, 2)


class Traffic:
    """Random blocks, each (mode, tiles), as bit patterns of both sides."""

    def __init__(self, config, blocks, seed, lane_bits):
        rng, w, e = np.random.default_rng(seed), config.element_width, config.memory_elements
        self.sent, self.expected, before = [], [], COLUMNS
        for mode, tiles in blocks:
            n = tiles * tile_beats(config, mode)
            beats = rng.integers(-1 << w - 1, 1 << w - 1, (n, e))
            changes, before = mode is not before, mode
            self.sent += [lane_bits(beat, w) | mode << e * w | (i == n - 1) << e * w + 2
                          | (changes and i == 0) << e * w + 3
                          for i, beat in enumerate(beats)]
            self.expected += [lane_bits(beat, w) for beat in gathered(config, mode, beats)]


def check(config, blocks, lane_bits, source=Stall.NEVER, sink=Stall.NEVER, seed=0, reset_at=None):
    traffic, dut = Traffic(config, blocks, seed, lane_bits), Gather(config)
    bench = Bench(dut, seed)
    feed, got = bench.feed(dut.i, traffic.sent, source), bench.sink(dut.o, len(traffic.expected), sink)
    bench.run(20 * len(traffic.sent) + 300, reset_at)
    assert got.words == traffic.expected, bench.seed_note
    return feed.cycles, got.cycles


def test_the_table_on_a_tile_by_hand():
    """J = 2, P = 2, elements named row * 10 + element: the reference itself."""
    config = make(2, 1)
    rows = np.arange(4)[:, None] * 10 + np.arange(8)
    assert gathered(config, ROWS, rows[:2]).tolist() == [[[0, 1], [2, 3], [10, 11], [12, 13]],
                                                         [[4, 5], [6, 7], [14, 15], [16, 17]]]
    assert gathered(config, PAIRS, rows)[1].tolist() == [[2, 12], [3, 13], [22, 32], [23, 33]]


@STALLS
@pytest.mark.parametrize("side,layers", [(1, 1), (2, 2), (4, 1)])
def test_mixed_blocks(side, layers, source, sink, lane_bits):
    rng = random.Random(side)
    check(make(side, layers), [(rng.choice(MODES), rng.randint(1, 3)) for _ in range(12)], lane_bits,
          source, sink, side)


@pytest.mark.parametrize("seed", range(24))
def test_random_configurations(seed, lane_bits):
    rng = random.Random(seed)
    config = make(rng.choice([1, 2, 4, 8]), rng.choice([1, 2]), rng.choice([8, 11, 16, 18]))
    blocks = [(rng.choice(MODES), rng.choice([1, 1, 2, 5])) for _ in range(10)]
    check(config, blocks, lane_bits, rng.choice(list(Stall)[:-1]), rng.choice(list(Stall)), seed)


@SHAPES
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_stated_latency_and_throughput(side, layers, mode, lane_bits):
    """Blocks of one tile and of several follow one another without a gap, and the last one leaves by itself."""
    config, blocks = make(side, layers), [(mode, tiles) for tiles in (1, 1, 3, 1, 2)]
    moved, left = check(config, blocks, lane_bits)
    assert [cycle - moved[0] for cycle in moved] == list(range(8 * tile_beats(config, mode)))
    assert left == [cycle + delay(config, mode) for cycle in moved]


@SHAPES
def test_stated_cost_of_another_mode(side, layers, lane_bits):
    config, start = make(side, layers), 1  # one cycle to leave the mode of the reset
    blocks = [(mode, tiles) for mode in (ROWS, PAIRS, COLUMNS, PAIRS, ROWS, COLUMNS, ROWS) for tiles in (1, 2)]
    moved, left = check(config, blocks, lane_bits)
    expected, before = [], ROWS
    for mode, tiles in blocks:
        start += delay(config, before) if mode is not before else 0
        beats = range(start, start + tiles * tile_beats(config, mode))
        expected += beats
        start, before = beats.stop, mode
    assert moved == expected
    assert max(left) == start - 1 + delay(config, before)


def moves_after_a_pause(config, modes, pause, lane_bits):
    """Cycles in which the beats of two blocks of one tile move on ``i``, ``pause`` cycles without a beat between
    them."""
    traffic, dut, moved = Traffic(config, [(mode, 1) for mode in modes], pause, lane_bits), Gather(config), []
    bench = Bench(dut, pause)
    got = bench.sink(dut.o, len(traffic.expected))

    async def source(ctx):
        cycle = 0
        for number, beat in enumerate(traffic.sent):
            if number == tile_beats(config, modes[0]) and pause:
                ctx.set(dut.i.valid, 0)
                await ctx.tick().repeat(pause)
                cycle += pause
            ctx.set(Value.cast(dut.i.payload), beat)
            ctx.set(dut.i.valid, 1)
            ready = 0
            while not ready:
                _, _, ready = await ctx.tick().sample(dut.i.ready)
                cycle += 1
            moved.append(cycle - 1)
        ctx.set(dut.i.valid, 0)

    bench.process(source)
    bench.run(200)
    assert got.words == traffic.expected, bench.seed_note
    return moved


@pytest.mark.parametrize("pause", [1, 2, 3, 4, 6, 7, 8, 9, 12])
@pytest.mark.parametrize("modes", list(itertools.product(MODES, MODES)), ids=lambda two: f"{two[0].name}-{two[1].name}")
def test_stated_wait_of_a_late_block(modes, pause, lane_bits):
    """A block that does not follow at once meets the tile before on its way out."""
    config = make(4, 1)
    moved = moves_after_a_pause(config, modes, pause, lane_bits)
    beats = tile_beats(config, modes[0])
    final = moved[beats - 1]
    comes = final + 1 + pause
    if modes[0] is not modes[1]:
        assert moved[beats] == max(comes, final + delay(config, modes[0])) + 1
    elif modes[0] is ROWS:
        assert moved[beats] == max(comes, final + 4 + 1)
    else:
        assert moved[beats] == comes
        assert modes[0] is COLUMNS or moved[beats + 1] == max(comes + 1, final + 2 * 4 + 1)


def test_a_block_leaves_at_its_end_and_not_before(lane_bits):
    """Without ``last`` a tile waits for the next one."""
    config = make(2, 1)
    traffic, dut = Traffic(config, [(PAIRS, 1), (PAIRS, 1)], 3, lane_bits), Gather(config)
    last = 1 << len(Value.cast(dut.i.payload)) - 2
    bench = Bench(dut, 3)
    bench.feed(dut.i, [*traffic.sent[:4], *(beat & ~last for beat in traffic.sent[4:])])
    got = bench.sink(dut.o, 4)
    bench.run(100)
    assert got.words == traffic.expected[:4], bench.seed_note


@pytest.mark.parametrize("reset_at", [1, 4, 9, 20, 37])
def test_reset_mid_block(reset_at, lane_bits):
    check(make(4, 1), [(mode, 2) for mode in (PAIRS, ROWS, COLUMNS, ROWS, PAIRS)], lane_bits,
          Stall.RANDOM, Stall.RANDOM, reset_at, reset_at)


def test_refuses_a_configuration_without_memory():
    with pytest.raises(ValueError, match=r"^memory_bits: 0 means no memory; allowed are 1\.\.32$"):
        gather_beat(CoreConfig())
