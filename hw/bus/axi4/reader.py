"""Read side of the AXI master."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...primitives.stream import SkidBuffer, Upsizer
from .burst import AxiParameters, BeatBuffer, BurstQueue, Gatherer

__all__ = ["AxiReader"]


class AxiReader(wiring.Component):
    """Beat numbers become bursts on AR; what comes back on R becomes beats, in order.

    ``read``, ``beats``, ``refused`` as in the memory port; ``base``, ``limit`` as in AxiMaster. ``ar``: one word per
    burst. ``r``: transfers. ``error`` is high in the cycle in which a transfer brings SLVERR or DECERR.

    A beat joins a burst only when the buffer behind R has a place for it, so R never stalls. ``r.ready`` is constant,
    but for narrow transfers: there it is low until the lane of the first transfer is known, 2 cycles after the burst
    has left. A burst that could grow waits for places: a slow reader gets long bursts, not many.

    Format: elements in slots of 8, 16 or 32 bits (AxiParameters); the bits of a slot above an element are dropped.
    Latency: 3 cycles from the final request of a burst to ``ar``; 4 cycles from the final transfer of a beat to
    ``beats``.
    Throughput: one request, one burst, one transfer and one beat per cycle.
    Backpressure: ``ar.ready`` ends in a register; ``beats.ready`` is **not** cut from the read enable of the buffer.
    Reset: forgets everything in flight.
    Cost: a RAM of ``reads`` + 1 beats, two registers of an AR word, one of a beat, a queue of ``reads`` bursts (two for
    narrow transfers).
    Source: AMBA AXI4, A3.
    """

    def __init__(self, parameters: AxiParameters):
        self.parameters = parameters
        memory = parameters.memory
        super().__init__({
            "base": In(parameters.address_width), "limit": In(memory.address_bits + 1),
            "read": In(stream.Signature(memory.address_bits)), "beats": Out(stream.Signature(memory.beat)),
            "ar": Out(stream.Signature(parameters.command)),
            "r": In(stream.Signature(data.StructLayout({"data": parameters.data_width, "resp": 2}))),
            "refused": Out(1), "error": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        p = self.parameters
        m.submodules.gatherer = gatherer = Gatherer(p)
        m.submodules.order = order = BurstQueue(p, p.reads)
        m.submodules.skid = skid = SkidBuffer(p.command)
        m.submodules.buffer = buffer = BeatBuffer(len(self.beats.payload.as_value()), p.reads + 1, p.target)
        burst, issue = gatherer.burst, gatherer.issue
        delivery = Signal(name="delivery")
        # Places of the buffer that no beat has been promised. One more than ``reads``: ``space`` looks at the cycle
        # before, so it must leave one.
        room = Signal(range(p.reads + 2), name="room", init=p.reads + 1)
        space = Signal(name="space", init=1)
        lanes_ready = self._transfers(m, buffer, issue & ~burst.refused, burst)

        wiring.connect(m, wiring.flipped(self.read), gatherer.i)
        wiring.connect(m, skid.o, wiring.flipped(self.ar))
        m.d.comb += [
            gatherer.base.eq(self.base), gatherer.limit.eq(self.limit), gatherer.waiting.eq(self.read.valid),
            self.refused.eq(gatherer.refused), self.error.eq(self.r.valid & self.r.ready & self.r.payload.resp[1]),
            issue.eq(gatherer.final & skid.i.ready & order.i.ready & lanes_ready), gatherer.space.eq(space),
            skid.i.valid.eq(issue & ~burst.refused), skid.i.payload.address.eq(burst.address),
            skid.i.payload.len.eq(burst.more * p.transfers + p.transfers - 1),
            order.i.valid.eq(issue), order.i.payload.more.eq(burst.more), order.i.payload.refused.eq(burst.refused)]

        refused = order.o.payload.refused
        m.d.comb += [
            self.beats.valid.eq(order.o.valid & (refused | buffer.o.valid)),
            self.beats.payload.eq(Mux(refused, 0, buffer.o.payload)),
            order.o.ready.eq(self.beats.ready & (refused | buffer.o.valid)),
            delivery.eq(order.o.valid & ~refused & buffer.o.valid & self.beats.ready),
            buffer.o.ready.eq(order.o.valid & ~refused & self.beats.ready)]
        m.d.sync += [room.eq(room + delivery - gatherer.taken), space.eq(room > 1)]
        return m

    def _transfers(self, m, buffer, starts, burst):
        """R into the buffer. Returns whether a burst may start as far as the lanes are concerned."""
        p, bits = self.parameters, 8 * self.parameters.transfer_bytes
        narrow = data.StructLayout({"words": data.ArrayLayout(bits, 1)})
        m.submodules.upsizer = upsizer = Upsizer(narrow, p.transfers)
        slots = upsizer.o.payload.words.as_value()
        elements = [slots.word_select(n, p.slot_bits)[:p.memory.element_width] for n in range(p.memory.elements)]
        m.d.comb += [
            upsizer.i.valid.eq(self.r.valid & self.r.ready), upsizer.o.ready.eq(1),
            buffer.i.valid.eq(upsizer.o.valid), buffer.i.payload.eq(Cat(*elements))]
        if p.lanes == 1:
            m.d.comb += [self.r.ready.eq(1), upsizer.i.payload.words.as_value().eq(self.r.payload.data)]
            return 1
        m.submodules.lanes = lanes = BurstQueue(p, p.reads)
        m.d.comb += [
            lanes.i.valid.eq(starts), lanes.i.payload.more.eq(burst.more),
            lanes.i.payload.lane.eq(burst.address[p.transfer_bytes.bit_length() - 1:]),
            self.r.ready.eq(lanes.o.valid), lanes.o.ready.eq(self.r.valid),
            upsizer.i.payload.words.as_value().eq(self.r.payload.data.word_select(lanes.o.payload.lane, bits))]
        return lanes.i.ready
