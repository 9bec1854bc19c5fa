"""Stream parts: order and values under all stall profiles, stated latency and throughput, reset
mid-stream.
"""

import random

from amaranth.hdl import Signal
from amaranth.lib import data
import pytest

from wingbeat.hw.layouts import lanes, output_beat
from wingbeat.hw.primitives.stream import Downsizer, SkidBuffer, Upsizer, WidthParameters
from wingbeat.sim.bench.stream import CROSS, Bench, Stall, bits_of

NARROW = data.StructLayout({"words": lanes(5, 2), "exponent": 3, "last": 1})
NARROW_BITS = 2 * 2 * 5  # bits of the words of one narrow beat
STALLS = pytest.mark.parametrize("source,sink", CROSS, ids=lambda stall: stall.value)


def narrow_beats(seed, beats, ratio):
    """Beats as a Downsizer delivers them: sideband of a group is equal, ``last`` on its final beat only."""
    rng = random.Random(seed)
    exponent, out = 0, []
    for beat in range(beats):
        exponent = exponent if beat % ratio else rng.getrandbits(3)
        last = beat % ratio == ratio - 1 and rng.getrandbits(1)
        out.append(rng.getrandbits(NARROW_BITS) | exponent << NARROW_BITS | last << (NARROW_BITS + 3))
    return out


def widened(beats, ratio):
    """Software twin of the Upsizer on bit patterns."""
    mask, out = (1 << NARROW_BITS) - 1, []
    for at in range(0, len(beats), ratio):
        words = sum((beat & mask) << (i * NARROW_BITS) for i, beat in enumerate(beats[at:at + ratio]))
        out.append(words | (beats[at + ratio - 1] >> NARROW_BITS) << (ratio * NARROW_BITS))
    return out


def check(dut, words, expected, source=Stall.NEVER, sink=Stall.NEVER, seed=0, reset_at=None):
    bench = Bench(dut, seed)
    feed, got = bench.feed(dut.i, words, source), bench.sink(dut.o, len(expected), sink)
    bench.run(20 * (len(words) + len(expected)), reset_at)
    assert got.words == expected, bench.seed_note
    return feed, got


@STALLS
@pytest.mark.parametrize("seed", [1, 2])
def test_skid_buffer(source, sink, seed):
    words = [random.Random(seed).getrandbits(9) for _ in range(60)]
    check(SkidBuffer(9), words, words, source, sink, seed)


@STALLS
@pytest.mark.parametrize("ratio", [1, 2, 3, 4, 8])
def test_upsizer(source, sink, ratio):
    beats = narrow_beats(ratio, 24 * ratio, ratio)
    check(Upsizer(NARROW, ratio), beats, widened(beats, ratio), source, sink, ratio)


@STALLS
@pytest.mark.parametrize("deciding", [("last",), ("outer.last", "words")])
def test_skid_buffer_with_deciding_fields(source, sink, deciding):
    shape = data.StructLayout({**NARROW.members, "outer": NARROW})
    words = [number * 0x9E3779B97F4A7C15 % (1 << shape.size) for number in range(40)]
    check(SkidBuffer(shape, deciding), words, words, source, sink, 3)


@STALLS
@pytest.mark.parametrize("ratio", [1, 2, 3, 4, 8])
def test_downsizer(source, sink, ratio):
    beats = narrow_beats(ratio, 24 * ratio, ratio)
    check(Downsizer(NARROW, ratio), widened(beats, ratio), beats, source, sink, ratio)


def test_stated_latency_and_throughput():
    words = list(range(40))
    feed, sink = check(SkidBuffer(8), words, words)
    assert (feed.cycles, sink.cycles) == (words, [w + 1 for w in words])

    beats = narrow_beats(5, 40, 4)
    feed, sink = check(Upsizer(NARROW, 4), beats, widened(beats, 4))
    assert (feed.cycles, sink.cycles) == (list(range(40)), list(range(4, 44, 4)))

    feed, sink = check(Downsizer(NARROW, 4), widened(beats, 4), beats)
    assert (feed.cycles, sink.cycles) == (list(range(0, 40, 4)), list(range(1, 41)))


def test_skid_buffer_cuts_both_ways():
    """After a stall the buffer runs on at one word per cycle; two words wait inside."""
    dut = SkidBuffer(8)
    bench = Bench(dut)
    feed = bench.feed(dut.i, range(10))
    sink = bench.sink(dut.o, 10, Stall.BURSTS)
    bench.run(200)
    assert sink.words == list(range(10))
    assert max(b - a for a, b in zip(feed.cycles, sink.cycles)) >= 2


@pytest.mark.parametrize("reset_at", [1, 2, 7, 18])
@pytest.mark.parametrize("kind", [SkidBuffer, Upsizer, Downsizer])
def test_reset_mid_stream(kind, reset_at):
    beats = narrow_beats(reset_at, 30, 3)
    if kind is SkidBuffer:
        dut, words, expected = SkidBuffer(NARROW), beats, beats
    else:
        dut, words, expected = kind(NARROW, 3), beats, widened(beats, 3)
        if kind is Downsizer:
            words, expected = expected, words
    check(dut, words, expected, Stall.RANDOM, Stall.RANDOM, reset_at, reset_at)


def test_payload_layout():
    layout = output_beat(4, 2)
    value = {"words": [{"re": 1, "im": -1}, {"re": -8, "im": 7}], "exponent": 33, "last": 1}
    assert bits_of(layout, value) == 1 | 0xF << 4 | 0x8 << 8 | 7 << 12 | 33 << 16 | 1 << 23
    assert WidthParameters(layout, 3).wide == output_beat(4, 6)


def test_errors_name_the_field():
    with pytest.raises(ValueError, match="ratio: 0 is less than 1"):
        WidthParameters(NARROW, 0)
    with pytest.raises(ValueError, match="narrow: .* field 'words'"):
        WidthParameters(data.StructLayout({"payload": 8}), 2)


class Breaks(SkidBuffer):
    """A skid buffer with one planted fault."""

    def __init__(self, fault):
        super().__init__(8)
        self.fault = fault

    def elaborate(self, platform):
        m = super().elaborate(platform)
        if self.fault == "loses":
            m.d.comb += self.i.ready.eq(1)
        elif self.fault == "unstable":
            wandering = Signal.like(self.o.payload)
            m.d.sync += wandering.eq(wandering + 1)
            with m.If(~self.o.ready):
                m.d.comb += self.o.payload.eq(wandering)
        elif self.fault == "drops valid":
            with m.If(~self.o.ready):
                m.d.sync += self.o.valid.eq(0)
        return m


@pytest.mark.parametrize("fault,message", [("loses", "deadline"), ("unstable", "payload changed"),
                                           ("drops valid", "valid fell")])
def test_bench_catches_faults(fault, message):
    with pytest.raises(AssertionError, match=f"{message}.*seed 3"):
        check(Breaks(fault), range(50), list(range(50)), Stall.RANDOM, Stall.RANDOM, 3)
