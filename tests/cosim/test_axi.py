"""The AXI master in Verilog on Verilator against the RAM of cocotbext-axi (axi_bench.py), and its lint."""

import dataclasses
import json

import pytest

from support.foreign import run_bench

from wingbeat.gen.cosim.core import lint_core
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
    found, log = run_bench(monkeypatch, "axi_bench", source, top, tmp_path, {
        "AXI_PARAMETERS": json.dumps(dataclasses.asdict(CONFIGS[name])), "AXI_SEED": str(seed)})
    assert found == (N_TESTS, 0), f"seed {seed}: {log[-3000:]}"


@pytest.mark.parametrize("name", CONFIGS)
def test_lint(name, tmp_path, need):
    need("verilator")
    source = tmp_path / "axi.v"
    source.write_text(emit(AxiMaster(CONFIGS[name]), "axi"))
    assert lint_core([source], "axi") == []
