"""Random softmaxes: legal, of every kind, with masks of every kind, lengths that records change, data of every kind."""

import random

import numpy as np
import pytest

from wingbeat.hw.isa.encoding import encode, instruction_fields
from wingbeat.hw.isa.instruction import Fetch, Mac, Mask, Pass, Softmax
from wingbeat.hw.isa.record import records_of
from wingbeat.hw.isa.setup import LENGTHS, SETUP_LENGTHS
from wingbeat.hw.numeric import largest, smallest
from wingbeat.sim.cycles.estimate import estimate
from wingbeat.sim.model.legality import field_fault
from wingbeat.sim.model.processor import ProcessorModel
from wingbeat.sim.model.softmax_rules import check_softmax
from wingbeat.sim.stimulus.processor import random_softmax_config
from wingbeat.sim.stimulus.records import with_records
from wingbeat.sim.stimulus.ring import random_softmax_job
from wingbeat.sim.stimulus.softmax import random_lengths, random_patterns, random_softmax

SEEDS = range(3)


@pytest.fixture(scope="module")
def jobs():
    found = []
    for seed in SEEDS:
        rng = random.Random(f"softmax {seed}")
        config = random_softmax_config(rng)
        job = random_softmax_job(config, rng)
        found.append((f"seed {seed}", config, with_records(config, job, rng)))
    return found


def test_configurations():
    """Any of them has softmax, one, two or four layers, and may have fewer finishers than engines."""
    configs = [random_softmax_config(random.Random(f"config {seed}")) for seed in range(60)]
    assert {config.layers for config in configs} == {1, 2, 4} and all(config.softmax_pairs for config in configs)
    assert {True, False} == {config.finishers < config.engines for config in configs}


def test_jobs_run(jobs):
    """And the cycle model skips nothing of them."""
    for note, config, job in jobs:
        model = ProcessorModel(config, [], [], job.memory.copy())
        for write in job.setup:
            model.write_setup(*write)
        assert len(model.run(job.program)) == job.blocks, note
        found = [estimate(config, job.program, job.setup, skip=either, image=job.memory) for either in (True, False)]
        assert found[0] == found[1], note


def test_softmaxes_of_every_kind():
    """Each reads rows that are defined or that it has written, in an order that the model allows."""
    met, found = set(), 0
    for seed in range(30):
        rng = random.Random(f"steps {seed}")
        config = random_softmax_config(rng)
        for _ in range(6):
            defined = np.arange(config.bank_rows) < config.bank_rows // 2
            steps = random_softmax(config, defined, rng)
            found += bool(steps)
            for step in steps:
                assert field_fault(config, *instruction_fields(encode([step]))) == (None, ""), f"seed {seed}: {step}"
            check_softmax(config, [(step, Mask()) for step in steps])
            met |= set().union(*(kinds_of(config, step) for step in steps))
            met |= {("chunks", sum(isinstance(step, Mac) and step.softmax is Softmax.LOGITS for step in steps))}
    assert found > 100, found
    want = {*(("layers", n) for n in (1, 2, 4)), *(("chunks", n) for n in (1, 2, 3, 4)),
            *(("pairs", n) for n in (1, 2, 4)), *(("outputs", n) for n in (1, 2, 4)),
            *((name, flag) for flag in (False, True) for name in (
                "fresh", "keep", "merge", "finishers", "upper", "window", "length", "slope", "before all",
                "behind all"))}
    assert met >= want, f"missing {want - met}"


def kinds_of(config, step):
    if isinstance(step, Mask):
        return {("upper", step.upper), ("window", step.window > 0), ("length", step.length > 0),
                ("slope", step.slope > 0), ("before all", step.upper and step.limit < -999),
                ("behind all", step.upper and step.limit > step.key + 9999)}
    assert isinstance(step, Mac)
    values = {("outputs", min(step.outputs, 4))} if step.softmax is Softmax.VALUES else {("fresh", step.fresh)}
    return values | {("layers", config.layers), ("keep", step.keep), ("merge", step.merge),
                     ("pairs", min(step.pairs, 4)), ("finishers", config.finishers > 1)}


def test_a_core_without_room_has_none():
    rng = random.Random(2)
    config = random_softmax_config(rng)
    assert random_softmax(config, np.zeros(config.bank_rows, dtype=bool), rng) == []


def test_jobs_mix(jobs):
    """Softmaxes with passes, other MACs, and records of lengths."""
    steps = [step for _, _, job in jobs for step in job.program]
    macs = [step for step in steps if isinstance(step, Mac)]
    assert {kind for kind in Softmax} == {mac.softmax for mac in macs}
    assert any(isinstance(step, Pass) and not step.first for step in steps)
    assert any(isinstance(step, Fetch) for step in steps)


def test_lengths_are_brought_by_records(jobs):
    _, config, job = jobs[0]
    more = [with_records(config, job, random.Random(seed)).memory[len(job.memory):] for seed in range(4)]
    assert any(target == SETUP_LENGTHS for memory in more if len(memory) for target, _, _ in records_of(config, memory))


def test_lengths_fill_their_table():
    rng = random.Random(4)
    config = random_softmax_config(rng)
    found = random_lengths(config, rng)
    assert [address for _, address, _ in found] == list(range(LENGTHS))
    assert {0, 0xFFFF} <= {data for _, _, data in found} and len({data for _, _, data in found}) > 3


def test_patterns():
    """Noise alone would meet none of these: a stretch of zeros or of one number, one element in a beat, extremes."""
    rng = random.Random(6)
    config = random_softmax_config(rng)
    ends = smallest(config.element_width), largest(config.element_width)
    noise = np.random.default_rng(6).integers(ends[0], ends[1] + 1, (2000, config.memory_elements))
    found = random_patterns(config, noise, rng)
    assert found.shape == noise.shape and found.min() >= ends[0] and found.max() <= ends[1]
    constant = (found == found[:, :1]).all(axis=1)
    assert (found[constant] == 0).any() and len(np.unique(found[constant, 0])) > 4
    assert (np.count_nonzero(found, axis=1) == 1).any() and (found == noise).all(axis=1).any()
    assert np.isin(found, ends).all(axis=1).any()
