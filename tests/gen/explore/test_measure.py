"""Workloads on the simulated Verilog of a processor: what is compared, and exponents of blocks."""

from dataclasses import replace

import pytest

from wingbeat.gen.cosim.core import Core
from wingbeat.gen.cosim.timing import MemoryTiming
from wingbeat.gen.explore.measure import bench_processor, run_mismatches, run_workload, workloads
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.errors import WingbeatError

SEED = 1
CONFIG = CoreConfig.of(engines=2, layers=1, half_words=64, coefficient_words=64, stream_words=4, memory_bits=10,
                       block_log=4)


@pytest.fixture(scope="module")
def figures():
    """By kernel, with an exponent for each block."""
    return {row["kernel"]: row for row in bench_processor(CONFIG, workloads(CONFIG, ("fft", "bpmm"), (16,), blocks=4,
                                                                          scaling="block", seed=SEED))}


@pytest.mark.parametrize("kernel", ["fft", "bpmm"])
def test_blocks_with_exponents(figures, kernel):
    row = figures[kernel]
    assert row["mismatches"] == 0 and row["total"] == row["model_total"] and row["sqnr_db"] > 72, f"seed {SEED}"


def test_every_difference_counts():
    """One element, the exponent of one block, one block too many."""
    (work,) = workloads(CONFIG, ("fft",), (16,), blocks=4, scaling="block", seed=SEED)
    run = run_workload(Core(CONFIG).build(), work, MemoryTiming())
    assert run_mismatches(work, run) == 0
    other = run.data.copy()
    other[work.target.base] += 1
    assert run_mismatches(work, replace(run, data=other)) == CONFIG.memory_elements
    first, *rest = run.blocks
    assert run_mismatches(work, replace(run, blocks=[replace(first, exponent=first.exponent + 1), *rest])) == 1
    assert run_mismatches(work, replace(run, blocks=rest)) >= 1
    assert work.result(run.data, [block.exponent + 1 for block in run.blocks]) == pytest.approx(
        2 * work.result(run.data, [block.exponent for block in run.blocks]))


@pytest.mark.parametrize("kernels, blocks, message", [
    (("fft",), 5, r"--scaling: 'block' gives each of 5 blocks an exponent, and memory.block_log is 4; allowed are "
                  r"static, safe, or memory.block_log from 5 on"),
    (("fft2-real",), 4, r"--scaling: 'block' .* allowed are static, safe where transforms follow each other"),
    (("ffn",), 4, r"--scaling: 'block' .* allowed are static, safe where transforms follow each other")])
def test_exponents_that_nobody_could_read_are_refused(kernels, blocks, message):
    with pytest.raises(WingbeatError, match=f"^{message}$"):
        workloads(CONFIG, kernels, (16,), blocks=blocks, scaling="block")
