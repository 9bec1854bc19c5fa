"""The cycle model: constants it shares with the hardware, sums, skipping, memories of several speeds, deadlocks.

That its numbers are those of the hardware: tests/hw/test_array.py (arrays) and tests/cosim/test_processor_cycles.py.
"""

from fractions import Fraction
import random

import pytest

from wingbeat.gen.presets import load_preset
from wingbeat.gen.workloads import fft_workload
from wingbeat.hw import array, writer
from wingbeat.hw.config import ArrayConfig, Pipeline
from wingbeat.hw.program import Halt, Load, Loop, MemoryMode, Pass, Read, Store, Write
from wingbeat.hw.sequence import BeatSequence
from wingbeat.sim import cycles, memorycycles
from wingbeat.sim.cycles import MemorySpeed, estimate
from wingbeat.sim.memory import positions
from wingbeat.sim.random_processor import random_processor_config, random_processor_job
from wingbeat.sim.skipahead import Skipper

SEEDS = range(12)
SPEEDS = (MemorySpeed(), MemorySpeed(1, 3), MemorySpeed(60, Fraction(5, 2)), MemorySpeed(200))


def job_of(seed):
    rng = random.Random(f"cycles {seed}")
    config = random_processor_config(rng)
    config = config.model_copy(update={"in_flight": rng.choice((4, 9, 64, 256))})
    return config, random_processor_job(config, rng)


def executed(program):
    """The instructions in the order in which they are handed out."""
    at, left = 0, 0
    while not isinstance(step := program[at], Halt):
        if isinstance(step, Loop):
            left = (left or step.count) - 1
            at = step.target if left else at + 1
        else:
            yield step
            at += 1


def tables(config, job):
    words = {target: [0] * (64 * config.descriptors) for target in (0x82, 0x83)}
    for target, address, word in job.setup:
        if target in words:
            words[target][address] = word
    return [[w[64 * n:64 * n + 64] for n in range(config.descriptors)] for w in words.values()]


@pytest.mark.parametrize("pipeline", list(Pipeline))
def test_latencies_are_those_of_the_hardware(pipeline):
    config = ArrayConfig(memory_bits=10, pipeline=pipeline)
    assert memorycycles.sequence_latency(config) == BeatSequence(config).latency
    assert memorycycles.QUEUE_PLACES == array._QUEUE
    assert memorycycles.ENDS_ROOM == writer._WAITING - writer._ON_THE_WAY


@pytest.mark.parametrize("seed", SEEDS)
def test_sums(seed):
    """Causes add up to the total; every group, beat and block of the program is counted once."""
    config, job = job_of(seed)
    steps, (reads, writes) = list(executed(job.program)), tables(config, job)
    for speed in SPEEDS:
        got = estimate(config, job.program, job.setup, speed)
        note = f"seed {seed}, {speed}"
        assert got.total == got.computing + got.waiting_input + got.waiting_output + got.waiting_hazard, note
        assert got.computing == sum(step.groups for step in steps if isinstance(step, Pass)), note
        assert len(got.block_out) == job.blocks and got.block_out == sorted(got.block_out), note
        assert got.block_out[-1] < got.total, note
        beats = {kind: sum(config.beat_groups * step.walk.beats for step in steps if isinstance(step, kind))
                 for kind in (Load, Store)}
        assert (got.units["load_moving"], got.units["store_moving"]) == (beats[Load], beats[Store]), note
        asked = [positions(config, reads[s.descriptor], s.rows, 0).valid.sum() for s in steps if isinstance(s, Read)]
        written = [positions(config, writes[s.descriptor], s.rows, 0).valid.sum() for s in steps
                   if isinstance(s, Write) and s.mode not in (MemoryMode.FOLD, MemoryMode.SPLIT)]
        assert got.units["reader_moving"] == sum(asked), note
        if len(written) == job.blocks:
            assert got.units["writer_moving"] == sum(written), note


@pytest.mark.parametrize("seed", SEEDS)
def test_skipping_changes_nothing(seed):
    config, job = job_of(seed)
    for speed in SPEEDS:
        with_skips, without = (estimate(config, job.program, job.setup, speed, skip) for skip in (True, False))
        assert with_skips == without, f"seed {seed}, {speed}"


@pytest.fixture(scope="module")
def transform():
    """Long passes: four blocks of 1024-point transforms on 128 multipliers."""
    return fft_workload(load_preset("array128-s2"), 1024, 4, "static", 1)


@pytest.mark.parametrize("speed", [MemorySpeed(), MemorySpeed(1, 12), MemorySpeed(40, 12), MemorySpeed(9, 5)], ids=str)
def test_long_passes_are_skipped(transform, speed, monkeypatch):
    """Most cycles of a long transform are passed over, and the result is that of stepping through."""
    program, setup = transform.program.instructions, transform.program.setup
    want = estimate(transform.config, program, setup, speed, skip=False)
    stepped, step = [], cycles._Processor.step
    monkeypatch.setattr(cycles._Processor, "step", lambda self: (stepped.append(1), step(self))[1])
    assert estimate(transform.config, program, setup, speed) == want
    assert len(stepped) < want.total * 0.75


def test_a_skip_too_far_is_seen(transform, monkeypatch):
    """The comparison above can fail: one period more than the counters allow."""
    program, setup = transform.program.instructions, transform.program.setup
    want, limits = estimate(transform.config, program, setup, skip=False), Skipper._limits
    monkeypatch.setattr(Skipper, "_limits", lambda self, change: (n + 3 for n in limits(self, change)))
    try:
        got = estimate(transform.config, program, setup)
    except (RuntimeError, IndexError):
        return
    assert got != want


def test_slower_memories_take_longer(transform):
    program, setup = transform.program.instructions, transform.program.setup
    totals = [estimate(transform.config, program, setup, MemorySpeed(latency, rate)).total
              for latency, rate in ((1, 0), (1, 12), (100, 12), (100, 6), (100, 3))]
    assert totals == sorted(set(totals))
    # A third of a beat per cycle each way: all beats, one after the other.
    assert totals[-1] > 3 * estimate(transform.config, program, setup).units["reader_moving"]


def test_waiting_for_ever_ends(seed=3):
    """A READ whose WRITE never comes, and one whose WRITE stands behind a full queue."""
    config, job = job_of(seed)
    steps = list(executed(job.program))
    read, load = (next(step for step in steps if isinstance(step, kind)) for kind in (Read, Load))
    waits = Read(read.descriptor, read.register, read.rows, read.mode, after=1)
    load = Load(load.walk)
    block = [step for step in steps if isinstance(step, Pass | Store)]
    block = block[:next(n for n, step in enumerate(block) if isinstance(step, Store)) + 1]
    write = next(step for step in steps if isinstance(step, Write))
    fine = [read, load, *block, write, waits, load, *block, write, Halt()]
    assert estimate(config, fine, job.setup).total
    for program in ([read, load, *block, waits, load, *block, Halt()],
                    [read, load, *[waits, load] * 40, *block, write, Halt()]):
        with pytest.raises(RuntimeError, match="^program: instruction [0-9]+ waits for ever"):
            estimate(config, program, job.setup)


@pytest.mark.parametrize("change, message", [
    ({"latency": 0}, "^latency: 0 cycles; at least 1 is allowed$"),
    ({"words_per_cycle": -1}, "^words_per_cycle: -1; at least 0 is allowed$")])
def test_memory_speed_is_checked(change, message):
    with pytest.raises(ValueError, match=message):
        MemorySpeed(**change)
