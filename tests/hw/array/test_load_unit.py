"""Load unit: every word into its engine, bank and row, never ahead of the store, under stalls and resets."""

from dataclasses import dataclass, field
import random

import numpy as np
import pytest

from wingbeat.hw.array.load_unit import LoadUnit
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.instruction import Load
from wingbeat.hw.isa.walk import walk_indices
from wingbeat.hw.numeric import largest, smallest
from wingbeat.sim.bench.stream import Bench, Stall
from wingbeat.sim.model.shuffle import route
from wingbeat.sim.stimulus.array import random_pairs, random_walk

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
RING = dict(memory_bits=8, coefficient_words=16, ring_words=16, records=True, sparse=True)
SPARSE = [dict(layers=1, engines=4, half_words=32, stream_words=4) | RING,
          dict(layers=2, engines=1, half_words=64, stream_words=4) | RING,
          dict(layers=2, engines=4, half_words=32, stream_words=8) | RING]
SEED = 29


def config_of(fields):
    return CoreConfig.of(**({"width": 12, "element_width": 10} | fields))


@dataclass
class Block:
    """A load, its elements (n, 2) in stream order, and what must stand in the banks afterwards."""

    load: Load
    elements: np.ndarray
    banks: dict = field(default_factory=dict)  # (engine, bank, row) -> (re, im)
    magnitude: int = 0


def make_block(c, load, numbers):
    index = walk_indices(load.walk)
    low, high = smallest(c.element_width), largest(c.element_width)
    shrink = int(numbers.integers(0, 6))
    elements = numbers.integers(low >> shrink, (high >> shrink) + 1, (index.size * c.engines, 2))
    block = Block(load, elements)
    walk = load.walk
    beats = (
        elements.reshape(walk.steps, c.beat_groups, walk.step_beats, c.engines_per_beat, c.lanes, 2)
        << c.width - c.element_width
    )
    banks, rows = (index & c.lanes - 1, index >> c.layers) if load.plain else route(index, c.layers)
    for beat in range(len(index)):
        step, sub = divmod(beat, walk.step_beats)
        for engine in range(c.engines):
            for lane in range(c.lanes):
                bank = int(banks[beat, lane])
                word = beats[step, engine // c.engines_per_beat, sub, engine % c.engines_per_beat, lane]
                block.banks[engine, bank, int(rows[beat, bank])] = tuple(word.tolist())
    ones = int(np.bitwise_or.reduce((beats ^ (beats >> 63)).ravel()))
    block.magnitude = ones >> c.width - 1 - c.magnitude_bits
    return block


class Harness:
    """A load unit, banks in Python, and a store that empties halves at its own pace.

    Block k may be written to half k & 1 once that half is vacant. Both are vacant at first; later a half
    is vacant when the store, which takes ``pace(rng)`` cycles a step, has made as many steps as the load
    of its block.
    """

    def __init__(self, c, blocks, seed, source=Stall.NEVER, commands=Stall.NEVER, pace=lambda rng: 1):
        self.c, self.blocks, self.pace, self.seed = c, blocks, pace, seed
        self.dut = LoadUnit(c)
        self.bench = Bench(self.dut, seed)
        beats = np.concatenate([b.elements for b in blocks]).reshape(-1, c.beat_words * 2)
        mask = (1 << c.element_width) - 1
        patterns = [
            sum((value & mask) << c.element_width * i for i, value in enumerate(beat))
            for beat in beats.tolist()
        ]
        self.data = self.bench.feed(self.dut.i, patterns, source)
        self.commands = self.bench.feed(self.dut.i_command, [], commands)
        self.done, self.writes, self.moved, self.blocked, self.idle = [], [], [], [], []

    def clear(self):
        for record in (self.done, self.writes, self.moved, self.blocked, self.idle):
            record.clear()
        self.memory = [{}, {}]
        self.steps_left = self.store_steps = self.wait = 0
        self.vacant = 2
        self.store_block = 0  # the block whose half the store empties next

    def store(self, rng):
        """One cycle of the store behind the blocks: after block k is loaded and computed, k's half is
        emptied.
        """
        self.wait = max(0, self.wait - 1)
        if self.store_block >= len(self.done) or self.wait:
            return
        steps = self.blocks[self.store_block].load.walk.steps
        self.wait = self.pace(rng)
        self.store_steps += 1
        if self.store_steps == steps:
            self.store_steps, self.store_block, self.vacant = 0, self.store_block + 1, self.vacant + 1

    def run(self, field_bits, deadline, reset_at=None):
        self.commands.words += [field_bits(b.load) for b in self.blocks]
        d, rng = self.dut, random.Random(self.seed)
        self.clear()

        async def watch(ctx):
            pending, cycle = None, 0
            while len(self.done) < len(self.blocks) and cycle < deadline:
                ctx.set(d.vacant, self.vacant > 0)
                ctx.set(d.store_steps, self.store_steps)
                (
                    _,
                    reset,
                    en,
                    rows,
                    words,
                    owns,
                    half,
                    done,
                    claim,
                    valid,
                    ready,
                    magnitude,
                    blocked,
                    idle,
                ) = await ctx.tick().sample(
                    d.en,
                    d.rows.as_value(),
                    d.words.as_value(),
                    d.owns,
                    d.half,
                    d.done,
                    d.claim,
                    d.i.valid,
                    d.i.ready,
                    d.magnitude,
                    d.blocked,
                    d.idle,
                )
                if reset:
                    self.clear()
                    pending, cycle = None, 0
                    continue
                # While the half is not its own yet, its write port belongs to the columns.
                assert not owns or (owns == 1 << half and self.may_write(len(self.done), 0)), (
                    f"owner in cycle {cycle}"
                )
                if pending:
                    self.write(cycle, *pending)
                if done:
                    assert owns == 1 << half and not idle
                    self.done.append((cycle, half, magnitude, dict(self.memory[half])))
                    self.memory[half].clear()
                pending = (en, rows, words, owns) if en else None
                if valid and ready:
                    self.moved.append(cycle)
                    self.check_order(cycle)
                self.claims(claim)
                self.blocked.append(blocked)
                self.idle.append(idle)
                self.store(rng)
                cycle += 1

        self.bench.process(watch)
        self.bench.run(deadline, reset_at)
        return self

    def claims(self, claim):
        if claim:
            assert self.vacant > 0, f"claim of a half that is not vacant ({self.bench.seed_note})"
            self.vacant -= 1

    def check_order(self, cycle):
        """A beat of block k moves once its half is vacant, or with overlap once step + lag has left the
        memory.
        """
        beat, k = len(self.moved) - 1, 0
        while beat >= self.blocks[k].load.walk.beats * self.c.beat_groups:
            beat -= self.blocks[k].load.walk.beats * self.c.beat_groups
            k += 1
        step = beat // (self.c.beat_groups * self.blocks[k].load.walk.step_beats)
        assert self.may_write(k, step), \
            f"beat {beat} of block {k} in cycle {cycle} runs ahead of the store ({self.bench.seed_note})"

    def may_write(self, k, step):
        if k < 2 or self.store_block > k - 2:
            return True
        load = self.blocks[k].load
        return load.overlap and self.store_block == k - 2 and self.store_steps >= step + load.lag + 1

    def write(self, cycle, en, rows, words, owns):
        c = self.c
        group = en.bit_length() - 1
        assert en == 1 << group and owns in (1, 2)
        half, mask, sign = owns >> 1, (1 << c.width) - 1, 1 << c.width - 1
        self.writes.append(cycle)
        for j in range(c.engines_per_beat):
            for bank in range(c.lanes):
                bits = words >> 2 * c.width * (j * c.lanes + bank)
                word = tuple(((bits >> s & mask) ^ sign) - sign for s in (0, c.width))
                row = rows >> c.row_bits * bank & (1 << c.row_bits) - 1
                self.memory[half][group * c.engines_per_beat + j, bank, row] = word

    def check(self, context):
        assert len(self.done) == len(self.blocks), context
        for k, ((_, half, magnitude, memory), block) in enumerate(zip(self.done, self.blocks)):
            assert half == k & 1, f"{context}, block {k}"
            assert memory == block.banks, f"{context}, block {k}"
            assert magnitude == block.magnitude, f"{context}, magnitude of block {k}"


def walk_of(rng, c, pairs):
    """A random walk through a block of any size, or by pairs through a whole half where the array knows them."""
    if pairs and c.is_processor:
        return random_pairs(rng, c, c.index_bits)
    return random_walk(rng, c, rng.randint(c.layers, c.index_bits))


def equal_blocks(c, n, seed, overlap):
    """Blocks of one walk, so that loads may follow stores with any lag."""
    rng, numbers = random.Random(seed), np.random.default_rng(seed)
    walk = (random_pairs if overlap and c.is_processor else random_walk)(rng, c, c.index_bits)
    return [
        make_block(c, Load(walk, overlap, rng.randrange(c.lanes) if overlap else 0), numbers)
        for _ in range(n)
    ]


@pytest.mark.parametrize("fields", CONFIGS, ids=str)
@pytest.mark.parametrize("source, commands", [(Stall.NEVER, Stall.NEVER), (Stall.RANDOM, Stall.OFTEN),
                                              (Stall.BURSTS, Stall.NEVER)])
def test_every_word_finds_its_place(field_bits, fields, source, commands):
    """Blocks of different sizes and walks, into halves that a slow store vacates."""
    c, rng, numbers = config_of(fields), random.Random(SEED), np.random.default_rng(SEED)
    blocks = [make_block(c, Load(walk_of(rng, c, number % 2)), numbers) for number in range(6)]
    harness = Harness(c, blocks, SEED, source, commands, pace=lambda rng: rng.choice([1, 1, 2, 5]))
    harness.run(field_bits, 6000).check(f"seed {SEED}")


@pytest.mark.parametrize("fields", CONFIGS, ids=str)
@pytest.mark.parametrize("slow", [1, 3])
def test_overlap_stays_behind_the_store(field_bits, fields, slow):
    """The load of block k + 2 begins while block k is leaving, and never passes it."""
    c = config_of(fields)
    blocks = equal_blocks(c, 5, SEED, overlap=True)
    harness = Harness(c, blocks, SEED, pace=lambda rng: rng.randint(1, slow * c.beat_groups))
    harness.run(field_bits, 6000).check(f"seed {SEED}")


@pytest.mark.parametrize("fields", SPARSE, ids=str)
@pytest.mark.parametrize("source, commands", [(Stall.NEVER, Stall.NEVER), (Stall.RANDOM, Stall.OFTEN)])
def test_plain_words_go_to_the_bank_of_their_lane(field_bits, fields, source, commands):
    """In any order of the lanes, with sub-steps and mirror pairs; the words of a block between them are hashed."""
    c, rng, numbers = config_of(fields), random.Random(SEED), np.random.default_rng(SEED)
    blocks = []
    for kind in ("plain", "plain", "hashed", "plain", "any", "plain", "plain"):
        walk = walk_of(rng, c, len(blocks) % 3 == 2)
        while kind != "any" and walk.window_mask != c.lanes - 1:
            walk = walk_of(rng, c, len(blocks) % 3 == 2)
        blocks.append(make_block(c, Load(walk, plain=kind == "plain"), numbers))
    harness = Harness(c, blocks, SEED, source, commands, pace=lambda rng: rng.choice([1, 1, 2, 5]))
    harness.run(field_bits, 6000).check(f"seed {SEED}")
    assert len({block.load.walk.window for block in blocks if block.load.plain}) == c.layers, f"seed {SEED}"


def test_stated_latency_and_throughput(field_bits):
    """A beat in every cycle; its write at the banks load_latency later; load_latency + 4 from block to block."""
    for fields in CONFIGS:
        c = config_of(fields)
        harness = Harness(c, equal_blocks(c, 2, SEED, overlap=False), SEED)
        harness.run(field_bits, 4000).check(f"seed {SEED}")
        n = c.bank_rows * c.beat_groups
        first = harness.moved[0]
        assert harness.moved[:n] == list(range(first, first + n))
        assert c.load_latency == c.layers + (3 if c.pipeline.is_deep else 1)
        assert harness.moved[n] - harness.moved[n - 1] == c.load_latency + 4
        assert harness.writes == [cycle + c.load_latency for cycle in harness.moved]
        assert [cycle for cycle, *_ in harness.done] == [
            harness.moved[k] + c.load_latency + 1 for k in (n - 1, 2 * n - 1)
        ]


def test_blocked_means_held_back(field_bits):
    """With both halves full and a store that never ends, the third load is blocked, not idle."""
    c = config_of(CONFIGS[0])
    harness = Harness(c, equal_blocks(c, 3, SEED, overlap=False), SEED, pace=lambda rng: 40)
    harness.run(field_bits, 2000).check(f"seed {SEED}")
    second_done = harness.done[1][0]
    third = harness.moved[2 * c.bank_rows]
    assert all(harness.blocked[second_done + 3:third - 1]) and not any(harness.idle[second_done + 3:third])
    assert third > second_done + 40 * (c.bank_rows - 3)


@pytest.mark.parametrize("reset_at", [3, 17, 60])
def test_reset_mid_stream(field_bits, reset_at):
    c = config_of(CONFIGS[1])
    harness = Harness(c, equal_blocks(c, 3, SEED, overlap=True), reset_at, Stall.RANDOM)
    harness.run(field_bits, 3000, reset_at).check(f"seed {reset_at}")
