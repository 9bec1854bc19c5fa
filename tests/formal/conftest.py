"""Prover for the formal tests: Amaranth -> RTLIL -> AIGER -> property-directed reachability (abc pdr).

PDR finds the inductive invariant itself, so a proof holds for all times and all inputs, the reset included.
"""

import importlib
import importlib.resources
import os
import re
import subprocess
import sys

from amaranth.back import rtlil
from amaranth.hdl import Assert, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
import pytest

# Memories become registers, and what does not reach an Assert goes. An output left would be one more property.
_FLOW = ("read_rtlil design.il; prep -flatten -top top; delete -output o:*; memory_map; opt -full; chformal -lower; "
         "async2sync; techmap; opt -fast; dffunmap; simplemap; aigmap; opt_clean -purge; setundef -undriven -zero; "
         "opt_clean; write_aiger -I -B -zinit -no-startoffset design.aig")

# Neither a register nor a gate: Yosys has already found that no Assert can fail. For that abc has no word of its own.
_CONSTANT = re.compile(r" lat = +0 +and = +0 .*\n.*All outputs solved")


def _run(arguments, folder, seconds):
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=seconds, check=False)
    log = done.stdout + done.stderr
    assert done.returncode == 0 and "ERROR" not in log, log[-2000:]
    return log


@pytest.fixture
def prove(tmp_path):
    """``prove(component, ports)`` is True when every Assert holds, False when abc has a counterexample.

    ``ports`` are the free inputs. With ``frames`` only so many cycles from power-up on are searched: for faults that
    take long to show, and where no invariant is found in time. Anything else, a design without an Assert included,
    raises AssertionError.
    """
    def run(component, ports, seconds=30, frames=None):
        text = rtlil.convert(component, name="top", ports=ports, emit_src=False)
        assert "cell $check" in text, "a design without an Assert"
        (tmp_path / "design.il").write_text(text, encoding="utf-8")
        flow = f"from pyosys import libyosys as ys; ys.run_pass({_FLOW!r}, ys.Design())"
        _run([sys.executable, "-c", flow], tmp_path, seconds)
        abc = os.fspath(importlib.resources.files("pyosys") / "yosys-abc")
        search, success = (f"bmc3 -F {frames}", f"No output asserted in {frames} frames") if frames else (
            "pdr", "Property proved")
        log = _run([abc, "-c", f"read_aiger design.aig; print_stats; strash; {search}"], tmp_path, seconds)
        proved, refuted = success in log or _CONSTANT.search(log) is not None, "was asserted in frame" in log
        assert proved != refuted, log[-2000:]
        return proved
    return run


class Free:
    """What a proof leaves open.

    ``ports``: the free inputs so far. A signal among them that something drives is no input.
    """

    def __init__(self, monkeypatch):
        self.ports, self._patch = [], monkeypatch

    def signal(self, shape=1):
        signal = Signal(shape, name=f"free{len(self.ports)}")
        self.ports.append(Value.cast(signal))
        return signal

    def inputs_of(self, component):
        self.ports += [Value.cast(value) for _, _, value in component.signature.flatten(component)]
        return component

    def drive(self, m, port, go=1):
        """Put words on a stream when they like, where ``go``; they stay until they are taken, as a stream asks."""
        fresh, held, kept = self.signal(port.payload.shape()), Signal(), Signal.like(Value.cast(port.payload))
        m.d.comb += [port.valid.eq(held | (self.signal() & go)),
                     Value.cast(port.payload).eq(Mux(held, kept, Value.cast(fresh)))]
        m.d.sync += [held.eq(port.valid & ~port.ready), kept.eq(port.payload)]

    def outputs_of(self, *places):
        """Blocks of a class, named where it is used, may do anything, but keep to the rules of their streams."""
        for place in places:
            module, name = place.rsplit(".", 1)
            self._patch.setattr(place, self._anything(getattr(importlib.import_module(module), name)))

    def _anything(self, block):
        free = self

        class Anything(block):
            def elaborate(self, platform):
                m = Module()
                free._open(m, self, self.signature.members)
                return m
        return Anything

    def _open(self, m, ports, members):
        for name, member in members.items():
            port = getattr(ports, name)
            if member.is_signature and not (member.flow is Out and "payload" in member.signature.members):
                self._open(m, port, member.signature.members)
            elif member.is_signature:
                self.drive(m, port)
            elif member.flow is Out:
                self.ports.append(Value.cast(port))


@pytest.fixture
def free(monkeypatch):
    return Free(monkeypatch)


class Bench(wiring.Component):
    """``dut`` with free inputs but for what ``what(m, dut)`` drives, which also asserts."""

    def __init__(self, dut, what):
        self.dut, self.what = dut, what
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = self.dut
        self.what(m, self.dut)
        return m


@pytest.fixture
def holds(prove, free):
    """Whether all that ``what(m, dut)`` asserts is true of ``dut`` with free inputs; ``frames`` as in ``prove``."""
    def check(dut, what, frames=None):
        return prove(Bench(free.inputs_of(dut), what), free.ports, seconds=120, frames=frames)

    return check


def _steady(m, port, restart=0):
    """Asserts that a stream holds valid and payload until it is ready, or ``restart`` is high."""
    stalled, held = Signal(), Signal.like(Value.cast(port.payload))
    m.d.sync += [stalled.eq(port.valid & ~port.ready & ~Value.cast(restart)), held.eq(port.payload)]
    with m.If(stalled):
        m.d.comb += [Assert(port.valid), Assert(Value.cast(port.payload) == held)]


@pytest.fixture
def steady():
    return _steady


class Forgetful(wiring.Component):
    """A SkidBuffer that takes everything and forgets what waits."""

    repeats = False

    def __init__(self, shape, deciding=()):
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape)), "moving": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.i.ready.eq(1), self.moving.eq(1)]
        m.d.sync += [self.o.valid.eq(self.i.valid | (self.o.valid & self.repeats)), self.o.payload.eq(self.i.payload)]
        return m


class Repetitive(Forgetful):
    """It gives its first word again and again."""

    repeats = True


@pytest.fixture
def break_buffer(monkeypatch):
    """Call with the name of a module below `hw`, such as memory.emit: its SkidBuffers forget words, or repeat them."""
    def patch(file, repeats=False):
        monkeypatch.setattr(f"wingbeat.hw.{file}.SkidBuffer", Repetitive if repeats else Forgetful)
    return patch
