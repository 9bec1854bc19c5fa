"""Read side of the AXI master."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...primitives.signals import signals
from ...primitives.stream import SkidBuffer, Upsizer
from .burst import AxiParameters, BeatBuffer, BurstQueue, Gatherer

__all__ = ["AxiReader"]


class AxiReader(wiring.Component):
    """Beat numbers become bursts on AR; what comes back on R becomes beats, in order.

    ``read``, ``beats``, ``refused`` as in the memory port; ``base``, ``limit`` as in AxiMaster. ``ar``: one word per
    burst. ``r``: transfers. ``error`` is high in the cycle after a transfer that brings SLVERR or DECERR;
    ``error_place`` is the place of its burst then (AxiParameters.place_bits).

    From the first cycle with ``stop`` on, until the reset, no burst leaves for ``ar`` but those that have: at most one
    behind what is on offer. Requests that are inside and those that come bring beats of zeros.

    A beat joins a burst only when the buffer behind R has a place for it, so R never stalls. ``r.ready`` is constant,
    but for narrow transfers: there it is low until the lane of the first transfer is known, 2 cycles after the burst
    has left. A burst that could grow waits for places: a slow reader gets long bursts, not many.

    Format: elements in slots of 8, 16 or 32 bits (AxiParameters); the bits of a slot above an element are dropped.
    Latency: 3 cycles from the final request of a burst to ``ar``; 4 cycles from the final transfer of a beat to
    ``beats``.
    Throughput: one request, one burst, one transfer and one beat per cycle.
    Backpressure: ``ar.ready`` ends in a register; ``beats.ready`` is **not** cut from the read enable of the buffer.
    Reset: forgets everything in flight.
    Cost: a RAM of ``reads`` + 1 beats, two registers of an AR word, one of a beat, two queues of ``reads`` bursts, one
    of them with their places.
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
            "refused": Out(1), "error": Out(1), "error_place": Out(parameters.place_bits), "stop": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        p = self.parameters
        m.submodules.gatherer = gatherer = Gatherer(p)
        m.submodules.order = order = BurstQueue(p, p.reads)
        m.submodules.skid = skid = SkidBuffer(p.command)
        m.submodules.buffer = buffer = BeatBuffer(len(self.beats.payload.as_value()), p.reads + 1, p.target)
        burst, issue = gatherer.burst, gatherer.issue
        delivery, leaves = signals("delivery leaves")
        # Places of the buffer that no beat has been promised. One more than ``reads``: ``space`` looks at the cycle
        # before, so it must leave one.
        room = Signal(range(p.reads + 2), name="room", init=p.reads + 1)
        space = Signal(name="space", init=1)
        asked_ready = self._transfers(m, buffer, issue & leaves, burst)

        wiring.connect(m, wiring.flipped(self.read), gatherer.i)
        wiring.connect(m, skid.o, wiring.flipped(self.ar))
        m.d.comb += [
            gatherer.base.eq(self.base), gatherer.limit.eq(self.limit), gatherer.waiting.eq(self.read.valid),
            self.refused.eq(gatherer.refused), leaves.eq(~burst.refused & ~self.stop),
            issue.eq(gatherer.final & skid.i.ready & order.i.ready & asked_ready),
            gatherer.space.eq(space | self.stop),  # what does not leave needs no place
            skid.i.valid.eq(issue & leaves), skid.i.payload.address.eq(burst.address),
            skid.i.payload.len.eq(burst.more * p.transfers + p.transfers - 1),
            order.i.valid.eq(issue), order.i.payload.more.eq(burst.more), order.i.payload.refused.eq(~leaves)]

        refused = order.o.payload.refused
        m.d.comb += [
            self.beats.valid.eq(order.o.valid & (refused | buffer.o.valid)),
            self.beats.payload.eq(Mux(refused, 0, buffer.o.payload)),
            order.o.ready.eq(self.beats.ready & (refused | buffer.o.valid)),
            delivery.eq(order.o.valid & ~refused & buffer.o.valid & self.beats.ready),
            buffer.o.ready.eq(order.o.valid & ~refused & self.beats.ready)]
        m.d.sync += [room.eq(room + delivery - (gatherer.taken & ~self.stop)), space.eq(room > 1)]
        return m

    def _transfers(self, m, buffer, starts, burst):
        """R into the buffer. Returns whether a burst may start as far as the queue of those that R brings next is
        concerned."""
        p, bits = self.parameters, 8 * self.parameters.transfer_bytes
        narrow = data.StructLayout({"words": data.ArrayLayout(bits, 1)})
        m.submodules.upsizer = upsizer = Upsizer(narrow, p.transfers)
        slots = upsizer.o.payload.words.as_value()
        elements = [slots.word_select(n, p.slot_bits)[:p.memory.element_width] for n in range(p.memory.elements)]
        m.d.comb += [
            upsizer.i.valid.eq(self.r.valid & self.r.ready), upsizer.o.ready.eq(1),
            buffer.i.valid.eq(upsizer.o.valid), buffer.i.payload.eq(Cat(*elements))]
        m.submodules.asked = asked = BurstQueue(p, p.reads, with_place=True)
        m.d.comb += [
            asked.i.valid.eq(starts), asked.i.payload.more.eq(burst.more),
            asked.i.payload.lane.eq(burst.address[p.transfer_bytes.bit_length() - 1:]),
            asked.i.payload.place.eq(burst.address[p.beat_bytes.bit_length() - 1:])]
        m.d.sync += self.error.eq(self.r.valid & self.r.ready & self.r.payload.resp[1])
        if p.lanes == 1:  # a beat leaves the queue when all of its transfers have come
            m.d.comb += [self.r.ready.eq(1), upsizer.i.payload.words.as_value().eq(self.r.payload.data),
                         asked.o.ready.eq(upsizer.o.valid), self.error_place.eq(asked.o.payload.place)]
            return asked.i.ready
        m.d.comb += [
            self.r.ready.eq(asked.o.valid), asked.o.ready.eq(self.r.valid),
            upsizer.i.payload.words.as_value().eq(self.r.payload.data.word_select(asked.o.payload.lane, bits))]
        m.d.sync += self.error_place.eq(asked.o.payload.place)
        return asked.i.ready
