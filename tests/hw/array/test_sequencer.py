"""Pass sequencer: which cycle every group is issued in, with blocks, instructions and words of the ring that come
late."""

from dataclasses import replace
import random

import pytest

from wingbeat.hw.array.parameters import PASS_LATENCY, mac_spacing, release_delay, softmax_spacing
from wingbeat.hw.array.sequencer import Sequencer
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.instruction import Mac, Mask, Mode, Pass, Softmax
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
            passes.append(Pass(rng.choice(list(Mode)), 0, min(config.bank_rows, rng.choice([1, 5, 30, 128, 128])), 0,
                               (0,) * config.layers, coef_base=len(passes), gap=rng.choice([0, 0, 0, 1, 40, 255]),
                               first=k == 0, last=k == count - 1))
    return passes


class Watch:
    """Runs passes through a sequencer; ``issued`` lists (cycle, start, finish, half, fields) of every group.

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
                _, reset, valid, start, finish, half, fields, take, *spent = await ctx.tick().sample(
                    d.valid, d.start, d.finish, d.half, d.pass_fields.as_value(), d.take, d.computing, d.hazard, d.idle)
                if valid:
                    self.issued.append((cycle, start, finish, half, fields))
                if take:
                    self.takes.append(cycle)
                self.spent.append(tuple(spent))
                if reset:
                    self.issued.clear(), self.takes.clear()
                ctx.set(d.loaded, self.loaded_at(len(self.takes), cycle + 1))

        self.bench.process(watch)
        self.bench.run(cycles, reset_at)

    def starts(self):
        return [cycle for cycle, start, *_ in self.issued if start]


def check_groups(watch, passes, patterns, context):
    """Passes in order, their groups without a hole; fields and half still; ``finish`` on the last of a block."""
    want, half = [], 1
    starts = watch.starts()
    assert len(starts) == len(passes), context
    for p, pattern, start in zip(passes, patterns, starts):
        half ^= p.first
        want += [(start + g, int(g == 0), int(p.last and g == p.groups - 1), half, pattern) for g in range(p.groups)]
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
    """Order, gap and spacing hold whatever comes late; a cycle is a hazard only where they hold a block back."""
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


# --- With a ring --------------------------------------------------------------------------------------------------

REFILL_CYCLES = 3 + 2  # cycles from a word to the condition of its panel, from a condition to the first group: at most


def with_ring(layers, ring_words=64, **more):
    return CoreConfig.of(engines=2 if layers == 1 else 1, layers=layers, half_words=64 << layers,
                         coefficient_words=ring_words, ring_words=ring_words, stream_words=1 << max(1, layers),
                         memory_bits=8, records=True, **more)


def panel_of(config, mac):
    return config.lanes // config.layers * mac.inputs


def groups_of(config, step):
    """Groups of a PASS or MAC."""
    return step.groups if isinstance(step, Pass) else step.pairs * step.outputs * panel_of(config, step)


def random_steps(config, n, rng, most_inputs=8):
    """Blocks of 1..3 passes and MACs; a MAC needs up to half of the ring at a time."""
    steps = []
    while len(steps) < n:
        count = rng.randint(1, 3)
        for k in range(count):
            still = {"gap": rng.choice([0, 0, 0, 1, 30]), "first": k == 0, "last": k == count - 1}
            if rng.random() < 0.6:
                inputs = rng.randint(2, most_inputs)
                steps.append(Mac(inputs, rng.choice([1, 1, 2, 3]), rng.choice([1, 2, 4]), 4, 0, 4, 0, **still))
            else:
                steps.append(Pass(rng.choice(list(Mode)), 0, rng.choice([1, 5, 32]), 0, (0,) * config.layers,
                                  coef_base=len(steps), **still))
    return steps


def masks_of(steps, field_bits):
    """For each step that is no MASK the fields of the last MASK before it, or 0."""
    found, mask = [], 0
    for step in steps:
        if isinstance(step, Mask):
            mask = field_bits(step)
        else:
            found.append(mask)
    return found


class RingWatch:
    """Runs ``steps`` through a sequencer with a ring; ``words(cycle)``: how many words have come by then, of which as
    many are in the ring as it holds. ``issued``: by group (cycle, start, finish, half, mac, row, place, step_last)
    and ``still`` what stands still with it; ``spent[cycle]`` is (computing, hazard, starved, idle). A MASK is no step:
    ``masks`` has what each step finds."""

    def __init__(self, config, steps, field_bits, words, stall=Stall.NEVER, loaded_at=lambda block, cycle: True,
                 seed=SEED):
        self.c, self.dut, self.words, self.loaded_at = config, Sequencer(config), words, loaded_at
        self.note, self.bench = f"{config.layers} layers, seed {seed}", Bench(self.dut, seed)
        self.bench.feed(self.dut.i, [{"fields": field_bits(step), "mac": isinstance(step, Mac),
                                      "mask": isinstance(step, Mask)} for step in steps], stall)
        self.steps = [step for step in steps if not isinstance(step, Mask)]
        self.patterns, self.masks = [field_bits(step) for step in self.steps], masks_of(steps, field_bits)
        self.total = sum(panel_of(config, step) * step.outputs for step in steps if isinstance(step, Mac))

    def _clear(self):
        self.issued, self.still, self.spent, self.takes, self.filled, self.rows = [], [], [], [], [], []
        self.released = 0

    def run(self, cycles, reset_at=None):
        count = 2 * self.c.ring_words
        self._clear()

        def fill(ctx, cycle):
            have = self.filled[-1] if self.filled else 0
            self.filled.append(max(have, min(self.words(cycle), self.total, self.released + self.c.ring_words)))
            ctx.set(self.dut.filled, self.filled[-1] % count)

        async def watch(ctx):
            d, cycle = self.dut, 0
            names = ("valid", "start", "finish", "half", "mac", "row", "place", "step_last", "take", "computing",
                     "hazard", "starved", "idle", "released", "is_read")
            of_rows = [d.mask_fields.as_value(), d.pair] if self.c.softmax_pairs else []
            fill(ctx, 0)
            ctx.set(d.loaded, self.loaded_at(0, 0))
            for _ in range(cycles):
                _, reset, fields, mac_fields, *values = await ctx.tick().sample(
                    d.pass_fields.as_value(), d.mac_fields.as_value(), *(getattr(d, name) for name in names), *of_rows)
                v = dict(zip(names, values))
                self.rows.append(tuple(values[len(names):]))
                if v["valid"]:
                    self.issued.append((cycle, *(v[name] for name in names[1:8])))
                    self.still.append((fields, mac_fields))
                self.takes += [cycle] * v["take"]
                self.spent.append(tuple(v[name] for name in ("computing", "hazard", "starved", "idle")))
                self.released += (v["released"] - self.released) % count
                self.ends_read, cycle = v["is_read"], cycle + 1
                if reset:
                    self._clear()
                    cycle = 0
                fill(ctx, cycle)
                ctx.set(d.loaded, self.loaded_at(len(self.takes), cycle))
        self.bench.process(watch)
        self.bench.run(cycles, reset_at)
        return self

    def starts(self):
        return [cycle for cycle, start, *_ in self.issued if start]

    def by_step(self):
        """The groups of every instruction, each with what stands still."""
        found, at = [], 0
        for step in self.steps:
            count = groups_of(self.c, step)
            found.append(list(zip(self.issued[at:at + count], self.still[at:at + count])))
            at += count
        assert at == len(self.issued), f"{len(self.issued)} groups where {at}, {self.note}"
        return found

    def check(self):
        """Order, rows, places, ends, fields; nothing of a PASS or panel in pieces, no panel before its words."""
        half, word = 1, 0
        for number, (step, pattern, groups) in enumerate(zip(self.steps, self.patterns, self.by_step())):
            note, is_mac = f"step {number} {step}, {self.note}", isinstance(step, Mac)
            half ^= step.first
            fields = (step.first << 85 | step.last << 86) if is_mac else pattern
            assert groups[0][0][1] and not any(group[1] for group, _ in groups[1:]), note
            assert [group[2] for group, _ in groups] == [0] * (len(groups) - 1) + [int(step.last)], note
            assert {(group[3], group[4], still[0]) for group, still in groups} == {(half, int(is_mac), fields)}, note
            if is_mac:
                assert {still[1] for _, still in groups} == {pattern}, note
                word = self._check_mac(step, [group for group, _ in groups], word, note)
            else:
                assert groups[-1][0][0] - groups[0][0][0] == len(groups) - 1, note
        takes = [groups[0][0][0] - 1 for step, groups in zip(self.steps, self.by_step()) if step.first]
        assert self.takes == takes, self.note
        issuing = {cycle for cycle, *_ in self.issued}
        for cycle, (computing, hazard, starved, idle) in enumerate(self.spent):
            note = f"cycle {cycle}, {self.note}"
            assert computing == (cycle in issuing) and computing + hazard + starved + idle <= 1, note
        self._check_distances()

    def _check_mac(self, mac, groups, word, note):
        """Groups of a MAC whose first word has this number; returns the number of the first one of the next."""
        c, at, panel = self.c, 0, panel_of(self.c, mac)
        for _ in range(mac.outputs):
            begin = groups[at][0]
            assert self.filled[begin - 1] >= word + panel, f"panel at {begin} before its words, {note}"
            for pair in range(mac.pairs):
                for offset in range(panel):
                    row = (pair << mac.log2_in_stride) + offset % mac.inputs
                    row += mac.out_base if mac.softmax is Softmax.VALUES else 0
                    assert not c.softmax_pairs or self.rows[groups[at][0]][1] == pair, note
                    wanted = (row, (word + offset) % c.ring_words, int(offset % mac.inputs == mac.inputs - 1))
                    assert groups[at][5:] == wanted and groups[at][0] == begin + pair * panel + offset, note
                    at += 1
            word += panel
        return word

    def _check_distances(self):
        """Of the starts, of a gap, and of a PASS from all groups of the MACs before."""
        spans = [(groups[0][0][0], groups[-1][0][0]) for groups in self.by_step()]
        last_of_mac = -1000
        for number, (step, (start, end)) in enumerate(zip(self.steps, spans)):
            if number:
                before, (before_start, before_end) = self.steps[number - 1], spans[number - 1]
                spacing = mac_spacing(self.c) if isinstance(before, Mac) else self.c.pass_spacing
                assert start - before_start >= spacing and start - before_end > step.gap, f"{step}, {self.note}"
                if isinstance(before, Mac) and before.is_finished:
                    assert start - before_end >= softmax_spacing(self.c), f"{step}, {self.note}"
            if isinstance(step, Mac):
                last_of_mac = end
            else:
                assert start - last_of_mac >= mac_spacing(self.c), f"{step}, {self.note}"


def earliest_of(config, steps):
    """Starts when blocks, instructions and words are never late, as :func:`earliest`."""
    starts, end, drained, spacing, waits = [], 0, 0, 0, False
    for step in steps:
        gap = 2 if step.gap == 1 else step.gap
        start = PASS_LATENCY
        if starts:
            start = max(end + gap, starts[-1] + spacing, drained * (waits or isinstance(step, Pass)))
        starts.append(start)
        end, spacing, waits = start + groups_of(config, step), config.pass_spacing, False
        if isinstance(step, Mac):
            spacing, waits = mac_spacing(config), step.is_finished
            drained = end - 1 + (softmax_spacing(config) if waits else spacing)
    return starts


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_no_cycle_is_lost_with_a_ring(field_bits, layers):
    """A full ring that holds more than two panels: every group in the first cycle that gap, spacing and the results of
    MACs allow."""
    seed = f"{SEED} full ring {layers}"
    config = with_ring(layers, 256 if layers == 4 else 64)
    steps = random_steps(config, 14, random.Random(seed), 8 if layers == 4 else 12)
    want = earliest_of(config, steps)
    watch = RingWatch(config, steps, field_bits, lambda cycle: 10**9, seed=seed)
    watch.run(want[-1] + groups_of(config, steps[-1]) + release_delay(config) + 8).check()
    assert watch.starts() == want, watch.note
    assert not any(starved for _, _, starved, _ in watch.spent), watch.note
    assert watch.released == watch.total and watch.ends_read, watch.note
    kinds = {(type(a), type(b)) for a, b in zip(steps, steps[1:])}
    assert len(kinds) == 4, watch.note


@pytest.mark.parametrize("layers, stall", [(1, Stall.OFTEN), (2, Stall.NEVER)])
def test_late_words_blocks_and_instructions(field_bits, layers, stall):
    """Whatever comes late: order, distances and panels hold, and no cycle is starved but for words of the ring."""
    seed = f"{SEED} late {layers} {stall.value}"
    rng, config = random.Random(seed), with_ring(layers, 16)
    steps = random_steps(config, 9, rng)
    total = sum(panel_of(config, step) * step.outputs for step in steps if isinstance(step, Mac))
    arrival = sorted(rng.randrange(500) for step in steps if step.first)
    coming = sorted(rng.randrange(1500) for _ in range(total))
    watch = RingWatch(config, steps, field_bits, lambda cycle: sum(at < cycle for at in coming), stall,
                      lambda block, cycle: cycle >= [*arrival, 10**9][block], seed)
    watch.run(2300).check()
    assert sum(starved for _, _, starved, _ in watch.spent) > 100 and watch.ends_read, watch.note


@pytest.mark.parametrize("layers", [1, 4])
def test_a_mac_waits_for_each_panel(field_bits, layers):
    """Its words come one after the other, each panel in the middle of nothing: no other cycle is starved."""
    config = with_ring(layers)
    mac = Mac(3, 3, 2, 2, 0, 0, 0, first=True, last=True)
    panel, each = panel_of(config, mac), 150
    watch = RingWatch(config, [mac], field_bits, lambda cycle: cycle // each * panel).run(4 * each)
    watch.check()
    panels = [watch.issued[at][0] for at in range(0, 6 * panel, 2 * panel)]
    for number, begin in enumerate(panels, 1):
        assert number * each < begin <= number * each + REFILL_CYCLES, f"panel {number}: {panels}"
    # Accepted, settling: from then on it is starved, but for two cycles in front of the first group.
    busy = {cycle for begin in panels for cycle in range(begin, begin + 2 * panel)}
    starved = [cycle for cycle, spent in enumerate(watch.spent) if spent[2]]
    between = [cycle for cycle in range(panels[0], panels[2]) if cycle not in busy]
    assert [cycle for cycle in starved if cycle >= panels[0]] == between
    assert starved[:panels[0] - PASS_LATENCY] == list(range(2, 2 + panels[0] - PASS_LATENCY))
    assert not any(spent[3] for spent in watch.spent[1:panels[2] + 2 * panel]), "idle in the middle of a MAC"
    assert watch.spent[panels[2] + 2 * panel] == (0, 0, 0, 1)


def test_a_pass_waits_for_the_results_and_is_not_starved(field_bits):
    """Its distance counts from the last group of the MAC; of that pause every cycle is a hazard."""
    config = with_ring(2)
    steps = [Mac(4, 1, 8, 2, 0, 0, 0, first=True), Pass(Mode.PASS, 0, 3, 0, (0, 0), last=True)]
    watch = RingWatch(config, steps, field_bits, lambda cycle: 10**9).run(300)
    watch.check()
    mac, step = watch.starts()
    assert groups_of(config, steps[0]) == 64 and step == mac + 63 + mac_spacing(config)
    assert watch.spent[mac + 64:step] == [(0, 1, 0, 0)] * (step - mac - 64)


@pytest.mark.parametrize("reset_at", [5, 40, 90])
def test_reset_in_the_middle_of_a_mac(field_bits, reset_at):
    """Afterwards the ring is empty, its next word is at place 0 and half 0 is next."""
    seed = f"{SEED} reset {reset_at}"
    config = with_ring(1)
    steps = random_steps(config, 6, random.Random(seed), 12)
    watch = RingWatch(config, steps, field_bits, lambda cycle: 10**9, seed=seed)
    watch.run(reset_at + earliest_of(config, steps)[-1] + 500, reset_at).check()
    assert watch.ends_read and watch.released == watch.total, watch.note


# --- With softmax -------------------------------------------------------------------------------------------------

def random_softmax_steps(config, n, rng):
    """As random_steps; MACs of all kinds, MASKs in front of any of them, of passes too."""
    steps = []
    for step in random_steps(config, n, rng):
        for _ in range(rng.choice((0, 0, 1, 2)) if steps else 0):
            steps.append(Mask(rng.getrandbits(16), rng.randrange(-1 << 16, 1 << 16), rng.random() < 0.5,
                              rng.getrandbits(13), rng.getrandbits(7), rng.getrandbits(16)))
        if isinstance(step, Mac):
            kind = rng.choice(list(Softmax))
            step = replace(step, softmax=kind, keep=kind is not Softmax.LOGITS and rng.random() < 0.5, out_base=8)
        steps.append(step)
    return steps


@pytest.mark.parametrize("layers, stall", [(1, Stall.NEVER), (2, Stall.NEVER), (4, Stall.NEVER), (2, Stall.OFTEN)])
def test_masks_and_macs_of_a_softmax(field_bits, layers, stall):
    """A MAC finds the last MASK before it, which stays until the next MAC; what follows a MAC whose results a finisher
    makes waits for them, and for nothing else."""
    seed = f"{SEED} softmax {layers}"
    config = with_ring(layers, 256 if layers == 4 else 64, partial_words=16, softmax_pairs=4)
    steps = random_softmax_steps(config, 16, random.Random(seed))
    watch = RingWatch(config, steps, field_bits, lambda cycle: 10**9, stall, seed=seed)
    want = earliest_of(config, watch.steps)
    watch.run(want[-1] + groups_of(config, watch.steps[-1]) + release_delay(config) + 400).check()
    starts = watch.starts()
    assert stall is not Stall.NEVER or starts == want, watch.note
    macs = [(start, mask) for start, mask, step in zip(starts, watch.masks, watch.steps) if isinstance(step, Mac)]
    for (start, mask), (after, _) in zip(macs, [*macs[1:], (len(watch.rows), 0)]):
        assert {row[0] for row in watch.rows[start:after]} == {mask}, watch.note
    kinds = {(a.is_finished, type(b)) for a, b in zip(watch.steps, watch.steps[1:]) if isinstance(a, Mac)}
    assert {(True, Mac), (True, Pass)} < kinds and len({mask for _, mask in macs}) > 3, watch.note
