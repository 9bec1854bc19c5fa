"""A cocotb bench of our own that drives generated Verilog with the bus models of cocotbext-axi."""

from pathlib import Path
import sys

from cocotb_tools.check_results import get_results
from cocotb_tools.runner import get_runner

from wingbeat.gen.cosim.testbench import simulators


def run_bench(monkeypatch, module, source, top, folder, environment):
    """Number of tests and of failures of ``module``, a file of tests/cosim, on ``top`` in ``source`` in Verilator, and
    its log. ``environment``: what the bench reads."""
    simulators.compile_verilog([source], top, folder / "build", "verilator")
    benches = Path(__file__).parents[1] / "cosim"
    monkeypatch.setattr(sys, "path", [str(benches), *sys.path])  # the runner hands it on
    with simulators.environment("verilator"):
        xml = get_runner("verilator").test(
            test_module=module, hdl_toplevel=top, hdl_toplevel_lang="verilog", build_dir=folder / "build",
            test_dir=folder, results_xml=str(folder / "results.xml"), timescale=simulators.TIMESCALE,
            log_file=folder / "log",
            extra_env={**environment, "COCOTB_ANSI_OUTPUT": "0", "COCOTB_LOG_LEVEL": "WARNING"})
    return get_results(xml), (folder / "log").read_text()
