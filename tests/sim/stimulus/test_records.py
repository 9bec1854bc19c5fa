"""Random FETCHes: legal, of every kind, and no matter to the cycle model whether it skips."""

import random

import pytest

from wingbeat.hw.isa.encoding import encode
from wingbeat.hw.isa.instruction import Fetch, Wait
from wingbeat.hw.isa.record import records_of
from wingbeat.hw.isa.setup import SETUP_READ_SETS, SETUP_READER, SETUP_WRITE_SETS, SETUP_WRITER
from wingbeat.sim.cycles.estimate import estimate
from wingbeat.sim.model.processor import ProcessorModel
from wingbeat.sim.stimulus.processor import random_processor_config, random_processor_job
from wingbeat.sim.stimulus.records import with_records


def cases(count=24):
    for seed in range(count):
        rng = random.Random(f"records {seed}")
        config = random_processor_config(rng)
        if config.memory_elements < config.record_elements:
            continue
        config = config.changed(records=True)
        yield seed, config, with_records(config, random_processor_job(config, rng), rng)


def test_they_are_legal_and_of_every_kind():
    kinds, programs, with_fetch = set(), 0, 0
    for seed, config, job in cases():
        model = ProcessorModel(config, [], [], job.memory.copy())
        for write in job.setup:
            model.write_setup(*write)
        assert model.check(encode(job.program)) == job.blocks, f"seed {seed}"
        fetches = [step for step in job.program if isinstance(step, Fetch)]
        kinds |= {("after", min(step.after, 1)) for step in fetches} | {("fence", step.fence) for step in fetches}
        kinds |= {"wait" for step in job.program if isinstance(step, Wait)}
        host = {(target, address): data for target, address, data in job.setup}
        kinds |= {"another set" for target, address, data in records_of(config, job.memory)
                  if target in (SETUP_READ_SETS, SETUP_WRITE_SETS) and host.get((target, address), data) != data}
        kinds |= {target for target, _, _ in records_of(config, job.memory[-8:])
                  if fetches and target in (SETUP_READER, SETUP_WRITER)}
        programs, with_fetch = programs + 1, with_fetch + bool(fetches)
    assert kinds >= {("after", 0), ("after", 1), ("fence", False), ("fence", True), "wait", "another set"}
    assert with_fetch > programs / 2 > 5


def test_the_cycle_model_skips_nothing_of_them():
    for seed, config, job in cases(10):
        found = [estimate(config, job.program, job.setup, skip=either, image=job.memory) for either in (True, False)]
        assert found[0] == found[1], f"seed {seed}"


def test_the_cycle_model_asks_for_the_memory():
    _, config, job = next(case for case in cases() if any(isinstance(step, Fetch) for step in case[2].program))
    with pytest.raises(ValueError, match="^image: None, and the program has a FETCH; allowed are the beats"):
        estimate(config, job.program, job.setup)
