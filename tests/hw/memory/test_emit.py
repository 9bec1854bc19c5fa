"""Emission: the writes of every mode against the contract, under stalls; latency, throughput, resets."""

import random

import numpy as np
import pytest

from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.instruction import MemoryMode
from wingbeat.hw.memory.emit import Emit
from wingbeat.hw.numeric import largest, round_half_up, saturate, smallest
from wingbeat.sim.bench.stream import CROSS, Bench, Stall

pytestmark = pytest.mark.thin(4)

BITS = 10
STALLS = pytest.mark.parametrize("source,sink", CROSS, ids=lambda stall: stall.value)


def config_of(layers=1, stream_words=4, **fields):
    return CoreConfig.of(**(dict(layers=layers, engines=4, stream_words=stream_words, half_words=32, width=10,
                                 element_width=8, memory_bits=BITS) | fields))


def split(c, first, second):
    """Words (K, 2) of Z[q] and Z[-q]: elements of the low and the high beat, and whether one was clamped."""
    (a, b), (p, q) = first.T, second.T
    sums = np.stack([a + p, b - q, b + q, p - a], axis=1)
    values, clamped = saturate(round_half_up(sums, 1), c.element_width)
    return values.reshape(2, -1), clamped.reshape(2, -1).any(axis=1)


def own_images(words):
    """Elements of the low and the high beat of a pair at row 0: Xe = (re, 0), Xo = (im, 0)."""
    zero = np.zeros(len(words), dtype=np.int64)
    return np.stack([words[:, 0], zero, words[:, 1], zero], axis=1).reshape(2, -1)


def writes_of(c, mode, beat, other, places):
    """The writes (address, strobes, elements) of one beat, and how many of them clamp."""
    full, writes, clamps = (1 << 2 * c.stream_words) - 1, [], 0
    for half, place in enumerate(places):
        if not place["valid"]:
            continue
        if mode is MemoryMode.SPLIT and place["twice"]:
            for address, words in ((place["address"], beat), (place["second"], other)):
                writes.append((address, full, own_images(words.reshape(-1, 2))[half]))
        elif mode is MemoryMode.SPLIT:
            values, clamped = split(c, beat.reshape(-1, 2), other.reshape(-1, 2))
            writes.append((place["address"], full, values[half]))
            clamps += clamped[half]
        else:
            writes.append((place["address"], full, beat))
        if place["fold"]:
            mirrored = beat[-np.arange(len(beat)) % len(beat)]
            writes += [(place["second"], full - 1, mirrored), (place["third"], 1, mirrored)]
    return writes, clamps


def write_bits(c, write):
    address, strobe, elements = write
    bits = sum((int(v) & (1 << c.element_width) - 1) << c.element_width * i for i, v in enumerate(elements))
    return address | strobe << BITS | bits << BITS + 2 * c.stream_words


def masked(c, word):
    """Elements that are not written are nobody's business."""
    strobe = word >> BITS & (1 << 2 * c.stream_words) - 1
    ones = (1 << c.element_width) - 1
    kept = sum(ones << c.element_width * i for i in range(2 * c.stream_words) if strobe >> i & 1)
    below = (1 << BITS + 2 * c.stream_words) - 1
    return word & (below | kept << BITS + 2 * c.stream_words)


def make_block(c, mode, beats, rng):
    """Random beats and places; most elements are extremes."""
    low, high = smallest(c.element_width), largest(c.element_width)
    numbers = np.random.default_rng(rng.getrandbits(32))
    data = numbers.integers(low, high + 1, (beats, 2, 2 * c.stream_words))
    data = np.where(numbers.random(data.shape) < 0.7, numbers.choice([low, high, -1], data.shape), data)
    inputs, places, writes, clamps = [], [], [], 0
    for number, (beat, other) in enumerate(data):
        here = []
        for high_half in range(1 + (mode is MemoryMode.SPLIT)):
            valid = rng.random() < 0.8
            here.append({
                "address": rng.getrandbits(BITS), "second": rng.getrandbits(BITS), "third": rng.getrandbits(BITS),
                "valid": valid, "fold": valid and mode is MemoryMode.FOLD and rng.random() < 0.7,
                "split": mode is MemoryMode.SPLIT, "high": high_half,
                "twice": valid and mode is MemoryMode.SPLIT and rng.random() < 0.4, "last": 0})
            if c.vector_lanes:
                here[-1] |= {"row0": rng.getrandbits(1), "set": rng.getrandbits(4)}
        ends = number == beats - 1
        here[-1]["last"] = ends
        shown = (other, beat) if mode is MemoryMode.SPLIT else (beat, other)
        inputs.append({"beat": {"elements": shown[0].tolist()}, "other": {"elements": shown[1].tolist()},
                       "mode": int(mode), "last": ends})
        places += here
        made, clamped = writes_of(c, mode, beat, other, here)
        writes += made
        clamps += clamped
    return inputs, places, writes, clamps


def unsigned(c, inputs):
    mask = (1 << c.element_width) - 1
    for word in inputs:
        for part in ("beat", "other"):
            word[part] = {"elements": [v & mask for v in word[part]["elements"]]}
    return inputs


def make(c, seed, modes, beats=12):
    rng = random.Random(seed)
    inputs, places, writes, clamps = [], [], [], 0
    for mode in modes:
        i, p, w, n = make_block(c, mode, beats, rng)
        inputs, places, writes, clamps = inputs + unsigned(c, i), places + p, writes + w, clamps + n
    return inputs, places, writes, clamps


class Harness:
    """An Emit with its beats and places; counts its pulses."""

    def __init__(self, c, seed, modes, source=Stall.NEVER, sink=Stall.NEVER, room=1.0, beats=12):
        self.c, self.dut = c, Emit(c)
        self.inputs, self.places, writes, self.clamps = make(c, seed, modes, beats)
        self.writes = [write_bits(c, w) for w in writes]
        self.bench = Bench(self.dut, seed)
        self.beats_in = self.bench.feed(self.dut.i, self.inputs, source)
        self.places_in = self.bench.feed(self.dut.places, self.places, source)
        self.out = self.bench.sink(self.dut.memory, len(writes), sink)
        self.bench.process(self._watch, background=True)
        self._room = room
        self._rng = random.Random(seed + 1)

    async def _watch(self, ctx):
        d = self.dut
        self.issued = self.ended = self.saturated = 0
        ctx.set(d.room, self._room == 1)
        taken, allowed = d.places.valid & d.places.ready & d.places.payload.last, False
        async for _, reset, issued, ended, saturated, busy, final, room in ctx.tick().sample(
                d.issued, d.ended, d.saturated, d.busy, taken, d.room):
            without = f"a final place was used without room ({self.bench.seed_note})"
            assert allowed or self._room == 1 or not ended, without
            allowed = (allowed and not ended or bool(room)) and not final
            if reset:
                self.issued = self.ended = self.saturated = 0
                continue
            self.issued += issued
            self.ended += ended
            self.saturated += saturated
            self.busy = busy
            ctx.set(d.room, self._rng.random() < self._room)

    def check(self, deadline, n_blocks, reset_at=None):
        self.bench.run(deadline, reset_at)
        note = self.bench.seed_note
        assert [masked(self.c, w) for w in self.out.words] == [masked(self.c, w) for w in self.writes], note
        assert (self.issued, self.ended) == (len(self.writes), n_blocks), note
        assert self.saturated == self.clamps and not self.busy, note


@STALLS
def test_mixed_blocks(source, sink):
    """Every mode, blocks back to back."""
    modes = random.Random(5).choices(list(MemoryMode), k=6) + list(MemoryMode)
    harness = Harness(config_of(), 5, modes, source, sink)
    assert harness.clamps > 5, "the blocks of seed 5 exercise the clamp"
    harness.check(8000, len(modes))


@STALLS
def test_what_the_vector_unit_is_told(source, sink):
    """Set, row 0 and first write of a block; blocks may end with beats that are dropped, or have no others."""
    seed = 40 + list(Stall).index(source) + 10 * list(Stall).index(sink)
    modes = random.Random(seed).choices([MemoryMode.FOLD, MemoryMode.SPLIT, MemoryMode.COLUMNS], k=20)
    harness = Harness(config_of(vector_lanes=2), seed, modes, source, sink, beats=2)
    expected, first = [], True
    for place in harness.places:
        for write in range(place["valid"] * (1 + 2 * place["fold"] + place["twice"])):
            expected.append((place["row0"] and not write, first, place["set"]))
            first = False
        first = first or place["last"]
    harness.bench.run(4000)
    shape, note = harness.dut.memory.payload.shape(), harness.bench.seed_note
    words = [shape.from_bits(word) for word in harness.out.words]
    assert [(word.row0, word.first, word.set) for word in words] == expected, note
    plain = (1 << shape["row0"].offset) - 1
    assert [masked(harness.c, word & plain) for word in harness.out.words] == [
        masked(harness.c, word) for word in harness.writes], note


@pytest.mark.parametrize("seed", range(8))
def test_random_widths(seed):
    """Other widths and sizes, and ends of blocks that wait for room."""
    rng = random.Random(seed)
    layers = rng.choice([1, 2])
    fields = dict(layers=layers, stream_words=rng.choice([1, 2, 4]) << layers, element_width=rng.choice([8, 9, 16, 18]),
                  width=18)
    modes = rng.choices(list(MemoryMode), k=4) + [MemoryMode.SPLIT, MemoryMode.FOLD]
    harness = Harness(config_of(**fields), seed, modes, rng.choice(list(Stall)[:4]), rng.choice(list(Stall)), 0.3, 8)
    harness.check(6000, len(modes))


@pytest.mark.parametrize("mode", list(MemoryMode))
def test_stated_latency_and_throughput(mode):
    """A place joins its beat three cycles later, 4 cycles after that it is a write; one write per cycle."""
    harness = Harness(config_of(), 9, [mode], beats=20)
    harness.check(200, 1)
    cycle, expected = 3, []  # a place that is dropped takes a cycle too
    for place in harness.places:
        n = place["valid"] * (1 + 2 * place["fold"] + place["twice"])
        expected += [cycle + k + 4 for k in range(n)]
        cycle += max(1, n)
    assert harness.out.cycles == expected
    assert harness.beats_in.cycles[-1] == cycle - 1


@pytest.mark.parametrize("reset_at", [3, 11, 40])
def test_reset_mid_stream(reset_at):
    modes = [MemoryMode.FOLD, MemoryMode.SPLIT, MemoryMode.PAIRS]
    Harness(config_of(), reset_at, modes, Stall.RANDOM, Stall.RANDOM).check(2000, 3, reset_at)
