"""Wide counters: copies of one cycle, wraps, starts."""

import random

import pytest
from amaranth.lib import data

from wingbeat.hw.bus.control.wide_counters import WideCounters
from wingbeat.sim.bench.stream import Bench

BITS = 9


@pytest.mark.parametrize("n", [1, 2, 6, 18])
def test_copies_are_of_one_cycle(n):
    """Totals of a copy are those of one cycle between the request and its end, however often the counters have
    wrapped; after a clear they begin anew."""
    rng, dut = random.Random(n), WideCounters(n, BITS)
    bench, totals, latest = Bench(dut), [0] * n, 0
    past = []

    async def count(ctx):
        nonlocal totals
        rates = [rng.uniform(0.3, 1) for _ in range(n)]
        while True:
            totals = [total + (rng.random() < rate) for total, rate in zip(totals, rates)]
            past.append(totals)
            ctx.set(dut.counts, data.ArrayLayout(BITS, n).const([total % (1 << BITS) for total in totals]))
            await ctx.tick()

    async def host(ctx):
        nonlocal totals, latest
        for turn in range(12):
            await ctx.tick().repeat(rng.randint(100, 900))
            if turn > 3:  # the counters of a core begin anew some cycles behind its start
                ctx.set(dut.clear, 1)
                await ctx.tick()
                ctx.set(dut.clear, 0)
                await ctx.tick().repeat(4)
                totals = [0] * n
                await ctx.tick().repeat(rng.randint(1, 40))
            begin = len(past)
            ctx.set(dut.latch, 1)
            await ctx.tick().until(dut.done)
            ctx.set(dut.latch, 0)
            latest = max(latest, len(past) - begin)
            copy = []
            for number in range(n):
                words = []
                for half in (0, 1):
                    ctx.set(dut.address, 2 * number + half)
                    await ctx.tick()
                    words.append(ctx.get(dut.data))
                copy.append(words[0] | words[1] << 32)
            assert copy in past[begin - 1:], (n, turn, copy)
    bench.process(count, background=True)
    bench.process(host)
    bench.run(1)
    assert max(map(max, past)) > 2 << BITS
    assert latest <= 6 * n + 12


def test_upper_words():
    """A total above 32 bits reaches its upper word."""
    dut = WideCounters(1, 32)
    bench = Bench(dut)

    async def host(ctx):
        await ctx.tick().repeat(20)
        for turn in range(3):
            for count in (0xFFFF_FFF0, 5 + turn):
                ctx.set(dut.counts[0], count)
                await ctx.tick().repeat(8)
        ctx.set(dut.latch, 1)
        await ctx.tick().until(dut.done)
        ctx.set(dut.latch, 0)
        for half, wanted in enumerate((7, 3)):
            ctx.set(dut.address, half)
            await ctx.tick()
            assert ctx.get(dut.data) == wanted
    bench.process(host)
    bench.run(1)
