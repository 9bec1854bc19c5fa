"""Wishbone slave in front of registers."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ...isa.bit_fields import WORD_BITS, WORD_BYTES
from ...isa.registers import MAP_ADDRESS_BITS
from ...primitives.signals import signals
from .register_file import register_request, register_response

__all__ = ["wishbone_pins", "WishboneSlave"]


def wishbone_pins() -> dict:
    """Members of the slave that are pins of the bus."""
    return {"wb_cyc_i": In(1), "wb_stb_i": In(1), "wb_we_i": In(1), "wb_adr_i": In(MAP_ADDRESS_BITS),
            "wb_sel_i": In(WORD_BYTES), "wb_dat_i": In(WORD_BITS), "wb_dat_o": Out(WORD_BITS), "wb_ack_o": Out(1),
            "wb_err_o": Out(1), "wb_stall_o": Out(1)}


class WishboneSlave(wiring.Component):
    """Ports ``wb_...``: a cycle of a Wishbone B4 master, classic or pipelined, becomes an access on ``o``. Its answer
    on ``i`` becomes ``wb_ack_o``, or ``wb_err_o`` where it is an error.

    ``wb_adr_i`` is a byte address whose low two bits are not looked at. ``wb_stall_o`` is for pipelined masters: a
    strobe is taken where it is low, and one access is under way at a time. A classic master leaves it open. Where
    ``wb_cyc_i`` falls before the answer, the access has its effect and no answer.

    Format: port of 32 bits, granularity of 8.
    Latency: strobe to ``o`` 1 cycle, ``i`` to the answer 1 cycle.
    Throughput: one access at a time.
    Backpressure: ``wb_ack_o`` and ``wb_err_o`` hang on ``wb_cyc_i`` through a gate; ``wb_stall_o`` is a register.
    Reset: no access is under way.
    Cost: registers for an access and an answer.
    Source: Wishbone B4, chapters 3 and 5.
    """

    def __init__(self):
        super().__init__({**wishbone_pins(), "o": Out(stream.Signature(register_request())),
                          "i": In(stream.Signature(register_response()))})

    def elaborate(self, platform):
        m = Module()
        access, answers = Signal(register_request(), name="access"), Signal(name="answers")
        failed, abandoned = signals("failed abandoned")
        byte_bits = len(self.wb_adr_i) - len(access.address)
        m.d.comb += [
            self.o.payload.eq(access), self.wb_ack_o.eq(answers & self.wb_cyc_i & ~failed & ~abandoned),
            self.wb_err_o.eq(answers & self.wb_cyc_i & failed & ~abandoned)]
        with m.If(~self.wb_cyc_i):
            m.d.sync += abandoned.eq(1)
        with m.FSM(name="slave"):
            with m.State("Idle"):
                m.d.sync += [
                    access.write.eq(self.wb_we_i), access.address.eq(self.wb_adr_i[byte_bits:]),
                    access.data.eq(self.wb_dat_i), access.strobe.eq(self.wb_sel_i)]
                with m.If(self.wb_cyc_i & self.wb_stb_i):
                    m.d.sync += [self.wb_stall_o.eq(1), abandoned.eq(0)]
                    m.next = "Ask"
            with m.State("Ask"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "Wait"
            with m.State("Wait"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += [answers.eq(1), failed.eq(self.i.payload.error),
                                 self.wb_dat_o.eq(self.i.payload.data)]
                    m.next = "Answer"
            with m.State("Answer"):
                m.d.sync += [answers.eq(0), self.wb_stall_o.eq(0)]
                m.next = "Idle"
        return m
