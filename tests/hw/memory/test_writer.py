"""Writer: random programs of WRITEs of all modes against the contract of docs/reference/processor.md, with a slow
memory."""

from collections import deque
import random
from typing import NamedTuple

from amaranth.hdl import Value
import numpy as np
import pytest

from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.bit_fields import bits_of_words
from wingbeat.hw.isa.descriptor import DESCRIPTOR_WORDS, Descriptor, Move
from wingbeat.hw.isa.encoding import OPCODE_BITS, encode
from wingbeat.hw.isa.instruction import MemoryMode, Set, Unit, Write
from wingbeat.hw.memory.writer import Completion, Writer
from wingbeat.hw.numeric import largest, round_half_up, saturate, smallest
from wingbeat.sim.bench.stream import Bench, Stall

pytestmark = pytest.mark.thin(3)

CONFIGS = [dict(layers=1, engines=2, stream_words=2), dict(layers=1, engines=6, stream_words=4),
           dict(layers=2, engines=3, stream_words=4), dict(layers=2, engines=8, stream_words=16, element_width=12),
           dict(layers=1, engines=8, stream_words=16, pipeline="short")]

ONE_GROUP = dict(layers=1, engines=2, stream_words=4)


def config_of(fields):
    return CoreConfig.of(**(dict(half_words=32, width=16, element_width=10, memory_bits=12, descriptors=16) | fields))


class Block(NamedTuple):
    """One WRITE: its commands, the beats of the array, and the writes (address, strobes, elements) it must make."""

    commands: list
    descriptor: Descriptor
    beats: np.ndarray  # (n, K, 2)
    writes: list
    clamps: int


def split(beats, c):
    """Pairs (m, 2, K) of complex numbers to Xe, Xo of every transform: elements (m, low or high, 2K)."""
    first, mirror = beats[:, 0], np.conj(beats[:, 1])
    sums = np.stack([first + mirror, (first - mirror) / 1j], axis=-1)
    values = np.stack([sums.real, sums.imag], axis=-1).astype(np.int64)
    return saturate(round_half_up(values, 1).reshape(len(beats), 2, -1), c.element_width)


def at_row_zero(word, half):
    """Elements of one beat of row 0 or N/2: Xe = (re, 0) and Xo = (im, 0)."""
    zero = np.zeros(len(word))
    return np.stack([word.real, zero, word.imag, zero], axis=-1).reshape(2, -1)[half].astype(np.int64)


def rearranged(c, mode, beats):
    """Direct beats of all modes but SPLIT, int64 (m, 2K): the table of the writer."""
    n, j, p = len(beats), c.engines_per_beat, c.lanes
    cells = beats.reshape(n, j, p, 2)
    if mode is MemoryMode.COLUMNS:
        return beats.reshape(n, -1)
    if mode is MemoryMode.ROWS:
        return cells.reshape(-1, j, j, p, 2).swapaxes(1, 2).reshape(n, -1)
    rows = cells.reshape(-1, 2 * j, j, p, 2).transpose(0, 2, 4, 1, 3)  # tile, row pair, row of it, cell, element
    if mode is not MemoryMode.PAIRS:
        rows = rows[:, :, :1]
    return rows.reshape(-1, 2 * c.stream_words)


def writes_of(c, command, descriptor, base, beats):
    """What one WRITE does: its writes, and how many of them clamp."""
    full = (1 << 2 * c.stream_words) - 1
    rows, chunks = descriptor.positions(c.beat_groups)
    address, other, keep = base + rows * descriptor.pitch + chunks, descriptor.other, descriptor.keep
    valid = (rows & 0xFFFF) < command.rows
    valid &= (chunks & 0xFFFF) < descriptor.chunks
    writes, clamps = [], 0
    if command.mode is MemoryMode.SPLIT:
        pairs = (beats[..., 0] + 1j * beats[..., 1]).reshape(-1, 2, c.stream_words)
        values, clamped = split(pairs, c)
        for n in np.flatnonzero(valid):
            if rows[n]:
                writes.append((address[n], full, values[n // 2, n % 2]))
                clamps += clamped[n // 2, n % 2].any()
            else:
                writes += [(address[n] + k * other, full, at_row_zero(pairs[n // 2, k], n % 2)) for k in range(2)]
        return writes, clamps
    for n, x in enumerate(rearranged(c, command.mode, beats)):
        if valid[n]:
            writes.append((address[n], full, x))
        if valid[n] and command.mode is MemoryMode.FOLD and command.fold_from <= rows[n] < command.fold_rows:
            mirrored = ((other - (address[n] & ~keep)) & ~keep) | (address[n] & keep)
            writes += [(mirrored, full - 1, x[-np.arange(len(x)) % len(x)]),
                       (mirrored + 1 - (0 if chunks[n] else descriptor.chunks), 1, x)]
    return writes, clamps


def random_descriptor(c, mode, rng):
    """Small moves, so that rows and chunks are now inside and now outside, and often row 0."""
    bits = c.engines_per_beat.bit_length() - 1
    sub = {MemoryMode.COLUMNS: 0, MemoryMode.PAIRS: bits + 1, MemoryMode.SPLIT: 1}.get(mode, bits)
    move = lambda: Move(rng.randint(-2, 5), rng.randint(-1, 2))
    low_high = Move(0, 1)  # of SPLIT
    step = tuple(move() for _ in range(rng.randint(0, 3)))
    origin = Move(rng.choice([0, 0, 1]), rng.choice([0, 1]))
    low = rng.randrange(c.memory_bits)
    keep = rng.choice([0, 1, 3, 15]) << low & (1 << c.memory_bits) - 1
    other = rng.getrandbits(c.memory_bits) | ((1 << low) - 1 if keep else 0)  # nothing is borrowed from what is kept
    return Descriptor(tuple(low_high if mode is MemoryMode.SPLIT else move() for _ in range(sub)), move(), step,
                      pitch=rng.randint(1, 300), chunks=rng.randint(1, 5), origin=origin,
                      other=other, steps=rng.randint(1, 1 << len(step)), keep=keep)


def random_beats(c, n, rng):
    numbers = np.random.default_rng(rng.getrandbits(32))
    low, high = smallest(c.element_width), largest(c.element_width)
    shape = n, c.stream_words, 2
    extremes = numbers.choice([low, high], shape)
    return np.where(numbers.random(shape) < 0.5, extremes, numbers.integers(low, high + 1, shape))


def make(c, rng, modes):
    """Blocks of a program: SETs in between, registers that are used again, WRITEs without a valid beat."""
    registers, blocks = {}, []
    for number, mode in enumerate(modes):
        register, commands = rng.randrange(8), []
        if register not in registers or rng.random() < 0.3:
            registers[register] = rng.getrandbits(c.memory_bits)
            commands.append(Set(Unit.WRITER, register, registers[register]))
        descriptor = random_descriptor(c, mode, rng)
        command = Write(number, register, rng.choice([0, 1, 3, 3, 6, 40]), mode, rng.randint(-500, 500),
                        rng.randint(0, 1), rng.choice([1, 3, 6]))
        places = len(descriptor.positions(c.beat_groups)[0])
        beats = random_beats(c, places * (2 if mode in (MemoryMode.REAL, MemoryMode.FOLD) else 1), rng)
        writes, clamps = writes_of(c, command, descriptor, registers[register], beats)
        registers[register] += command.increment
        blocks.append(Block([*commands, command], descriptor, beats, writes, clamps))
    return blocks


def command_bits(command):
    fields = bits_of_words(encode([command])) >> OPCODE_BITS
    return isinstance(command, Set) | fields << 1


def beat_bits(beat, last, width):
    """One word of ``Writer.i``; exponent and flag of the array are noise to a writer."""
    bits = sum((int(v) & (1 << width) - 1) << width * i for i, v in enumerate(beat.reshape(-1)))
    return bits | (0x55 | last << 7) << width * beat.size


def packed(c, write):
    """A write as (address, strobes, elements that are written)."""
    address, strobe, elements = write
    kept = tuple(int(v) & (1 << c.element_width) - 1 if strobe >> i & 1 else None for i, v in enumerate(elements))
    return int(address) % (1 << c.memory_bits), strobe, kept


def unpacked(c, word):
    count, width = 2 * c.stream_words, c.element_width
    beat = word >> c.memory_bits + count
    return packed(c, (word % (1 << c.memory_bits), word >> c.memory_bits & (1 << count) - 1,
                      [beat >> width * i & (1 << width) - 1 for i in range(count)]))


class Harness:
    """A writer, its commands and blocks, and a memory that reports writes late."""

    def __init__(self, c, seed, blocks, source=Stall.NEVER, sink=Stall.NEVER, commands=Stall.NEVER, slow=0,
                 reset_after=None):
        self.c, self.blocks, self.slow, self.reset_after = c, blocks, slow, reset_after
        self.dut, self.rng = Writer(c), random.Random(seed)
        self.bench = Bench(self.dut, seed)
        self.bench.noise(self.dut.write, self.dut.write_en)
        words = [(beat, n == len(b.beats) - 1) for b in blocks for n, beat in enumerate(b.beats)]
        self.beats_in = self.bench.feed(self.dut.i, [beat_bits(*word, c.element_width) for word in words], source)
        self.out = self.bench.sink(self.dut.memory, sum(len(b.writes) for b in blocks), sink)
        self.ends = np.cumsum([0] + [len(b.writes) for b in blocks]).tolist()
        self.bench.process(self._load_and_command(commands))
        self.bench.process(self._memory, background=True)
        self.seen = []  # per cycle: written, completed, progress, saturated, idle, running, tag

    def _load_and_command(self, stall):
        async def testbench(ctx):
            d, go = self.dut, stall.willing(self.rng)
            ctx.set(d.write_en, 1)
            for number, block in enumerate(self.blocks):
                for at, word in enumerate(block.descriptor.words(self.c.beat_groups)[:2 * 28]):
                    ctx.set(d.write, {"address": number * DESCRIPTOR_WORDS + at, "data": word})
                    await ctx.tick()
            ctx.set(d.write_en, 0)
            await self._command(ctx, go)
            if self.reset_after is not None:
                await ctx.tick().repeat(self.reset_after)
                ctx.set(self.bench.rst, 1)
                await ctx.tick()
                ctx.set(self.bench.rst, 0)
                await self._command(ctx, go)
            await ctx.tick().repeat(2)
            for _ in range(20000):
                if ctx.get(d.idle):
                    break
                await ctx.tick()
            await ctx.tick().repeat(2)
        return testbench

    async def _command(self, ctx, go):
        d, self.commands = self.dut, []
        for command in (command for block in self.blocks for command in block.commands):
            while not next(go):
                await ctx.tick()
            ctx.set(Value.cast(d.i_command.payload), command_bits(command))
            ctx.set(d.i_command.valid, 1)
            await ctx.tick().until(d.i_command.ready)
            self.commands.append(len(self.seen))  # this tick is seen later
            ctx.set(d.i_command.valid, 0)

    async def _memory(self, ctx):
        d, waiting, written = self.dut, deque(), 0
        sampled = d.memory.valid, d.memory.ready, d.completed, d.progress, d.saturated, d.idle, d.running, d.tag
        async for _, reset, valid, ready, *seen in ctx.tick().sample(*sampled):
            self.seen.append((written, *seen))
            if reset:
                self.seen.clear()
                waiting.clear()
                valid = 0
            if valid and ready:
                waiting.append(len(self.seen) + self.rng.randint(0, self.slow))
            written = bool(waiting) and waiting[0] <= len(self.seen)
            if written:
                waiting.popleft()
            ctx.set(d.written, written)

    def check(self, deadline=20000):
        self.bench.run(deadline)
        note, c = self.bench.seed_note, self.c
        got, expected = [unpacked(c, w) for w in self.out.words], [packed(c, w) for b in self.blocks for w in b.writes]
        assert got == expected, note
        written, completed, progress, saturated, idle, running, tag = map(np.array, zip(*self.seen))
        assert completed.sum() == len(self.blocks), note
        assert saturated.sum() == sum(b.clamps for b in self.blocks), note
        assert tag[-1] == len(self.blocks) and idle[-1] and not running[-1], note
        # Exactly: what was reported three cycles ago, less the WRITEs whose completion has been told.
        total, done = np.cumsum(written), np.cumsum(completed)
        assert (progress[3:] == total[:-3] - np.array(self.ends)[done[3:]]).all(), note
        begun = np.array([0] * 3 + total.tolist())[:len(total)]
        assert (begun >= np.array(self.ends)[done]).all(), note
        # A reset shows in the tag a cycle later.
        assert not (idle & (done < tag))[1:].any() and not (running & (tag == 0))[1:].any(), note


@pytest.mark.parametrize("seed", range(10))
def test_random_programs(seed):
    rng = random.Random(seed)
    c = config_of(CONFIGS[seed % len(CONFIGS)])
    modes = rng.sample(list(MemoryMode) * 2, 12) + [MemoryMode.SPLIT] * 2 + [MemoryMode.FOLD] * 2
    stalls = [rng.choice(list(Stall)[:5]) for _ in range(3)] if seed else [Stall.NEVER] * 3
    Harness(c, seed, make(c, rng, modes), *stalls, slow=rng.choice([0, 5, 60])).check()


def row_block(c, number, rows=100, places=8, mode=MemoryMode.COLUMNS):
    """A WRITE of consecutive beats, one row each, of one group of engines."""
    descriptor = Descriptor((), Move(0), tuple(Move(1 << bit) for bit in range(4)), pitch=1, chunks=1, steps=places)
    command = Write(number, 0, rows, mode)
    beats = np.full((places, c.stream_words, 2), number)
    return Block([command], descriptor, beats, *writes_of(c, command, descriptor, 0, beats))


@pytest.mark.parametrize("pipeline, first, gap", [("deep", 24, 11), ("short", 20, 7)])
def test_stated_latency_and_throughput(pipeline, first, gap):
    """From the command to its first write; one write per cycle; from the last write of a WRITE to the next one."""
    c = config_of(ONE_GROUP | dict(pipeline=pipeline))
    harness = Harness(c, 1, [row_block(c, n) for n in range(3)])
    harness.check()
    start = harness.commands[0] + first
    assert harness.out.cycles == [start + n * (8 + gap) + k for n in range(3) for k in range(8)]
    completed = [cycle for cycle, seen in enumerate(harness.seen) if seen[1]]
    reported = [cycle for cycle, seen in enumerate(harness.seen) if seen[0]]
    assert completed == [reported[8 * n + 7] + 6 for n in range(3)]


def test_a_write_without_beats_is_complete():
    """Between others and alone: nothing is written, everything is told."""
    c = config_of(ONE_GROUP)
    blocks = [row_block(c, n, rows=0 if n != 1 else 100, places=2) for n in range(4)]
    harness = Harness(c, 3, blocks, slow=40)
    harness.check()
    assert len(harness.out.words) == 2


def test_idle_running_and_clear():
    """``running`` ends with the last write on ``memory``, ``idle`` follows the last ``completed``; clear."""
    c = config_of(ONE_GROUP)
    harness = Harness(c, 4, [row_block(c, 0)], slow=30)

    async def clear(ctx):
        d = harness.dut
        await ctx.tick().until(d.completed)
        await ctx.tick()
        assert ctx.get(d.tag) == 1
        ctx.set(d.clear, 1)
        await ctx.tick()
        ctx.set(d.clear, 0)
        await ctx.tick()
        assert ctx.get(d.tag) == 0
        harness.cleared = True

    harness.bench.process(clear)
    harness.bench.run(1000)
    *_, idle, running, _ = map(list, zip(*harness.seen))
    last_write, completed = harness.out.cycles[-1], [cycle for cycle, seen in enumerate(harness.seen) if seen[1]]
    command = harness.commands[0]
    assert [cycle for cycle, bit in enumerate(running) if bit] == list(range(command + 4, last_write + 1))
    assert [cycle for cycle, bit in enumerate(idle) if not bit] == list(range(command + 1, completed[0] + 1))
    assert harness.cleared


@pytest.mark.parametrize("reset_after", [1, 9, 25])
def test_reset_forgets_everything(reset_after):
    """A reset in the middle of a program, which is then run again; a register that it does not set keeps its value."""
    c = config_of(CONFIGS[1])
    blocks = make(c, random.Random(reset_after), [MemoryMode.FOLD, MemoryMode.SPLIT, MemoryMode.PAIRS])
    for block in blocks:
        assert isinstance(block.commands[0], Set) or block.commands[-1].increment == 0, "the program sets what it uses"
    Harness(c, reset_after, blocks, Stall.RANDOM, slow=20, reset_after=reset_after).check()


class TestCompletion:
    """Alone: counts that wrap around, and ends faster than they can be told."""

    def test_stated_latencies(self, drive):
        steps = [dict(issued=1, ended=0, written=0), dict(issued=1, ended=1), dict(issued=0, ended=0, written=1),
                 dict(written=1), dict(written=0), *[{}] * 8, dict(ended=1), dict(ended=0), *[{}] * 9]
        seen = drive(Completion(18), steps, ["completed", "progress"])
        assert [cycle for cycle, bit in enumerate(seen["completed"]) if bit] == [max(1 + 9, 3 + 6), 13 + 9]
        assert seen["progress"][:11] == [0, 0, 0, 0, 0, 1, 2, 2, 2, 2, 0]

    @pytest.mark.parametrize("seed", range(3))
    def test_random_blocks(self, drive, seed):
        """Counts of 7 bits: all WRITEs are told, none before its last write."""
        rng = random.Random(seed)
        sizes = [rng.choice([0, 1, 2, 40, 100]) for _ in range(60)]
        issues = [(k < n, k >= n - 1) for n in sizes for k in range(max(n, 1))]
        steps, made, done, told = [], 0, 0, [0]
        # A WRITE of one beat or none every 8 cycles at most, so that its end always finds room.
        for issued, ended in issues:
            for extra in range(1 + 8 * ended):
                written = made - done > 0 and (rng.random() < 0.7 or made - done > 20)
                steps.append(dict(issued=issued and not extra, ended=ended and not extra, written=written))
                made, done = made + (issued and not extra), done + written
                told.append(done)
        steps += [dict(issued=0, ended=0, written=1)] * (made - done) + [dict(written=0)] * 40
        seen = drive(Completion(7), steps, ["completed", "progress"])
        ends = np.cumsum(sizes)
        cycles = [cycle for cycle, bit in enumerate(seen["completed"]) if bit]
        written = np.cumsum([0] * 6 + [step["written"] for step in steps])
        assert len(cycles) == len(sizes), f"seed {seed}"
        assert all(written[cycle] >= end for cycle, end in zip(cycles, ends)), f"seed {seed}"

    def test_progress_stops_at_its_largest_value(self, drive):
        steps = [dict(issued=1, ended=0, written=1)] * 70 + [dict(issued=0, ended=1, written=0), dict(ended=0)]
        seen = drive(Completion(7, progress_bits=6), steps + [{}] * 8, ["completed", "progress"])
        assert max(seen["progress"]) == seen["progress"][75] == 63 and seen["progress"][-1] == 0
        assert sum(seen["completed"]) == 1
