"""The cycle model of the processor against the counters of the generated Verilog: equal, whatever the memory's speed.

One test is one configuration: one build and one start of the simulator for all its jobs. The first configuration always
runs, all of them with WINGBEAT_COSIM_SEEDS. What a job is follows from the name of its trial.
"""

from fractions import Fraction
import random

import pytest

from support.campaign import FIRST_SEED, IS_CAMPAIGN

from wingbeat.gen.cosim.core import Core
from wingbeat.gen.cosim.job import Trial
from wingbeat.gen.cosim.timing import MemoryTiming
from wingbeat.hw.config import CoreConfig, Pipeline
from wingbeat.sim.stimulus.processor import random_processor_job

N_JOBS = 24
ALWAYS = "four engines a beat, short"
CONFIGS = {
    ALWAYS: dict(engines=8, layers=1, width=18, stream_words=8, half_words=32, pipeline=Pipeline.SHORT),
    "one engine a beat, deep": dict(engines=2, layers=1, stream_words=2, half_words=64),
    "two layers, few in flight": dict(engines=4, layers=2, width=12, element_width=10, stream_words=8, half_words=64,
                                      in_flight=9),
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
