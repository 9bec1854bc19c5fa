"""Write side of the AXI master."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from ...memory.port import in_slot
from ...primitives.stream import Downsizer, SkidBuffer
from .burst import AxiParameters, BeatBuffer, BurstQueue, Gatherer

__all__ = ["AxiWriter"]


class AxiWriter(wiring.Component):
    """Beats with their numbers become bursts on AW and W; answers on B become ``written`` pulses, in order.

    ``write``, ``written``, ``refused`` as in the memory port; ``base``, ``limit`` as in AxiMaster. ``aw``: one word per
    burst. ``w``: transfers. ``b``: answers, always accepted. ``error`` is high in the cycle in which an answer is
    SLVERR or DECERR; ``error_place`` is the place of its burst then (AxiParameters.place_bits).

    From the first cycle with ``stop`` on, until the reset, no burst leaves for ``aw`` and ``w`` but those that have:
    at most one behind what is on offer. Requests that are inside and those that come are reported as ``written``, and
    change nothing.

    All beats of a burst are in the buffer before its first transfer is offered. So W does not stall inside a burst, but
    for one cycle behind its first beat when the buffer was empty before. W does not wait for AW: while AW stalls W may
    be ahead of it, by two bursts at most. While a burst waits it grows.

    Format: elements in slots of 8, 16 or 32 bits, sign-extended (AxiParameters); a strobe bit per byte.
    Latency: 3 cycles from the final request of a burst to ``aw``, 5 to its first transfer; ``written`` is high in the
    cycle after the answer for the first beat of a burst, then once per cycle.
    Throughput: one request, one burst, one transfer and one ``written`` per cycle.
    Backpressure: ``aw.ready`` ends in a register; ``w.ready`` is **not** cut from the read enable of the buffer.
    Reset: forgets everything in flight.
    Cost: a RAM of ``write_beats`` beats with strobes, two registers of an AW word, one of a beat with strobes, two
    queues of ``writes`` bursts and one of their places.
    Source: AMBA AXI4, A3.
    """

    def __init__(self, parameters: AxiParameters):
        self.parameters = parameters
        memory = parameters.memory
        transfer = data.StructLayout({"data": parameters.data_width, "strobe": parameters.data_bytes, "last": 1})
        super().__init__({
            "base": In(parameters.address_width), "limit": In(memory.address_bits + 1),
            "write": In(stream.Signature(memory.write)), "written": Out(1),
            "aw": Out(stream.Signature(parameters.command)), "w": Out(stream.Signature(transfer)),
            "b": In(stream.Signature(data.StructLayout({"resp": 2}))),
            "refused": Out(1), "error": Out(1), "error_place": Out(parameters.place_bits), "stop": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        p = self.parameters
        m.submodules.gatherer = gatherer = Gatherer(p)
        m.submodules.sending = sending = BurstQueue(p, p.writes)
        m.submodules.answered = answered = BurstQueue(p, p.writes)
        m.submodules.skid = skid = SkidBuffer(p.command)
        burst, issue = gatherer.burst, gatherer.issue
        leaves = Signal(name="leaves")
        buffer = self._buffer(m, gatherer)

        wiring.connect(m, skid.o, wiring.flipped(self.aw))
        m.d.comb += [
            gatherer.base.eq(self.base), gatherer.limit.eq(self.limit), self.refused.eq(gatherer.refused),
            gatherer.space.eq(1),  # the buffer has taken the beat already
            issue.eq(gatherer.final & skid.i.ready & sending.i.ready & answered.i.ready),
            leaves.eq(~burst.refused & ~self.stop),
            skid.i.valid.eq(issue & leaves), skid.i.payload.address.eq(burst.address),
            skid.i.payload.len.eq(burst.more * p.transfers + p.transfers - 1)]
        for queue in (sending, answered):
            m.d.comb += [
                queue.i.valid.eq(issue), queue.i.payload.more.eq(burst.more), queue.i.payload.refused.eq(~leaves),
                queue.i.payload.lane.eq(burst.address[p.transfer_bytes.bit_length() - 1:])]
        self._transfers(m, buffer, sending.o)
        self._answers(m, answered.o)
        # Bursts without an answer are among those of ``answered``: it is never full.
        m.submodules.places = places = SyncFIFOBuffered(width=p.place_bits, depth=p.writes + 2)
        m.d.comb += [places.w_en.eq(issue & leaves), places.w_data.eq(burst.address[p.beat_bytes.bit_length() - 1:]),
                     places.r_en.eq(self.b.valid), self.error_place.eq(places.r_data)]
        return m

    def _buffer(self, m, gatherer):
        """Every accepted request: its number goes to the gatherer, strobe and beat into the buffer."""
        p, request = self.parameters, self.write.payload
        word = Cat(request.strobe, request.beat)
        m.submodules.buffer = buffer = BeatBuffer(len(word), p.write_beats, p.target)
        m.d.comb += [
            gatherer.waiting.eq(self.write.valid), gatherer.i.payload.eq(request.address),
            gatherer.i.valid.eq(self.write.valid & buffer.i.ready), buffer.i.payload.eq(word),
            buffer.i.valid.eq(self.write.valid & gatherer.i.ready),
            self.write.ready.eq(buffer.i.ready & gatherer.i.ready)]
        return buffer

    def _transfers(self, m, buffer, beat):
        """The buffer onto W; beats that were refused are dropped here."""
        p, memory, tail = self.parameters, self.parameters.memory, self.parameters.memory.elements
        strobes, elements = buffer.o.payload[:tail], buffer.o.payload[tail:]
        slots = Cat(*(in_slot(elements.word_select(n, memory.element_width), p.slot_bits) for n in range(tail)))
        enables = Cat(*(strobes[n].replicate(p.slot_bits // 8) for n in range(tail)))
        # One transfer keeps its data once; on the bus every lane shows them, and the strobes say which one counts.
        word = data.StructLayout({"data": 8 * p.transfer_bytes, "strobe": p.data_bytes})
        narrow = data.StructLayout({"words": data.ArrayLayout(word, 1), "last": 1})
        m.submodules.downsizer = downsizer = Downsizer(narrow, p.transfers)
        for n in range(p.transfers):
            into = downsizer.i.payload.words[n]
            strobe = enables.word_select(n, p.transfer_bytes)
            m.d.comb += [into.data.eq(slots.word_select(n, 8 * p.transfer_bytes)),
                         into.strobe.eq(strobe << (beat.payload.lane * p.transfer_bytes))]
        refused, out = beat.payload.refused, downsizer.o.payload
        m.d.comb += [
            downsizer.i.valid.eq(beat.valid & buffer.o.valid & ~refused),
            downsizer.i.payload.last.eq(beat.payload.final),
            beat.ready.eq(buffer.o.valid & (refused | downsizer.i.ready)), buffer.o.ready.eq(beat.valid & beat.ready),
            self.w.valid.eq(downsizer.o.valid), downsizer.o.ready.eq(self.w.ready),
            self.w.payload.data.eq(out.words[0].data.replicate(p.lanes)),
            self.w.payload.strobe.eq(out.words[0].strobe), self.w.payload.last.eq(out.last)]

    def _answers(self, m, beat):
        """B into one pulse per beat."""
        count = Signal(range(self.parameters.writes + 3), name="count")
        burst_end = Signal(name="burst_end")
        m.d.comb += [
            self.b.ready.eq(1), self.error.eq(self.b.valid & self.b.payload.resp[1]),
            beat.ready.eq(beat.payload.refused | (count != 0)), self.written.eq(beat.valid & beat.ready),
            burst_end.eq(self.written & beat.payload.final & ~beat.payload.refused)]
        m.d.sync += count.eq(count + self.b.valid - burst_end)
