"""Payloads are noise while valid is low: a core that takes them nevertheless does not come through.

A lost write enable would be invisible if the last write stood on the setup port for ever.
"""

from dataclasses import replace
import re

import numpy as np
import pytest

from wingbeat.gen.compiler.kernel.compile import compile_fft
from wingbeat.gen.compiler.program.assemble import assemble
from wingbeat.gen.compiler.program.coefficients import CoefficientSpace
from wingbeat.gen.compiler.program.matrix import Matrix
from wingbeat.gen.compiler.program.operations import transform_rows
from wingbeat.gen.cosim.compare import count_mismatches
from wingbeat.gen.cosim.core import Core
from wingbeat.gen.cosim.job import Trial, job_trial
from wingbeat.gen.cosim.selftest import model_blocks
from wingbeat.gen.cosim.testbench.simulators import SimulatorError, find
from wingbeat.gen.cosim.timing import MemoryTiming
from wingbeat.hw.config import CoreConfig, Pipeline

SEED = 51
POINTS = 8
ARRAY = CoreConfig.of(name="noisy", engines=1, layers=1, width=12, element_width=12, coefficient_width=10,
                      half_words=8, coefficient_words=8, program_words=64, stream_words=2, pipeline=Pipeline.SHORT)
PROCESSOR = ARRAY.changed(name="noisy_processor", memory_bits=10, program_words=128)
TAKEN = re.compile(r"(= )\\i_setup__valid\$\d+ +& (?=\\i_setup__ready\$\d+ +;)")


def simulator():
    """The quicker one to build."""
    return "icarus" if find("icarus") else "verilator"


def fft(config):
    return compile_fft(POINTS, config, scaling="block", rows=2)


def without_valid(text, *numbers):
    """Verilog of a processor in which some of the tables take what stands on the setup port, valid or not."""
    places = [found.start() for found in TAKEN.finditer(text)]
    assert len(places) == 2, "the enables of reader and writer are not where they were"
    for number in sorted(numbers, reverse=True):
        text = text[:places[number]] + TAKEN.sub(r"\1", text[places[number]:], count=1)
    return text


def test_an_array_that_takes_noise(need):
    need("verilator")
    whole = Core(ARRAY).verilog
    lost = whole.replace("assign accepted = i_setup__valid & ", "assign accepted = ")
    assert lost != whole
    kernel, numbers = fft(ARRAY), np.random.default_rng(SEED)
    [job] = kernel.jobs(numbers.uniform(-1, 1, (12, POINTS)) + 0j)
    trial, want = replace(job_trial("fft", job), deadline=2000), model_blocks(ARRAY, job)
    [run] = Core(ARRAY, verilog=whole).simulate([trial], simulator())
    assert count_mismatches(run.results, want) == 0, f"seed {SEED}"
    try:
        [run] = Core(ARRAY, verilog=lost).simulate([trial], simulator())
    except SimulatorError:
        return
    assert count_mismatches(run.results, want), f"seed {SEED}: nobody has seen the noise"


@pytest.mark.parametrize("lost", [(), (0,), (1,)], ids=["whole", "reader", "writer"])
def test_a_processor_that_takes_noise(need, lost):
    need("verilator")
    core, numbers = Core(PROCESSOR), np.random.default_rng(SEED)
    source, target = Matrix.at(0, 12, 2 * POINTS, PROCESSOR), Matrix.at(512, 12, 2 * POINTS, PROCESSOR)
    program = assemble(PROCESSOR, transform_rows(compile_fft(POINTS, PROCESSOR, scaling="safe", input_limit=2.0 ** 11),
                                                 source, target, CoefficientSpace(PROCESSOR), "fft"))
    memory = numbers.integers(-2000, 2000, (1 << PROCESSOR.memory_bits, PROCESSOR.memory_elements))
    trial = Trial("fft", program.setup, program.instructions, memory, MemoryTiming(), 3000)
    want = memory.copy()
    program.run_model(PROCESSOR, want)
    try:
        [run] = Core(PROCESSOR, verilog=without_valid(core.verilog, *lost)).simulate([trial], simulator())
    except SimulatorError:
        assert lost, f"seed {SEED}"
        return
    wrong = run.error != 0 or np.any(run.data != want)
    assert wrong == bool(lost), f"seed {SEED}: {lost or 'nothing'} was lost, error {run.error}"
