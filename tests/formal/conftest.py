"""Prover for the formal tests: Amaranth -> RTLIL -> AIGER -> property-directed reachability (abc pdr).

PDR finds the inductive invariant itself, so a proof holds for all times and all inputs, the reset included.
"""

import importlib.resources
import os
import subprocess
import sys

from amaranth.back import rtlil
import pytest

# Memories become registers, and what does not reach an Assert goes.
_FLOW = ("read_rtlil design.il; prep -flatten -top top; memory_map; opt -full; chformal -lower; async2sync; "
         "techmap; opt -fast; dffunmap; simplemap; aigmap; opt_clean -purge; setundef -undriven -zero; opt_clean; "
         "write_aiger -I -B -zinit -no-startoffset design.aig")


def _run(arguments, folder, seconds):
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=seconds, check=False)
    log = done.stdout + done.stderr
    assert done.returncode == 0 and "ERROR" not in log, log[-2000:]
    return log


@pytest.fixture
def prove(tmp_path):
    """``prove(component, ports)`` is True when every Assert holds, False when abc has a counterexample.

    ``ports`` are the free inputs. Anything else, a design without an Assert included, raises AssertionError.
    """
    def run(component, ports, seconds=30):
        text = rtlil.convert(component, name="top", ports=ports, emit_src=False)
        (tmp_path / "design.il").write_text(text, encoding="utf-8")
        flow = f"from pyosys import libyosys as ys; ys.run_pass({_FLOW!r}, ys.Design())"
        _run([sys.executable, "-c", flow], tmp_path, seconds)
        abc = os.fspath(importlib.resources.files("pyosys") / "yosys-abc")
        log = _run([abc, "-c", "read_aiger design.aig; print_stats; strash; pdr"], tmp_path, seconds)
        proved, refuted = "Property proved" in log, "was asserted in frame" in log
        assert proved != refuted, log[-2000:]
        return proved
    return run
