"""Command queue: order under stalls, latency, depth, resets."""

import random

from amaranth.hdl import unsigned
import pytest

from wingbeat.hw.primitives.queue import CommandQueue
from wingbeat.sim.bench.stream import Bench, Stall

DEPTH = 4


class Setup:
    """A queue and a source that offers a word every ``gap`` cycles; ``sent``: when they moved. Without
    ``takes`` none is taken."""

    def __init__(self, seed, count, sink=Stall.NEVER, gap=lambda: 4, takes=True):
        self.dut = CommandQueue(unsigned(9), DEPTH)
        self.words = [random.Random(f"word {seed} {n}").getrandbits(9) for n in range(count)]
        self.bench, self.gap, self.sent = Bench(self.dut, seed), gap, []
        self.bench.process(self._source, background=not takes)
        if takes:
            self.got = self.bench.sink(self.dut.o, count, sink)

    async def _source(self, ctx):
        """From the first word again after a reset."""
        port, cycle = self.dut.i, 0
        while len(self.sent) < len(self.words):
            ctx.set(port.payload, self.words[len(self.sent)])
            ctx.set(port.valid, 1)
            _, reset, ready = await ctx.tick().sample(port.ready)
            cycle += 1
            if reset:
                self.sent.clear()
            elif ready:
                self.sent.append(cycle - 1)
                ctx.set(port.valid, 0)
                for _ in range(self.gap() - 1):
                    _, reset = await ctx.tick()
                    cycle += 1
                    if reset:
                        self.sent.clear()
        ctx.set(port.valid, 0)

    def run(self, reset_at=None):
        self.bench.run(60 * len(self.words) + 100, reset_at)
        assert self.got.words == self.words, self.bench.seed_note
        return self


@pytest.mark.parametrize("sink", [Stall.NEVER, Stall.RANDOM, Stall.OFTEN, Stall.BURSTS], ids=lambda stall: stall.value)
@pytest.mark.parametrize("seed", range(3))
def test_random_words(seed, sink):
    rng = random.Random(seed)
    Setup(seed, 40, sink, lambda: rng.choice([4, 4, 5, 9, 30])).run()


def test_stated_latency_and_throughput():
    setup = Setup(0, 10).run()
    assert setup.sent == list(range(0, 40, 4))
    assert setup.got.cycles == [cycle + 4 for cycle in setup.sent]


@pytest.mark.parametrize("reset_at", [2, 9, 21])
def test_reset(reset_at):
    Setup(reset_at, 12, Stall.OFTEN).run(reset_at)


def test_holds_its_depth():
    """Nobody takes: all of the depth enters, the oldest word is offered, and no more."""
    setup = Setup(5, DEPTH + 2, takes=False)

    async def look(ctx):
        await ctx.tick().repeat(60)
        assert len(setup.sent) == DEPTH and not ctx.get(setup.dut.empty)
        assert ctx.get(setup.dut.o.payload) == setup.words[0]

    setup.bench.process(look)
    setup.bench.run(200)
