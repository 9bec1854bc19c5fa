"""Processor on its native memory port: an abort or a failed request on the way, what is outstanding, the clear, and the
program again. Whole programs against the models: tests/cosim/test_processor.py."""

from collections import deque
import random

import pytest
from support.copying import BEATS, CLEAR, CONFIG, FROM, START, TO, setup

from wingbeat.hw.core.processor import Processor
from wingbeat.hw.isa.instruction import Fault
from wingbeat.sim.bench.stream import Bench

LENGTH = 250     # cycles of a run, at least
DEADLINE = 2000  # and at most


class Memory:
    """Beats by number; answers late, and nothing while ``silent``. It counts what it owes, and checks that ``drained``
    is never high then; ``fail``: the number whose read or write fails."""

    def __init__(self, rng):
        self.rng, self.silent, self.fail, self.open = rng, False, None, 0
        self.beats = [rng.getrandbits(4 * CONFIG.element_width) for _ in range(1 << CONFIG.memory_bits)]
        self.before, self.taken = list(self.beats), []

    async def run(self, ctx, dut):
        port, reads, writes = dut.port, deque(), deque()
        while True:
            rng, offers = self.rng, bool(reads) and not self.silent and self.rng.random() < 0.5
            written = bool(writes) and not self.silent and rng.random() < 0.5
            ready = rng.random() < 0.7, rng.random() < 0.7
            ctx.set(port.read.ready, ready[0])
            ctx.set(port.write.ready, ready[1])
            ctx.set(port.beats.valid, offers)
            ctx.set(port.beats.payload.as_value(), self.beats[reads[0]] if offers else rng.getrandbits(8))
            ctx.set(port.written, written)
            ctx.set(port.failed, (offers and reads[0] == self.fail) or (written and writes[0][0] == self.fail))
            self.open = len(reads) + len(writes)
            assert not (self.open and ctx.get(dut.drained)), f"drained, and {self.open} are open"
            assert not self.open or ctx.get(dut.status.busy), f"busy fell, and {self.open} are open"
            *_, read, place, beats, write, to, strobe, beat = await ctx.tick().sample(
                port.read.valid, port.read.payload, port.beats.ready, port.write.valid, port.write.payload.address,
                port.write.payload.strobe, port.write.payload.beat.as_value())
            if offers and beats:
                reads.popleft()
            if written:
                number, mask, value = writes.popleft()
                assert mask == (1 << CONFIG.memory_elements) - 1
                self.beats[number] = value
            if read and ready[0]:
                reads.append(place)
                self.taken.append(place)
            if write and ready[1]:
                writes.append((to, strobe, beat))
                self.taken.append(to)


class Run:
    """A processor and its memory; ``script(ctx, run)`` is what happens."""

    def __init__(self, seed, script):
        self.rng, self.dut = random.Random(seed), Processor(CONFIG)
        self.memory, self.note = Memory(self.rng), f"seed {seed}"
        bench = Bench(self.dut, seed)

        async def scripted(ctx):
            await script(ctx, self)

        async def served(ctx):
            await self.memory.run(ctx, self.dut)

        bench.process(served, background=True)
        bench.process(scripted)
        bench.run(6000)

    async def send(self, ctx, words):
        port = self.dut.i_setup
        for word in words:
            ctx.set(port.valid, 1)
            ctx.set(port.payload.as_value(), word)
            for _ in range(DEADLINE):
                _, _, ready = await ctx.tick().sample(port.ready)
                if ready:
                    break
            assert ready, f"the setup port is closed for {DEADLINE} cycles, {self.note}"
        ctx.set(port.valid, 0)

    async def abort(self, ctx):
        ctx.set(self.dut.abort_request, 1)
        await ctx.tick()
        ctx.set(self.dut.abort_request, 0)
        await ctx.tick().repeat(2)

    async def end(self, ctx):
        for _ in range(DEADLINE):
            await ctx.tick()
            if not ctx.get(self.dut.status.busy):
                return
        raise AssertionError(f"busy for {DEADLINE} cycles, {self.note}")

    async def good_run(self, ctx, words):
        self.memory.beats = list(self.memory.before)
        await self.send(ctx, words)
        await self.end(ctx)
        beats = self.memory.beats
        assert ctx.get(self.dut.status.error) == Fault.NONE, self.note
        assert beats[TO:TO + BEATS] == beats[FROM:FROM + BEATS] != self.memory.before[TO:TO + BEATS], self.note
        assert beats[:TO] + beats[TO + BEATS:] == self.memory.before[:TO] + self.memory.before[TO + BEATS:], self.note


@pytest.mark.parametrize("seed", range(4))
def test_abort_and_clear(seed):
    """The program memory and the tables stay: after the clear a start is enough."""
    async def script(ctx, run):
        await run.good_run(ctx, setup())
        await run.send(ctx, [START])
        await ctx.tick().repeat(run.rng.randint(2, LENGTH // 2))
        await run.abort(ctx)
        assert ctx.get(run.dut.status.error) == Fault.ABORTED, run.note
        await ctx.tick()
        taken = len(run.memory.taken) + ctx.get(run.dut.port.read.valid) + ctx.get(run.dut.port.write.valid)
        await run.send(ctx, [CLEAR])
        await run.good_run(ctx, [START])
        assert taken >= len(run.memory.taken) - 2 * BEATS, run.note
    Run(seed, script)


@pytest.mark.parametrize("number", [FROM, FROM + BEATS - 1, TO, TO + BEATS - 1])
def test_a_request_that_fails(number):
    """Also the last write: the program has not ended while that has no answer."""
    async def script(ctx, run):
        run.memory.fail = number
        await run.send(ctx, setup())
        await run.end(ctx)
        assert ctx.get(run.dut.status.error) == Fault.MEMORY_ERROR, run.note
        run.memory.fail = None
        await run.send(ctx, [CLEAR])
        await run.good_run(ctx, [START])
    Run(number, script)


def test_a_clear_waits_for_the_memory():
    """The setup port is closed, nothing is forgotten, and busy stays."""
    async def script(ctx, run):
        await run.send(ctx, setup())
        while not run.memory.open:
            await ctx.tick()
        run.memory.silent = True
        await run.abort(ctx)
        await run.send(ctx, [CLEAR])
        for _ in range(100):
            await ctx.tick()
            assert not ctx.get(run.dut.i_setup.ready) and not ctx.get(run.dut.restart), run.note
            assert ctx.get(run.dut.status.error) == Fault.ABORTED and ctx.get(run.dut.status.busy), run.note
        run.memory.silent = False
        await run.good_run(ctx, [START])
    Run(21, script)


def test_a_clear_without_an_error_does_nothing():
    """Neither before a program nor while it runs; nor does an abort of a processor that is not busy."""
    async def script(ctx, run):
        await run.send(ctx, [CLEAR])
        await run.abort(ctx)
        assert ctx.get(run.dut.status.error) == Fault.NONE
        await run.good_run(ctx, [*setup(), CLEAR])
    Run(22, script)


def test_other_words_clear_nothing():
    """Nor do they keep the port closed."""
    async def script(ctx, run):
        await run.send(ctx, setup())
        await ctx.tick().repeat(5)
        await run.abort(ctx)
        one = 1 << 24  # of the data
        await run.send(ctx, [CLEAR + 256 * one, CLEAR + one, CLEAR - one, CLEAR | 1 << 63])
        await ctx.tick().repeat(200)
        assert ctx.get(run.dut.status.error) == Fault.ABORTED and ctx.get(run.dut.i_setup.ready)
    Run(23, script)


def test_a_start_that_waits_is_dropped():
    """A second start behind the first: the abort ends both, and the counters of the first stay."""
    async def script(ctx, run):
        await run.send(ctx, [*setup(), START])
        await ctx.tick().repeat(40)
        await run.abort(ctx)
        await ctx.tick().repeat(100)
        assert ctx.get(run.dut.status.error) == Fault.ABORTED and not ctx.get(run.dut.status.busy)
        assert ctx.get(run.dut.status.total) > 40
        await run.send(ctx, [CLEAR])
        await ctx.tick().repeat(100)
        assert not ctx.get(run.dut.status.busy) and ctx.get(run.dut.status.total) == 0
        await run.good_run(ctx, [START])
    Run(24, script)


def test_a_reset_is_a_restart():
    """It comes a cycle later, and first of all; as long the setup port takes nothing."""
    dut, seen = Processor(CONFIG), []
    bench = Bench(dut)

    async def watch(ctx):
        async for _, reset, restart, ready in ctx.tick().sample(dut.restart, dut.i_setup.ready):
            seen.append((bool(reset), bool(restart), bool(ready)))

    async def wait(ctx):
        await ctx.tick().repeat(3)
    bench.process(watch, background=True)
    bench.process(wait)
    bench.run(40, reset_at=7)
    resets = [reset for reset, _, _ in seen]
    assert sum(resets) == 1 and len(seen) > 9
    assert [restart for _, restart, _ in seen] == [True, *resets[:-1]] == [not ready for _, _, ready in seen]
