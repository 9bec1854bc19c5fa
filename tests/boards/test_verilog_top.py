"""The board tops with an array in Verilog on Verilator, UART to UART, with the configuration the board carries."""

from pathlib import Path
import sys

from cocotb_tools.check_results import get_results
from cocotb_tools.runner import get_runner
import pytest

from wingbeat.boards.build import BOARDS
from wingbeat.boards.array import ArrayTop, LinkedArray
from wingbeat.gen.cosim.core import Core, build_verilog
from wingbeat.gen.cosim.testbench import simulators
from wingbeat.gen.rtl.verilog import emit
from wingbeat.hw.link.uart import UartParameters

DIVISOR = 4  # of the simulation; the boards have more


@pytest.mark.parametrize("name", [
    name if name == "icebreaker" else pytest.param(name, marks=pytest.mark.campaign)
    for name, top in sorted(BOARDS.items()) if issubclass(top, ArrayTop)])
def test_host_against_model(name, tmp_path, monkeypatch):
    config = BOARDS[name].config()
    source = tmp_path / "top.v"
    top = LinkedArray(config, UartParameters(DIVISOR), timeout=50 * DIVISOR)
    source.write_text(emit(top, config.name))
    build = build_verilog([source, *Core(config).primitives], config.name)
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parent), *sys.path])  # the runner hands it on
    with simulators.environment("verilator"):
        xml = get_runner("verilator").test(
            test_module="uart_bench", hdl_toplevel=config.name, hdl_toplevel_lang="verilog",
            build_dir=build.folder, test_dir=tmp_path, results_xml=str(tmp_path / "results.xml"),
            timescale=simulators.TIMESCALE, log_file=tmp_path / "log",
            extra_env={"UART_DIVISOR": str(DIVISOR), "UART_PRESET": BOARDS[name].preset,
                       "COCOTB_ANSI_OUTPUT": "0"})
    assert get_results(xml) == (1, 0), (tmp_path / "log").read_text()[-3000:]
