"""A register that flips cuts a program short: it must not look as if it had come to its end."""

import re

import numpy as np
import pytest

from wingbeat.gen.compiler.kernel.compile import compile_copy
from wingbeat.gen.compiler.program.assemble import assemble
from wingbeat.gen.compiler.program.coefficients import CoefficientSpace
from wingbeat.gen.compiler.program.matrix import Matrix
from wingbeat.gen.compiler.program.operations import multiply_butterfly
from wingbeat.gen.cosim.core import Core
from wingbeat.gen.cosim.job import Trial
from wingbeat.gen.cosim.testbench.simulators import SimulatorError, find
from wingbeat.gen.cosim.timing import MemoryTiming
from wingbeat.hw.config import CoreConfig, Pipeline
from wingbeat.hw.isa.instruction import Fault

CONFIG = CoreConfig.of(name="upset", engines=1, layers=1, width=12, element_width=12, coefficient_width=10,
                       half_words=8, coefficient_words=8, program_words=128, stream_words=2, memory_bits=10,
                       pipeline=Pipeline.SHORT)
SEED, ROWS, CYCLE = 61, 64, 200  # cycles after the start
# Module, register, what it flips to.
REGISTERS = {"stop": ("upset_processor_units", "1'h1"), "running": ("upset_fetch", "1'h0")}


def flipped(text, register):
    """Verilog in which ``register`` flips CYCLE cycles after it could first be told that the program runs."""
    name, value = REGISTERS[register]
    begin = text.index(f"module {name}(")
    end = text.index("endmodule", begin)
    counter = ("reg [15:0] upset_cycle = 0;\n  always @(posedge clk) upset_cycle <= rst ? 0 : upset_cycle + 1;\n"
               "  always @(posedge clk)\n")
    module = text[begin:end].replace("always @(posedge clk)\n", counter, 1)
    module, count = re.subn(rf"(\b{register} <= )(\w+);", rf"\1upset_cycle == UPSET ? {value} : \2;", module)
    assert count == 1, f"{register} is not where it was"
    return text[:begin] + module + text[end:]


@pytest.mark.parametrize("register", [None, *REGISTERS])
def test_a_program_that_was_cut_short(need, register):
    need("verilator")
    source, target = (Matrix.at(base, ROWS, 4, CONFIG) for base in (0, 512))
    tasks = multiply_butterfly(compile_copy(4, CONFIG, least_size=4), source, target, CoefficientSpace(CONFIG), "copy",
                               "steady")
    program = assemble(CONFIG, tasks)
    memory = np.random.default_rng(SEED).integers(-2000, 2000, (1 << CONFIG.memory_bits, CONFIG.memory_elements))
    trial = Trial("copy", program.setup, program.instructions, memory, MemoryTiming(), 10_000,
                  n_blocks=len(program.stages))
    text, upset_at = Core(CONFIG).verilog, len(trial.setup_writes) + CYCLE
    if register is not None:
        text = flipped(text, register).replace("UPSET", str(upset_at))
    core, simulator = Core(CONFIG, verilog=text), "icarus" if find("icarus") else "verilator"
    if register == "running":
        with pytest.raises(SimulatorError, match=rf"without an error, with \d+ of {len(program.stages)} blocks"):
            core.simulate([trial], simulator)
        return
    [run] = core.simulate([trial], simulator)
    assert run.error == (Fault.WATCHDOG if register else Fault.NONE), f"seed {SEED}"
    assert (run.counters.blocks == len(program.stages)) == (register is None)
    assert upset_at < run.end_cycle
