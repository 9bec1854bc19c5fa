"""Bridge from bytes to 32-bit words: the accesses of a host to the registers and the memory of a core."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out

from ..errors import WingbeatError
from ..isa.bit_fields import WORD_BITS, WORD_BYTES
from ..isa.registers import MAP_ADDRESS_BITS
from ..isa.serial_bus import BRIDGE_BASE, COUNTS_FIELDS, MEMORY_BASE, BridgeRegister, Command
from ..layouts import layout_of, word_access, word_answer
from ..primitives.signals import signals

__all__ = ["SerialBridge", "BridgeParameters"]

_BYTE_BITS = WORD_BYTES.bit_length() - 1
_ADDRESS_BITS = WORD_BITS - _BYTE_BITS  # of the number of a word
_PAGE_BITS = MAP_ADDRESS_BITS - _BYTE_BITS


@dataclass(frozen=True)
class BridgeParameters:
    """``memory_bytes``: of the memory, a multiple of a word. ``timeout``: cycles without a byte that end a command.

    Raises WingbeatError naming the field.
    """

    memory_bytes: int
    timeout: int = 1 << 20

    def __post_init__(self) -> None:
        most = (1 << WORD_BITS) - MEMORY_BASE
        if not WORD_BYTES <= self.memory_bytes <= most or self.memory_bytes % WORD_BYTES:
            raise WingbeatError(f"memory_bytes: {self.memory_bytes}; allowed are multiples of {WORD_BYTES} up to "
                                f"{most}")
        if not 16 <= self.timeout < 1 << 32:
            raise WingbeatError(f"timeout: {self.timeout} is out of range; allowed are 16..{(1 << 32) - 1}")


class SerialBridge(wiring.Component):
    """Commands on ``i`` become accesses, words that are read become bytes on ``o``, as hw/isa/serial_bus.py says.

    ``o_registers`` and ``o_memory``: accesses to the registers of the core and to its memory; ``i_registers`` and
    ``i_memory``: the answer to each. ``lost``, a pulse: a byte was lost on the line.

    Format: words of 32 bits, the high byte first.
    Latency: 1 cycle from the last byte of a word to its access, 2 from that of the address of a read; 1 from an answer
    to its first byte.
    Throughput: a byte per cycle; a word takes 4 of them, 2 more and what its access takes.
    Backpressure: ``i.ready`` is low while an access is under way and while a word is sent.
    Reset: waits for a command; all counts are 0, CHECK begins.
    Cost: a CRC-32 of bytes, registers for an access, a timer.
    Source: UARTBone of LiteX (litex/soc/cores/uart.py, Stream2Wishbone).
    """

    def __init__(self, parameters: BridgeParameters):
        self.parameters = parameters
        register, memory = word_access(_PAGE_BITS), word_access(_ADDRESS_BITS - 1)
        super().__init__({
            "i": In(stream.Signature(8)), "o": Out(stream.Signature(8)), "lost": In(1),
            "o_registers": Out(stream.Signature(register)), "i_registers": In(stream.Signature(word_answer())),
            "o_memory": Out(stream.Signature(memory)), "i_memory": In(stream.Signature(word_answer()))})

    def elaborate(self, platform):
        m = Module()
        self._command, self._words_left = Signal(8, name="command"), Signal(8, name="words_left")
        self._address, self._data = Signal(_ADDRESS_BITS, name="address"), Signal(WORD_BITS, name="data")
        self._bytes_left = Signal(range(WORD_BYTES), name="bytes_left")
        self._broken, self._is_idle_line, self._is_after_loss = signals("broken is_idle_line is_after_loss")
        self._asks, self._answered, self._sent, self._refused, is_write = signals(
            "asks answered sent refused is_write")
        self._answer = Signal(WORD_BITS, name="answer")
        m.d.comb += [is_write.eq(self._command[0]), self.o.payload.eq(self._data[-8:])]
        self._accesses(m, is_write)
        self._silence(m)
        with m.FSM(name="bridge"):
            self._receive(m, is_write)
            self._act(m)
        return m

    def _receive(self, m, is_write):
        """States that take the bytes of a command, and those that are discarded."""
        byte, bytes_left = self.i.payload, self._bytes_left
        taken = self.i.valid & self.i.ready
        with m.State("Command"):
            m.d.sync += [self._command.eq(byte), bytes_left.eq(WORD_BYTES - 1)]
            with m.If(taken & (byte != Command.IDLE)):
                m.next = "Count"
                with m.If(byte > max(Command)):
                    self._break(m)
            self._wait(m, may_end=True)
        with m.State("Count"):
            m.d.sync += self._words_left.eq(byte)
            with m.If(taken):
                m.next = "Address"
                with m.If(byte == 0):
                    self._break(m)
            self._wait(m)
        for state, register, following in (("Address", self._address, "Begin"), ("Word", self._data, "Access")):
            with m.State(state):
                with m.If(taken):
                    m.d.sync += [register.eq(Cat(byte, register)), bytes_left.eq(bytes_left - 1)]
                    with m.If(bytes_left == 0):
                        m.next = following
                self._wait(m)
        with m.State("Begin"):
            m.next = "Access"
            with m.If(is_write):
                m.next = "Word"
        with m.State("Quiet"):
            m.d.comb += self.i.ready.eq(1)
            m.d.sync += self._is_after_loss.eq(0)
            with m.If(self._is_idle_line & ~self.i.valid):
                m.next = "Command"

    def _act(self, m):
        """States of one word: its access, its bytes, and what comes behind it."""
        data, is_write = self._data, self._command[0]
        with m.State("Access"):
            m.d.comb += self._asks.eq(1)
            with m.If(self._answered):
                m.d.sync += data.eq(self._answer)
                m.next = "Send"
                with m.If(is_write):
                    m.next = "Next"
        with m.State("Send"):
            m.d.comb += self.o.valid.eq(1)
            with m.If(self.o.ready):
                m.d.sync += [data.eq(data << 8), self._bytes_left.eq(self._bytes_left - 1)]
                with m.If(self._bytes_left == 0):
                    m.next = "Next"
        with m.State("Next"):
            m.d.sync += self._words_left.eq(self._words_left - 1)
            with m.If(self._command <= Command.READ):
                m.d.sync += self._address.eq(self._address + 1)
            m.next = "Begin"
            with m.If(self._words_left == 1):
                m.next = "Command"

    def _wait(self, m, may_end=False):
        """The end of a state that takes bytes: a loss goes before all else, and silence is the end of a command."""
        m.d.comb += self.i.ready.eq(1)
        with m.If(self._is_after_loss):
            m.next = "Quiet"
        if not may_end:
            with m.Elif(self._is_idle_line & ~self.i.valid):
                m.d.comb += self._broken.eq(1)
                m.next = "Command"

    def _break(self, m):
        m.d.comb += self._broken.eq(1)
        m.next = "Quiet"

    def _silence(self, m):
        """Whether no byte has come for the timeout, of those in which the bridge would have taken one."""
        timer = Signal(range(self.parameters.timeout + 1), name="timer", init=self.parameters.timeout)
        with m.If(self.i.valid | self.lost | ~self.i.ready):
            m.d.sync += [timer.eq(self.parameters.timeout), self._is_idle_line.eq(0)]
        with m.Else():
            m.d.sync += [timer.eq(timer - (timer != 0)), self._is_idle_line.eq(timer == 0)]
        with m.If(self.lost):
            m.d.sync += self._is_after_loss.eq(1)

    def _accesses(self, m, is_write):
        """While ``asks``: sends the access to who has the address, and ``answered`` with ``answer`` when it is done."""
        page = self._address[_PAGE_BITS:]
        is_memory, is_register, is_own = signals("is_memory is_register is_own")
        # The address stands still long before an access.
        m.d.sync += [is_memory.eq(self._address[-1]), is_register.eq(page == 0),
                     is_own.eq(page == BRIDGE_BASE >> MAP_ADDRESS_BITS)]
        found, legal = self._own(m, is_write, is_own)
        targets = ((self.o_registers, self.i_registers, is_register), (self.o_memory, self.i_memory, is_memory))
        for request, answer, is_chosen in targets:
            m.d.comb += [request.valid.eq(self._asks & is_chosen & ~self._sent),
                         *(request.payload[name].eq(value) for name, value in (
                             ("write", is_write), ("address", self._address), ("data", self._data))),
                         answer.ready.eq(self._asks & self._sent)]
            with m.If(request.valid & request.ready):
                m.d.sync += self._sent.eq(1)
            with m.If(self._asks & self._sent & is_chosen):
                m.d.comb += [self._answered.eq(answer.valid), self._refused.eq(answer.valid & answer.payload.error),
                             self._answer.eq(Mux(answer.payload.error, 0, answer.payload.data))]
        with m.If(self._asks & ~is_register & ~is_memory):
            m.d.comb += [self._answered.eq(1), self._refused.eq(~legal), self._answer.eq(Mux(legal, found, 0))]
        with m.If(self._answered):
            m.d.sync += self._sent.eq(0)

    def _own(self, m, is_write, is_own):
        """The registers of the bridge: what the one at the address holds, and whether the access is legal."""
        m.submodules.crc = crc = CRC32_ISO_HDLC(8).create()
        counts = Signal(layout_of(COUNTS_FIELDS), name="counts")
        first_refused = Signal(_ADDRESS_BITS, name="first_refused")
        place = self._address[:_PAGE_BITS]
        places = {register: (register - BRIDGE_BASE) >> _BYTE_BITS for register in BridgeRegister}
        is_acting = self._asks & is_own & is_write
        contents = {BridgeRegister.COUNTS: counts.as_value(), BridgeRegister.CHECK: crc.crc,
                    BridgeRegister.REFUSED: Cat(Const(0, _BYTE_BITS), first_refused),
                    BridgeRegister.SIZE: Const(self.parameters.memory_bytes, WORD_BITS)}
        found, legal = Signal(WORD_BITS, name="found"), Signal(name="legal")
        with m.Switch(place):
            for register, content in contents.items():
                with m.Case(places[register]):
                    is_writable = register in (BridgeRegister.COUNTS, BridgeRegister.CHECK)
                    m.d.comb += [found.eq(content), legal.eq(is_own & (~is_write | is_writable))]
        m.d.comb += [
            crc.start.eq(is_acting & (place == places[BridgeRegister.CHECK])),
            crc.valid.eq((self.i.valid & self.i.ready) | (self.o.valid & self.o.ready)),
            crc.data.eq(Mux(self.o.valid, self.o.payload, self.i.payload))]
        for name, event in (("refused", self._refused), ("broken", self._broken), ("lost", self.lost)):
            with m.If(event & ~counts[name].all()):
                m.d.sync += counts[name].eq(counts[name] + 1)
        with m.If(self._refused & (counts.refused == 0)):
            m.d.sync += first_refused.eq(self._address)
        with m.If(is_acting & (place == places[BridgeRegister.COUNTS])):
            m.d.sync += [counts.eq(0), first_refused.eq(0)]
        return found, legal
