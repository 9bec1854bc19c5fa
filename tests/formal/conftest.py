"""Prover for the formal tests: Amaranth -> RTLIL -> AIGER -> property-directed reachability (abc pdr).

PDR finds the inductive invariant itself, so a proof holds for all times and all inputs, the reset included.
"""

import importlib
import importlib.resources
import os
import subprocess
import sys

from amaranth.back import rtlil
from amaranth.hdl import Assert, Module, Signal, Value
from amaranth.lib.wiring import Out
import pytest

# Memories become registers, and what does not reach an Assert goes. An output left would be one more property.
_FLOW = ("read_rtlil design.il; prep -flatten -top top; delete -output o:*; memory_map; opt -full; chformal -lower; async2sync; "
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

    ``ports`` are the free inputs. With ``frames`` only so many cycles from power-up on are searched: for faults that take
    long to show, and where no invariant is found in time. Anything else, a design without an Assert included, raises
    AssertionError.
    """
    def run(component, ports, seconds=30, frames=None):
        text = rtlil.convert(component, name="top", ports=ports, emit_src=False)
        (tmp_path / "design.il").write_text(text, encoding="utf-8")
        flow = f"from pyosys import libyosys as ys; ys.run_pass({_FLOW!r}, ys.Design())"
        _run([sys.executable, "-c", flow], tmp_path, seconds)
        abc = os.fspath(importlib.resources.files("pyosys") / "yosys-abc")
        search, success = (f"bmc3 -F {frames}", f"No output asserted in {frames} frames") if frames else (
            "pdr", "Property proved")
        log = _run([abc, "-c", f"read_aiger design.aig; print_stats; strash; {search}"], tmp_path, seconds)
        proved, refuted = success in log, "was asserted in frame" in log
        assert proved != refuted, log[-2000:]
        return proved
    return run


class Free:
    """What a proof leaves open.

    ``ports``: the free inputs so far. A signal among them that something drives is no input.
    """

    def __init__(self, monkeypatch):
        self.ports, self._patch = [], monkeypatch

    def inputs_of(self, component):
        self.ports += [Value.cast(value) for _, _, value in component.signature.flatten(component)]
        return component

    def outputs_of(self, *places):
        """Every output of the blocks of this class, named where it is used, is a free input: they may do anything."""
        for place in places:
            self._patch.setattr(place, self._free(_resolve(place)))

    def _free(self, block):
        ports = self.ports

        class Anything(block):
            def elaborate(self, platform):
                ports.extend(Value.cast(value) for _, member, value in self.signature.flatten(self)
                             if member.flow is Out)
                return Module()
        return Anything


def _resolve(place):
    module, name = place.rsplit(".", 1)
    return getattr(importlib.import_module(module), name)


@pytest.fixture
def free(monkeypatch):
    return Free(monkeypatch)


def _steady(m, port):
    """Asserts that a stream holds valid and payload until it is ready."""
    stalled, held = Signal(), Signal.like(Value.cast(port.payload))
    m.d.sync += [stalled.eq(port.valid & ~port.ready), held.eq(port.payload)]
    with m.If(stalled):
        m.d.comb += [Assert(port.valid), Assert(Value.cast(port.payload) == held)]


@pytest.fixture
def steady():
    return _steady
