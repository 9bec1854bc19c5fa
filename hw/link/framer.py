"""Receiver and sender of the frames of the byte link (hw/isa/link_frame.py), and the parameters of the link."""

from contextlib import contextmanager
from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .. import layouts as shapes
from ..config import CoreConfig
from ..errors import WingbeatError
from ..isa.link_frame import RECORD_BYTES, SYNC, LinkFault, Kind, identity
from ..isa.setup import SETUP_CONTROL

__all__ = ["FrameReceiver", "FrameSender", "LinkParameters"]


@dataclass(frozen=True)
class LinkParameters:
    """``limit``: payload bytes of a frame, a power of two. ``timeout``: cycles without a byte that end a
    frame.

    The other fields are those of the array. Raises WingbeatError naming the field.
    """

    element_width: int
    stream_words: int
    identity: int
    limit: int = 512
    timeout: int = 1 << 20

    def __post_init__(self) -> None:
        if not 32 <= self.limit <= 32768 or self.limit & (self.limit - 1):
            raise WingbeatError(f"limit: {self.limit} is no power of two in 32..32768")
        if self.output_bytes > self.limit:
            raise WingbeatError(f"limit: {self.limit} does not hold an output beat of {self.output_bytes}")
        if not 16 <= self.timeout < 1 << 32:
            raise WingbeatError(f"timeout: {self.timeout} is out of range; allowed are 16..{(1 << 32) - 1}")

    @classmethod
    def from_config(cls, config: CoreConfig, limit: int = 512, timeout: int = 1 << 20) -> "LinkParameters":
        return cls(config.element_width, config.stream_words, identity(config), limit, timeout)

    @property
    def input_beat(self) -> data.StructLayout:
        return shapes.input_beat(self.element_width, self.stream_words)

    @property
    def output_beat(self) -> data.StructLayout:
        return shapes.output_beat(self.element_width, self.stream_words)

    @property
    def input_bytes(self) -> int:
        return -(-self.input_beat.size // 8)

    @property
    def output_bytes(self) -> int:
        return -(-self.output_beat.size // 8)

    @property
    def length_bits(self) -> int:
        """Bits of a payload length, 0..limit."""
        return self.limit.bit_length()

    @property
    def position_bits(self) -> int:
        """Bits of a position in a payload, 0..limit-1."""
        return self.length_bits - 1

    @property
    def received(self) -> data.StructLayout:
        """What the receiver reports: a frame, or the fault of one (0: none)."""
        return data.StructLayout({"fault": 4, "kind": 3, "length": self.length_bits})

    @property
    def reply(self) -> data.StructLayout:
        """Header of a frame to send."""
        return data.StructLayout({"kind": 8, "length": self.length_bits})


class FrameReceiver(wiring.Component):
    """Bytes to checked frames. The payload goes to a memory through ``position``, ``byte``, ``write``.

    ``o`` reports one frame or one fault and waits; no byte is accepted meanwhile. While ``occupied`` the payload of a
    frame is not written and the frame is reported as BUSY. A fault may have lost the border of the frame; then the
    receiver discards bytes until none has come for ``timeout`` cycles, and reports. ``crc_start``, ``crc_valid``,
    ``byte`` feed the CRC register, ``crc_match`` answers.

    Format: frames as hw/isa/link_frame.py.
    Latency: the report is valid 2 cycles after the last byte.
    Throughput: one byte per cycle, one cycle lost per frame header.
    Backpressure: ``i.ready`` depends on the state only.
    Reset: waits for a frame.
    Cost: 155 LUT4, 75 flip-flops.
    Source: hw/isa/link_frame.py.
    """

    def __init__(self, parameters: LinkParameters):
        self.parameters = parameters
        super().__init__({
            "i": In(stream.Signature(8)), "o": Out(stream.Signature(parameters.received)), "occupied": In(1),
            "position": Out(parameters.position_bits), "byte": Out(8), "write": Out(1),
            "crc_start": Out(1), "crc_valid": Out(1), "crc_match": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        header, bytes_left = Signal(24, name="header"), Signal(self.parameters.length_bits, name="bytes_left")
        kind, length, expired, held = header[:8], header[8:], self._silence(m), Signal(name="held")
        taken = self.i.valid & self.i.ready
        takes_payload = (kind == Kind.SETUP) | (kind == Kind.DATA)
        header_fault = self._header_fault(kind, length, takes_payload)
        content_fault = Mux(held, LinkFault.BUSY, self._content_fault(m, kind))
        m.d.comb += [self.crc_valid.eq(taken), self.byte.eq(self.i.payload),
                     self.o.payload.kind.eq(kind), self.o.payload.length.eq(length)]

        def report(fault, state="Quiet"):
            m.d.sync += self.o.payload.fault.eq(fault)
            m.next = state

        def receive(state, following):
            """A state that takes ``left + 1`` bytes."""
            with m.State(state):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += bytes_left.eq(Mux(bytes_left == 0, 1, bytes_left - 1))  # 1: the CRC comes next
                    with m.If(bytes_left == 0):
                        m.next = following
                with m.Elif(expired):
                    report(LinkFault.TIMEOUT, "Report")

        with m.FSM(name="receiver") as fsm:
            with m.State("Sync"):
                m.d.comb += [self.i.ready.eq(1), self.crc_start.eq(1), self.crc_valid.eq(0)]
                m.d.sync += bytes_left.eq(2)
                with m.If(self.i.valid):
                    m.next = "Header"
                    with m.If(self.i.payload != SYNC):
                        report(LinkFault.NO_SYNC)
            receive("Header", "Judge")
            with m.State("Judge"):
                # Sampled once: the memory may become free while the payload comes in.
                m.d.sync += held.eq(self.occupied & takes_payload)
                m.next = "Crc"
                with m.If(takes_payload):
                    m.d.sync += bytes_left.eq(length - 1)
                    m.next = "Payload"
                with m.If(header_fault != 0):
                    report(header_fault)
            receive("Payload", "Crc")
            receive("Crc", "Verdict")
            with m.State("Verdict"):
                report(content_fault, "Report")
                with m.If(~self.crc_match):
                    report(LinkFault.CRC)
            with m.State("Quiet"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(expired): m.next = "Report"
            with m.State("Report"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready): m.next = "Sync"
        with m.If(taken & fsm.ongoing("Header")):
            m.d.sync += header.eq(Cat(header[8:], self.i.payload))
        m.d.comb += self.write.eq(taken & fsm.ongoing("Payload") & ~held)
        return m

    def _header_fault(self, kind, length, takes_payload):
        wrong_length = takes_payload != (length != 0)
        return Mux((kind == 0) | (kind > max(Kind)), LinkFault.KIND,
                   Mux(length > self.parameters.limit, LinkFault.TOO_LONG, Mux(wrong_length, LinkFault.LENGTH, 0)))

    def _silence(self, m):
        """Whether no byte has come for ``timeout`` cycles."""
        timeout = self.parameters.timeout
        cycles_left = Signal(range(timeout), name="cycles_left", init=timeout - 1)
        m.d.sync += cycles_left.eq(Mux(self.i.valid & self.i.ready, timeout - 1, cycles_left - (cycles_left != 0)))
        return cycles_left == 0

    def _content_fault(self, m, kind):
        """Fault of the payload received: bytes left over, or a record that would start the array."""
        unit_bytes = max(RECORD_BYTES, self.parameters.input_bytes)
        unit_position = Signal(range(unit_bytes), name="unit_position")
        control = Signal(name="control")
        last_of_unit = Mux(kind == Kind.DATA, self.parameters.input_bytes - 1, RECORD_BYTES - 1)
        with m.If(self.o.valid):
            m.d.sync += [self.position.eq(0), unit_position.eq(0), control.eq(0)]
        with m.If(self.write):
            m.d.sync += [self.position.eq(self.position + 1),
                         unit_position.eq(Mux(unit_position == last_of_unit, 0, unit_position + 1))]
            with m.If((unit_position == 0) & (kind == Kind.SETUP) & (self.byte == SETUP_CONTROL)):
                m.d.sync += control.eq(1)
        return Mux(unit_position != 0, LinkFault.LENGTH, Mux(control, LinkFault.VALUE, 0))


class FrameSender(wiring.Component):
    """Frames to bytes: header and CRC around a payload that is read byte by byte.

    ``i`` is the header; it is taken with the last byte of its frame. ``byte`` must be the payload byte at ``position``
    one cycle after ``fetch``, and is sampled then. ``crc_start``, ``crc_valid`` and ``o.payload`` feed the CRC
    register, ``crc`` is its value.

    Format: frames as hw/isa/link_frame.py.
    Latency: 1 cycle to the first byte.
    Throughput: one byte per cycle, a payload byte per 3 cycles.
    Backpressure: ``o.valid`` depends on the state only; the path ``o.ready`` -> ``i.ready`` is **not** cut.
    Reset: idle; a frame under way is cut off.
    Cost: 85 LUT4, 35 flip-flops.
    Source: hw/isa/link_frame.py.
    """

    def __init__(self, parameters: LinkParameters):
        self.parameters = parameters
        super().__init__({
            "i": In(stream.Signature(parameters.reply)), "o": Out(stream.Signature(8)),
            "position": Out(parameters.position_bits), "fetch": Out(1), "byte": In(8),
            "crc_start": Out(1), "crc_valid": Out(1), "crc": In(16),
        })

    def elaborate(self, platform):
        m = Module()
        bytes_left = Signal.like(self.i.payload.length, name="bytes_left")
        byte = Signal(8, name="byte")
        m.d.comb += self.crc_valid.eq(self.o.valid & self.o.ready)

        @contextmanager
        def send(state, byte, following):
            with m.State(state):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(byte)]
                with m.If(self.o.ready):
                    m.next = following
                    yield

        with m.FSM(name="sender"):
            with m.State("Idle"):
                m.d.sync += [self.position.eq(0), bytes_left.eq(self.i.payload.length)]
                with m.If(self.i.valid):
                    m.next = "Sync"
            with send("Sync", SYNC, "Kind"):
                m.d.comb += [self.crc_start.eq(1), self.crc_valid.eq(0)]
            with send("Kind", self.i.payload.kind, "Low"):
                pass
            with send("Low", self.i.payload.length[:8], "High"):
                pass
            with send("High", self.i.payload.length[8:], "Fetch"):
                with m.If(bytes_left == 0):
                    m.next = "CrcHigh"
            with m.State("Fetch"):
                m.d.comb += self.fetch.eq(1)
                m.next = "Take"
            with m.State("Take"):  # into a register: the CRC behind a block RAM would be the slowest path
                m.d.sync += byte.eq(self.byte)
                m.next = "Payload"
            with send("Payload", byte, "Fetch"):
                m.d.sync += [self.position.eq(self.position + 1), bytes_left.eq(bytes_left - 1)]
                with m.If(bytes_left == 1):
                    m.next = "CrcHigh"
            with send("CrcHigh", self.crc[8:], "CrcLow"):
                m.d.comb += self.crc_valid.eq(0)  # so that the low half is still there
            with send("CrcLow", self.crc[:8], "Idle"):
                m.d.comb += self.i.ready.eq(1)
        return m
