"""Proofs of the processor: what a fault leaves of the requests to memory, and what the AXI master says of them.

Whatever the array does (so for every program), whatever stands in the tables and whatever the memory answers: array,
reader, gather and writer are free here, but for the rules of their streams, which ``test_memory_units.py`` proves.
Every proof has a planted fault that refutes it.

No AXI address outside [base, base + limit): ``test_axi.py`` proves that for an AxiMaster with any requests at its port,
even such that break the rules of streams. In an AxiProcessor the port is the processor's; nothing but the master
drives its address channels, and it sees base and limit as they are given. That is proved here, so both together are the
proof for every program and every write to the tables.
"""

from amaranth.hdl import Assert, Mux, Signal, Value
from amaranth.lib import wiring
import pytest

from wingbeat.hw.array.checker import Fault
from wingbeat.hw.bus.axi4.burst import AxiParameters
from wingbeat.hw.config import CoreConfig, Pipeline
from wingbeat.hw.core.axi_processor import AxiProcessor
from wingbeat.hw.core.processor import Processor
from wingbeat.hw.core.processor_units import ProcessorUnits
from wingbeat.hw.memory.port import MemoryParameters

TINY = CoreConfig.of(engines=1, layers=1, width=8, element_width=8, coefficient_width=8, half_words=4,
                     coefficient_words=4, program_words=32, stream_words=2, memory_bits=3, descriptors=1, in_flight=4,
                     watchdog=256, pipeline=Pipeline.SHORT)


@pytest.fixture
def around(monkeypatch):
    """The processor of TINY with other units."""
    def build(units):
        monkeypatch.setattr("wingbeat.hw.core.processor.ProcessorUnits", units)
        return Processor(TINY)
    return build


@pytest.fixture
def free_units(free):
    free.outputs_of(*(f"wingbeat.hw.core.processor_units.{name}" for name in ("Array", "Reader", "Gather", "Writer")))
    return free


class Cut(ProcessorUnits):
    """A fault takes back what was offered."""

    def _gated(self, m, source, sink, stopped):
        super()._gated(m, source, sink, stopped)
        m.d.comb += sink.valid.eq(source.valid & ~stopped)


class Open(ProcessorUnits):
    """A fault does not stop the requests."""

    def _gated(self, m, source, sink, stopped):
        wiring.connect(m, source, wiring.flipped(sink))


class Shaky(ProcessorUnits):
    """What the memory refuses later shows as a fault, too."""

    def _faults(self, m, *units):
        stopped = super()._faults(m, *units)
        with m.If(self.port.refused):
            m.d.comb += self.status.error.eq(Fault.REFUSED)
        return stopped


def silence(side):
    """After a fault nothing but what was offered already."""
    def what(m, dut):
        port, stalled = getattr(dut.port, side), Signal()
        m.d.sync += stalled.eq(port.valid & ~port.ready)
        with m.If(dut.status.error != Fault.NONE):
            m.d.comb += Assert(~port.valid | stalled)
    return what


def first_fault(m, dut):
    """Code and tag stay; a fault with a code that a reset or a restart alone takes away."""
    error, tag = Signal.like(dut.status.error), Signal.like(dut.status.tag)
    m.d.sync += [error.eq(Mux(dut.restart, Fault.NONE, dut.status.error)), tag.eq(dut.status.tag)]
    with m.If(error != Fault.NONE):
        m.d.comb += [Assert(dut.status.error == error), Assert(dut.status.tag == tag)]


@pytest.mark.parametrize("side", ["read", "write"])
def test_requests_hold_across_a_fault(holds, free_units, steady, side):
    assert holds(Processor(TINY), lambda m, dut: steady(m, getattr(dut.port, side), dut.restart))


@pytest.mark.parametrize("side", ["read", "write"])
def test_requests_that_are_taken_back_are_refuted(holds, free_units, around, steady, side):
    assert not holds(around(Cut), lambda m, dut: steady(m, getattr(dut.port, side), dut.restart))


@pytest.mark.parametrize("side", ["read", "write"])
def test_no_request_begins_after_a_fault(holds, free_units, side):
    assert holds(Processor(TINY), silence(side))


@pytest.mark.parametrize("side", ["read", "write"])
def test_requests_after_a_fault_are_refuted(holds, free_units, around, side):
    assert not holds(around(Open), silence(side))


def test_the_first_fault_stays(holds, free_units):
    assert holds(Processor(TINY), first_fault)


def test_a_fault_that_changes_is_refuted(holds, free_units, around):
    assert not holds(around(Shaky), first_fault)


# --- the AXI master behind the port -----------------------------------------------------------------------------

AXI = AxiParameters(MemoryParameters.of(TINY), 32, address_width=13,
                    reads=8, writes=2, longest_burst=2)
BLOCKS = ["wingbeat.hw.core.axi_processor.Processor", "wingbeat.hw.core.axi_processor.AxiMaster"]


class Checked(AxiProcessor):
    """Asserts that the address channels are the master's, and its limits and requests what they should be."""

    fault = None

    def elaborate(self, platform):
        m = super().elaborate(platform)
        master, port = m.submodules.master, m.submodules.processor.port
        if self.fault == "a beat beyond":
            m.d.comb += master.limit.eq(self.limit + 1)
        elif self.fault == "past the master":
            m.d.comb += self.m_axi_araddr.eq(port.read.payload)
        elif self.fault == "refusal lost":
            m.d.comb += port.refused.eq(0)
        same = [(getattr(self, name), getattr(master, name)) for name in self.signature.members
                if name.startswith("m_axi_") or name in ("base", "limit")]
        same += [(getattr(port, side), getattr(master.port, side)) for side in ("written", "refused")]
        for ours, its in ((port.read, master.port.read), (port.write, master.port.write)):
            same += [(ours.valid, its.valid), (ours.ready, its.ready), (ours.payload, its.payload)]
        m.d.comb += [Assert(Value.cast(ours) == Value.cast(its)) for ours, its in same]
        return m


def is_checked(holds, free, fault=None):
    free.outputs_of(*BLOCKS)
    dut = Checked(TINY, AXI)
    dut.fault = fault
    return holds(dut, lambda m, dut: None)


def test_nothing_but_the_master_is_on_the_bus(holds, free):
    assert is_checked(holds, free)


@pytest.mark.parametrize("fault", ["a beat beyond", "past the master", "refusal lost"])
def test_a_way_past_the_master_is_refuted(holds, free, fault):
    assert not is_checked(holds, free, fault)
