"""Simulation of generated Verilog: what all these tests need. A missing simulator is a skip with its
reason."""

import pytest

from wingbeat.gen.cosim.selftest import model_blocks
from wingbeat.gen.cosim.testbench.simulators import find
from wingbeat.sim.cycles.estimate import estimate
from wingbeat.sim.cycles.memory import MemorySpeed

COUNTS = ("total", "computing", "waiting_input", "waiting_output", "waiting_hazard")
REPORT = 3  # cycles from the last beat of a block, counted from the first running one, to its report since the start


@pytest.fixture
def need():
    """Call with the name of a simulator; skips the test where it is not installed."""
    def check(simulator):
        if find(simulator) is None:
            pytest.skip(f"{simulator} is not installed: nothing was simulated on it")
    return check


@pytest.fixture
def compare():
    """Call with config, pairs of trial name and job, runs and a context: every block against the model."""
    def check(config, jobs, runs, context):
        expected = {name: model_blocks(config, job) for name, job in jobs.items()}
        for run in runs:
            blocks = expected[run.trial.name.rsplit("-", 1)[0]]
            note = f"{context}, {run.trial.name}, stalls {run.trial.timing.note}"
            assert len(run.blocks) == len(blocks), note
            for number, (got, want) in enumerate(zip(run.blocks, blocks)):
                wrong = (got.words != want.words).any(axis=1)
                assert not wrong.any(), f"{note}: block {number}, {wrong.sum()} words, first {wrong.argmax()}"
                assert got.exponent == want.exponent, f"{note}: exponent of block {number}"
                assert got.saturated == bool(want.saturated), f"{note}: saturated of block {number}"
            assert run.counters.saturated == any(block.saturated for block in blocks), note
            assert (run.counters.busy, run.counters.blocks) == (0, len(blocks)), note
    return check


@pytest.fixture
def compare_cycles():
    """Call with configuration, run of a processor whose memory has no random stalls, and a context: every counter and
    the cycle of every block against the cycle model."""
    def check(config, run, context):
        trial, timing = run.trial, run.trial.timing
        want = estimate(config, trial.program, trial.setup, MemorySpeed(timing.latency, timing.words_per_cycle),
                        image=trial.data)
        assert {count: run.status[count] for count in (*COUNTS, *want.units)} \
            == {**{count: getattr(want, count) for count in COUNTS}, **want.units}, context
        assert [block.cycle - run.start_cycle - REPORT for block in run.blocks] == want.block_out, context
    return check


@pytest.fixture
def compare_counts():
    """Call with configuration, run of an array without stalls, and a context: every counter against the cycle model."""
    def check(config, run, context):
        want = estimate(config, run.trial.program)
        assert [run.status[count] for count in COUNTS] == [getattr(want, count) for count in COUNTS], context
    return check
