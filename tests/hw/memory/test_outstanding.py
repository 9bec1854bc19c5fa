"""Outstanding against counts of what a random port was asked and has answered."""

import random

import pytest

from wingbeat.hw.memory.outstanding import Outstanding
from wingbeat.sim.bench.stream import Bench

MOST = 5


def run(seed, busy, cycles=400, reset_at=None):
    """Traffic, ``busy`` of the time; ``drained`` and the counts in each cycle, and whether something was offered."""
    rng, dut, seen = random.Random(seed), Outstanding(3, 3), []
    bench = Bench(dut, seed)

    async def traffic(ctx):
        reads = writes = 0
        for cycle in range(cycles):
            is_quiet = cycle % 100 >= 60  # so that it drains now and then
            read, write = (Offer(rng, busy * (not is_quiet), count) for count in (reads, writes))
            beat = rng.random() < 0.5 and (reads or read.taken)
            written = rng.random() < 0.5 and (writes or write.taken)
            ctx.set(dut.read, read.bits)
            ctx.set(dut.write, write.bits)
            ctx.set(dut.beats, 3 if beat else rng.randrange(3))
            ctx.set(dut.written, int(bool(written)))
            ctx.set(bench.rst, cycle == reset_at)
            seen.append((ctx.get(dut.drained), reads + writes, read.bits & 1 or write.bits & 1, bool(beat or written)))
            await ctx.tick()
            reads, writes = reads + read.taken - bool(beat), writes + write.taken - bool(written)
            if cycle == reset_at:
                reads = writes = 0
        for wire in (dut.read, dut.beats, dut.write, dut.written):
            ctx.set(wire, 0)

    bench.process(traffic)
    bench.run(cycles + 10)
    return seen


class Offer:
    """Valid and ready of a request; nothing is taken where MOST are open."""

    def __init__(self, rng, chance, count):
        self.bits = (rng.random() < chance) | (count < MOST and rng.random() < 0.6) << 1
        self.taken = self.bits == 3


@pytest.mark.parametrize("seed, busy", [(1, 0.02), (2, 0.3), (3, 1.0)])
def test_it_is_right(seed, busy):
    seen = run(seed, busy)
    assert all(not drained or not count for drained, count, *_ in seen), f"seed {seed}"
    assert any(drained for drained, *_ in seen[1:]) and any(not drained for drained, *_ in seen)


@pytest.mark.parametrize("seed", [4, 5])
def test_latency(seed):
    """It falls in the cycle after an offer, and rises 3 cycles after the last answer."""
    seen = run(seed, 0.3)
    rises = 0
    for (_, _, offered, _), (drained, *_) in zip(seen, seen[1:]):
        assert not (offered and drained), f"seed {seed}"
    for cycle in range(3, len(seen)):
        quiet = not any(offer or answer for _, _, offer, answer in seen[cycle - 2:cycle])
        if quiet and seen[cycle - 3][3] and not seen[cycle - 2][1] and not seen[cycle - 3][2]:
            assert [drained for drained, *_ in seen[cycle - 2:cycle + 1]] == [0, 0, 1], f"seed {seed}, cycle {cycle}"
            rises += 1
    assert rises


def test_reset():
    seen = run(6, 1.0, cycles=60, reset_at=30)
    assert not seen[30][0] and seen[31][0]
