"""Random READs by id: legal, of every kind, no matter to the cycle model whether it skips, and not what they were."""

from itertools import count
import random

import numpy as np

from wingbeat.hw.isa.encoding import encode
from wingbeat.hw.isa.instruction import Destination, Fetch, Loop, Read
from wingbeat.sim.cycles.estimate import estimate
from wingbeat.sim.model.processor import ProcessorModel
from wingbeat.sim.stimulus.ids import with_ids
from wingbeat.sim.stimulus.processor import random_processor_config, random_processor_job


def cases(number):
    """Seed, configuration, the job without ids and with them."""
    found = 0
    for seed in count():
        rng = random.Random(f"ids {seed}")
        config = random_processor_config(rng)
        if config.memory_elements < config.record_elements:
            continue
        config = config.changed(records=True, row_ids=rng.choice((16, 128)))
        plain = random_processor_job(config, rng)
        job = with_ids(config, plain, rng)
        if job is not plain:
            yield seed, config, plain, job
            found += 1
        if found == number:
            return


def run(config, job):
    model = ProcessorModel(config, [], [], job.memory.copy())
    for write in job.setup:
        model.write_setup(*write)
    assert model.check(encode(job.program)) == job.blocks
    model.run(job.program)
    return model.memory


def test_they_are_legal_and_of_every_kind():
    kinds, changed, programs = set(), 0, 0
    for seed, config, plain, job in cases(12):
        found = run(config, job)
        before = run(config, plain)
        programs, changed = programs + 1, changed + bool((found[:len(before)] != before).any())
        reads = [step for step in job.program if type(step) is Read and step.by_id]
        fetches = [step for step in job.program if isinstance(step, Fetch) and step.destination is Destination.IDS]
        assert len(reads) == len(fetches) and all(step.fence for step in fetches), f"seed {seed}"
        kinds |= {("reads", min(len(reads), 2))} | {("after", min(step.after, 1)) for step in reads}
        kinds |= {"loop" for step in job.program if isinstance(step, Loop)}
        kinds |= {"negative" for beat in job.memory[len(plain.memory):] if beat[0] < 0}
    assert kinds >= {("reads", 2), ("after", 0), ("after", 1), "loop"}, kinds
    assert changed > programs / 2


def test_the_cycle_model_skips_nothing_of_them():
    for seed, config, _, job in cases(6):
        found = [estimate(config, job.program, job.setup, skip=either, image=job.memory) for either in (True, False)]
        assert found[0] == found[1], f"seed {seed}"


def test_nothing_where_no_ids_are_kept():
    rng = random.Random(1)
    config = random_processor_config(rng).changed(row_ids=0)
    job = random_processor_job(config, rng)
    assert with_ids(config, job, rng) is job
    assert np.array_equal(job.memory, with_ids(config, job, rng).memory)
