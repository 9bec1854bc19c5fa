"""Fetch unit: the program memory, and the hand-out of instructions in order."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .config import RAM_LATENCY, ArrayConfig
from .program import INSTRUCTION_WORDS, Opcode
from .ram import Ram, RamParameters
from .shapes import instruction, setup

__all__ = ["Fetch"]


class Fetch(wiring.Component):
    """Reads instructions and hands each to the unit it is for; ``start`` begins at instruction 0.

    The next instruction is fetched when the unit has taken the present one, so the order of the program holds for every
    unit and between them. HALT waits until ``units_idle``.

    Latency: 6 cycles from ``start`` to the first offer and from one hand-out to the next offer; a LOOP takes 6 more.
    Throughput: one instruction in 6 cycles. Backpressure: each ``o_*`` stream. Reset: not running; the memory is kept. Cost: one RAM of program_words x 32 bits.
    """

    def __init__(self, config: ArrayConfig):
        self._config = config
        super().__init__({
            "start": In(1), "running": Out(1), "units_idle": In(1),
            "write": In(setup()), "write_en": In(1),
            "o_load": Out(stream.Signature(instruction(Opcode.LOAD))),
            "o_pass": Out(stream.Signature(instruction(Opcode.PASS))),
            "o_store": Out(stream.Signature(instruction(Opcode.STORE))),
        })

    def elaborate(self, platform):
        m = Module()
        c = self._config
        m.submodules.memory = memory = Ram(RamParameters(32, c.program_words, c.target))
        bits = (c.program_words - 1).bit_length()
        address, count = Signal(bits), Signal(range(INSTRUCTION_WORDS + RAM_LATENCY + 1))
        buffer = Signal(32 * INSTRUCTION_WORDS)
        opcode, fields = buffer[:3], buffer[3:]
        m.d.comb += [
            memory.r_en.eq(1), memory.r_addr.eq(address),
            memory.w_en.eq(self.write_en), memory.w_addr.eq(self.write.address), memory.w_data.eq(self.write.data)]
        for port in (self.o_load, self.o_pass, self.o_store):
            m.d.comb += port.payload.eq(fields)

        with m.FSM():
            with m.State("Idle"):
                m.d.sync += [address.eq(0), count.eq(0)]
                with m.If(self.start):
                    m.d.sync += self.running.eq(1)
                    m.next = "Read"
            with m.State("Read"):
                # The memory answers RAM_LATENCY cycles later; the first word read ends up at the low end.
                m.d.sync += count.eq(count + 1)
                with m.If(count < INSTRUCTION_WORDS):
                    m.d.sync += address.eq(address + 1)
                with m.If(count >= RAM_LATENCY):
                    m.d.sync += buffer.eq(Cat(buffer[32:], memory.r_data))
                with m.If(count == INSTRUCTION_WORDS + RAM_LATENCY - 1):
                    m.d.sync += count.eq(0)
                    m.next = "Offer"
            with m.State("Offer"):
                for code, port in ((Opcode.LOAD, self.o_load), (Opcode.PASS, self.o_pass),
                                   (Opcode.STORE, self.o_store)):
                    with m.If(opcode == code):
                        m.d.comb += port.valid.eq(1)
                        with m.If(port.ready):
                            m.next = "Read"
                with m.If(opcode == Opcode.LOOP):
                    self._loop(m, fields, address)
                    m.next = "Read"
                with m.If((opcode == Opcode.HALT) & self.units_idle):
                    m.d.sync += self.running.eq(0)
                    m.next = "Idle"
        return m

    def _loop(self, m, fields, address):
        loop = Signal(instruction(Opcode.LOOP))
        left, looping = Signal(loop.count.shape()), Signal()
        m.d.comb += loop.eq(fields)
        with m.If(~looping):
            m.d.sync += left.eq(loop.count - 1)
        with m.If(~looping & (loop.count > 1) | looping & (left > 1)):
            m.d.sync += [address.eq(loop.target), looping.eq(1)]
            with m.If(looping):
                m.d.sync += left.eq(left - 1)
        with m.Else():
            m.d.sync += looping.eq(0)
