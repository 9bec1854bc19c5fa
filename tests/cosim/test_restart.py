"""Starting again: a second start waits for the end of the first program, and nothing of that is left."""

from dataclasses import replace

import numpy as np
import pytest

from wingbeat.gen.compiler.kernel.compile import compile_butterfly, compile_fft
from wingbeat.gen.cosim.core import Core
from wingbeat.gen.compiler.beats import start_writes
from wingbeat.gen.cosim.job import job_trial
from wingbeat.gen.cosim.selftest import model_blocks, kernel_rows
from wingbeat.gen.cosim.timing import STREAM_STALLS, StreamTiming
from wingbeat.gen.presets.select import load_preset

SEED = 31
CONFIG = load_preset("tiny")


def jobs():
    numbers = np.random.default_rng(SEED)
    weights = numbers.standard_normal((1, 1, 3, 4, 2, 2)) / np.sqrt(2)
    kernels = [compile_fft(16, CONFIG), compile_butterfly(weights, CONFIG, scaling="block", rows=4)]
    return [kernel.jobs(kernel_rows(kernel, 2 * kernel.rows_per_block, numbers))[0] for kernel in kernels]


@pytest.mark.parametrize("profile", STREAM_STALLS)
def test_two_starts_in_a_row(need, profile):
    need("verilator")
    job = jobs()[0]
    once = job_trial("twice", job, StreamTiming(profile, SEED))
    # Both starts, all words and a write to nowhere are offered at once.
    twice = replace(once, setup=[*once.setup_writes, once.setup_writes[-1], (0xFF, 0, 0)], program=None,
                    data=np.concatenate([job.words, job.words]), output_words=2 * len(job.words),
                    n_blocks=2 * job.blocks, deadline=2 * once.deadline)
    [run] = Core(CONFIG).simulate([twice])
    want = model_blocks(CONFIG, job) * 2
    assert [block.exponent for block in run.blocks] == [block.exponent for block in want], SEED
    assert np.array_equal(run.data, np.concatenate([block.words for block in want])), SEED
    assert run.counters.blocks == job.blocks  # the counters start again, too


def test_new_program_in_the_memories_of_the_old_one(need, compare):
    """Only what differs is written: coefficients and program of another kernel over those of the first."""
    need("verilator")
    first, second = jobs()
    trials = [job_trial("fft-0", first), replace(job_trial("bpmm-0", second), reset=False),
              replace(job_trial("fft-1", first), reset=False),
              replace(job_trial("fft-2", first), setup=start_writes(first.program)[-1:], program=None, reset=False)]
    compare(CONFIG, {"fft": first, "bpmm": second}, Core(CONFIG).simulate(trials), f"seed {SEED}")
