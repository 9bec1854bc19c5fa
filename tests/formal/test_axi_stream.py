"""Proofs of the AXI4-Stream ports of an array: what is on offer stays until it is taken, no valid waits for a ready,
every transfer is a beat and every beat a transfer; and that every tlast at a wrong beat is told. With planted faults.
"""

import re
from types import SimpleNamespace

from amaranth.back import rtlil
from amaranth.hdl import Assert, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
import pytest

from wingbeat.gen.synth.flow import run_yosys
from wingbeat.hw.bus.stream.tlast_check import TlastCheck
from wingbeat.hw.bus.stream.axi_stream import AxiStreamPorts
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.core.streamed_array import StreamedArray

CONFIG = CoreConfig.of(layers=1, width=8, element_width=8, half_words=4, coefficient_words=4,
                       program_words=32).changed(bus={"stream": "axi4-stream"})


def source(dut):
    """Everything on m_axis that a transfer is made of."""
    return SimpleNamespace(valid=dut.m_axis_tvalid, ready=dut.m_axis_tready, payload=Cat(
        dut.m_axis_tdata.as_value(), dut.m_axis_tuser.as_value(), dut.m_axis_tlast))


class WaitsForReady(AxiStreamPorts):
    """A valid that looks at its ready."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.comb += self.m_axis_tvalid.eq(self.i.valid & self.m_axis_tready)
        return m


class Late(AxiStreamPorts):
    """The flags of a transfer follow the next beat."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        before = Signal(len(self.m_axis_tuser.as_value()))
        m.d.sync += before.eq(self.i.payload.exponent)
        m.d.comb += self.m_axis_tuser.eq(before)
        return m


class Moves(AxiStreamPorts):
    """A tlast that changes when it is taken."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.comb += self.m_axis_tlast.eq(self.i.payload.last ^ self.m_axis_tready)
        return m


class Gives(AxiStreamPorts):
    """A transfer that is taken although the array does not take its beat."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.comb += self.s_axis_tready.eq(1)
        return m


@pytest.mark.parametrize("kind, fault", [(AxiStreamPorts, False), (Late, True), (Moves, True)])
def test_transfers_stay(holds, free, steady, kind, fault):
    """Behind an array that keeps to the rules of its streams."""
    def what(m, dut):
        free.drive(m, dut.i)
        steady(m, source(dut))
    assert holds(kind(CONFIG), what) == (not fault)


@pytest.mark.parametrize("pipeline, words, fault", [
    *((pipeline, words, None) for pipeline in ("deep", "short") for words in (1, 2)),
    ("deep", 2, "buffer"), ("short", 1, "ports")])
def test_a_whole_array_keeps_its_transfers(holds, steady, break_buffer, monkeypatch, pipeline, words, fault):
    """Whatever program runs on it, and whatever comes in."""
    if fault == "buffer":
        break_buffer("array.store_unit")
    if fault == "ports":
        monkeypatch.setattr("wingbeat.hw.core.streamed_array.AxiStreamPorts", Moves)

    def what(m, dut):
        steady(m, source(dut))
    assert holds(StreamedArray(CONFIG.changed(pipeline=pipeline, stream_words=words)), what) == (fault is None)


@pytest.mark.parametrize("pipeline", ["deep", "short"])
@pytest.mark.parametrize("words", [1, 2])
@pytest.mark.parametrize("fault", [False, True])
def test_no_gate_leads_from_a_handshake_to_another(tmp_path, monkeypatch, pipeline, words, fault):
    """In the whole array: with its registers taken away, no output of the streams hangs on a valid or ready that comes
    in."""
    if fault:
        monkeypatch.setattr("wingbeat.hw.core.streamed_array.AxiStreamPorts", WaitsForReady)
    dut = StreamedArray(CONFIG.changed(pipeline=pipeline, stream_words=words))
    (tmp_path / "top.il").write_text(rtlil.convert(dut, name="top", emit_src=False), encoding="utf-8")
    flow = ("read_rtlil top.il; prep -flatten -top top; memory_map; opt -full; dffunmap; simplemap; opt_clean; "
            "tee -o found select -list i:m_axis_tready i:s_axis_tvalid %u %co*:-$_DFF_P_ o:s_axis_* o:m_axis_* %u %i; "
            "tee -o cells stat")
    run_yosys(flow, tmp_path)
    kinds = set(re.findall(r"\$_?[A-Z]*(?:DFF|LATCH|ff|latch|mem)\w*", (tmp_path / "cells").read_text()))
    assert kinds == {"$_DFF_P_"}
    assert (tmp_path / "found").read_text().split() == (["top/m_axis_tvalid"] if fault else [])


@pytest.mark.parametrize("kind, fault", [(AxiStreamPorts, False), (WaitsForReady, True), (Gives, True)])
def test_no_valid_waits_for_a_ready(prove, free, kind, fault):
    """Two of them with the same beats, the same transfers and other readys offer the same; transfers are beats."""
    first, second = kind(CONFIG), kind(CONFIG)

    class Pair(wiring.Component):
        """Both with their properties."""

        def __init__(self):
            super().__init__({})

        def elaborate(self, platform):
            m = Module()
            m.submodules.first, m.submodules.second = first, second
            for name in ("s_axis_tvalid", "s_axis_tlast"):
                m.d.comb += getattr(second, name).eq(getattr(first, name))
            m.d.comb += [second.i.valid.eq(first.i.valid), Value.cast(second.i.payload).eq(Value.cast(first.i.payload)),
                         second.s_axis_tdata.as_value().eq(first.s_axis_tdata.as_value())]
            for stream, pins in ((first.i, first), (second.i, second)):
                m.d.comb += Assert((stream.valid & stream.ready) == (pins.m_axis_tvalid & pins.m_axis_tready))
                m.d.comb += Assert((pins.o.valid & pins.o.ready) == (pins.s_axis_tvalid & pins.s_axis_tready))
            m.d.comb += [Assert(first.m_axis_tvalid == second.m_axis_tvalid), Assert(first.o.valid == second.o.valid),
                         Assert(source(first).payload == source(second).payload)]
            return m
    free.inputs_of(first)
    free.inputs_of(second)
    assert prove(Pair(), free.ports) == (not fault)


class Forgets(TlastCheck):
    """A block that is loaded clears its flags."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        with m.If(self.loaded):
            m.d.comb += self.flags.eq(0)
        return m


@pytest.mark.parametrize("kind, parts, fault", [
    (TlastCheck, 1, None), (TlastCheck, 2, None), (TlastCheck, 4, None), (TlastCheck, 2, "first part not seen"),
    (TlastCheck, 1, "end not seen"), (Forgets, 1, "forgotten")])
def test_every_wrong_tlast_is_told(holds, kind, parts, fault):
    """Told in the next cycle: a beat with tlast that does not end a block, and one without that does; until the clear.
    A block has the flags of the beats that had gone in when it was loaded, whatever waits behind them."""
    config = CONFIG.changed(layers=2, half_words=8, stream_words=4 // parts)

    def what(m, dut):
        arrives, leaves, block_in = dut.i.valid & dut.i.ready, dut.o.valid & dut.o.ready, dut.block_in
        count, marks = Signal(range(2 * parts)), Signal(2 * parts)
        # Marks of the beats inside, the oldest lowest; at most one whole beat and what came with its end.
        kept, left = Signal(2 * parts), Signal(range(2 * parts))
        last = dut.i.payload.last
        if fault == "first part not seen":
            last = last & (count % parts != 0)
        if fault == "end not seen":
            block_in = block_in & last
        m.d.comb += [kept.eq(marks | ((arrives & last) << count)),
                     left.eq(count + arrives - Mux(leaves, parts, 0))]
        m.d.sync += [marks.eq(Mux(leaves, kept >> parts, kept)), count.eq(left)]
        early, final = (kept[:parts - 1] if parts > 1 else Const(0, 1)), kept[parts - 1]
        unexpected, missing = Signal(), Signal()
        m.d.sync += [unexpected.eq(~dut.clear & (unexpected | (leaves & (early.any() | (final & ~block_in))))),
                     missing.eq(~dut.clear & (missing | (leaves & block_in & ~final)))]
        inside = marks[:parts - 1].any() if parts > 1 else 0
        told = [Signal(2), Signal(2)]
        for half in range(2):
            with m.If(dut.loaded & (dut.half == half)):
                m.d.sync += told[half].eq(Cat(unexpected, missing))
            m.d.comb += Assert(dut.blocks[half].as_value() == told[half])
        m.d.comb += Assert(dut.flags.as_value() == Cat(unexpected | inside, missing))
    assert holds(kind(config), what) == (fault is None)
