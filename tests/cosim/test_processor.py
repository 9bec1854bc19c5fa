"""The processor in generated Verilog: random programs against the model, and illegal ones, on memories of every speed.

One test is one configuration: one build and one start of the simulator for many trials. WINGBEAT_COSIM_SEEDS counts the
configurations of an array (test_random.py); for every five of them there is one processor here, as it runs five
programs, or all of a range FIRST:LAST. Without it a sample runs. The name of a test ends in its seed.
"""

from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
import random
from typing import NamedTuple

import numpy as np
import pytest

from support.campaign import IS_CAMPAIGN, seeds
from support.faults import OF_NO_PROGRAM, fault_of

from wingbeat.gen.cosim.core import Core
from wingbeat.gen.compiler.beats import start_writes
from wingbeat.gen.cosim.job import Trial
from wingbeat.gen.cosim.testbench.simulators import SimulatorError
from wingbeat.gen.cosim.timing import MEMORY_STALLS, MemoryTiming
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.descriptor import Descriptor, Move
from wingbeat.hw.isa.instruction import (Destination, Fault, Fetch, Halt, Load, Mac, MemoryMode, Mode, Pass, Read, Set,
                                         Store, Sums, Unit, Write)
from wingbeat.hw.isa.record import record_beats
from wingbeat.hw.isa.setup import SETUP_READER, SETUP_WRITER
from wingbeat.hw.isa.walk import Walk
from wingbeat.hw.numeric import largest, smallest
from wingbeat.sim.cycles.ring import Unpack
from wingbeat.sim.model.processor import BlockOutcome, ProcessorModel
from wingbeat.sim.model.ring import mac_words
from wingbeat.sim.stimulus.ids import with_ids
from wingbeat.sim.stimulus.illegal import illegal_programs
from wingbeat.sim.stimulus.processor import (ProcessorJob, random_processor_config, random_processor_job, random_setup,
                                             random_softmax_config)
from wingbeat.sim.stimulus.records import with_records
from wingbeat.sim.stimulus.ring import random_softmax_job, with_macs

N_PROGRAMS = 5
N_SOFTMAX = 3   # with softmax
N_TIMINGS = 5   # memories of each program
N_ILLEGAL = 25  # programs of the corpus between the legal ones
WATCHDOG = 1024
DEADLINE = 300_000  # cycles, many times what the slowest of these programs takes
SAMPLE = (8, 13, 4)  # small configurations: two with a vector unit and one without
WITH_RING = 24  # a small one, too
ON_ICARUS = (13, 4, 10, 55)  # the last one has a ring
SEEDS = seeds((*SAMPLE[1:], WITH_RING), N_PROGRAMS)
SOFTMAX_SEEDS = seeds((1,), N_SOFTMAX)


def processor_config(seed) -> tuple[CoreConfig, random.Random]:
    """Configuration of ``seed``, and the source of what runs on it."""
    rng = random.Random(f"processor {seed}")
    config = random_processor_config(rng)
    return config.changed(watchdog=WATCHDOG, in_flight=rng.choice((4, 9, 64, 256))), rng


def softmax_config(seed) -> tuple[CoreConfig, random.Random]:
    """The same with softmax."""
    rng = random.Random(f"softmax {seed}")
    config = random_softmax_config(rng)
    return config.changed(watchdog=WATCHDOG, in_flight=rng.choice((4, 9, 64, 256))), rng


def random_timing(config, rng):
    """A memory of latency 1..200; every other one is throttled, four of five stall, every third overtakes."""
    beats = Fraction(rng.choice((0, 0, 0, 2, 6, 9)), 10)  # per cycle, 0 for one
    return MemoryTiming(rng.choice((1, 2, 3, rng.randint(4, 40), rng.randint(41, 200))), beats * config.stream_words,
                        rng.choice(sorted(MEMORY_STALLS)), rng.getrandbits(31), rng.random() < 0.3)


class Expected(NamedTuple):
    """What a run must leave: ``n_blocks`` of ``blocks`` belong to the last start."""

    memory: np.ndarray
    blocks: list[BlockOutcome]
    saturated: bool
    n_blocks: int


def expected(config, job, starts=1):
    """What the model makes of ``job``, started so many times on one memory."""
    model = ProcessorModel(config, [], [], job.memory.copy())
    for write in job.setup:
        model.write_setup(*write)
    model.load_program(job.program)
    blocks = [block for _ in range(starts) for block in model.run()]
    return Expected(model.memory, blocks, model.saturated, job.blocks)


def check_legal(config, run, want, note):
    assert run.error == 0, f"{note}: error {run.error}, tag {run.tag}, after {run.cycles} cycles"
    wrong = np.argwhere(run.data != want.memory)
    assert not len(wrong), f"{note}: {len(wrong)} elements, the first is number {wrong[0][1]} of beat {wrong[0][0]}"
    got = [(block.exponent, block.saturated) for block in run.blocks]
    wanted = [(block.exponent, block.saturated) for block in want.blocks]
    assert got == wanted, f"{note}: exponents and flags of the blocks"
    assert run.status["saturated"] == want.saturated, f"{note}: sticky flag"
    assert (run.status["busy"], run.counters.blocks) == (0, want.n_blocks), note


def check_illegal(config, run, case, note):
    timing, fault = run.trial.timing, fault_of(config, case)
    assert run.error == case.code == fault.code, f"{note}: error {run.error}, not {case.code}"
    if fault.tag is None:
        # The oldest block that is not complete; a block of the array can be two WRITEs that are too short.
        assert run.tag <= 2 * len(run.blocks) + 1, f"{note}: tag {run.tag}"
    else:
        assert run.tag == fault.tag, f"{note}: tag {run.tag}, not {fault.tag}"
    outside = np.ones(len(case.memory), bool)
    outside[case.writable] = False
    wrong = np.flatnonzero((run.data != case.memory).any(axis=1) & outside)
    assert not len(wrong), f"{note}: beat {wrong[0]} was written"
    # One request of either kind may have been on offer.
    slow = timing.words_per_cycle or timing.stalls != "none"
    assert run.late_requests <= (2 if slow else 0), f"{note}: {run.late_requests} requests after the error"
    assert run.cycles <= illegal_bound(case, timing), f"{note}: {run.cycles} cycles"


def illegal_bound(case, timing):
    """Cycles that five legal blocks and the watchdog take at most: a block moves a quarter of the memory each way."""
    beats = 2 * 5 * len(case.memory) // 4
    return 2 * WATCHDOG + 5 * (2 * timing.latency + 400) + 12 * beats


@pytest.fixture
def run_cases(compare_cycles):
    """Call with configuration, pairs of a trial and what it must leave, an Expected or an IllegalProgram, simulator and
    seed: runs them in random order. Legal programs take the cycles of the model where the memory allows it to know."""
    def run_and_check(config, cases, simulator, seed):
        for run, want, note in runs_of(config, cases, simulator, seed):
            if isinstance(want, Expected):
                check_legal(config, run, want, note)
                if run.trial.timing.stalls == "none" and run.trial.program:
                    compare_cycles(config, run, note)
            else:
                check_illegal(config, run, want, note)
    return run_and_check


@lru_cache(4)
def core_of(config):
    """Its Verilog is made once for the tests that share it."""
    return Core(config)


def runs_of(config, cases, simulator, seed):
    note = f"seed {seed} on {simulator}, {config!r}"
    trials = [trial for trial, _ in random.Random(f"order {seed}").sample(cases, len(cases))]
    try:
        runs = core_of(config).simulate(trials, simulator)
    except SimulatorError as error:
        timings = {trial.name: trial.timing for trial in trials if f" {trial.name} (" in str(error)}
        raise AssertionError(f"{note}: {error}; {timings}") from error
    wanted = {trial.name: want for trial, want in cases}
    return [(run, wanted[run.trial.name], f"{note}, {run.trial.name}, {run.trial.timing}") for run in runs]


def legal_trial(name, job, timing):
    return Trial(name, job.setup, job.program, job.memory, timing, deadline=DEADLINE)


def any_job(config, rng):
    job = random_processor_job(config, rng)
    return with_macs(config, job, rng) if config.ring_words else job


def legal_cases(config, rng, n_programs, n_timings, draw=any_job):
    """Random programs, the first of them also started twice."""
    cases = []
    for number in range(n_programs):
        job = draw(config, rng)
        if config.records:
            job = with_ids(config, with_records(config, job, rng), rng)
        timings = [MemoryTiming(), *(random_timing(config, rng) for _ in range(n_timings - 1))]
        want = expected(config, job)
        cases += [(legal_trial(f"program{number}-{k}", job, timing), want) for k, timing in enumerate(timings)]
        if number == 0:
            # Both starts are offered at once; the second run works on what the first one has left.
            twice = replace(legal_trial("twice", job, random_timing(config, rng)),
                            setup=[*job.setup, *start_writes(job.program)], program=[])
            cases.append((twice, expected(config, job, 2)))
    return cases


def clamping_split(config, rng):
    """A program in which sums of a SPLIT are all that clamps, which chance hardly ever brings: the array passes
    extremes on. None where a block has no row but row 0."""
    if config.beat_groups == 1 and config.index_bits == config.layers + 1:
        return []
    ends = np.array([smallest(config.element_width), largest(config.element_width)])
    for _ in range(200):
        job = random_processor_job(config, rng)
        program = [replace(step, active=0, shifts=(0,) * config.layers, block_float=False, growth=())
                   if isinstance(step, Pass) else replace(step, vector=0)
                   if isinstance(step, Read | Write) and not isinstance(step, Sums) else step for step in job.program]
        job = replace(job, program=program, memory=ends[job.memory & 1])
        want = expected(config, job)
        if want.saturated and not any(block.saturated for block in want.blocks):
            return [(legal_trial("split", job, random_timing(config, rng)), want)]
    raise AssertionError(f"no SPLIT clamps in 200 programs: {config!r}")


def illegal_cases(programs, timings):
    return [(Trial(f"{program.name}-{number}", program.setup, program.words, program.memory, timing, deadline=DEADLINE),
             program)
            for number, (program, timing) in enumerate(zip(programs, timings))]


def mixed_cases(config, rng, n_programs, n_timings, n_illegal):
    """Random programs and illegal ones, to run in any order: a reset brings the processor back from every error."""
    cases = [*legal_cases(config, rng, n_programs, n_timings), *clamping_split(config, rng)]
    if config.descriptors >= 3:  # with fewer some of the corpus is legal
        programs = rng.sample(illegal_programs(config, rng), n_illegal)
        cases += illegal_cases(programs, [random_timing(config, rng) for _ in programs])
    return cases


def records_beside_a_matrix(config, macs, rng):
    """A block whose matrix fills the ring, and behind that the coefficients of the next block: both go to the banks
    while the MACs make room. For a core of one layer and one group of engines."""
    rows, first = config.bank_rows, config.ring_words
    words, own = sum(mac_words(config, mac) for mac in macs), config.coefficient_words - first
    records = [(0, first + at, rng.getrandbits(config.coefficient_bits)) for at in rng.sample(range(own), own)]
    line = Descriptor((), Move(0), tuple(Move(1 << bit) for bit in range(config.row_bits)), 1, 1)
    half = Descriptor((), Move(0), line.step[:-1], 1, 1)
    # Rows, results of both blocks, matrix, records.
    data = random_elements(config, 4 * rows + len(record_beats(config, records)), rng)
    data[4 * rows:] = record_beats(config, records)
    everything = Walk((0,), 2 * rows - 2, 0)
    read, write = (kind(0, 0, rows, MemoryMode.COLUMNS) for kind in (Read, Write))
    fetch = Fetch(0, 1, words // (config.memory_elements // 2), MemoryMode.COLUMNS, destination=Destination.RING)
    program = [
        Set(Unit.READER, 0, 0), Set(Unit.READER, 1, 3 * rows), Set(Unit.READER, 2, 4 * rows), Set(Unit.WRITER, 0, rows),
        read, Load(everything), fetch, Fetch(0, 2, len(data) - 4 * rows, MemoryMode.COLUMNS), read, Load(everything),
        *macs, Store(Walk((0,), rows - 2, 0), rows), replace(write, descriptor=1, increment=rows),
        Pass(Mode.BPMM, 0, rows, 1, (0,), first, 0, own.bit_length() - 1, first=True, last=True), Store(everything),
        write, Halt()]
    tables = {SETUP_READER: {0: line}, SETUP_WRITER: {0: line, 1: half}}
    return ProcessorJob(random_setup(config, tables, rng), program, data, 2)


def random_elements(config, beats, rng):
    low, high = smallest(config.element_width), largest(config.element_width)
    return np.random.default_rng(rng.getrandbits(32)).integers(low, high + 1, (beats, config.memory_elements))


def test_records_while_the_ring_is_filled(need, run_cases, monkeypatch):
    """Words of the ring wait for records of coefficients, which need the same banks, and none is lost."""
    need("verilator")
    config, rng = processor_config(WITH_RING)
    cases, turns = [], []
    step = Unpack.step

    def watched(self, offered, hold, released, *kind):
        turns.append(hold and self.left > 0 and not self.full)
        step(self, offered, hold, released, *kind)

    monkeypatch.setattr(Unpack, "step", watched)
    for pairs, count in ((5, 1), (5, 3), (6, 1)):
        # While the last row pairs of these are computed half a window more waits in front of a full ring.
        macs = [*[Mac(4, 1, pairs, 2, 24, 0, 12)] * count, Mac(2, 1, 4, 2, 24, 0, 12)]
        macs = [replace(mac, first=at == 0, last=at == count) for at, mac in enumerate(macs)]
        job = records_beside_a_matrix(config, macs, rng)
        want = expected(config, job)
        for k, timing in enumerate((MemoryTiming(), MemoryTiming(7))):
            cases.append((legal_trial(f"pairs{pairs}-{count}-{k}", job, timing), want))
    run_cases(config, cases, "verilator", WITH_RING)
    assert sum(turns) > 20, sum(turns)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_configuration(seed, need, run_cases):
    need("verilator")
    config, rng = processor_config(seed)
    run_cases(config, mixed_cases(config, rng, N_PROGRAMS, N_TIMINGS, N_ILLEGAL), "verilator", seed)


@pytest.mark.parametrize("seed", SOFTMAX_SEEDS)
def test_random_softmax(seed, need, run_cases):
    """Between them the illegal programs that only a core with softmax has, each in one of three surroundings."""
    need("verilator")
    config, rng = softmax_config(seed)
    cases = legal_cases(config, rng, N_SOFTMAX, N_TIMINGS, random_softmax_job)
    programs = own_programs(illegal_programs(config, rng), config.changed(softmax_pairs=0, finishers=1))
    assert len(programs) > 8, f"seed {seed}"
    run_cases(config, [*cases, *illegal_cases(programs, [random_timing(config, rng) for _ in programs])], "verilator",
              seed)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", ON_ICARUS)
def test_on_icarus(seed, need, run_cases):
    """Four-state, and so slow: a second opinion on the smallest."""
    need("icarus")
    config, rng = processor_config(seed)
    run_cases(config, mixed_cases(config, rng, 2, 2, 4), "icarus", seed)


def own_programs(programs, without):
    """Those that a core ``without`` something does not have, each in one of its three surroundings."""
    others = {program.name for program in illegal_programs(without, random.Random(0))}
    added = [program for program in programs if program.name not in others]
    return [program for number, program in enumerate(added) if number % 3 == number // 3 % 3]


@pytest.mark.parametrize("seed", (*SAMPLE, WITH_RING) if IS_CAMPAIGN else (SAMPLE[0], WITH_RING))
def test_every_illegal_program(seed, need, run_cases):
    """Each on an ideal memory, where no request may come after the error, and on some other; in turn outside of the
    campaign. There the core with a ring runs all of its own faults, here each in one of three surroundings."""
    need("verilator")
    config, rng = processor_config(seed)
    programs = illegal_programs(config, rng)
    never = {*OF_NO_PROGRAM, *(() if config.records else (Fault.RECORD,)), *(() if config.row_ids else (Fault.ID,)),
             *(() if config.ring_words else (Fault.RING,))}
    assert len(programs) >= 150 and {program.code for program in programs} == set(Fault) - never, f"seed {seed}"
    if config.ring_words and not IS_CAMPAIGN:
        programs = own_programs(programs, config.changed(ring_words=0, partial_words=0, softmax_pairs=0, finishers=1))
        assert len(programs) >= 30, f"seed {seed}"
    others = [random_timing(config, rng) for _ in programs]
    timings = [*[MemoryTiming()] * len(programs), *others] if IS_CAMPAIGN else \
        [other if number % 2 else MemoryTiming() for number, other in enumerate(others)]
    run_cases(config, illegal_cases(programs * (1 + IS_CAMPAIGN), timings), "verilator", seed)
