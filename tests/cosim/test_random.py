"""Random configurations x programs x stall profiles: the generated Verilog against the model, bit for bit.

One test is one configuration with several programs, each under every stall profile. WINGBEAT_COSIM_SEEDS is a
number of configurations or a range FIRST:LAST; `make campaign` sets the whole campaign. The name of a test ends
in its seed.
"""

from dataclasses import replace
import random

import numpy as np
import pytest

from support.campaign import seeds

from wingbeat.gen.cosim.core import Core
from wingbeat.gen.cosim.job import job_trial, with_stalls
from wingbeat.gen.cosim.selftest import kernel_rows, small_kernels
from wingbeat.gen.cosim.timing import StreamTiming
from wingbeat.sim.stimulus.array import random_config, random_job

N_PROGRAMS = 2
N_KERNELS = 3
SEEDS = seeds(range(4))


def simulator_of(seed, config):
    """Icarus is four-state and slow: every third configuration, where it is small."""
    return "icarus" if seed % 3 == 2 and config.n_multipliers <= 12 else "verilator"


@pytest.mark.parametrize("seed", SEEDS)
def test_random_configuration(seed, need, compare, compare_counts):
    rng = random.Random(f"cosim {seed}")
    config = random_config(rng)
    simulator = simulator_of(seed, config)
    need(simulator)
    jobs = {f"program{k}": random_job(config, rng) for k in range(N_PROGRAMS)}
    numbers = np.random.default_rng(seed)
    kernels = list(small_kernels(config, numbers))
    for name, kernel in rng.sample(kernels, min(N_KERNELS, len(kernels))):
        rows = rng.choice((1, kernel.rows_per_block, 2 * kernel.rows_per_block + 1))
        for k, job in enumerate(kernel.jobs(kernel_rows(kernel, rows, numbers))):
            jobs[f"{name}_{k}"] = job
    trials = [t for k, (name, job) in enumerate(jobs.items())
              for t in with_stalls(job_trial(name, job, StreamTiming(seed=1000 * seed + k)))]
    # A program leaves the array ready for the next one: most trials follow without a reset.
    trials[1:] = [replace(t, reset=rng.random() < 0.2) for t in trials[1:]]
    runs = Core(config).simulate(trials, simulator)
    compare(config, jobs, runs, f"seed {seed} on {simulator}, {config!r}")
    for run in runs:
        if run.trial.timing.stalls == "none":
            compare_counts(config, run, f"seed {seed} on {simulator}, {run.trial.name}, {config!r}")
