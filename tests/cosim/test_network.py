"""Whole networks in generated Verilog: every element of the memory and every counter equals the models."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from wingbeat.gen.compiler.network.compile import compile_network
from wingbeat.gen.compiler.network.reference import forward
from wingbeat.gen.cosim.core import Core
from wingbeat.gen.cosim.network import simulate_network
from wingbeat.gen.cosim.testbench.simulators import find
from wingbeat.gen.cosim.timing import MEMORY_STALLS, MemoryTiming
from wingbeat.gen.presets.select import load_preset
from wingbeat.gen.workloads.fabnet import BlockShape, compile_block, fabnet_network
from wingbeat.gen.workloads.shipped import load_dataset
from wingbeat.hw.config import CoreConfig
from wingbeat.sim.reference.metrics import sqnr_db

CONFIG = CoreConfig.of(engines=4, layers=2, width=18, element_width=16, coefficient_width=17, half_words=256,
                       coefficient_words=1024, program_words=4096, stream_words=8, memory_bits=14, descriptors=48,
                       vector_lanes=8, channel_beats=128, statistics_rows=128, records=True)
SHAPE = BlockShape(tokens=16, hidden=64, ffn=128)


@pytest.fixture(scope="module")
def build():
    if find("verilator") is None:
        pytest.skip("verilator is not installed: no network was simulated on it")
    return Core(CONFIG).build()


@pytest.mark.parametrize("timing", [MemoryTiming(), MemoryTiming(40, Fraction(6)), MemoryTiming(3, Fraction(1))],
                         ids=lambda timing: f"{timing.latency},{timing.words_per_cycle}")
def test_fabnet_blocks(build, timing):
    compiled, x = compile_block(CONFIG, SHAPE, 1, 3)
    run = simulate_network(compiled, build, x, timing)
    assert run.mismatches == 0 and run.predicted
    assert sqnr_db(forward(compiled.network, x)[-1][1], run.results) > 70


@pytest.mark.parametrize("stalls", sorted(MEMORY_STALLS))
def test_stalls_change_nothing(build, stalls):
    compiled, x = compile_block(CONFIG, SHAPE, 1, 4)
    run = simulate_network(compiled, build, x, MemoryTiming(5, Fraction(6), stalls, 7))
    assert run.mismatches == 0, stalls


def test_several_programs_and_batches(build):
    """Blocks with weights of their own do not fit one coefficient memory; three inputs are two batches of two. Every
    program fetches its setup, of which the host writes one descriptor."""
    blocks = [fabnet_network(SHAPE, 1, seed) for seed in range(6)]
    network = replace(blocks[0], layers=tuple(layer for block in blocks for layer in block.layers))
    rng = np.random.default_rng(5)
    compiled = compile_network(network, CONFIG, rng.standard_normal((4, 16, 64)), 2)
    assert len(compiled.segments) > 1 and all(len(segment.program.setup) <= 64 for segment in compiled.segments)
    x = rng.standard_normal((3, 16, 64))
    run = simulate_network(compiled, build, x)
    assert run.mismatches == 0 and run.predicted and run.batches == 2
    assert sum(each.cycles for each in run.operations) == run.cycles
    np.testing.assert_array_equal(run.results, compiled.run_model(x))


@pytest.mark.campaign
def test_the_shipped_digits(need):
    need("verilator")
    task, config = load_dataset("digits"), load_preset("hybrid-16")
    compiled = compile_network(task.network, config, task.calibration, 32)
    run = simulate_network(compiled, Core(config).build(), task.inputs[:20])
    assert run.mismatches == 0 and run.predicted
    assert (run.results[:, 0].argmax(axis=1) == task.labels[:20]).mean() > 0.9
