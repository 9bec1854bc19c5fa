"""Store unit: every word of a block in stream order, rounded, under stalls; and what it tells the load
unit.
"""

import random
from typing import NamedTuple

import numpy as np
import pytest

from wingbeat.hw.array.store_unit import StoreUnit
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.instruction import Store
from wingbeat.hw.isa.walk import Walk, walk_indices
from wingbeat.hw.numeric import largest, round_half_up, saturate, smallest
from wingbeat.sim.bench.stream import Bench, Stall
from wingbeat.sim.model.shuffle import route
from wingbeat.sim.stimulus.array import random_pairs, random_walk

pytestmark = pytest.mark.thin(3)

CONFIGS = [dict(layers=1, engines=1, half_words=16, stream_words=2),
           dict(layers=2, engines=3, half_words=32, stream_words=4),
           dict(layers=2, engines=4, half_words=16, stream_words=8, width=10),
           dict(layers=3, engines=2, half_words=64, stream_words=16),
           dict(layers=1, engines=8, half_words=64, stream_words=8),
           dict(layers=1, engines=2, half_words=16, stream_words=2, pipeline="short"),
           dict(layers=2, engines=3, half_words=32, stream_words=4, pipeline="short"),
           # Processors: mirror pairs, and one sub-step bit more.
           dict(layers=1, engines=4, half_words=32, stream_words=4, memory_bits=8),
           dict(layers=2, engines=2, half_words=64, stream_words=4, memory_bits=8),
           dict(layers=2, engines=2, half_words=32, stream_words=8, memory_bits=8, pipeline="short")]
SEED = 37


def config_of(fields):
    return CoreConfig.of(**({"width": 12, "element_width": 10} | fields))


class Block(NamedTuple):
    store: Store
    words: np.ndarray    # (engines, bank, row), patterns of 2W bits
    exponent: int
    saturated: bool      # as the columns left it
    beats: list          # patterns of the words of each beat on the stream
    clamped: bool


def make_block(c, walk, numbers, base=0):
    """A block of random values; about every second one holds the largest value, which rounding cannot
    keep.
    """
    index = walk_indices(walk) | base
    low, high = smallest(c.width), largest(c.width)
    values = numbers.integers(low, high + 1, (c.engines, 1 << c.index_bits, 2))
    if numbers.random() < 0.5:
        values = np.minimum(values, high >> 1)
    else:
        values[0, index[-1, -1], 1] = high
    values.flat[:4] = [low, -1, 0, 1]
    banks, rows = route(index, c.layers)
    patterns = (values[..., 0] & (1 << c.width) - 1) | (values[..., 1] & (1 << c.width) - 1) << c.width
    words = np.zeros((c.engines, c.lanes, c.bank_rows), dtype=np.int64)
    step = np.arange(len(index))[:, None]
    words[:, banks, rows[step, banks]] = patterns[:, index]
    elements, clamped = saturate(round_half_up(values[:, index], c.width - c.element_width), c.element_width)
    shape = c.beat_groups, c.engines_per_beat, walk.steps, walk.step_beats, 2 * c.lanes
    beats = elements.reshape(shape).transpose(2, 0, 3, 1, 4).reshape(len(index) * c.beat_groups, -1)
    mask = (1 << c.element_width) - 1
    beats = [sum((v & mask) << c.element_width * i for i, v in enumerate(beat)) for beat in beats.tolist()]
    return Block(Store(walk, base), words, int(numbers.integers(0, 64)), bool(numbers.integers(0, 2)), beats,
                 bool(clamped.any()))


class Harness:
    """A store unit and a row buffer in Python that obeys ``en``.

    Words are destroyed as soon as ``steps`` says that they have left the memory, and all at ``done``.
    """

    def __init__(self, c, blocks, seed, sink=Stall.NEVER, commands=Stall.NEVER, late=lambda rng: False):
        self.c, self.blocks, self.late, self.seed = c, blocks, late, seed
        self.dut = StoreUnit(c)
        self.bench = Bench(self.dut, seed)
        self.commands = self.bench.feed(self.dut.i_command, [], commands)
        self.out = self.bench.sink(self.dut.o, sum(len(b.beats) for b in blocks), sink)

    def clear(self):
        self.takes, self.dones, self.outs = [], [], []
        self.memory = [block.words.copy() for block in self.blocks]
        self.pipeline = [0] * (1 + self.c.ram_latency + 1)  # row register, RAM, word register
        self.computed = 1

    def rows(self, bits):
        c = self.c
        return [bits >> c.row_bits * bank & (1 << c.row_bits) - 1 for bank in range(c.lanes)]

    def advance(self, rows):
        """One enabled cycle: rows register, two RAM stages, word register."""
        c = self.c
        register, *data = self.pipeline
        k = len(self.dones)
        read = 0
        if k < len(self.blocks):
            words = self.memory[k][:, range(c.lanes), self.rows(register)]
            read = sum(word << 2 * c.width * i for i, word in enumerate(words.reshape(-1).tolist()))
        self.pipeline = [rows, read, *data[:-1]]

    def destroy(self, steps, done):
        k = len(self.dones)
        walk, base = self.blocks[k].store.walk, self.blocks[k].store.base
        _, rows = route(walk_indices(walk)[:steps * walk.step_beats] | base, self.c.layers)
        self.memory[k][:, np.arange(self.c.lanes), rows] = 0
        if done:
            assert steps == walk.steps - 1, "all steps but the last have been counted at done"
            self.memory[k][:] = 0

    def run(self, field_bits, deadline, reset_at=None):
        self.commands.words += [field_bits(b.store) for b in self.blocks]
        d, rng = self.dut, random.Random(self.seed)
        self.clear()

        async def watch(ctx):
            cycle, waiting, started = 0, False, False  # an instruction is here; it has its block
            while len(self.outs) < len(self.blocks) and cycle < deadline:
                block = self.blocks[min(len(self.outs), len(self.blocks) - 1)]
                ctx.set(d.computed, self.computed > 0)
                ctx.set(d.exponent, block.exponent)
                ctx.set(d.saturated, block.saturated)
                ctx.set(d.words.as_value(), self.pipeline[-1])
                _, reset, en, rows, take, half, owns, steps, done, out, idle, offer = await ctx.tick().sample(
                    d.en, d.rows.as_value(), d.take, d.half, d.owns, d.steps, d.done, d.block_out, d.idle,
                    d.i_command.valid)
                if reset:
                    self.clear()
                    cycle, waiting, started = 0, False, False
                    continue
                note = f"cycle {cycle}, {self.bench.seed_note}"
                assert idle == (not waiting and not started) and half == len(self.outs) & 1, note
                assert owns == (1 << half if started and len(self.dones) == len(self.outs) else 0), note
                assert take == (waiting and self.computed > 0), note
                waiting = (waiting or (idle and offer)) and not take
                if take:
                    self.takes.append(cycle)
                    started, self.computed = True, self.computed - 1
                if en:
                    self.advance(rows)
                if done or steps:
                    assert len(self.dones) == len(self.outs), note
                    self.destroy(steps, done)
                if done:
                    self.dones.append(cycle)
                if out:
                    self.outs.append(cycle)
                    started = False
                if self.computed < 2 and not self.late(rng):
                    self.computed += 1
                cycle += 1

        self.bench.process(watch)
        self.bench.run(deadline, reset_at)
        return self

    def check(self, context):
        """Beats in order; exponent of the block on each; ``last`` and the final flag on the last one."""
        c, at = self.c, 0
        bits = 2 * c.beat_words * c.element_width
        assert len(self.outs) == len(self.dones) == len(self.takes) == len(self.blocks), context
        for k, block in enumerate(self.blocks):
            got = self.out.words[at:at + len(block.beats)]
            at += len(block.beats)
            assert [beat & (1 << bits) - 1 for beat in got] == block.beats, f"{context}, block {k}"
            tags = [beat >> bits for beat in got]
            assert {tag & 63 for tag in tags} == {block.exponent}, f"{context}, block {k}"
            assert [tag >> 7 for tag in tags] == [0] * (len(tags) - 1) + [1], f"{context}, block {k}"
            final = block.saturated or block.clamped
            assert tags[-1] >> 6 & 1 == final, f"{context}, flag of block {k}"
            flags = [tag >> 6 & 1 for tag in tags]
            assert flags == sorted(flags), f"{context}, the flag of block {k} falls"


def random_blocks(c, n, seed):
    """Blocks of any size and walk; in a processor every second one goes by pairs through a whole half."""
    rng, numbers = random.Random(seed), np.random.default_rng(seed)
    walks = [random_pairs(rng, c, c.index_bits) if c.is_processor and number % 2 else
             random_walk(rng, c, rng.randint(c.layers, c.index_bits)) for number in range(n)]
    return [make_block(c, walk, numbers) for walk in walks]


@pytest.mark.parametrize("fields", CONFIGS, ids=str)
@pytest.mark.parametrize("sink", [Stall.NEVER, Stall.RANDOM, Stall.BURSTS, Stall.SHY])
def test_blocks_in_stream_order(field_bits, fields, sink):
    c = config_of(fields)
    blocks = random_blocks(c, 6, SEED)
    commands = Stall.NEVER if sink is Stall.NEVER else Stall.OFTEN
    harness = Harness(c, blocks, SEED, sink, commands, late=lambda rng: rng.random() < 0.9)
    harness.run(field_bits, 6000).check(f"{sink.value}, seed {SEED}")
    assert {b.saturated or b.clamped for b in blocks} == {True, False} or sink is not Stall.NEVER


@pytest.mark.parametrize("fields", [dict(width=18, element_width=16), dict(width=9, element_width=9),
                                    dict(width=9, element_width=8)], ids=str)
def test_rounding(field_bits, fields):
    """Other widths; equal ones need no rounding and clamp nothing."""
    c = config_of(CONFIGS[1] | fields)
    blocks = random_blocks(c, 5, SEED)
    Harness(c, blocks, SEED).run(field_bits, 3000).check(f"{fields}, seed {SEED}")
    assert any(b.clamped for b in blocks) == (c.width != c.element_width)


def test_every_value_is_rounded_right(field_bits):
    """All 2^10 values of a 10-bit word, in re and, in another order, in im."""
    c = config_of(dict(layers=1, engines=1, half_words=1024, stream_words=2, width=10, element_width=8))
    walk = Walk((0,), 0b1111111110, 0)
    block = make_block(c, walk, np.random.default_rng(SEED))
    index = walk_indices(walk)
    banks, rows = route(index, 1)
    values = index - 512
    words = np.zeros_like(block.words)
    words[0, banks, np.take_along_axis(rows, banks, 1)] = (values & 1023) | (~values & 1023) << 10
    pairs = np.stack([values, ~values], -1).reshape(len(index), -1)
    elements = np.clip(np.floor(pairs / 4 + 0.5).astype(int), -128, 127) & 255
    beats = [sum(v << 8 * i for i, v in enumerate(beat)) for beat in elements.tolist()]
    block = block._replace(words=words, beats=beats, clamped=True)
    Harness(c, [block], SEED).run(field_bits, 2000).check("every value")


@pytest.mark.parametrize("fields", CONFIGS + [CONFIGS[1] | dict(element_width=12)], ids=str)
def test_stated_latency_and_throughput(field_bits, fields):
    """The first beat, behind the skid buffer, 10 + S cycles after its block is taken, 5 less in a short
    pipeline that has none, 2 more with rounding; then one in every cycle.
    """
    c = config_of(fields)
    walk = Walk(tuple(range(c.layers)), (1 << c.index_bits) - c.lanes, 0)
    blocks = [make_block(c, walk, np.random.default_rng(SEED)) for _ in range(2)]
    harness = Harness(c, blocks, SEED).run(field_bits, 2000)
    harness.check(f"seed {SEED}")
    n = len(blocks[0].beats)
    latency = (9 + (c.layers > 2) if c.pipeline.is_deep else 5) + c.layers + 2 * (c.element_width < c.width)
    assert latency == 2 + c.store_latency + c.pipeline.is_deep
    for k, take in enumerate(harness.takes):
        assert harness.out.cycles[k * n:(k + 1) * n] == list(range(take + latency, take + latency + n))
    assert [cycle + 1 for cycle in harness.commands.cycles] == harness.takes


@pytest.mark.parametrize("reset_at", [2, 14, 40])
def test_reset_mid_stream(field_bits, reset_at):
    c = config_of(CONFIGS[1])
    harness = Harness(c, random_blocks(c, 3, reset_at), reset_at, Stall.RANDOM)
    harness.run(field_bits, 3000, reset_at).check(f"seed {reset_at}")


@pytest.mark.parametrize("fields", [dict(layers=1, engines=4, stream_words=4),
                                    dict(layers=2, engines=2, stream_words=8),
                                    dict(layers=4, engines=1, stream_words=16)], ids=str)
@pytest.mark.thin(1)
def test_base_of_a_region(field_bits, fields):
    """Blocks that fill a part of a half, any part of it, with walks of every kind; one has no base."""
    c = config_of(fields | dict(half_words=64 << fields["layers"], memory_bits=8, records=True, ring_words=16,
                                coefficient_words=16))
    rng, numbers, blocks = random.Random(SEED), np.random.default_rng(SEED), []
    for number in range(6):
        bits = rng.randint(c.layers + 1, c.index_bits - 1)
        walk = random_pairs(rng, c, bits) if number % 2 else random_walk(rng, c, bits)
        base = rng.getrandbits(c.index_bits - bits) << bits if number else 0
        blocks.append(make_block(c, walk, numbers, base))
    assert sum(block.store.base > 0 for block in blocks) > 3, f"seed {SEED}"
    Harness(c, blocks, SEED, Stall.RANDOM, Stall.OFTEN).run(field_bits, 6000).check(f"seed {SEED}")
