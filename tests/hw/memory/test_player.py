"""Player: every record once and in order, those for the host refused, latency, throughput, idle, reset."""

import random

import pytest

from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.bit_fields import unpack
from wingbeat.hw.isa.record import record_beats
from wingbeat.hw.isa.setup import HOST_TARGETS, NO_TARGET, SETUP, SETUP_CHANNELS, SETUP_READER
from wingbeat.hw.memory.parameters import PLAYED_CYCLES
from wingbeat.hw.memory.player import Player
from wingbeat.sim.bench.stream import Bench, Stall, bits_of

STALLS = pytest.mark.parametrize("stall", [Stall.NEVER, Stall.RANDOM, Stall.BURSTS], ids=lambda stall: stall.value)
# Elements of a beat and their width: one record a beat, two, eight; records of four and of eight elements.
SHAPES = pytest.mark.parametrize("stream_words, width", [(2, 16), (4, 8), (4, 18), (16, 17)])


def config_of(stream_words=4, width=16):
    return CoreConfig.of(engines=8, layers=1, width=18, element_width=width, stream_words=stream_words, memory_bits=12,
                         records=True)


def writes_of(rng, count, targets):
    return [(rng.choice(targets), rng.getrandbits(16), rng.getrandbits(40)) for _ in range(count)]


def beats_of(config, writes):
    """Bit patterns of the beats; what stands above a record is noise."""
    width, unused = config.element_width, config.record_elements * config.element_width - 64
    rng, beats = random.Random(1), []
    for beat in record_beats(config, writes).tolist():
        bits = sum((element & (1 << width) - 1) << width * at for at, element in enumerate(beat))
        for record in range(config.memory_elements // config.record_elements):
            bits |= rng.getrandbits(unused) << record * (64 + unused) + 64 if unused else 0
        beats.append(bits)
    return beats


class Played:
    """What the player has written and refused, and in which cycles it was idle."""

    def __init__(self, bench, dut):
        self.writes, self.cycles, self.refused, self.idle = [], [], [], []
        bench.process(self._watch(dut), background=True)

    def _watch(self, dut):
        async def watch(ctx):
            cycle = 0
            async for _, rst, valid, write, refused, idle in ctx.tick().sample(
                    dut.write_valid, dut.write, dut.refused, dut.idle):
                if rst:
                    self.__init_lists()
                    cycle = 0
                    continue
                if valid:
                    self.writes.append(tuple(unpack(SETUP, bits_of(dut.write.shape(), write)).values()))
                    self.cycles.append(cycle)
                if refused:
                    self.refused.append(cycle)
                self.idle.append(bool(idle))
                cycle += 1
        return watch

    def __init_lists(self):
        for each in (self.writes, self.cycles, self.refused, self.idle):
            each.clear()


@STALLS
@SHAPES
def test_all_records_in_order(stream_words, width, stall):
    seed, config = 4, config_of(stream_words, width)
    rng = random.Random(seed)
    writes = writes_of(rng, 16 * (config.memory_elements // config.record_elements),
                       [0, 3, SETUP_READER, SETUP_CHANNELS, NO_TARGET])
    dut = Player(config)
    bench = Bench(dut, seed)
    feed, played = bench.feed(dut.i, beats_of(config, writes), stall), Played(bench, dut)
    bench.process(wait(400))
    bench.run(600)
    assert played.writes == writes and not played.refused, bench.seed_note
    if stall is Stall.NEVER:
        first = feed.cycles[0] + 2
        assert played.cycles == list(range(first, first + len(writes)))


def wait(cycles):
    async def testbench(ctx):
        left = cycles
        async for _ in ctx.tick():
            left -= 1
            if not left:
                return
    return testbench


@SHAPES
def test_idle_says_that_the_tables_have_it(stream_words, width):
    """From the cycle after a beat is taken until PLAYED_CYCLES behind the last record in the register."""
    config = config_of(stream_words, width)
    places = config.memory_elements // config.record_elements
    dut = Player(config)
    bench = Bench(dut)
    feed, played = bench.feed(dut.i, beats_of(config, [(1, 2, 3)] * places)), Played(bench, dut)
    bench.process(wait(80))
    bench.run(200)
    taken = feed.cycles[0]
    busy = [cycle for cycle, idle in enumerate(played.idle) if not idle]
    assert busy == list(range(taken + 1, taken + 1 + places + PLAYED_CYCLES))
    assert played.cycles[-1] <= busy[-1] - PLAYED_CYCLES + 1


@pytest.mark.parametrize("target", HOST_TARGETS)
def test_records_for_the_host_are_refused(target):
    config = config_of()
    writes = [(0, 1, 2), (target, 0, 1), (1, 2, 3), (NO_TARGET, 0, 0)]
    dut = Player(config)
    bench = Bench(dut)
    bench.feed(dut.i, beats_of(config, writes))
    played = Played(bench, dut)
    bench.process(wait(60))
    bench.run(200)
    assert played.writes == [writes[0], writes[2], writes[3]]
    assert played.refused == [played.cycles[0] + 1]


def test_reset(seed=9):
    config = config_of()
    writes = writes_of(random.Random(seed), 24, [0, 1, 2])
    dut = Player(config)
    bench = Bench(dut, seed)
    bench.feed(dut.i, beats_of(config, writes))
    played = Played(bench, dut)
    bench.process(wait(100))
    bench.run(300, reset_at=7)
    assert played.writes == writes and len(played.idle) > 50, bench.seed_note


def test_without_records_there_is_none():
    with pytest.raises(ValueError, match="^records: false; a Player needs true$"):
        Player(CoreConfig.of(engines=2, stream_words=2, memory_bits=12))


def test_a_beat_less_than_a_record_is_refused():
    with pytest.raises(ValueError, match="memory.records: true, and a beat of 4 elements of 8 bits is less than a "
                                         "record; allowed is false, or beats of 8 elements"):
        CoreConfig.of(engines=2, stream_words=2, width=8, element_width=8, memory_bits=12, records=True)
