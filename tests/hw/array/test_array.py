"""The array in Amaranth's simulator against the integer model: random programs, stalls, resets, starts,
counters.
"""

from dataclasses import dataclass
import random

import numpy as np
import pytest

from wingbeat.hw.array.array import Array
from wingbeat.hw.config import CoreConfig, Pipeline
from wingbeat.hw.isa.encoding import encode
from wingbeat.hw.isa.instruction import Halt, Load, Loop, Mode, Pass, Store
from wingbeat.hw.isa.schedule import schedule
from wingbeat.hw.isa.setup import CONTROL_START, SETUP_CONTROL, SETUP_PROGRAM, SETUP_READER
from wingbeat.hw.isa.walk import Walk
from wingbeat.hw.layouts import status
from wingbeat.sim.bench.stream import Bench, Stall
from wingbeat.sim.cycles.estimate import estimate
from wingbeat.sim.model.array import ArrayModel
from wingbeat.sim.stimulus.array import random_walks

pytestmark = pytest.mark.thin(3)

CONFIGS = {
    "one layer, gearbox": dict(layers=1, engines=2, half_words=32, stream_words=1, width=10),
    "one layer, all engines a beat": dict(layers=1, engines=3, half_words=16, stream_words=6, width=9),
    "two layers": dict(layers=2, engines=1, half_words=32, stream_words=4, width=11, coefficient_width=12),
    "two layers, beat groups": dict(layers=2, engines=2, half_words=16, stream_words=4, width=9),
    "one layer, four engines a beat": dict(layers=1, engines=8, half_words=16, stream_words=8, width=9),
    "three layers, gearbox": dict(layers=3, engines=1, half_words=16, stream_words=4, width=9),
}
TWO_LAYERS = CONFIGS["two layers"]
CLEARED = 3  # cycles from the first running one to that in which the counters have forgotten the program before
COUNTED = 3  # cycles from the last beat of a block at the output buffer to the count
COUNTS = ("computing", "waiting_input", "waiting_output", "waiting_hazard")


def config_of(fields):
    return CoreConfig.of(**({"element_width": 8, "coefficient_width": 10, "coefficient_words": 16,
                             "program_words": 128} | fields))


# --- programs ----------------------------------------------------------------------------------------


@dataclass
class Job:
    """A program with its setup writes and input, and what the model makes of it."""

    setup: list       # (target, address, data), without the start
    program: list
    words: np.ndarray
    results: list
    groups: int       # groups that all passes together issue


def random_passes(rng, c, bits, count):
    groups, before, passes = 1 << bits - c.layers, None, []
    for k in range(count):
        digit, block_float = rng.randrange(bits // c.layers), rng.random() < 0.5
        gap = 0 if k == 0 else c.pass_gap(before, digit, groups)
        gap = max(gap, c.block_float_gap) if block_float and k else gap
        steps = [rng.choice([0, 1, 1]) for _ in range(c.layers)]
        mask_bits = rng.randint(0, min(3, bits - c.layers))
        passes.append(
            Pass(
                rng.choice(list(Mode)),
                digit,
                groups,
                rng.randrange(1 << c.layers),
                tuple(rng.choice([0, 1, 1, 2]) for _ in range(c.layers)),
                coef_base=rng.randint(0, c.coefficient_words - (1 << mask_bits)),
                coef_mask_bits=mask_bits,
                coef_shift=rng.randint(0, bits - c.layers),
                descending=rng.random() < 0.5,
                block_float=block_float,
                growth=tuple(np.cumsum(steps).tolist()) if block_float else (),
                gap=gap,
                first=k == 0,
                last=k == count - 1,
            )
        )
        before = digit
    return passes


def random_words(rng, c, n):
    """Loud and quiet words, so that several exponents and both values of the flag are met."""
    top = 1 << c.element_width - 1 - rng.choice([0, 0, 1, 3])
    return np.array([[rng.randint(-top, top - 1) for _ in range(2)] for _ in range(n)])


def coefficient_writes(rng, c):
    writes = []
    for unit in range(c.n_units):
        for address in range(c.coefficient_words):
            one = 1 << c.coefficient_width - 2
            numbers = [
                rng.choice([one, -one, rng.randint(-one, one)]) & (1 << c.coefficient_width) - 1
                for _ in (0, 1)
            ]
            writes.append((unit, address, numbers[0] | numbers[1] << c.coefficient_width
                           | rng.getrandbits(2) << 2 * c.coefficient_width))
    # Targets that nobody serves; an address there is as good as any.
    writes += [(target, rng.getrandbits(4), CONTROL_START) for target in (c.n_units, SETUP_PROGRAM - 1, SETUP_READER)]
    return rng.sample(writes, len(writes))


def program_writes(program):
    return [(SETUP_PROGRAM, address, word) for address, word in enumerate(encode(program))]


def random_job(c, rng, coefficients, blocks=None):
    """Blocks of one random layout through 1..3 passes, on the setup writes ``coefficients``."""
    bits = rng.randint(c.layers + 1, c.index_bits)
    load, store = random_walks(rng, c, bits)
    passes = random_passes(rng, c, bits, rng.randint(1, 3))
    blocks = rng.choice([1, 3, 4]) if blocks is None else blocks
    words = np.concatenate([random_words(rng, c, c.engines << bits) for _ in range(blocks)])
    return job_of(
        c, schedule(load, [passes], store, blocks), words, coefficients, blocks * sum(p.groups for p in passes)
    )


def job_of(c, program, words, coefficients, groups):
    model = ArrayModel(c)
    for write in coefficients:
        model.write_setup(*write)
    return Job([*coefficients, *program_writes(program)], program, words, model.run(program, words), groups)


HALT = Job(program_writes([Halt()]), [Halt()], np.zeros((0, 2), dtype=np.int64), [], 0)


# --- the array ---------------------------------------------------------------------------------------


class Gate:
    """Stall profile of the setup port that holds back the writes of a job while the one before it runs."""

    def __init__(self, run, stall):
        self.run, self.stall = run, stall

    def willing(self, rng):
        for willing in self.stall.willing(rng):
            yield willing and self.open()

    def open(self):
        sent, end = self.run.setup.cycles, 0
        for job in self.run.jobs:
            end += len(job.setup) + 1
            if len(sent) == end:
                return len(self.run.status) > sent[-1] + 3 and not self.run.status[-1] & 1
        return True


class Run:
    """One array with what is sent to it and what it delivers. ``jobs`` run one after the other."""

    def __init__(self, c, jobs, seed, source=Stall.NEVER, sink=Stall.NEVER, setup_stall=Stall.NEVER):
        self.c, self.jobs, self.seed = c, jobs, seed
        self.dut = Array(c)
        self.bench = Bench(self.dut, seed)
        self.words = self.bench.feed(self.dut.i, self.input_beats(), source)
        writes = [write for job in jobs for write in (*job.setup, (SETUP_CONTROL, 0, CONTROL_START))]
        patterns = [{"target": target, "address": address, "data": data} for target, address, data in writes]
        self.setup = self.bench.feed(self.dut.i_setup, patterns, Gate(self, setup_stall))
        self.expected = [beat for job in jobs for result in job.results for beat in self.output_beats(result)]
        self.out = self.bench.sink(self.dut.o, len(self.expected), sink)
        self.status = []  # status by cycle

    def pack(self, words):
        """Patterns of the stream beats that carry ``words`` (n, 2)."""
        width, mask = self.c.element_width, (1 << self.c.element_width) - 1
        beats = words.reshape(-1, 2 * self.c.stream_words).tolist()
        return [sum((value & mask) << width * i for i, value in enumerate(beat)) for beat in beats]

    def input_beats(self):
        return [beat for job in self.jobs for beat in self.pack(job.words)]

    def output_beats(self, result):
        """Beats of a block; the flag is judged on the last one only."""
        beats = self.pack(result.words)
        tag = result.exponent | result.saturated << 6
        shift = 2 * self.c.element_width * self.c.stream_words
        return [beat | (tag | (k == len(beats) - 1) << 7) << shift for k, beat in enumerate(beats)]

    def run(self, deadline=6000, reset_at=None):
        async def watch(ctx):
            async for _, reset, bits in ctx.tick().sample(self.dut.status.as_value()):
                self.status.append(bits)
                if reset:
                    self.status.clear()
        self.bench.process(watch, background=True)
        self.bench.run(deadline, reset_at)
        return self

    def fields(self, cycle):
        constant = status().from_bits(self.status[cycle])
        return {name: constant[name] for name in status().members}

    def check_beats(self, context):
        shift = 2 * self.c.element_width * self.c.stream_words
        flag, last = 1 << shift + 6, 1 << shift + 7

        def judged(beats):
            return [beat if beat & last else beat & ~flag for beat in beats]

        got, want = judged(self.out.words), judged(self.expected)
        wrong = [k for k, (g, w) in enumerate(zip(got, want, strict=True)) if g != w]
        assert not wrong, f"{context}: {len(wrong)} of {len(want)} beats, first {wrong[0]}: " \
                          f"{got[wrong[0]]:#x} where {want[wrong[0]]:#x}"

    def check(self, context):
        self.check_beats(context)
        end, job = self.fields(-1), self.jobs[-1]
        assert not end["busy"] and end["blocks"] == len(job.results), context
        assert end["saturated"] == any(result.saturated for result in job.results), context
        assert end["computing"] == job.groups, context
        self.check_counters(context)

    def check_counters(self, context):
        """The causes add up to the total in every cycle, and the total counts the cycles of the run."""
        for cycle in range(0, len(self.status), 7):
            fields = self.fields(cycle)
            assert sum(fields[name] for name in COUNTS) == fields["total"], f"{context}, cycle {cycle}"
        start = self.setup.cycles[-1]  # accepted in this cycle, busy from the next one on
        busy = sum(bits & 1 for bits in self.status[start + 1:])
        assert self.fields(-1)["total"] == busy - 2, f"{context}: two of {busy} cycles are the start and the end"
        assert self.fields(start + 1 + busy) == self.fields(-1), f"{context}: a count moves after the end"


def two_jobs(c, seed, blocks=None):
    """Two random programs on the same coefficients, which are written once."""
    rng = random.Random(seed)
    coefficients = coefficient_writes(rng, c)
    first, second = (random_job(c, rng, coefficients, blocks) for _ in range(2))
    second.setup = program_writes(second.program)
    return [first, second]


def run_jobs(name, source, sink, setup_stall, seed, blocks=None, reset_at=None, **changes):
    """Two random programs one after the other; values, flags, exponents and counters are checked."""
    c = config_of(CONFIGS[name] | changes)
    run = Run(c, two_jobs(c, seed, blocks), seed, source, sink, setup_stall).run(reset_at=reset_at)
    run.check(f"{name}, {source.value}, {sink.value}, {setup_stall.value}, seed {seed}")
    return run


PROFILES = [
    (Stall.NEVER, Stall.NEVER, Stall.NEVER),
    (Stall.RANDOM, Stall.BURSTS, Stall.RANDOM),
    (Stall.BURSTS, Stall.RANDOM, Stall.BURSTS),
    (Stall.NEVER, Stall.SHY, Stall.NEVER),
]
# Configuration, profile, seed.
CASES = [(name, profile, 10 * number + profile) for number, name in enumerate(CONFIGS) for profile in (1, 2)]
CASES = [case for case in CASES if case[:2] != ("three layers, gearbox", 2)]
CASES += [("two layers", 0, 20), ("two layers, beat groups", 3, 33)]


@pytest.mark.parametrize("name, profile, seed", CASES)
def test_two_random_programs(name, profile, seed):
    run_jobs(name, *PROFILES[profile], seed=seed)


def test_the_programs_reach_every_case():
    """The cases above must meet every mode, both flags, exponents, loops and overlap."""
    modes, exponents, flags, kinds = set(), set(), set(), set()
    for name, _, seed in CASES:
        for job in two_jobs(config_of(CONFIGS[name]), seed):
            modes |= {i.mode for i in job.program if isinstance(i, Pass) and i.active}
            kinds |= {type(i) for i in job.program}
            kinds |= {"overlap" for i in job.program if isinstance(i, Load) and i.overlap}
            kinds |= {"descending" for i in job.program if isinstance(i, Pass) and i.descending}
            exponents |= {result.exponent for result in job.results}
            flags |= {result.saturated for result in job.results}
    assert modes == set(Mode) and flags == {True, False} and len(exponents) > 2
    assert kinds == {Load, Pass, Store, Loop, Halt, "overlap", "descending"}


@pytest.mark.parametrize("name, pipeline", [
    *((name, Pipeline.DEEP) for name in list(CONFIGS)[:4]),
    *((name, Pipeline.SHORT) for name in ("one layer, gearbox", "two layers", "one layer, four engines a beat"))])
def test_cycles_are_those_of_the_cycle_model(name, pipeline):
    """Counters of both programs without stalls, and when each block leaves; what is offered early waits in front of
    the array.
    """
    seed = 50 + list(CONFIGS).index(name)
    run = run_jobs(name, Stall.NEVER, Stall.NEVER, Stall.NEVER, seed=seed, blocks=4, pipeline=pipeline)
    want, got, context = estimate(run.c, run.jobs[-1].program), run.fields(-1), f"{name}, {pipeline.value}, seed {seed}"
    assert {n: got[n] for n in (*COUNTS, "total")} == {n: getattr(want, n) for n in (*COUNTS, "total")}, context
    running = run.setup.cycles[-1] + 1
    counts = [run.fields(cycle)["blocks"] for cycle in range(running + CLEARED, len(run.status))]
    assert [CLEARED + counts.index(number + 1) - COUNTED for number in range(4)] == want.block_out, context


def test_no_bubble_between_blocks():
    """One layer, blocks long enough: every cycle but those of the first load and the last store issues a
    group.

    The two cycles of hazard are those in which the first pass is cleared to go and takes its block.
    """
    c, rng = config_of(dict(layers=1, engines=1, half_words=64, stream_words=2)), random.Random(7)
    walk, blocks = Walk((0,), 0b111110, 0), 5
    passes = [
        Pass(Mode.BPMM, digit, 32, 1, (1,), first=k == 0, last=k == 2) for k, digit in enumerate((0, 1, 0))
    ]
    program = schedule(Load(walk, True, 0), [passes], Store(walk), blocks)
    job = job_of(c, program, random_words(rng, c, 64 * blocks), coefficient_writes(rng, c), 96 * blocks)
    run = Run(c, [job], 7).run()
    run.check("seed 7")
    counts = run.fields(-1)
    assert counts["computing"] == 96 * blocks and counts["waiting_hazard"] == 2
    assert counts["total"] - counts["computing"] <= 2 * 32 + 2 * c.pipeline_latency + 40


@pytest.mark.parametrize(
    "name, reset_at", [("two layers", 150), ("two layers", 260), ("one layer, gearbox", 190)]
)
def test_reset_in_the_middle_of_a_run(name, reset_at):
    """Everything is sent again after the reset; nothing of the run before it shows."""
    run_jobs(name, Stall.RANDOM, Stall.RANDOM, Stall.NEVER, seed=reset_at, blocks=3, reset_at=reset_at)


@pytest.mark.parametrize("sink", [Stall.NEVER, Stall.OFTEN])
def test_a_start_while_busy_waits(sink):
    """The second start runs the program again, after the first run has ended; the write behind it waits
    with it.
    """
    c, rng = config_of(TWO_LAYERS), random.Random(8)
    job = random_job(c, rng, coefficient_writes(rng, c), blocks=3)
    again = Job([], job.program, job.words, job.results, job.groups)
    run = Run(c, [job, again], 8, sink=sink)
    run.jobs = []  # the second start is sent at once, and behind it a write to a target that nobody serves
    run.setup.words.append(run.setup.words[0] & ~0xFF | 0x7F)
    run.run().check_beats("seed 8")
    first_run = len(run.expected) // 2
    start, behind = run.setup.cycles[-3], run.setup.cycles[-1]
    assert run.setup.cycles[-2] == start + 2, "the first start closes the port for one cycle"
    # The last beat may still wait in the two words of the skid buffer.
    assert behind > run.out.cycles[first_run - 3] > start + 2
    assert all(bits & 1 for bits in run.status[start + 1:behind + 1])
    assert run.fields(-1)["blocks"] == 3 and not run.fields(-1)["busy"]


def test_halt_alone_and_after_a_slow_sink():
    """A program of HALT ends at once and touches no stream; the next one stays busy until its last beat
    is out.
    """
    c, rng = config_of(TWO_LAYERS), random.Random(9)
    job = random_job(c, rng, coefficient_writes(rng, c), blocks=3)
    run = Run(c, [HALT, job], 9, sink=Stall.OFTEN).run()
    run.check("seed 9")
    halted = run.setup.cycles[len(HALT.setup)]
    busy = [cycle for cycle, bits in enumerate(run.status) if bits & 1]
    assert [cycle for cycle in busy if cycle < halted + 40] == list(range(halted + 1, halted + 9))
    assert min(run.words.cycles) > run.setup.cycles[-1]
    assert sum(cycle <= busy[-1] for cycle in run.out.cycles) >= len(run.expected) - 2


def test_nothing_happens_without_a_start():
    """Words that are offered stay outside, other control words start nothing, and no counter moves."""
    c, rng = config_of(TWO_LAYERS), random.Random(10)
    dut = Array(c)
    bench = Bench(dut, 10)
    other = [(SETUP_CONTROL, 0, data) for data in (0, 2, 3, 1 << 39 | 1)]
    setup_writes = [*coefficient_writes(rng, c), *other]
    bench.feed(dut.i_setup, [{"target": t, "address": a, "data": d} for t, a, d in setup_writes])
    out = bench.sink(dut.o, 0)

    async def watch(ctx):
        ctx.set(dut.i.valid, 1)
        for cycle in range(len(setup_writes) + 60):
            _, _, ready, bits = await ctx.tick().sample(dut.i.ready, dut.status.as_value())
            assert not ready and not bits, f"cycle {cycle}"

    bench.process(watch)
    bench.run(200)
    assert not out.words


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_words_for_a_bank_hold_the_ring(layers):
    """A cycle behind the setup port, as the banks see them; those for other targets and offers that nobody takes do
    not, the records of a player do while the port is closed."""
    c = config_of(dict(layers=layers, engines=2 if layers == 1 else 1, half_words=16 << layers, width=9, ring_words=16,
                       stream_words=max(4, 1 << layers), memory_bits=8, records=True))
    rng, dut = random.Random(11), Array(c)
    bench = Bench(dut, 11)
    targets = [0, c.n_units - 1, c.n_units, 2 * c.n_units, 0x7F, SETUP_PROGRAM, SETUP_READER, 0xFF]
    taken, held, shut = [], [], 0
    program = dict(enumerate((SETUP_PROGRAM, at, word) for at, word in enumerate(encode([Halt()]))))
    starts = {150: (SETUP_CONTROL, 0, CONTROL_START), 160: (SETUP_CONTROL, 0, CONTROL_START)}  # the first never ends

    async def testbench(ctx):
        nonlocal shut
        for cycle in range(400):
            target, address, data = (program | starts).get(cycle, (rng.choice(targets), 63, 1))
            valid, plays = cycle in program | starts or rng.random() < 0.7, cycle > 200 and rng.random() < 0.5
            ctx.set(dut.i_setup.payload, {"target": target, "address": address, "data": data})
            ctx.set(dut.i_setup.valid, valid)
            ctx.set(dut.plays, plays)
            _, _, ready, hold = await ctx.tick().sample(dut.i_setup.ready, dut.ring_hold)
            assert ready or cycle > 150 and not plays, f"cycle {cycle}"
            shut += valid and not ready and target < c.n_units
            taken.append(valid and ready and target < c.n_units)
            held.append(hold)

    bench.process(testbench)
    bench.simulator.run()
    assert held[1:] == taken[:-1] and not held[0] and shut > 10
