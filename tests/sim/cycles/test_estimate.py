"""The cycle model: sums, skipping, memories of several speeds, deadlocks.

That its numbers are those of the hardware: tests/hw/array/test_array.py (arrays) and
tests/cosim/test_processor_cycles.py.
"""

from dataclasses import replace
from fractions import Fraction
import random

import pytest

from support.programs import executed

from wingbeat.gen.presets.select import load_preset
from wingbeat.gen.workloads.kernels import fft_workload
from wingbeat.hw.isa.descriptor import DESCRIPTOR_WORDS
from wingbeat.hw.isa.instruction import Halt, Load, Loop, MemoryMode, Pass, Read, Store, Sums, Write
from wingbeat.hw.isa.parameter_set import SET_WORDS, Activation, WriteSet
from wingbeat.hw.isa.setup import SETUP_READER, SETUP_WRITE_SETS, SETUP_WRITER
from wingbeat.sim.cycles.array import FetchUnit
from wingbeat.sim.cycles.estimate import estimate
from wingbeat.sim.cycles.memory import MemorySpeed
from wingbeat.sim.cycles.skip import Skipper
from wingbeat.sim.model.memory import positions, write_addresses
from wingbeat.sim.model.vector_unit import VectorUnit
from wingbeat.sim.stimulus.processor import random_processor_config, random_processor_job

pytestmark = pytest.mark.thin(3)

SEEDS = range(12)
SPEEDS = (MemorySpeed(), MemorySpeed(1, 3), MemorySpeed(60, Fraction(5, 2)), MemorySpeed(200))


def job_of(seed):
    rng = random.Random(f"cycles {seed}")
    config = random_processor_config(rng)
    config = config.changed(in_flight=rng.choice((4, 9, 64, 256)))
    return config, random_processor_job(config, rng)


def tables(config, job):
    words = {target: [0] * (DESCRIPTOR_WORDS * config.descriptors) for target in (SETUP_READER, SETUP_WRITER)}
    for target, address, word in job.setup:
        if target in words:
            words[target][address] = word
    return [[w[DESCRIPTOR_WORDS * n:][:DESCRIPTOR_WORDS] for n in range(config.descriptors)] for w in words.values()]


def adds(config, job, steps):
    """Whether a WRITE has a residual."""
    unit = VectorUnit(config)
    for write in job.setup:
        unit.write_setup(*write)
    return any(isinstance(step, Write) and step.vector and unit.write_set(step.vector).residual for step in steps)


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
        # A residual reads through the same port.
        assert got.units["reader_moving"] == sum(asked) or adds(config, job, steps), note
        if len(written) == job.blocks:
            assert got.units["writer_moving"] == sum(written), note


@pytest.mark.parametrize("seed", SEEDS)
def test_skipping_changes_nothing(seed):
    config, job = job_of(seed)
    for speed in SPEEDS:
        with_skips, without = (estimate(config, job.program, job.setup, speed, skip) for skip in (True, False))
        assert with_skips == without, f"seed {seed}, {speed}"


def with_vector_unit(config, program, setup, rng):
    """The program with a set for every WRITE and many READs, and SUMS in front of some of these."""
    config = config.changed(vector_lanes=rng.choice((2, 4)))
    sets = [WriteSet(), *(WriteSet(rescale=rng.random() < 0.5, shift=18, activation=rng.choice(list(Activation)),
                                   residual=rng.random() < 0.5) for _ in range(15))]
    words = [word for one in sets for word in one.words()]
    setup = [*setup, *((SETUP_WRITE_SETS, at, word) for at, word in enumerate(words))]
    changed, where = [], []
    for step in program:
        where.append(len(changed))
        if isinstance(step, Read):
            if rng.random() < 0.3:
                changed.append(Sums(step.descriptor, step.register, step.rows, MemoryMode.COLUMNS, after=step.after,
                                    after_beats=step.after_beats, vector=1))
            step = replace(step, vector=rng.randint(0, 1))
        elif isinstance(step, Write):
            step = replace(step, vector=rng.randint(0, 15))
        changed.append(step)
    changed = [replace(step, target=where[step.target]) if isinstance(step, Loop) else step for step in changed]
    return config, changed, setup, sets


@pytest.mark.parametrize("seed", SEEDS)
def test_vector_unit(seed):
    """Skipping changes nothing with a vector unit either, and every request and write is counted once."""
    config, job = job_of(seed)
    rng = random.Random(f"vector cycles {seed}")
    config, program, setup, sets = with_vector_unit(config, job.program, job.setup, rng)
    steps, (reads, writes) = list(executed(program)), tables(config, job)
    read = sum(positions(config, reads[s.descriptor], s.rows, 0).valid.sum() for s in steps if isinstance(s, Read))
    written = [(sets[s.vector], write_addresses(config, writes[s.descriptor], s, 0).enabled)
               for s in steps if isinstance(s, Write)]
    added = [enabled for chosen, enabled in written if chosen.residual]
    # Of a FOLD the writes of element 0 alone may have no need to read.
    most, least = sum(enabled.sum() for enabled in added), sum(enabled[:, :2].sum() for enabled in added)
    for speed in (SPEEDS[0], SPEEDS[2]):
        got, without = (estimate(config, program, setup, speed, skip) for skip in (True, False))
        note = f"seed {seed}, {speed}"
        assert got == without, note
        assert read + least <= got.units["reader_moving"] <= read + most, note
        assert got.units["writer_moving"] == sum(enabled.sum() for _, enabled in written), note


@pytest.fixture(scope="module")
def transform():
    """Long passes: four blocks of 1024-point transforms on 128 multipliers."""
    config = load_preset("array128-s2").changed(vector_lanes=0)
    return fft_workload(config, 1024, 4, "static", 1)


@pytest.mark.parametrize("speed", [MemorySpeed(), MemorySpeed(1, 12), MemorySpeed(40, 12), MemorySpeed(9, 5)], ids=str)
def test_long_passes_are_skipped(transform, speed, monkeypatch):
    """Most cycles of a long transform are passed over, and the result is that of stepping through."""
    assert stepped_share(transform.config, transform.program, speed, monkeypatch) < 0.75


@pytest.mark.parametrize("speed", [MemorySpeed(), MemorySpeed(40, 12)], ids=str)
def test_long_passes_of_a_vector_unit_are_skipped(transform, speed, monkeypatch):
    """Also where a beat takes two cycles in the lanes, on both ways."""
    config = transform.config.changed(vector_lanes=16)
    vector = [replace(step, vector=1) if isinstance(step, Read | Write) else step
              for step in transform.program.instructions]
    words = enumerate(WriteSet(rescale=True, shift=18, residual=True).words(), SET_WORDS)
    program = replace(transform.program, instructions=vector,
                      setup=[*transform.program.setup, *((SETUP_WRITE_SETS, at, word) for at, word in words)])
    assert stepped_share(config, program, speed, monkeypatch) < 0.75


def stepped_share(config, program, speed, monkeypatch):
    """The share of cycles that an estimate steps through, which must be equal to that without skipping."""
    want = estimate(config, program.instructions, program.setup, speed, skip=False)
    stepped, step = [], FetchUnit.step  # once in every cycle that is stepped through
    monkeypatch.setattr(FetchUnit, "step", lambda self, *state: (stepped.append(1), step(self, *state))[1])
    assert estimate(config, program.instructions, program.setup, speed) == want
    return len(stepped) / want.total


def test_a_skip_too_far_is_seen(transform, monkeypatch):
    """The comparison above can fail: one period more than the counters allow."""
    program, setup = transform.program.instructions, transform.program.setup
    want, limits = estimate(transform.config, program, setup, skip=False), Skipper.limits
    monkeypatch.setattr(Skipper, "limits", lambda self, change: (n + 3 for n in limits(self, change)))
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
