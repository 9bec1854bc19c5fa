"""Proofs of the slaves of the control buses: what is offered stays until it is taken, every request gets one answer and
nothing else gets one, answers come; with planted faults.

A fault stands between the slave and the properties, or between the slave and its bus.
"""

from types import SimpleNamespace

from amaranth.hdl import Assert, Signal, Value
import pytest

from wingbeat.hw.bus.control.axi_lite import AxiLiteSlave
from wingbeat.hw.bus.control.wishbone import WishboneSlave

PATIENCE = 16  # cycles to an answer where nobody pauses; two accesses may stand before it


def count(m, up, down, bits=3):
    """Events ``up`` without their ``down`` before this cycle."""
    number = Signal(bits)
    m.d.sync += number.eq(number + Value.cast(up) - Value.cast(down))
    return number


def channel(dut, name, *pins):
    """Valid, ready, payload and move of a channel."""
    valid, ready, *parts = (Value.cast(getattr(dut, f"s_axi_ctrl_{name}{pin}")) for pin in ("valid", "ready", *pins))
    payload = parts[0] if len(parts) == 1 else sum(parts[1:], parts[0])  # any function of both will do
    return SimpleNamespace(valid=valid, ready=ready, payload=payload, move=valid & ready)


def broken(m, port, fault):
    """The port with a fault of its handshake."""
    stalled = Signal()
    m.d.sync += stalled.eq(port.valid & ~port.ready)
    valid = port.valid & ~stalled if fault == "valid falls" else port.valid
    payload = Value.cast(port.payload) ^ port.ready if fault == "payload moves" else Value.cast(port.payload)
    return SimpleNamespace(valid=valid, ready=port.ready, payload=payload)


@pytest.mark.parametrize("name, pins", [("b", ("resp",)), ("r", ("resp",)), ("r", ("data",))])
@pytest.mark.parametrize("fault", [None, "valid falls", "payload moves"])
def test_axi_lite_responses_stay(holds, steady, name, pins, fault):
    def what(m, dut):
        steady(m, broken(m, channel(dut, name, *pins), fault))
    assert holds(AxiLiteSlave(), what) == (fault is None)


@pytest.mark.parametrize("slave", [AxiLiteSlave, WishboneSlave])
@pytest.mark.parametrize("fault", [None, "valid falls", "payload moves"])
def test_accesses_stay(holds, steady, slave, fault):
    def what(m, dut):
        steady(m, broken(m, dut.o, fault))
    assert holds(slave(), what) == (fault is None)


@pytest.mark.parametrize("fault", [None, "write answered twice", "read answered twice", "access repeated",
                                   "read for a write"])
def test_axi_lite_answers_are_those_of_requests(holds, fault):
    """A response only to a request whose access was answered, one each; an access only to a request."""
    def what(m, dut):
        aw, w, ar, b, r = (channel(dut, name, pin).move for name, pin in (
            ("aw", "addr"), ("w", "data"), ("ar", "addr"), ("b", "resp"), ("r", "resp")))
        is_write = dut.o.payload.write ^ (fault == "read for a write")
        asked = dut.o.valid & dut.o.ready
        if fault == "access repeated":
            before = Signal()
            m.d.sync += before.eq(asked)
            asked = asked | before
        answered = dut.i.valid & dut.i.ready
        b_before, r_before = Signal(), Signal()
        m.d.sync += [b_before.eq(b), r_before.eq(r)]
        b = b | b_before if fault == "write answered twice" else b
        r = r | r_before if fault == "read answered twice" else r
        writes, reads = asked & is_write, asked & ~is_write
        wait_aw, wait_w, wait_ar = count(m, aw, writes), count(m, w, writes), count(m, ar, reads)
        open_b, open_r, under_way = count(m, writes, b), count(m, reads, r), count(m, asked, answered)
        m.d.comb += [
            Assert(wait_aw <= 2), Assert(wait_w <= 2), Assert(wait_ar <= 2),  # one held, one on its way
            Assert(~writes | (wait_aw != 0) & (wait_w != 0)), Assert(~reads | (wait_ar != 0)),
            Assert(under_way <= 1), Assert(~asked | (under_way == 0)), Assert(~dut.i.ready | (under_way == 1)),
            Assert(open_b + open_r <= 1), Assert(~b | (open_b == 1) & (under_way == 0)),
            Assert(~r | (open_r == 1) & (under_way == 0))]
    assert holds(AxiLiteSlave(), what) == (fault is None)


@pytest.mark.parametrize("kind, fault", [("w", False), ("ar", False), ("ar", True)])
def test_axi_lite_answers_come(holds, kind, fault):
    """Where nobody pauses, whatever the other side of the slave does: reads and writes do not starve each other."""
    def what(m, dut):
        m.d.comb += [dut.o.ready.eq(1), dut.i.valid.eq(1), dut.s_axi_ctrl_bready.eq(1), dut.s_axi_ctrl_rready.eq(1)]
        if kind == "w":
            m.d.comb += dut.s_axi_ctrl_awvalid.eq(1)
        request = channel(dut, kind, "addr" if kind == "ar" else "data").move
        response = channel(dut, "r" if kind == "ar" else "b", "resp").move
        waiting, cycles = count(m, request, response & (not fault)), Signal(6)
        m.d.sync += cycles.eq(cycles + 1)
        with m.If(response | (waiting == 0)):
            m.d.sync += cycles.eq(0)
        m.d.comb += Assert(cycles < PATIENCE)
    assert holds(AxiLiteSlave(), what) == (not fault)


@pytest.mark.parametrize("fault", [None, "end of the cycle not seen", "answered twice", "both", "access repeated"])
def test_wishbone_answers_are_those_of_strobes(holds, fault):
    """ACK or ERR only in a cycle of the bus, and only to a strobe of that very cycle that has no answer yet; one access
    to each strobe. That of a cycle that was given up is forgotten."""
    def what(m, dut):
        cyc, cycle_before = Value.cast(dut.wb_cyc_i), Signal()
        if fault == "end of the cycle not seen":
            free = Signal()  # what the slave sees stays high a cycle longer
            m.d.sync += free.eq(dut.wb_stb_i)
            cyc = dut.wb_cyc_i & ~free
        m.d.sync += cycle_before.eq(cyc)
        answers = Value.cast(dut.wb_ack_o) + Value.cast(dut.wb_err_o)
        if fault == "answered twice":
            before = Signal()
            m.d.sync += before.eq(dut.wb_ack_o)
            answers = answers | before
        if fault == "both":
            answers = answers << 1
        strobe = cyc & dut.wb_stb_i & ~dut.wb_stall_o
        asked = dut.o.valid & dut.o.ready
        if fault == "access repeated":
            asked = asked | (answers != 0)
        answered = dut.i.valid & dut.i.ready
        waiting, under_way, pending = Signal(), count(m, asked, answered), Signal()
        with m.If(strobe):
            m.d.sync += waiting.eq(1)
        with m.Elif(~cyc | (answers != 0)):
            m.d.sync += waiting.eq(0)
        m.d.sync += pending.eq((pending | strobe) & ~asked)
        m.d.comb += [
            Assert(answers <= 1), Assert((answers == 0) | cyc), Assert((answers == 0) | waiting),
            Assert((answers == 0) | (under_way == 0)), Assert(~asked | pending), Assert(~strobe | ~pending),
            Assert(~strobe | (under_way == 0)), Assert(under_way <= 1)]
    assert holds(WishboneSlave(), what) == (fault is None)


@pytest.mark.parametrize("fault", [False, True])
def test_wishbone_answers_come(holds, fault):
    """A strobe that stays gets its answer, where the registers do not pause."""
    def what(m, dut):
        m.d.comb += [dut.o.ready.eq(1), dut.i.valid.eq(1)]
        answer, cycles = dut.wb_ack_o | dut.wb_err_o, Signal(6)
        m.d.sync += cycles.eq(cycles + 1)
        with m.If((answer & (not fault)) | ~dut.wb_cyc_i | ~dut.wb_stb_i):
            m.d.sync += cycles.eq(0)
        m.d.comb += Assert(cycles < PATIENCE)
    assert holds(WishboneSlave(), what) == (not fault)
