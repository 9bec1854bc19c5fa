"""The cycle model of the processor against the counters of the generated Verilog: equal, whatever the memory's speed.

One test is one configuration: one build and one start of the simulator for all its jobs. The first configuration always
runs, all of them with WINGBEAT_COSIM_SEEDS. What a job is follows from the name of its trial.
"""

from fractions import Fraction
import random

import numpy as np
import pytest

from support.campaign import FIRST_SEED, IS_CAMPAIGN

from wingbeat.gen.cosim.core import Core
from wingbeat.gen.cosim.job import Trial
from wingbeat.gen.cosim.timing import MemoryTiming
from wingbeat.hw.config import CoreConfig, Pipeline
from wingbeat.hw.isa.instruction import Mac
from wingbeat.sim.model.processor import ProcessorModel
from wingbeat.sim.stimulus.processor import random_processor_job
from wingbeat.sim.stimulus.records import with_records
from wingbeat.sim.stimulus.ring import with_macs

N_JOBS = 24
N_MACS = 10  # jobs with MACs
ALWAYS = "four engines a beat, short"
CONFIGS = {
    ALWAYS: dict(engines=8, layers=1, width=18, stream_words=8, half_words=32, pipeline=Pipeline.SHORT),
    "one engine a beat, deep": dict(engines=2, layers=1, stream_words=2, half_words=64),
    "two layers, few in flight": dict(engines=4, layers=2, width=12, element_width=10, stream_words=8, half_words=64,
                                      in_flight=9),
}
# By the number of layers.
RINGS = {
    1: dict(engines=8, width=18, element_width=16, coefficient_width=15, stream_words=8, half_words=64, ring_words=32),
    2: dict(engines=4, width=13, element_width=10, coefficient_width=14, stream_words=8, half_words=128, ring_words=32,
            vector_lanes=2, in_flight=64),
    4: dict(engines=1, width=14, element_width=12, coefficient_width=12, stream_words=16, half_words=256,
            ring_words=16),
}


def timings(config):
    return [MemoryTiming(), MemoryTiming(37, Fraction(3 * config.stream_words, 8)), MemoryTiming(200)]


def trials_of(name, config):
    for number in range(N_JOBS):
        job = random_processor_job(config, random.Random(f"cycles of {name} {FIRST_SEED + number}"))
        for at, timing in enumerate(timings(config)):
            if at == 0 or number % 4 == 0:
                yield Trial(f"job{number}_memory{at}", job.setup, job.program, job.memory, timing)


@pytest.mark.parametrize("name", CONFIGS if IS_CAMPAIGN else [ALWAYS])
def test_estimate_is_what_the_hardware_counts(name, need, compare_cycles):
    need("verilator")
    config = CoreConfig.of(**CONFIGS[name], coefficient_words=64, memory_bits=12)
    for run in Core(config).simulate(list(trials_of(name, config))):
        note = f"{name}, {run.trial.name}, {config!r}"
        assert not run.error, note
        compare_cycles(config, run, note)


def memories(config, rng):
    """Ideal, slow, slow and narrow, narrow, and two that stall at random."""
    stalls = [MemoryTiming(5, stalls=name, seed=rng.getrandbits(31)) for name in ("slow_reads", "bursts")]
    return [*timings(config), MemoryTiming(3, Fraction(config.stream_words, 5)), *stalls]


@pytest.mark.campaign
@pytest.mark.parametrize("layers", RINGS)
def test_macs_in_the_time_of_the_cycle_model(layers, need, compare_cycles):
    """And with the results of the integer model, whatever the memory does."""
    need("verilator")
    config = CoreConfig.of(**RINGS[layers], layers=layers, coefficient_words=64, memory_bits=13, descriptors=12,
                           records=True)
    trials, wanted = [], {}
    for seed in range(FIRST_SEED, FIRST_SEED + N_MACS):
        rng = random.Random(f"MACs of {layers} layers {seed}")
        job = with_records(config, with_macs(config, random_processor_job(config, rng), rng), rng)
        model = ProcessorModel(config, [], [], job.memory.copy())
        for write in job.setup:
            model.write_setup(*write)
        model.run(job.program)
        for at, timing in enumerate(memories(config, rng)):
            trials.append(Trial(f"seed{seed}_memory{at}", job.setup, job.program, job.memory, timing))
            wanted[trials[-1].name] = model.memory
    with_mac = [trial for trial in trials if any(isinstance(step, Mac) for step in trial.program)]
    assert len(with_mac) > len(trials) / 2, f"first seed {FIRST_SEED}"
    for run in Core(config).simulate(trials):
        note = f"{run.trial.name}, {run.trial.timing}, {config!r}"
        assert not run.error and np.array_equal(run.data, wanted[run.trial.name]), f"{note}, error {run.error}"
        if run.trial.timing.stalls == "none":
            compare_cycles(config, run, note)
