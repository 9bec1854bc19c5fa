"""Every preset on Verilator: kernels of several sizes in every scaling policy, bit for bit against the
model."""

import random

import numpy as np
import pytest

from wingbeat.gen.presets import load_preset, names
from wingbeat.gen.selftest import random_rows, small_kernels
from wingbeat.gen.simulator import PROFILES, build_array, simulate, trial

SEED = 6
LARGE = 64  # multipliers; beyond it a build takes more than ten seconds
PRESETS = [pytest.param(name, marks=[pytest.mark.slow] if load_preset(name).n_multipliers > LARGE else [])
           for name in names()]


@pytest.mark.parametrize("preset", PRESETS)
def test_preset(preset, need, compare):
    need("verilator")
    config = load_preset(preset)
    numbers = np.random.default_rng(SEED)
    jobs = {f"{name}_{k}": job for name, kernel in small_kernels(config, numbers)
            for k, job in enumerate(kernel.jobs(random_rows(kernel, 2 * kernel.rows_per_block + 1, numbers)))}
    profiles = random.Random(SEED).choices(list(PROFILES), k=len(jobs))
    trials = [trial(f"{name}-0", job, profile, seed=SEED + k)
              for k, ((name, job), profile) in enumerate(zip(jobs.items(), profiles))]
    compare(config, jobs, simulate(build_array(config), trials), f"preset {preset}, seed {SEED}")
