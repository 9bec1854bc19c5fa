"""Programs that end and programs that wait for ever, judged without time: never against the cycle model."""

from dataclasses import replace
import random

import pytest

from wingbeat.hw.array.parameters import QUEUE_PLACES
from wingbeat.hw.isa.instruction import (Fetch, Halt, Load, Loop, MemoryMode, Mode, Pass, Read, Set, Store, Unit, Wait,
                                         Write)
from wingbeat.hw.isa.walk import Walk
from wingbeat.sim.cycles.estimate import estimate
from wingbeat.sim.model.progress import check_progress
from wingbeat.sim.stimulus.processor import random_processor_config, random_processor_job
from wingbeat.sim.stimulus.records import with_records

SET = Set(Unit.READER, 7, 0)


def ends(program):
    try:
        check_progress(program)
    except ValueError:
        return False
    return True


def unrolled(program):
    """Without loops, for jobs that have few."""
    found, number, left = [], 0, {}
    while not isinstance(program[number], Halt):
        step = program[number]
        if isinstance(step, Loop):
            left[number] = left.get(number, step.count) - 1
            if left[number]:
                number = step.target
                continue
            del left[number]
        else:
            found.append(step)
        number += 1
    return [*found, Halt()]


def crowded(program, rng):
    """More commands for the reader at some places, up to twice what a queue holds."""
    program = list(program)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(program))
        program[at:at] = [SET] * rng.choice((1, 6, 12, 15, 16, 17, 18, 24, 30))
    return program


def jobs(count):
    for seed in range(count):
        rng = random.Random(f"progress {seed}")
        config = random_processor_config(rng)
        job = random_processor_job(config, rng)
        if config.records:
            job = with_records(config, job, rng)
        yield seed, config, job, rng


def test_programs_of_the_regression_end():
    for seed, _, job, _ in jobs(40):
        assert ends(job.program), f"seed {seed}"


def test_what_it_lets_pass_ends():
    """And it refuses few that end: the cycle model finds those that do not."""
    verdicts = []
    for seed, config, job, rng in jobs(60):
        program = crowded(unrolled(job.program), rng)
        judged = ends(program)
        try:
            estimate(config, program, job.setup, image=job.memory)
            ended = True
        except RuntimeError:
            ended = False
        assert ended or not judged, f"seed {seed}"
        verdicts.append((judged, ended))
    assert verdicts.count((False, False)) >= 5 and verdicts.count((True, True)) >= 20
    assert verdicts.count((False, True)) <= 6


WALK = Walk((0,), 0, 0)
READ = Read(0, 0, 1, MemoryMode.COLUMNS)
BLOCK = [Load(WALK), Pass(Mode.PASS, 0, 1, 0, (0,), first=True, last=True), Store(WALK),
         Write(0, 0, 1, MemoryMode.COLUMNS)]


def chain(between):
    """Two blocks; the second READ waits for the first WRITE, and ``between`` stands behind it."""
    return [READ, BLOCK[0], replace(READ, after=1), *between, *BLOCK[1:], *BLOCK, Halt()]


@pytest.mark.parametrize("count, is_fine", [(0, True), (QUEUE_PLACES, True), (QUEUE_PLACES + 1, False)])
def test_a_full_queue_in_front_of_what_is_waited_for(count, is_fine):
    assert ends(chain([SET] * count)) == is_fine


def test_the_message_names_what_waits():
    with pytest.raises(ValueError, match="^program: instruction 2 READ waits for ever; a queue in front of a unit "
                                         "holds 16 instructions, and too many stand between it and what it waits for$"):
        check_progress(chain([SET] * 20))


def test_wait_behind_a_fetch_that_waits_for_a_later_write():
    """The WRITE stands behind the WAIT."""
    fetch = Fetch(0, 0, 1, MemoryMode.COLUMNS)
    assert ends([READ, fetch, Wait(), *BLOCK, Halt()])
    assert not ends([READ, *BLOCK, READ, replace(fetch, after=1), Wait(), *BLOCK[:-1], Halt()])
    assert ends([READ, *BLOCK, replace(fetch, after=1), Wait(), READ, *BLOCK, Halt()])
