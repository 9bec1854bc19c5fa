"""Pass sequencer: which cycle every group is issued in, with blocks and instructions that come late."""

import random

import pytest

from wingbeat.hw.array.parameters import PASS_LATENCY
from wingbeat.hw.array.sequencer import Sequencer
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.instruction import Mode, Pass
from wingbeat.sim.bench.stream import Bench, Stall

SEED = 3


def small(layers=1, half_words=256):
    return CoreConfig.of(layers=layers, width=8, element_width=8, half_words=half_words, stream_words=1)


def random_passes(config, n, seed):
    """Passes of blocks of 1..3 passes, groups and gaps short and long; ``coef_base`` numbers them."""
    rng, passes = random.Random(seed), []
    while len(passes) < n:
        count = rng.randint(1, 3)
        for k in range(count):
            passes.append(
                Pass(
                    rng.choice(list(Mode)),
                    0,
                    min(config.bank_rows, rng.choice([1, 5, 30, 128, 128])),
                    0,
                    (0,) * config.layers,
                    coef_base=len(passes),
                    gap=rng.choice([0, 0, 0, 1, 40, 255]),
                    first=k == 0,
                    last=k == count - 1,
                )
            )
    return passes


class Watch:
    """Runs passes through a sequencer; ``issued`` lists (cycle, start, finish, half, fields) of every
    group.

    ``loaded_at(k, cycle)``: whether block k is loaded in ``cycle``. ``spent[cycle]`` is (computing,
    hazard, idle) and ``takes`` the cycles with ``take``.
    """

    def __init__(self, config, patterns, stall=Stall.NEVER, loaded_at=lambda block, cycle: True, seed=SEED):
        self.dut = Sequencer(config)
        self.bench, self.loaded_at = Bench(self.dut, seed), loaded_at
        self.issued, self.spent, self.takes = [], [], []
        self.feed = self.bench.feed(self.dut.i, patterns, stall)

    def run(self, cycles, reset_at=None):
        async def watch(ctx):
            d = self.dut
            ctx.set(d.loaded, self.loaded_at(0, 0))
            for cycle in range(cycles):
                (
                    _,
                    reset,
                    valid,
                    start,
                    finish,
                    half,
                    fields,
                    take,
                    computing,
                    hazard,
                    idle,
                ) = await ctx.tick().sample(
                    d.valid,
                    d.start,
                    d.finish,
                    d.half,
                    d.pass_fields.as_value(),
                    d.take,
                    d.computing,
                    d.hazard,
                    d.idle,
                )
                if valid:
                    self.issued.append((cycle, start, finish, half, fields))
                if take:
                    self.takes.append(cycle)
                self.spent.append((computing, hazard, idle))
                if reset:
                    self.issued.clear(), self.takes.clear()
                ctx.set(d.loaded, self.loaded_at(len(self.takes), cycle + 1))

        self.bench.process(watch)
        self.bench.run(cycles, reset_at)

    def starts(self):
        return [cycle for cycle, start, *_ in self.issued if start]


def check_groups(watch, passes, patterns, context):
    """Passes in order, their groups without a hole; fields and half still; ``finish`` on the last of a
    block.
    """
    want, half = [], 1
    starts = watch.starts()
    assert len(starts) == len(passes), context
    for p, pattern, start in zip(passes, patterns, starts):
        half ^= p.first
        want += [
            (start + g, int(g == 0), int(p.last and g == p.groups - 1), half, pattern)
            for g in range(p.groups)
        ]
    assert watch.issued == want, context
    takes = [start - 1 for p, start in zip(passes, starts) if p.first]
    assert watch.takes == takes, context


def earliest(config, passes):
    """Starts when blocks and instructions are never late: PASS_LATENCY cycles after the first instruction, then as
    soon as the pass before has ended, its gap has passed (one cycle takes two) and pass_spacing cycles lie
    between the starts.
    """
    starts, end = [], 0
    for p in passes:
        gap = 2 if p.gap == 1 else p.gap
        start = max(end + gap, starts[-1] + config.pass_spacing) if starts else PASS_LATENCY
        starts.append(start)
        end = start + p.groups
    return starts


@pytest.mark.parametrize("layers, half_words", [(1, 256), (2, 256), (3, 1024)])
def test_no_cycle_is_lost(field_bits, layers, half_words):
    """Stated latency and throughput: every group in the first cycle that gap and spacing allow."""
    config = small(layers, half_words)
    passes = random_passes(config, 16, SEED + layers)
    patterns = [field_bits(p) for p in passes]
    want = earliest(config, passes)
    watch = Watch(config, patterns)
    watch.run(want[-1] + passes[-1].groups + 50)
    context = f"layers {layers}, seed {SEED + layers}"
    assert watch.starts() == want, context
    check_groups(watch, passes, patterns, context)
    idle = [(p.gap, b - a - before.groups) for a, b, before, p in zip(want, want[1:], passes, passes[1:])]
    assert (0, 0) in idle, "no two passes back to back"
    assert (1, 2) in idle or config.layers > 1, "no gap of one cycle"


@pytest.mark.parametrize("stall", [Stall.RANDOM, Stall.OFTEN, Stall.BURSTS])
@pytest.mark.parametrize("seed", [1, 2])
def test_late_blocks_and_instructions(field_bits, stall, seed):
    """Order, gap and spacing hold whatever comes late; a cycle is a hazard only where gap or spacing hold
    a block back.
    """
    config, rng = small(), random.Random(seed)
    passes = random_passes(config, 7, seed)
    patterns = [field_bits(p) for p in passes]
    arrival = sorted(rng.randrange(1000) for p in passes if p.first)
    watch = Watch(config, patterns, stall, lambda block, cycle: cycle >= [*arrival, 10**9][block], seed)
    watch.run(2600)
    context = f"{stall.value}, seed {seed}"
    check_groups(watch, passes, patterns, context)
    starts = watch.starts()
    ends = [start + p.groups for start, p in zip(starts, passes)]
    for p, before, end, start in zip(passes[1:], starts, ends, starts[1:]):
        assert start - end >= p.gap and start - before >= config.pass_spacing, context
    assert all(start > at for start, at in zip(watch.takes, [a - 1 for a in arrival])), context
    issuing = {cycle for cycle, *_ in watch.issued}
    for cycle, (computing, hazard, idle) in enumerate(watch.spent):
        assert computing == (cycle in issuing) and computing + hazard + idle <= 1, f"{context}, cycle {cycle}"
    hazards = sum(hazard for _, hazard, _ in watch.spent)
    assert 0 < hazards <= sum(max(p.gap, config.pass_spacing) + 1 for p in passes), context


def test_idle_until_an_instruction_and_again_after_it(field_bits):
    p = Pass(Mode.BPMM, 0, 3, 1, (0,), first=True, last=True)
    watch = Watch(small(), [field_bits(p)])
    watch.run(12)
    # Accepted in cycle 0, settling in cycle 1, checked and taken in cycles 2 and 3, groups in cycles 4..6.
    assert watch.spent[:9] == [(0, 0, 1), (0, 0, 0), *[(0, 1, 0)] * 2, *[(1, 0, 0)] * 3, *[(0, 0, 1)] * 2]
    assert watch.feed.cycles == [0]


class At:
    """Stall profile that is willing from the given cycle on, and in cycle 0."""

    def __init__(self, cycle):
        self.cycle = cycle

    def willing(self, rng):
        yield from (cycle in (0, self.cycle) for cycle in range(self.cycle + 1))


@pytest.mark.parametrize("before_last", [4, 3, 2, 0, -3])
def test_an_instruction_late_in_the_pass(field_bits, before_last):
    """Accepted 3 cycles before the last group it loses no cycle, later one for each."""
    passes = [Pass(Mode.PASS, 0, 30, 0, (0,), first=k == 0) for k in range(2)]
    last_group = PASS_LATENCY + 29
    watch = Watch(small(), [field_bits(p) for p in passes], At(last_group - before_last))
    watch.run(90)
    assert watch.feed.cycles == [0, last_group - before_last]
    assert watch.starts() == [PASS_LATENCY, last_group + 1 + max(0, 3 - before_last)]


def test_a_late_block(field_bits):
    """Its first group comes 2 cycles after ``loaded``; until then no cycle is a hazard."""
    watch = Watch(small(), [field_bits(Pass(Mode.PASS, 0, 1, 0, (0,), first=True))],
                  loaded_at=lambda block, cycle: cycle >= 20)
    watch.run(30)
    assert watch.takes == [21] and watch.starts() == [22]
    assert watch.spent[1:24] == [(0, 0, 0)] * 19 + [(0, 1, 0)] * 2 + [(1, 0, 0), (0, 0, 1)]


def test_a_block_that_never_comes(field_bits):
    """A first pass waits, which is no hazard, and later instructions wait behind it."""
    patterns = [field_bits(Pass(Mode.PASS, 0, 1, 0, (0,), first=True))] * 2
    watch = Watch(small(), patterns[:1], loaded_at=lambda block, cycle: False)
    watch.run(60)
    assert not watch.issued and not watch.takes and set(watch.spent[1:]) == {(0, 0, 0)}


@pytest.mark.parametrize("reset_at", [1, 2, 30, 90])
def test_reset_mid_stream(field_bits, reset_at):
    """Afterwards it starts with half 0, and a pass from before leaves no gap behind that a first pass
    obeys.
    """
    config = small(half_words=64)
    passes = random_passes(config, 6, SEED)
    patterns = [field_bits(p) for p in passes]
    watch = Watch(config, patterns)
    watch.run(reset_at + earliest(config, passes)[-1] + 300, reset_at)
    check_groups(watch, passes, patterns, f"reset in cycle {reset_at}, seed {SEED}")
    shift = watch.starts()[0]
    assert watch.starts() == [start - PASS_LATENCY + shift for start in earliest(config, passes)]
