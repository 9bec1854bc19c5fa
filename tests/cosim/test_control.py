"""Cores behind a control bus in generated Verilog: on the benches of cores without, and with masters that are not ours
(control_bench.py)."""

from dataclasses import replace

import pytest

from wingbeat.gen.cosim.core import Core
from wingbeat.gen.cosim.selftest import small_programs
from wingbeat.gen.cosim.timing import MemoryTiming
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.instruction import Fault

SEED = 17
FIELDS = {"name": "runner", "engines": 2, "layers": 1, "coefficient_width": 16, "half_words": 64, "width": 16,
          "element_width": 16, "coefficient_words": 256, "program_words": 512, "stream_words": 4, "memory_bits": 12}


@pytest.mark.parametrize("bus", [{"control": "axi4-lite"}, {"control": "wishbone", "memory": "axi4"}])
def test_benches_of_other_cores(need, bus):
    """Results and counters over the registers; the log of blocks is compared by the bench."""
    need("icarus")
    config = CoreConfig.of(**FIELDS, block_log=16).changed(bus=bus)
    [case] = [case for case in small_programs(config, SEED) if case.name == "mixing8"]
    [run] = Core(config).simulate([case.under(MemoryTiming(4, stalls="gaps", seed=SEED))], "icarus")
    counters = run.counters
    assert not run.error and case.mismatches(run) == 0, f"seed {SEED}"
    assert counters.blocks == case.trial.n_blocks and counters.computing
    assert counters.total == (counters.computing + counters.waiting_input + counters.waiting_output
                              + counters.waiting_hazard)


def test_a_fault_is_seen(need):
    """Code and tag of a fault reach the bench over the registers."""
    need("icarus")
    config = CoreConfig.of(**FIELDS).changed(bus={"control": "axi4-lite"})
    [case] = [case for case in small_programs(config, SEED) if case.name == "mixing8"]
    trial = replace(case.under(MemoryTiming()), limit=len(case.trial.data) // 2)
    [run] = Core(config).simulate([trial], "icarus")
    assert run.error == Fault.REFUSED
