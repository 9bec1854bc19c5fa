"""Transposer: tiles under all stalls, alone and in runs; stated latency and throughput; resets."""

import random

import pytest

from wingbeat.hw.primitives.transposer import Transposer, transposer_beat
from wingbeat.sim.bench.stream import CROSS, Bench, Stall

CELL = 6
STALLS = pytest.mark.parametrize("source,sink", CROSS, ids=lambda stall: stall.value)


def tiles(seed, side, lasts):
    """Bit patterns of rows and of columns of random tiles; ``lasts`` says which end a run."""
    rng, rows, columns = random.Random(seed), [], []
    for last in lasts:
        tile = [[rng.getrandbits(CELL) for _ in range(side)] for _ in range(side)]
        for beats, cells in ((rows, tile), (columns, list(zip(*tile)))):
            for number, beat in enumerate(cells):
                beats.append(sum(cell << CELL * i for i, cell in enumerate(beat))
                             | (last and number == side - 1) << CELL * side)
    return rows, columns


def check(side, lasts, source=Stall.NEVER, sink=Stall.NEVER, seed=0, reset_at=None):
    dut, (rows, columns) = Transposer(CELL, side), tiles(seed, side, lasts)
    bench = Bench(dut, seed)
    feed, got = bench.feed(dut.i, rows, source), bench.sink(dut.o, len(columns), sink)
    bench.run(20 * len(rows) + 50, reset_at)
    assert got.words == columns, bench.seed_note
    return feed, got


@STALLS
@pytest.mark.parametrize("side", [1, 2, 3, 4, 8])
def test_runs_of_tiles(side, source, sink):
    rng = random.Random(side)
    check(side, [*(rng.random() < 0.3 for _ in range(12)), True], source, sink, side)


@pytest.mark.parametrize("side", [2, 4])
def test_stated_latency_and_throughput(side):
    feed, got = check(side, [False] * 5 + [True])
    assert feed.cycles == list(range(6 * side))
    assert got.cycles == list(range(side, 7 * side))


def test_a_run_leaves_by_itself_and_only_then():
    """Without ``last`` a tile waits for the next one."""
    dut, (rows, columns) = Transposer(CELL, 3), tiles(1, 3, [True, False])
    bench = Bench(dut)
    bench.feed(dut.i, rows)
    got = bench.sink(dut.o, 3)
    bench.run(100)
    assert got.words == columns[:3]


@pytest.mark.parametrize("reset_at", [1, 3, 6, 14])
def test_reset_mid_tile(reset_at):
    check(3, [False, True, False, False, True], Stall.RANDOM, Stall.RANDOM, reset_at, reset_at)


def test_refused_side():
    with pytest.raises(ValueError, match="^side: 0 is less than 1$"):
        transposer_beat(CELL, 0)
