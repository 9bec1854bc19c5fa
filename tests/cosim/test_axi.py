"""The AXI master in Verilog on Verilator against the RAM of cocotbext-axi (axi_bench.py), and its lint."""

import dataclasses
import json
from pathlib import Path
import sys

from cocotb_tools.check_results import get_results
from cocotb_tools.runner import get_runner
import pytest

from wingbeat.gen.cosim.core import lint_core
from wingbeat.gen.cosim.testbench import simulators
from wingbeat.gen.rtl.verilog import emit
from wingbeat.hw.bus.axi4.burst import AxiParameters
from wingbeat.hw.bus.axi4.master import AxiMaster
from wingbeat.hw.memory.port import MemoryParameters

CONFIGS = {
    "equal": AxiParameters(MemoryParameters(8, 16, 12), 128),
    "wide-beat": AxiParameters(MemoryParameters(16, 18, 11), 64, longest_burst=64, reads=16, id_width=4),
    "narrow": AxiParameters(MemoryParameters(4, 8, 13), 128, longest_burst=32, reads=32, writes=4),
}
N_TESTS = 6


@pytest.mark.slow
@pytest.mark.parametrize("name", [
    "narrow", *(pytest.param(name, marks=pytest.mark.campaign) for name in ("equal", "wide-beat"))])
def test_against_ram(name, tmp_path, monkeypatch, need):
    need("verilator")
    pytest.importorskip("cocotbext.axi", reason="cocotbext-axi is not installed: the AXI master met no foreign memory")
    source, top, seed = tmp_path / "axi.v", "wingbeat_axi", 11
    source.write_text(emit(AxiMaster(CONFIGS[name]), top))
    simulators.compile_verilog([source], top, tmp_path / "build", "verilator")
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parent), *sys.path])  # the runner hands it on
    with simulators.environment("verilator"):
        xml = get_runner("verilator").test(
            test_module="axi_bench", hdl_toplevel=top, hdl_toplevel_lang="verilog", build_dir=tmp_path / "build",
            test_dir=tmp_path, results_xml=str(tmp_path / "results.xml"), timescale=simulators.TIMESCALE,
            log_file=tmp_path / "log", extra_env={
                "AXI_PARAMETERS": json.dumps(dataclasses.asdict(CONFIGS[name])), "AXI_SEED": str(seed),
                "COCOTB_ANSI_OUTPUT": "0", "COCOTB_LOG_LEVEL": "WARNING"})
    assert get_results(xml) == (N_TESTS, 0), f"seed {seed}: {(tmp_path / 'log').read_text()[-3000:]}"


@pytest.mark.parametrize("name", CONFIGS)
def test_lint(name, tmp_path, need):
    need("verilator")
    source = tmp_path / "axi.v"
    source.write_text(emit(AxiMaster(CONFIGS[name]), "axi"))
    assert lint_core([source], "axi") == []
