"""Byte link between a host and an array: receives whole frames, checks them, then acts on them
(hw/isa/link_frame.py).
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.crc.catalog import CRC16_IBM_3740
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .. import layouts as shapes
from ..isa.fields import pack
from ..isa.link_frame import ERROR, RECORD_BYTES, REPLY, STATUS_WORDS, VERSION, LinkFault, Kind
from ..isa.setup import CONTROL_START, SETUP, SETUP_CONTROL
from ..primitives.memory import read_port, write_port
from .framer import FrameReceiver, FrameSender, LinkParameters

__all__ = ["Link", "PayloadUnpacker", "ResultStore"]


class PayloadUnpacker(wiring.Component):
    """Takes a received payload out of its memory: SETUP records to ``o_setup``, beats to ``o_data``.

    ``start`` with ``is_data`` and ``length`` (bytes) begins; ``busy`` until the last unit has moved. ``position`` and
    ``byte`` are the read port of the memory, latency 1. While idle both payloads are 0.

    Format: units as hw/isa/link_frame.py, the lowest byte first.
    Latency: 2 cycles per byte, then the unit is valid.
    Throughput: one unit per 2 * bytes + 1 cycles.
    Backpressure: valid and payload come out of registers.
    Reset: idle.
    Cost: a shift register of the larger unit, about 40 LUTs.
    Source: hw/isa/link_frame.py.
    """

    def __init__(self, parameters: LinkParameters):
        self.parameters = parameters
        super().__init__({
            "start": In(1), "is_data": In(1), "length": In(parameters.length_bits), "busy": Out(1),
            "position": Out(parameters.position_bits), "byte": In(8),
            "o_data": Out(stream.Signature(parameters.input_beat)),
            "o_setup": Out(stream.Signature(shapes.setup())),
        })

    def elaborate(self, platform):
        m = Module()
        unit_bytes = max(RECORD_BYTES, self.parameters.input_bytes)
        # Idle clears it, which is free only without another reset.
        shift = Signal(8 * unit_bytes, name="shift", reset_less=True)
        bytes_left = Signal.like(self.length, name="bytes_left")
        unit_position = Signal(range(unit_bytes), name="unit_position")
        is_data = Signal(name="is_data")
        last_of_unit = Mux(is_data, self.parameters.input_bytes - 1, RECORD_BYTES - 1)

        # Bytes enter at the top, so a unit, short or long, ends there.
        record, beat = shift[-8 * RECORD_BYTES:], shift[-8 * self.parameters.input_bytes:]
        m.d.comb += [self.o_setup.payload.eq(record), self.o_data.payload.eq(beat)]

        with m.FSM(name="unpacker") as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("Idle"))
            with m.State("Idle"):
                m.d.sync += [bytes_left.eq(self.length), is_data.eq(self.is_data), self.position.eq(0),
                             unit_position.eq(0), shift.eq(0)]
                with m.If(self.start):
                    m.next = "Read"
            with m.State("Read"):
                m.d.sync += [self.position.eq(self.position + 1), bytes_left.eq(bytes_left - 1)]
                m.next = "Shift"
            with m.State("Shift"):
                m.d.sync += [shift.eq(Cat(shift[8:], self.byte)), unit_position.eq(unit_position + 1)]
                m.next = "Read"
                with m.If(unit_position == last_of_unit):
                    m.d.sync += unit_position.eq(0)
                    m.next = "Offer"
            with m.State("Offer"):
                m.d.comb += [self.o_data.valid.eq(is_data), self.o_setup.valid.eq(~is_data)]
                with m.If(Mux(is_data, self.o_data.ready, self.o_setup.ready)):
                    m.next = "Read"
                    with m.If(bytes_left == 0):
                        m.next = "Idle"
        return m


class ResultStore(wiring.Component):
    """Packs output beats into bytes and keeps them until they are asked for.

    ``count`` bytes wait; ``position`` and ``byte`` read them, latency 1. With ``pause`` no further beat is begun;
    ``paused`` answers when none is under way. ``clear`` forgets all (only while paused).

    Format: beats as hw/isa/link_frame.py, the lowest byte first.
    Latency: one cycle per byte of a beat until all of it is stored; 1 cycle from ``position`` to ``byte``.
    Throughput: one byte per cycle while there is room for a beat.
    Backpressure: ``i.ready`` goes high for the cycle in which the last byte of a beat is stored.
    Reset: empty.
    Cost: one memory of the payload limit, a byte multiplexer of the beat, about 30 LUTs.
    Source: hw/isa/link_frame.py.
    """

    def __init__(self, parameters: LinkParameters):
        self.parameters = parameters
        super().__init__({
            "i": In(stream.Signature(parameters.output_beat)), "count": Out(parameters.length_bits),
            "pause": In(1), "paused": Out(1), "clear": In(1),
            "position": In(parameters.position_bits), "byte": Out(8),
        })

    def elaborate(self, platform):
        m = Module()
        n_bytes = self.parameters.output_bytes
        room = self.parameters.limit // n_bytes * n_bytes
        m.submodules.memory = memory = Memory(shape=8, depth=self.parameters.limit, init=[])
        write, read = write_port(memory), read_port(memory, "sync")
        beat_position = Signal(range(n_bytes), name="beat_position")

        # The beat holds still until it is taken: its bytes are picked where it stands.
        beat = Cat(self.i.payload.as_value(), Const(0, 8))
        m.d.comb += [
            self.paused.eq(self.pause & (beat_position == 0)),
            write.en.eq(self.i.valid & ~self.paused & (self.count != room)),
            write.addr.eq(self.count), write.data.eq(beat.word_select(beat_position, 8)),
            self.i.ready.eq(write.en & (beat_position == n_bytes - 1)),
            read.addr.eq(self.position), self.byte.eq(read.data),
        ]
        with m.If(write.en):
            m.d.sync += [self.count.eq(self.count + 1),
                         beat_position.eq(Mux(beat_position == n_bytes - 1, 0, beat_position + 1))]
        with m.If(self.clear):
            m.d.sync += self.count.eq(0)
        return m


class Link(wiring.Component):
    """Drives the ports of an array from frames on a byte stream, one reply per frame.

    Ports: ``i``, ``o`` bytes from and to the host; ``o_setup``, ``o_data``, ``i_results``, ``i_status`` to the array
    (formats in hw/layouts.py); ``o_reset`` asks for a reset of array and link, after the reply to RESET has left, and
    stays until the reset comes.

    A frame takes effect only after all of it has been received and its CRC checked. DATA moves in the background; until
    it is through, SETUP, START and DATA are refused as BUSY and everything else is served, so a stalled array cannot
    lock the host out.

    Format: frames as hw/isa/link_frame.py.
    Latency: the reply begins 4 cycles after the frame, for SETUP 17 cycles per record and 1 later.
    Throughput: one byte per cycle in, one per 3 cycles out; DATA 2 * input_bytes + 1 cycles per beat. While a reply is
    sent no byte is accepted (``i.ready`` is low).
    Backpressure: a stalled host stalls the results, never the frames.
    Reset: idle; a frame under way is lost.
    Cost: two memories of the payload limit; 690 LUT4 and 320 flip-flops on iCE40 for K = 2, a third of it the
    multiplexers of the counters and the results.
    Source: hw/isa/link_frame.py.
    """

    def __init__(self, parameters: LinkParameters):
        self.parameters = parameters
        super().__init__({
            "i": In(stream.Signature(8)), "o": Out(stream.Signature(8)),
            "o_setup": Out(stream.Signature(shapes.setup())),
            "o_data": Out(stream.Signature(parameters.input_beat)),
            "i_results": In(stream.Signature(parameters.output_beat)), "i_status": In(shapes.status()),
            "o_reset": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver = receiver = FrameReceiver(self.parameters)
        m.submodules.sender = sender = FrameSender(self.parameters)
        m.submodules.unpacker = unpacker = PayloadUnpacker(self.parameters)
        m.submodules.results = results = ResultStore(self.parameters)
        for source, sink in ((wiring.flipped(self.i), receiver.i), (sender.o, wiring.flipped(self.o)),
                             (unpacker.o_data, wiring.flipped(self.o_data)),
                             (wiring.flipped(self.i_results), results.i)):
            wiring.connect(m, source, sink)
        self._payload_memory(m, receiver, unpacker)
        self._crc(m, receiver, sender)

        fault = Signal(4, name="fault")
        frame = receiver.o.payload
        m.d.comb += [unpacker.is_data.eq(frame.kind == Kind.DATA), unpacker.length.eq(frame.length),
                     receiver.occupied.eq(unpacker.busy)]
        sends_results = (fault == 0) & (frame.kind == Kind.RESULT)
        with m.FSM(name="link") as fsm:
            with m.State("Wait"):
                m.d.sync += fault.eq(frame.fault)
                with m.If(receiver.o.valid):
                    m.next = "Reply"
                    with m.If(frame.fault == 0):
                        self._act(m, frame.kind, fault, unpacker)
            with m.State("Setup"):
                with m.If(~unpacker.busy):
                    m.next = "Reply"
            with m.State("Start"):
                with m.If(self.o_setup.ready):
                    m.next = "Reply"
            with m.State("Reply"):
                # Results that arrive while the frame is sent belong to the next one.
                m.d.comb += [results.pause.eq(sends_results),
                             sender.i.valid.eq(~sends_results | results.paused),
                             receiver.o.ready.eq(sender.i.ready),
                             results.clear.eq(sends_results & sender.i.ready)]
                with m.If(sender.i.ready):
                    m.next = "Wait"
                    with m.If((fault == 0) & (frame.kind == Kind.RESET)):
                        m.next = "Reset"
            with m.State("Reset"):
                m.d.comb += self.o_reset.eq(self.o.ready)  # ready: the last byte of the reply has left
        self._setup_port(m, unpacker, fsm.ongoing("Start"))
        self._reply(m, sender, frame.kind, fault, unpacker, results)
        return m

    def _payload_memory(self, m, receiver, unpacker):
        m.submodules.payload = memory = Memory(shape=8, depth=self.parameters.limit, init=[])
        write, read = write_port(memory), read_port(memory, "sync")
        m.d.comb += [write.addr.eq(receiver.position), write.data.eq(receiver.byte),
                     write.en.eq(receiver.write),
                     read.addr.eq(unpacker.position), unpacker.byte.eq(read.data)]

    def _crc(self, m, receiver, sender):
        """One CRC register: the receiver is silent while a reply is sent."""
        m.submodules.crc = crc = CRC16_IBM_3740(8).create()
        m.d.comb += [
            crc.start.eq(receiver.crc_start | sender.crc_start),
            crc.valid.eq(receiver.crc_valid | sender.crc_valid),
            crc.data.eq(Mux(sender.o.valid, sender.o.payload, receiver.byte)),
            receiver.crc_match.eq(crc.match_detected), sender.crc.eq(crc.crc),
        ]

    def _act(self, m, kind, fault, unpacker):
        """What a good frame does, in state Wait; unless told otherwise the reply follows at once."""
        with m.Switch(kind):
            with m.Case(Kind.SETUP):
                m.d.comb += unpacker.start.eq(1)
                m.next = "Setup"
            with m.Case(Kind.DATA):
                m.d.comb += unpacker.start.eq(1)
            with m.Case(Kind.START):
                with m.If(self.i_status.busy | unpacker.busy):
                    m.d.sync += fault.eq(LinkFault.BUSY)
                with m.Else():
                    m.next = "Start"

    def _setup_port(self, m, unpacker, starting):
        """Records of the unpacker, or the start record: an idle unpacker shows zeros, so that takes a few
        gates.
        """
        start = Const(pack(SETUP, {"target": SETUP_CONTROL, "address": 0, "data": CONTROL_START}), RECORD_BYTES * 8)
        record = unpacker.o_setup.payload.as_value()
        m.d.comb += [
            self.o_setup.valid.eq(unpacker.o_setup.valid | starting),
            self.o_setup.payload.eq(record | Mux(starting, start, 0)),
            unpacker.o_setup.ready.eq(self.o_setup.ready),
        ]

    def _reply(self, m, sender, kind, fault, unpacker, results):
        """Header and payload bytes of the reply."""
        p, status, position = self.parameters, self.i_status, sender.position
        ident = Cat(Const(VERSION, 8), Const(p.element_width, 8), Const(p.stream_words, 16),
                    Const(p.limit, 16), Const(p.identity, 32))
        flags = Cat(status.busy, status.saturated, unpacker.busy)
        words = Cat(flags, Const(0, 32 - len(flags)), status.computing, status.waiting_input,
                    status.waiting_output, status.waiting_hazard, status.blocks)
        # A counter that runs is read in one cycle, when its first byte is fetched.
        word = Signal(32, name="word")
        with m.If(sender.fetch & (position[:2] == 0)):
            m.d.sync += word.eq(words.word_select(position[2:5], 32))

        m.d.comb += [sender.i.payload.kind.eq(kind | REPLY), results.position.eq(position)]
        with m.Switch(kind):
            with m.Case(Kind.IDENTIFY):
                m.d.comb += [sender.i.payload.length.eq(len(ident) // 8),
                             sender.byte.eq(ident.word_select(position[:4], 8))]
            with m.Case(Kind.RESULT):
                m.d.comb += [sender.i.payload.length.eq(results.count), sender.byte.eq(results.byte)]
            with m.Case(Kind.STATUS):
                m.d.comb += [sender.i.payload.length.eq(4 * STATUS_WORDS),
                             sender.byte.eq(word.word_select(position[:2], 8))]
        with m.If(fault != 0):
            m.d.comb += [sender.i.payload.kind.eq(ERROR), sender.i.payload.length.eq(1),
                         sender.byte.eq(fault)]
