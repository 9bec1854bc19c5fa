"""Argmax against the contract (docs/reference/vector.md) and its model: ties, negative values, all numbers of classes,
stalls."""

import random

import numpy as np
import pytest

from wingbeat.hw.config import CoreConfig
from wingbeat.hw.numeric import largest, smallest
from wingbeat.hw.vector.argmax import Argmax
from wingbeat.sim.bench.stream import CROSS, Bench, Stall
from wingbeat.sim.model.vector import argmax

BITS = 10  # of a beat number
STALLS = pytest.mark.parametrize("source, sink", CROSS, ids=lambda stall: stall.value)


def config_of(stream_words=4, element_width=8):
    return CoreConfig.of(engines=8, stream_words=stream_words, half_words=32, width=18, element_width=element_width,
                         memory_bits=BITS)


def beats_of(c, rng, count):
    """Beats with many equal elements, all of them negative in some."""
    numbers, shape = np.random.default_rng(rng.getrandbits(32)), (count, c.memory_elements)
    low, high = smallest(c.element_width), largest(c.element_width)
    few = numbers.choice([low, low + 1, -1, 0, 1, high], shape)
    values = np.where(numbers.random(shape) < 0.3, numbers.integers(low, high + 1, shape), few)
    kind = numbers.integers(0, 4, (count, 1))
    equal, negative = numbers.choice([low, -2, -1], (count, 1)), np.minimum(values, -1)
    return np.select([kind == 0, kind == 1], [equal, negative], values)


def run(c, seed, beats, classes, wanted, source=Stall.NEVER, sink=Stall.NEVER, reset_at=None):
    """Writes with these ``beats``; checks each, and what is told by ``busy``. Returns unit, feed and sink."""
    rng, mask, n = random.Random(seed), (1 << c.element_width) - 1, c.memory_elements
    words, expected = [], []
    for beat, competing, replaced in zip(beats.tolist(), classes, wanted):
        address, strobe = rng.getrandbits(BITS), rng.getrandbits(n)
        words.append({"write": {"address": address, "strobe": strobe, "beat": {"elements": [v & mask for v in beat]}},
                      "argmax": replaced, "classes": competing})
        if replaced:
            beat = beat[:-1] + [beat.index(max(beat[:competing]))]
        elements = sum((v & mask) << c.element_width * at for at, v in enumerate(beat))
        expected.append(address | strobe << BITS | elements << BITS + n)
    dut = Argmax(c)
    bench = Bench(dut, seed)
    feed, out = bench.feed(dut.i, words, source), bench.sink(dut.o, len(words), sink)

    async def watch(ctx):
        entered, d = 0, dut
        async for _, reset, busy, accepted, left in ctx.tick().sample(
                d.busy, d.i.valid & d.i.ready, d.o.valid & d.o.ready):
            assert busy == (entered > 0), f"busy with {entered} inside, {bench.seed_note}"
            entered = 0 if reset else entered + accepted - left

    bench.process(watch, background=True)
    bench.run(400 + 40 * len(words), reset_at)
    wrong = [at for at, pair in enumerate(zip(out.words, expected)) if pair[0] != pair[1]]
    assert not wrong and len(out.words) == len(expected), f"{bench.seed_note}: write {wrong[:1]} of {len(expected)}"
    return dut, feed, out


@STALLS
def test_random_writes(source, sink):
    seed = 10 * list(Stall).index(source) + list(Stall).index(sink)
    c, rng = config_of(), random.Random(seed)
    run(c, seed, beats_of(c, rng, 200), [rng.randint(1, 7) for _ in range(200)],
        [rng.random() < 0.7 for _ in range(200)], source, sink)


@pytest.mark.parametrize("stream_words", [2, 4, 8, 16])
@pytest.mark.parametrize("element_width", [8, 16, 18])
def test_every_number_of_classes(stream_words, element_width):
    """What does not compete may be larger or equal; most elements are."""
    c, rng = config_of(stream_words, element_width), random.Random(stream_words)
    classes = [number for number in range(1, c.memory_elements) for _ in range(12)]
    run(c, stream_words, beats_of(c, rng, len(classes)), classes, [True] * len(classes))


def test_every_place_and_every_tie():
    """One largest element at each place, and two at each pair of places."""
    c = config_of()
    pairs = [(first, second) for first in range(7) for second in range(first, 8)]
    for high, others in ((5, -5), (-5, -6), (127, 126), (-127, -128)):
        beats = np.full((len(pairs), 8), others)
        for number, pair in enumerate(pairs):
            beats[number, list(pair)] = high
        run(c, 1, beats, [7] * len(pairs), [True] * len(pairs))


@pytest.mark.parametrize("stream_words, latency", [(2, 4), (4, 5), (16, 7)])
def test_stated_latency_and_throughput(stream_words, latency):
    """Writes that pass take as long as the others."""
    c, rng = config_of(stream_words), random.Random(1)
    dut, feed, out = run(c, 1, beats_of(c, rng, 60), [3] * 60, [rng.random() < 0.5 for _ in range(60)])
    assert dut.latency == latency and feed.cycles == list(range(60))
    assert out.cycles == list(range(latency, latency + 60))


@pytest.mark.parametrize("reset_at", [3, 6, 11, 40])
def test_reset_mid_stream(reset_at):
    c, rng = config_of(), random.Random(reset_at)
    run(c, reset_at, beats_of(c, rng, 40), [5] * 40, [True] * 40, Stall.RANDOM, Stall.RANDOM, reset_at)


@pytest.mark.parametrize("classes", [1, 2, 5, 7])
def test_the_model_takes_the_first_of_the_largest(classes):
    c, seed = config_of(), classes
    beats = beats_of(c, random.Random(seed), 300).reshape(3, 100, 8)
    got = argmax(beats, classes, 8)
    assert np.array_equal(got[..., :-1], beats[..., :-1])
    assert got[..., -1].ravel().tolist() == [beat.index(max(beat[:classes])) for beat in beats.reshape(-1, 8).tolist()]
