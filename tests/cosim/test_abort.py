"""A processor with an AXI4 master that is stopped on its way, in generated Verilog on the AxiRam of cocotbext-axi
(abort_bench.py): nothing new on the bus, what was issued is finished, and after a clear the core runs as a fresh one.
"""

import json

import numpy as np
import pytest

from support.campaign import IS_CAMPAIGN
from support.foreign import run_bench

from wingbeat.gen.compiler.beats import pack_setup
from wingbeat.gen.cosim.core import Core
from wingbeat.gen.cosim.selftest import small_programs
from wingbeat.hw.bus.axi4.burst import AxiParameters
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.instruction import Fault
from wingbeat.hw.isa.setup import CONTROL_CLEAR, NO_TARGET, SETUP_CONTROL
from wingbeat.hw.layouts import processor_status

SEED = 23
FIELDS = {"name": "runner", "engines": 2, "layers": 1, "coefficient_width": 16, "half_words": 64,
          "coefficient_words": 256, "program_words": 512, "stream_words": 4, "memory_bits": 12}
MACS = {"records": True, "ring_words": 64, "partial_words": 16, "sparse": True, "memory_bits": 13, "half_words": 256}
CORES = {  # width of an element, further fields, bus, programs
    "two transfers a beat": (16, {}, {"data_width": 64, "longest_burst": 8}, ("fft8", "mixing8")),
    "narrow transfers": (8, {}, {"data_width": 256, "reads": 16, "writes": 3}, ("butterfly8", "mixing8")),
    "matrices": (16, MACS, {"data_width": 128, "reads": 32}, ("dense16", "nm64")),
    "vector unit": (18, {"vector_lanes": 2}, {"data_width": 64}, ("network8", "mixing8")),
}
ALWAYS = "two transfers a beat"
N_TESTS = 4


def config_of(name):
    width, fields, bus, _ = CORES[name]
    config = CoreConfig.of(**FIELDS | fields, width=width, element_width=width)
    return CoreConfig.model_validate({**config.choices(), "bus": {"memory": "axi4", **bus}})


def image(config, memory):
    """Bytes of a memory as they stand behind the bus."""
    size = AxiParameters.of(config).slot_bits // 8
    return np.asarray(memory, f"<i{size}").tobytes().hex()


def facts(name, rounds):
    config = config_of(name)
    found = {case.name: case for case in small_programs(config, SEED)}
    cases = [found[program] for program in CORES[name][3]]
    status = {field: (view.offset, view.width) for field, view in processor_status()}
    clear, nothing = (int(word, 16) for word in pack_setup([(SETUP_CONTROL, 0, CONTROL_CLEAR), (NO_TARGET, 0, 0)]))
    return {"seed": SEED, "rounds": rounds, "beats": 1 << config.memory_bits, "keeps": not config.records,
            "status": status, "clear": clear, "nothing": nothing, "aborted": int(Fault.ABORTED),
            "memory_error": int(Fault.MEMORY_ERROR), "cases": [
                {"name": case.name, "setup": [int(word, 16) for word in pack_setup(case.trial.setup_writes)],
                 "before": image(config, case.trial.data), "after": image(config, case.expected)} for case in cases]}


def bench(name, folder, monkeypatch, rounds, verilog=None):
    """Tests and failures of the bench, and its log."""
    source, top = folder / "runner.v", "runner"
    source.write_text(verilog or Core(config_of(name)).verilog)
    (folder / "facts.json").write_text(json.dumps(facts(name, rounds)))
    return run_bench(monkeypatch, "abort_bench", source, top, folder, {"ABORT_FACTS": str(folder / "facts.json")})


@pytest.mark.slow
@pytest.mark.parametrize("name", [name if name == ALWAYS else pytest.param(name, marks=pytest.mark.campaign)
                                  for name in CORES])
def test_stopped_and_cleared(name, tmp_path, monkeypatch, need):
    need("verilator")
    pytest.importorskip("cocotbext.axi", reason="cocotbext-axi is not installed: no abort met a foreign memory")
    found, log = bench(name, tmp_path, monkeypatch, rounds=60 if IS_CAMPAIGN else 8)
    assert found == (N_TESTS, 0), f"seed {SEED}: {log[-3000:]}"
