"""Every preset on Verilator, bit for bit against the model: kernels of several sizes in every scaling policy on an
array, small programs on a processor."""

import random

import numpy as np
import pytest

from wingbeat.gen.cosim.core import Core
from wingbeat.gen.cosim.job import job_trial
from wingbeat.gen.cosim.selftest import kernel_rows, small_kernels, small_programs
from wingbeat.gen.cosim.timing import STREAM_STALLS, MemoryTiming, StreamTiming
from support.campaign import presets
from wingbeat.gen.presets.select import load_preset

SEED = 6


@pytest.mark.parametrize("preset", presets(lambda config: not config.is_processor, later=["ulx3s-16", "ulx3s-25f"]))
def test_array(preset, need, compare):
    need("verilator")
    config = load_preset(preset)
    numbers = np.random.default_rng(SEED)
    jobs = {f"{name}_{k}": job for name, kernel in small_kernels(config, numbers)
            for k, job in enumerate(kernel.jobs(kernel_rows(kernel, 2 * kernel.rows_per_block + 1, numbers)))}
    profiles = random.Random(SEED).choices(list(STREAM_STALLS), k=len(jobs))
    trials = [job_trial(f"{name}-0", job, StreamTiming(profile, SEED + k))
              for k, ((name, job), profile) in enumerate(zip(jobs.items(), profiles))]
    compare(config, jobs, Core(config).simulate(trials), f"preset {preset}, seed {SEED}")


LATER = ["hybrid-16", "matrix-16", "processor-16", "ulx3s-processor"]


@pytest.mark.parametrize("preset", presets(lambda config: config.is_processor, later=LATER))
def test_processor(preset, need):
    need("verilator")
    config = load_preset(preset)
    programs = list(small_programs(config, SEED))
    timings = {"ideal": MemoryTiming(), "bursts": MemoryTiming(30, stalls="bursts", seed=SEED)}
    trials = [small.under(timing, name) for small in programs for name, timing in timings.items()]
    runs = Core(config, depth=max(len(small.trial.data) for small in programs)).simulate(trials)
    for run, small in zip(runs, [small for small in programs for _ in timings]):
        note = f"preset {preset}, seed {SEED}, {run.trial.name}"
        assert not run.error, note
        wrong = (run.data != small.expected).any(axis=1)
        assert not wrong.any(), f"{note}: {wrong.sum()} beats, first {wrong.argmax()}"
