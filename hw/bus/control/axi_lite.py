"""AXI4-Lite slave in front of registers."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ...isa.bit_fields import WORD_BITS, WORD_BYTES
from ...isa.registers import MAP_ADDRESS_BITS
from ...primitives.signals import signals
from .register_file import register_request, register_response

__all__ = ["axi_lite_pins", "AxiLiteSlave"]

_OKAY, _SLVERR = 0b00, 0b10


def axi_lite_pins() -> dict:
    """Members of the slave that are pins of the bus."""
    bits = MAP_ADDRESS_BITS
    channels = {
        "aw": {"addr": In(bits), "prot": In(3), "valid": In(1), "ready": Out(1)},
        "w": {"data": In(WORD_BITS), "strb": In(WORD_BYTES), "valid": In(1), "ready": Out(1)},
        "b": {"resp": Out(2), "valid": Out(1), "ready": In(1)},
        "ar": {"addr": In(bits), "prot": In(3), "valid": In(1), "ready": Out(1)},
        "r": {"data": Out(WORD_BITS), "resp": Out(2), "valid": Out(1), "ready": In(1)}}
    return {f"s_axi_ctrl_{channel}{pin}": member for channel, pins in channels.items() for pin, member in pins.items()}


class AxiLiteSlave(wiring.Component):
    """Ports ``s_axi_ctrl_...``: a read or a write at a time becomes an access on ``o``, its answer on ``i`` the
    response, SLVERR where it is an error.

    An address, the data of a write and the address of a read are taken as they come and wait. Where both a write and a
    read wait they take turns. AWPROT and ARPROT are not looked at; the low two bits of an address neither.

    Format: data of 32 bits.
    Latency: address (and data) to ``o`` 2 cycles, ``i`` to B or R 1 cycle.
    Throughput: one access at a time.
    Backpressure: AWREADY, WREADY, ARREADY and all of B and R come out of registers; no valid waits for a ready.
    Reset: no access is under way.
    Cost: registers for two addresses, 36 bits of data and 33 of a response.
    Source: AMBA AXI4, B1 (AXI4-Lite).
    """

    def __init__(self):
        super().__init__({**axi_lite_pins(), "o": Out(stream.Signature(register_request())),
                          "i": In(stream.Signature(register_response()))})

    def elaborate(self, platform):
        m = Module()
        aw, w, ar = (self._kept(m, channel, names) for channel, names in (
            ("aw", ("addr",)), ("w", ("data", "strb")), ("ar", ("addr",))))
        access, is_read, turn = Signal(register_request(), name="access"), Signal(name="is_read"), Signal(name="turn")
        has_write, has_read = signals("has_write has_read")
        m.d.comb += [
            has_write.eq(aw[0] & w[0]), has_read.eq(ar[0]), is_read.eq(has_read & (turn | ~has_write)),
            self.o.payload.eq(access)]
        byte_bits = len(self.s_axi_ctrl_awaddr) - len(access.address)
        with m.FSM(name="slave"):
            with m.State("Idle"):
                m.d.sync += [
                    access.write.eq(~is_read), access.address.eq(Mux(is_read, ar[1], aw[1])[byte_bits:]),
                    Cat(access.data, access.strobe).eq(w[1])]
                with m.If(has_write | has_read):
                    m.d.sync += turn.eq(~is_read)
                    m.d.comb += [ar[2].eq(is_read), aw[2].eq(~is_read), w[2].eq(~is_read)]
                    m.next = "Ask"
            with m.State("Ask"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "Wait"
            with m.State("Wait"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    resp = Mux(self.i.payload.error, _SLVERR, _OKAY)
                    m.d.sync += [
                        self.s_axi_ctrl_rdata.eq(self.i.payload.data), self.s_axi_ctrl_rresp.eq(resp),
                        self.s_axi_ctrl_bresp.eq(resp), self.s_axi_ctrl_bvalid.eq(access.write),
                        self.s_axi_ctrl_rvalid.eq(~access.write)]
                    m.next = "Answer"
            with m.State("Answer"):
                with m.If(Mux(access.write, self.s_axi_ctrl_bready, self.s_axi_ctrl_rready)):
                    m.d.sync += [self.s_axi_ctrl_bvalid.eq(0), self.s_axi_ctrl_rvalid.eq(0)]
                    m.next = "Idle"
        return m

    def _kept(self, m, channel, names):
        """What has come on a channel: whether there is something, its bits, and a signal that takes it away."""
        valid, ready, *pins = (getattr(self, f"s_axi_ctrl_{channel}{name}") for name in ("valid", "ready", *names))
        there, taken = Signal(name=f"has_{channel}"), Signal(name=f"{channel}_taken")
        bits = Signal(len(Cat(pins)), name=f"{channel}_bits", reset_less=True)
        m.d.comb += ready.eq(~there)
        with m.If(valid & ready):
            m.d.sync += [there.eq(1), bits.eq(Cat(pins))]
        with m.Elif(taken):
            m.d.sync += there.eq(0)
        return there, bits, taken
