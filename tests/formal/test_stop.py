"""Proofs of what a stop leaves: after a fault or an abort nothing new goes to the memory, ``drained`` means that
nothing is outstanding, the counts behind it do not wrap, and a restart comes only then.

Whatever the units do (they are free, but for the rules of their streams), and whatever the memory does, but that it
answers no more than what it was asked. Every proof has a planted fault that refutes it.
"""

from amaranth.hdl import Assert, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In
import pytest

from wingbeat.hw.bus.axi4.burst import AxiParameters
from wingbeat.hw.bus.axi4.master import AxiMaster
from wingbeat.hw.config import CoreConfig, Pipeline
from wingbeat.hw.core.processor import Processor
from wingbeat.hw.core.processor_units import ProcessorUnits
from wingbeat.hw.isa.instruction import Fault
from wingbeat.hw.memory.outstanding import Outstanding
from wingbeat.hw.memory.port import MemoryParameters

MOST = 3  # requests of a kind that the memory of a proof takes without an answer


# --- Outstanding --------------------------------------------------------------------------------------------------


class Asked(wiring.Component):
    """``dut`` watches streams of requests that are free, and answers to no more than these. ``rises``: whether it is
    proved that ``drained`` rises, or that it is right where it is high. ``fault``: what the dut does not see."""

    def __init__(self, dut, rises, fault=None):
        self.dut, self.rises, self.fault = dut, rises, fault
        super().__init__({"read": In(2), "beats": In(2), "write": In(2), "written": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        opens, quiet = [], Signal(range(5))
        for name, request, answer in (("reads", self.read, self.beats.all()), ("writes", self.write, self.written)):
            count, may, answers = Signal(range(MOST + 1), name=name), Signal(), Signal()
            taken = request.all() & may
            m.d.comb += [may.eq(count != MOST), answers.eq(answer & ((count != 0) | taken))]
            m.d.sync += count.eq(count + taken - answers)
            opens.append((count, may, answers))
        (reads, may_read, brings), (writes, may_write, written) = opens
        m.d.comb += [
            dut.read.eq(Mux(may_read, self.read, 0)), dut.write.eq(Mux(may_write, self.write, 0)),
            dut.beats.eq(Mux(self.beats.all(), brings.replicate(2), self.beats)),
            dut.written.eq(written & (self.fault != "an answer"))]
        if self.fault == "the cycle of a request":
            late = Signal(2)
            m.d.sync += late.eq(Mux(may_read, self.read, 0))
            m.d.comb += dut.read.eq(late)
        idle = (reads == 0) & (writes == 0) & ~dut.read[0] & ~dut.write[0]
        m.d.sync += quiet.eq(Mux(idle, quiet + (quiet != 4), 0))
        if self.rises:
            m.d.comb += Assert((quiet < 3) | dut.drained)
        else:
            m.d.comb += Assert(~dut.drained | ((reads == 0) & (writes == 0)))
        return m




def proved(prove, dut, rises, fault=None):
    bench = Asked(dut, rises, fault)
    return prove(bench, [Value.cast(getattr(bench, name)) for name in bench.signature.members], seconds=120)


@pytest.mark.parametrize("rises", [False, True])
def test_drained_is_right(prove, rises):
    assert proved(prove, Outstanding(2, 2), rises)


@pytest.mark.parametrize("bits", [(1, 2), (2, 1)])
def test_counts_that_wrap_are_refuted(prove, bits):
    assert not proved(prove, Outstanding(*bits), False)


@pytest.mark.parametrize("rises, fault", [(False, "the cycle of a request"), (True, "an answer")])
def test_what_is_not_seen_is_refuted(prove, rises, fault):
    assert not proved(prove, Outstanding(2, 2), rises, fault)


# --- Processor ----------------------------------------------------------------------------------------------------

TINY = CoreConfig.of(engines=1, layers=1, width=8, element_width=8, coefficient_width=8, half_words=4,
                     coefficient_words=4, program_words=32, stream_words=2, memory_bits=3, descriptors=1, in_flight=4,
                     watchdog=256, pipeline=Pipeline.SHORT)


@pytest.fixture
def free_units(free, monkeypatch):
    free.outputs_of(*(f"wingbeat.hw.core.processor_units.{name}" for name in ("Array", "Reader", "Gather", "Writer")))
    monkeypatch.setattr("wingbeat.hw.core.processor_units.Outstanding", lambda *bits: Outstanding(2, 2))
    return free


def limited(m, dut, free):
    """The memory takes MOST requests of a kind without an answer, none at a restart, and answers no more. Returns the
    counts."""
    port, counts = dut.port, []
    for request, brings in ((port.read, port.beats.ready), (port.write, 1)):
        count, taken, offers = Signal(range(MOST + 1)), Signal(), Signal()
        m.d.comb += [request.ready.eq(free.signal() & (count != MOST) & ~dut.restart),
                     taken.eq(request.valid & request.ready),
                     offers.eq(free.signal() & ((count != 0) | taken))]
        m.d.comb += (port.written if request is port.write else port.beats.valid).eq(offers)
        m.d.sync += count.eq(count + taken - (offers & brings))
        counts.append(count)
    return counts


def drained_at_a_restart(m, dut, reads, writes):
    """A restart that is not the first one comes when all is answered, nothing is on offer, and a fault is there to be
    cleared."""
    is_first = Signal(init=1)
    m.d.sync += is_first.eq(0)
    with m.If(dut.restart & ~is_first):
        m.d.comb += [Assert(reads == 0), Assert(writes == 0), Assert(~dut.port.read.valid),
                     Assert(~dut.port.write.valid), Assert(dut.status.error != Fault.NONE)]


def busy_while_it_waits(m, dut, reads, writes):
    """Not busy, nothing outstanding."""
    with m.If(~dut.status.busy):
        m.d.comb += [Assert(reads == 0), Assert(writes == 0)]


def abort_stops(m, dut, reads, writes):
    """Two cycles after an abort of a busy processor there is a fault, but for a restart in between."""
    aborts, stopped = Signal(), Signal()
    m.d.sync += [aborts.eq(dut.abort_request & dut.status.busy & ~dut.restart), stopped.eq(aborts & ~dut.restart)]
    with m.If(stopped):
        m.d.comb += Assert(dut.status.error != Fault.NONE)


def beats_are_taken(m, dut, reads, writes):
    """After a fault, whatever the units do."""
    with m.If(dut.status.error != Fault.NONE):
        m.d.comb += Assert(dut.port.beats.ready)


class Blind(ProcessorUnits):
    """Asserts that no beat reaches the units after a fault; ``hides``: whether it is so."""

    hides = True

    def _dropped(self, m, source, sink, stopped):
        super()._dropped(m, source, sink, stopped)
        if not self.hides:
            m.d.comb += sink.valid.eq(source.valid)
        with m.If(self.status.error != Fault.NONE):
            m.d.comb += Assert(~sink.valid)


class Sighted(Blind):
    """It hides nothing."""

    hides = False


class Choosy(ProcessorUnits):
    """It takes beats where its reader does."""

    def _dropped(self, m, source, sink, stopped):
        wiring.connect(m, wiring.flipped(source), sink)


class Hasty(ProcessorUnits):
    """It clears without waiting."""

    def _outstanding(self, m, writer):
        m.d.comb += self.drained.eq(1)


class Deaf(ProcessorUnits):
    """It hears an abort only where a beat comes."""

    def _faults(self, m, *units):
        abort, self.abort_request = self.abort_request, self.abort_request & self.port.beats.valid
        stopped = super()._faults(m, *units)
        self.abort_request = abort
        return stopped


@pytest.fixture
def is_true(holds, free_units, monkeypatch):
    """Whether ``what`` holds of a processor of TINY with ``units``, or all that these assert."""
    def check(units, what=None):
        monkeypatch.setattr("wingbeat.hw.core.processor.ProcessorUnits", units)
        return holds(Processor(TINY), lambda m, dut: what and what(m, dut, *limited(m, dut, free_units)))
    return check


@pytest.mark.parametrize("what", [drained_at_a_restart, busy_while_it_waits, abort_stops, beats_are_taken])
def test_a_stop(is_true, what):
    assert is_true(ProcessorUnits, what)


@pytest.mark.parametrize("units, is_hidden", [(Blind, True), (Sighted, False)])
def test_beats_after_a_fault_are_hidden(is_true, units, is_hidden):
    assert is_true(units) == is_hidden


@pytest.mark.parametrize("what, units", [(drained_at_a_restart, Hasty), (busy_while_it_waits, Hasty),
                                         (abort_stops, Deaf), (beats_are_taken, Choosy)])
def test_a_stop_that_is_wrong_is_refuted(is_true, what, units):
    assert not is_true(units, what)


# --- AxiMaster ----------------------------------------------------------------------------------------------------

AXI = {"equal": AxiParameters(MemoryParameters(2, 8, 3), 16, address_width=13, reads=2, writes=2, longest_burst=2),
       "wide": AxiParameters(MemoryParameters(2, 8, 3), 8, address_width=13, reads=1, writes=2, longest_burst=2),
       "narrow": AxiParameters(MemoryParameters(2, 8, 3), 32, address_width=13, reads=1, writes=2, longest_burst=1)}
ISSUED = 2  # bursts of a kind that may have been issued and wait on AR or AW
FRAMES = 14  # from a request to its beat it takes 9 cycles, to its ``written`` 8


class Stopped(AxiMaster):
    """One planted fault."""

    def __init__(self, parameters, fault=None):
        super().__init__(parameters)
        self.fault = fault

    def elaborate(self, platform):
        m = super().elaborate(platform)
        reader, writer = m.submodules.reader, m.submodules.writer
        match self.fault:
            case "reads go on": m.d.comb += reader.stop.eq(0)
            case "writes go on": m.d.comb += writer.stop.eq(0)
            case "a beat before its data": m.d.comb += self.port.beats.valid.eq(reader.beats.valid | reader.ar.valid)
            case "written before B": m.d.comb += self.port.written.eq(writer.w.valid & writer.w.ready)
        return m


class OnBus(wiring.Component):
    """The master between free requests and a memory that answers, at any time, what it was asked. ``stop`` stays from
    some cycle on."""

    def __init__(self, dut, what):
        self.dut, self.what = dut, what
        super().__init__({name: In(bits) for name, bits in {
            "base": dut.parameters.address_width, "limit": 4, "stop": 1, "read": 3, "write": 3, "strobe": 2,
            "read_valid": 1, "write_valid": 1, "beats_ready": 1, "ar_ready": 1, "aw_ready": 1, "w_ready": 1,
            "r_valid": 1, "b_valid": 1}.items()})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        stopped, port = Signal(), dut.port
        open_ = {name: Signal(6, name=f"open_{name}") for name in ("reads", "writes", "r", "aw", "w")}
        m.d.comb += [
            dut.base.eq(self.base), dut.limit.eq(self.limit), dut.stop.eq(self.stop | stopped),
            port.read.payload.eq(self.read), port.read.valid.eq(self.read_valid), port.beats.ready.eq(self.beats_ready),
            port.write.payload.address.eq(self.write), port.write.payload.strobe.eq(self.strobe),
            port.write.valid.eq(self.write_valid), dut.m_axi_arready.eq(self.ar_ready),
            dut.m_axi_awready.eq(self.aw_ready), dut.m_axi_wready.eq(self.w_ready),
            dut.m_axi_rvalid.eq(self.r_valid & (open_["r"] != 0)),
            dut.m_axi_bvalid.eq(self.b_valid & (open_["aw"] != 0) & (open_["w"] != 0))]
        moves = {name: getattr(dut, f"m_axi_{name}valid") & getattr(dut, f"m_axi_{name}ready")
                 for name in ("ar", "r", "aw", "w", "b")}
        for name, asked, answered in (
                ("reads", port.read.valid & port.read.ready, port.beats.valid & port.beats.ready),
                ("writes", port.write.valid & port.write.ready, port.written),
                ("r", Mux(moves["ar"], dut.m_axi_arlen + 1, 0), moves["r"]), ("aw", moves["aw"], moves["b"]),
                ("w", moves["w"] & dut.m_axi_wlast, moves["b"])):
            m.d.sync += open_[name].eq(open_[name] + asked - answered)
        m.d.sync += stopped.eq(dut.stop)
        self.what(m, dut, stopped, moves, open_)
        return m


def nothing_new(m, dut, stopped, moves, open_):
    """After a stop only what was issued."""
    for name in ("ar", "aw"):
        count = Signal(3, name=f"late_{name}")
        m.d.sync += count.eq(count + (stopped & moves[name]))
        m.d.comb += Assert(count <= ISSUED)


def answered_is_finished(m, dut, stopped, moves, open_):
    """Where every request has its answer nothing is open on the bus, nor offered."""
    with m.If(open_["reads"] == 0):
        m.d.comb += [Assert(open_["r"] == 0), Assert(~dut.m_axi_arvalid)]
    with m.If(open_["writes"] == 0):
        m.d.comb += [Assert(open_["aw"] == 0), Assert(open_["w"] == 0), Assert(~dut.m_axi_awvalid),
                     Assert(~dut.m_axi_wvalid)]


def on_bus(prove, size, what, fault=None, frames=None):
    bench = OnBus(Stopped(AXI[size], fault), what)
    return prove(bench, [Value.cast(getattr(bench, name)) for name in bench.signature.members], 120, frames)


@pytest.mark.parametrize("size", AXI)
def test_nothing_new_on_the_bus(prove, size):
    assert on_bus(prove, size, nothing_new)


@pytest.mark.parametrize("fault", ["reads go on", "writes go on"])
def test_requests_after_a_stop_are_refuted(prove, fault):
    assert not on_bus(prove, "equal", nothing_new, fault)


@pytest.mark.parametrize("size", AXI)
def test_an_answer_ends_a_request(prove, size):
    assert on_bus(prove, size, answered_is_finished, frames=FRAMES)


@pytest.mark.parametrize("fault", ["a beat before its data", "written before B"])
def test_an_early_answer_is_refuted(prove, fault):
    assert not on_bus(prove, "equal", answered_is_finished, fault)
