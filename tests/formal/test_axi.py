"""Proofs of the AXI master: whatever is requested, and however memory and reader stall, no burst leaves
[base, base + limit), none crosses 4 KiB, none is longer than allowed, and what is offered on AW, AR and W stays
until it is taken. And from a memory that sends what was asked for, every read transfer finds a place.

``base`` and ``limit`` are arbitrary; they are caught in the first cycle and then stand still, as the docstring of
the master asks. All else is a free input in every cycle, the reset included. Every property has planted faults
that refute it.
"""

from dataclasses import replace

from amaranth.hdl import Assert, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In
import pytest

from wingbeat.hw.bus.axi4.burst import AxiParameters
from wingbeat.hw.bus.axi4.master import AxiMaster
from wingbeat.hw.bus.axi4.reader import AxiReader
from wingbeat.hw.memory.port import MemoryParameters

# Beats as large as possible, so that a page has few: 8 beats of 4 transfers, bursts of up to 3 beats. Numbers and
# addresses reach beyond the limit, and numbers beyond the addresses.
LARGE = AxiParameters(MemoryParameters(512, 8, 5), 1024, address_width=14, reads=3, writes=2, longest_burst=12)
# Small ones for the data: a beat of two transfers, a beat that is one of two lanes, and one as wide as the bus.
SMALL = {"wide": AxiParameters(MemoryParameters(2, 8, 3), 8, address_width=13, reads=2, writes=2, longest_burst=4),
         "equal": AxiParameters(MemoryParameters(2, 8, 3), 16, address_width=13, reads=2, writes=2, longest_burst=2),
         "narrow": AxiParameters(MemoryParameters(2, 8, 3), 32, address_width=13, reads=2, writes=2,
                                 longest_burst=2)}

# Counting places takes longest to prove: bursts of two beats only where a beat is one transfer.
PLACES = {"equal": SMALL["equal"], "wide": replace(SMALL["wide"], reads=1, longest_burst=2),
          "narrow": replace(SMALL["narrow"], reads=1, longest_burst=1)}


class Bench(wiring.Component):
    """The master with free inputs; ``fault`` breaks something between it and the properties."""

    def __init__(self, parameters, what, fault=None):
        self.parameters, self.what, self.fault = parameters, what, fault
        self.dut = AxiMaster(parameters)
        memory = parameters.memory
        super().__init__({
            "base": In(parameters.address_width), "limit": In(memory.address_bits + 1),
            "read": In(memory.address_bits), "read_valid": In(1), "beats_ready": In(1),
            "write": In(data.StructLayout({"address": memory.address_bits, "strobe": memory.elements,
                                           "beat": memory.beat})), "write_valid": In(1),
            "aw_ready": In(1), "w_ready": In(1), "ar_ready": In(1), "b_valid": In(1), "b_resp": In(2),
            "r_valid": In(1), "r_data": In(parameters.data_width), "r_resp": In(2)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        base, limit, caught = Signal.like(self.base), Signal.like(self.limit), Signal()
        with m.If(~caught):
            m.d.sync += [base.eq(Cat(Const(0, 12), self.base[12:])), limit.eq(self.limit), caught.eq(1)]
        m.d.comb += [
            dut.base.eq(base), dut.limit.eq(limit + (self.fault == "limit")),
            dut.port.read.valid.eq(self.read_valid & caught), dut.port.read.payload.eq(self.read),
            dut.port.write.valid.eq(self.write_valid & caught), dut.port.write.payload.eq(self.write),
            dut.port.beats.ready.eq(self.beats_ready), dut.m_axi_awready.eq(self.aw_ready),
            dut.m_axi_wready.eq(self.w_ready), dut.m_axi_arready.eq(self.ar_ready),
            dut.m_axi_bvalid.eq(self.b_valid), dut.m_axi_bresp.eq(self.b_resp), dut.m_axi_rvalid.eq(self.r_valid),
            dut.m_axi_rdata.eq(self.r_data), dut.m_axi_rresp.eq(self.r_resp)]
        self.what(self, m, base, limit)
        return m

    def channel(self, name):
        """valid, ready and payload of a channel (address below length on AR and AW), the fault included."""
        dut = self.dut
        valid, ready = (Value.cast(getattr(dut, f"m_axi_{name}{pin}")) for pin in ("valid", "ready"))
        if name == "w":
            payload = Cat(dut.m_axi_wdata, dut.m_axi_wstrb, dut.m_axi_wlast)
        else:
            payload = Cat(getattr(dut, f"m_axi_{name}addr"), getattr(dut, f"m_axi_{name}len"))
        if self.fault == f"{name} payload moves":
            payload = payload ^ ready
        return valid, ready, payload


def window(bench, m, base, limit):
    """No address outside [base, base + limit), no page crossed, no burst too long, on AR and AW."""
    p, width = bench.parameters, bench.parameters.address_width
    for name in ("ar", "aw"):
        valid, _, payload = bench.channel(name)
        address, length = payload[:width], payload[width:]
        if bench.fault == "page":
            address = address + p.beat_bytes
        end = address + (length + 1) * p.transfer_bytes
        with m.If(valid):
            m.d.comb += [
                Assert(address >= base), Assert(end <= base + limit * p.beat_bytes), Assert(end <= 1 << width),
                Assert(address[12:] == (end - 1)[12:width]),
                Assert(length < p.longest_burst - (bench.fault == "length")), Assert(address % p.beat_bytes == 0)]


def stability(name):
    """``name`` holds valid and payload until the memory is ready."""
    def what(bench, m, base, limit):
        valid, ready, payload = bench.channel(name)
        stalled, held = Signal(), Signal(len(payload))
        if bench.fault == f"{name} valid falls":
            valid = valid & ~stalled
        m.d.sync += [stalled.eq(valid & ~ready), held.eq(payload)]
        with m.If(stalled):
            m.d.comb += [Assert(valid), Assert(payload == held)]
    return what


class Counted(AxiReader):
    """Asserts that the buffer behind R takes every beat, and no burst is promised more places than there are."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.comb += Assert(~m.submodules.buffer.i.valid | m.submodules.buffer.i.ready)
        return m


class Honest(wiring.Component):
    """A reader and a memory that sends, at any time, no more than what was asked; and ``unasked`` more."""

    def __init__(self, parameters, unasked=0):
        self.parameters, self.unasked, self.dut = parameters, unasked, Counted(parameters)
        super().__init__({"base": In(parameters.address_width), "limit": In(parameters.memory.address_bits + 1),
                          "read": In(parameters.memory.address_bits), "read_valid": In(1), "beats_ready": In(1),
                          "ar_ready": In(1), "r_valid": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        asked = Signal(range(self.parameters.reads * self.parameters.transfers + 4), init=self.unasked)
        sent = dut.r.valid & dut.r.ready
        m.d.comb += [
            dut.base.eq(self.base), dut.limit.eq(self.limit), dut.read.payload.eq(self.read),
            dut.read.valid.eq(self.read_valid), dut.beats.ready.eq(self.beats_ready), dut.ar.ready.eq(self.ar_ready),
            dut.r.valid.eq(self.r_valid & (asked != 0))]
        m.d.sync += asked.eq(asked - sent + Mux(dut.ar.valid & dut.ar.ready, dut.ar.payload.len + 1, 0))
        return m


def holds(prove, bench):
    return prove(bench, [Value.cast(getattr(bench, name)) for name in bench.signature.members], seconds=120)


def test_window(prove):
    assert holds(prove, Bench(LARGE, window))


@pytest.mark.thin(3)
@pytest.mark.parametrize("fault", ["limit", "page", "length"])
def test_window_is_refuted(prove, fault):
    assert not holds(prove, Bench(LARGE, window, fault))


@pytest.mark.parametrize("channel", ["ar", "aw", "w"])
@pytest.mark.parametrize("size", SMALL)
def test_stability(prove, size, channel):
    assert holds(prove, Bench(SMALL[size], stability(channel)))


@pytest.mark.parametrize("channel", ["ar", "aw", "w"])
@pytest.mark.parametrize("fault", ["valid falls", "payload moves"])
def test_stability_is_refuted(prove, channel, fault):
    assert not holds(prove, Bench(SMALL["wide"], stability(channel), f"{channel} {fault}"))


@pytest.mark.parametrize("size", [pytest.param(size, marks=pytest.mark.campaign) if size == "equal" else size
                                  for size in PLACES])
def test_every_transfer_has_a_place(prove, size):
    assert holds(prove, Honest(PLACES[size]))


def test_a_transfer_too_many_is_refuted(prove):
    """The registers behind the RAM of the buffer have room for two that nobody asked for, not for three."""
    assert not holds(prove, Honest(SMALL["equal"], unasked=3))
