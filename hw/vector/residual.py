"""Residual: adds a tensor that stands in memory to the writes that pass by."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..isa.parameter_set import SET_BITS, WRITE_SET
from ..memory.port import MemoryParameters
from ..primitives.adder import SelectAdder, SelectAdderParameters
from ..primitives.memory import read_port, write_port
from ..primitives.queue import BeatQueue
from ..primitives.signals import signals
from ..primitives.stream import SkidBuffer
from .parameters import RESIDUAL_STAGES

__all__ = ["ResidualAdder", "residual_write", "summed_write"]

_SHIFT_BITS = dict(WRITE_SET)["a"]  # as of b and c
_GROWTH = (1 << _SHIFT_BITS) - 1  # bits that a shift to the left adds
_SCALES = {name: dict(WRITE_SET)[name] for name in "abc"}
_COMPARED = 8  # bits of an address that one register compares


def residual_write(config: CoreConfig) -> data.StructLayout:
    """A write and its parameter set. ``first``: it begins its WRITE. ``residual``: something is added to it.
    ``offset``: beats from its place to what is added. ``a``, ``b``, ``c``: scales of the sum."""
    memory = MemoryParameters.of(config)
    return data.StructLayout({"write": memory.write, "set": SET_BITS, "first": 1, "residual": 1,
                              "offset": config.memory_bits, **_SCALES})


def summed_write(config: CoreConfig) -> data.StructLayout:
    """A write that has its sum, and its parameter set."""
    memory = MemoryParameters.of(config)
    return data.StructLayout({"write": memory.write, "set": SET_BITS})


class ResidualAdder(wiring.Component):
    """Adds a tensor that stands in memory to the writes that pass by.

    ``i``: writes as Emit makes them, strobed in all elements, all but element 0, or element 0 alone. A write with
    ``residual`` reads the beat number ``address + offset`` mod 2^memory_bits: the number goes out on ``read``, and the
    write waits until ``beats`` brings the beat. ``o``: the writes in the order of ``i``. Each strobed element of a
    write with ``residual`` becomes sat(half_up(v*2^a + r*2^b, c)), v from the write and r from the beat. Other writes
    pass unchanged; elements that are not strobed hold anything. ``saturated``: one cycle for each write with a strobed
    element that was clamped. ``busy``: a write is inside. ``depth``: writes that may wait, a power of two in 8..1024.

    Not every write with ``residual`` reads: element 0 of some beats is kept. Let S(0), S(1), ... be the writes with
    ``residual`` that leave out element 0, from the ``first`` write of a WRITE on, and E = config.engines. A write does
    not read if all of these hold:

    * it has ``residual``, writes element 0 alone, and is not ``first``;
    * it comes behind S(n) and before S(n+1);
    * its address is that of S(n), or n >= E and its address is that of S(n-E).

    It takes element 0 of what that S has read. The mirrored writes of E rows go along their chunks in turn, so S(n-E)
    stands before the write in its row; where a row is one chunk, S(n) does. ``first`` forgets all S: between WRITEs
    memory may change. Inside a WRITE neither ``offset`` nor the tensor that is added changes.

    Format: elements of element_width bits, two's complement; the sum has 8 bits more and is exact.
    Latency: 8 + config.ram_latency cycles from ``i`` to ``o``, or 6 from ``beats`` if that is later; ``read`` 2 cycles
    behind ``i``; ``saturated`` a cycle behind its write on ``o`` when nothing stalls.
    Throughput: one write per cycle, if a beat comes within depth - 4 + ram_latency cycles of its request.
    Backpressure: ``o`` and ``read`` are cut in both directions, ``i.ready`` comes out of registers through a gate.
    ``beats.ready`` depends on the writes inside and on ``o`` only, never on ``read``: a beat is taken as soon as the
    writes before its own have left.
    Reset: forgets all writes; answers of the memory that are still to come must not come.
    Cost: a RAM of ``depth`` writes, a few bits of each in LUTs; of each element three shifters of 3 bits, an adder and
    an incrementer, and registers of about 13 element_width bits; LUT memories of E + 2 places, up to the next power of
    two: two of an address, one of an element.
    Source: docs/reference/vector.md, Numbers and Memory traffic;
    docs/decisions/0018-formats-of-tensors-are-powers-of-two.md.

    Raises ValueError naming the parameter.
    """

    def __init__(self, config: CoreConfig, depth: int = 256):
        if not 8 <= depth <= 1024 or depth & (depth - 1):
            raise ValueError(f"depth: {depth} is not a power of two in 8..1024")
        self._config, self._depth = config, depth
        memory = MemoryParameters.of(config)
        # ``place``: where element 0 of its beat is kept; of a write that does not read, where it was kept.
        self._place_bits = (config.engines + 1).bit_length()
        self._tag = data.StructLayout({
            "reads": 1, "residual": 1, "place": self._place_bits, "strobe": config.memory_elements,
            "address": config.memory_bits, "set": SET_BITS, **_SCALES})
        self._slot = data.StructLayout({"tag": self._tag, "beat": memory.beat})
        super().__init__({
            "i": In(stream.Signature(residual_write(config))), "o": Out(stream.Signature(summed_write(config))),
            "read": Out(stream.Signature(config.memory_bits)), "beats": In(stream.Signature(memory.beat)),
            "busy": Out(1), "saturated": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.out = out = SkidBuffer(self.o.payload.shape())
        wiring.connect(m, out.o, wiring.flipped(self.o))
        m.submodules.waiting = waiting = BeatQueue(self._config.target, self._config.pipeline,
                                                   self._slot.size, self._depth, self._tag["strobe"].offset + 1)
        arrived = self._accept(m, waiting)

        head = data.View(self._slot, waiting.o.payload)
        joined = Signal(name="joined")
        present = ~head.tag.reads | self.beats.valid
        m.d.comb += [
            joined.eq(waiting.o.valid & present), waiting.o.ready.eq(out.i.ready & present),
            self.beats.ready.eq(waiting.o.valid & head.tag.reads & out.i.ready)]
        others = [self._element_zero(m, waiting.o.valid, head.tag), *self.beats.payload.elements[1:]]
        valid, valids, tag, tags = joined, [], head.tag, []
        for stage in ("joined", "shifted", "total", "scaled", "rounded"):
            valid_here = Signal(name=f"{stage}_valid")
            tag_here = Signal(self._tag, name=f"{stage}_tag", reset_less=True)
            with m.If(out.moving):
                m.d.sync += [valid_here.eq(valid), tag_here.eq(tag)]
            valid, tag = valid_here, tag_here
            valids.append(valid)
            tags.append(tag)
        assert len(valids) == RESIDUAL_STAGES

        # Which of the highest bits of a sum lie above the result.
        reach = Signal(_GROWTH, name="reach", reset_less=True)
        with m.If(out.moving):
            m.d.sync += reach.eq(Const((1 << _GROWTH) - 1, _GROWTH) << tags[1].c)
        clamped, write = [], out.i.payload.write
        for number, (own, other) in enumerate(zip(head.beat.elements, others)):
            total = self._add(m, out.moving, number, own, other, *tags[:2])
            result, clamps = self._scale(m, out.moving, number, total, tags[2].c, reach)
            m.d.comb += write.beat.elements[number].eq(result)
            clamped.append(clamps)
        leaves = valid & out.i.ready
        flags = Signal(len(clamped), name="flags")
        m.d.comb += [
            out.i.valid.eq(valid), out.i.payload.set.eq(tag.set), write.address.eq(tag.address),
            write.strobe.eq(tag.strobe),
            self.busy.eq(Cat(arrived, ~waiting.empty, *valids, self.o.valid).any())]
        m.d.sync += [flags.eq(Cat(clamped) & tag.strobe & leaves.replicate(len(flags))), self.saturated.eq(flags.any())]
        return m

    def _accept(self, m, waiting):
        """Puts every write into the queue, and the number of its beat on ``read`` if it reads. Returns whether a write
        is on its way into the queue."""
        m.submodules.requests = requests = SkidBuffer(self._config.memory_bits)
        wiring.connect(m, requests.o, wiring.flipped(self.read))
        offered = self.i.payload
        slot = Signal(self._slot, name="slot", reset_less=True)
        accept, arrived = signals("accept arrived")
        entry = Signal(self._slot, name="entry")
        has_request = Signal(name="has_request")
        place = Signal(self._config.memory_bits, name="place", reset_less=True)
        kept, kept_at = self._mirrored(m, accept, offered, requests.moving)
        m.d.comb += [
            self.i.ready.eq(waiting.space & requests.i.ready), accept.eq(self.i.valid & self.i.ready),
            requests.i.valid.eq(has_request & ~kept), requests.i.payload.eq(place), entry.eq(slot),
            entry.tag.reads.eq(slot.tag.residual & ~kept), entry.tag.place.eq(kept_at),
            waiting.w_en.eq(arrived), waiting.w_data.eq(entry)]
        m.d.sync += [
            arrived.eq(accept), slot.beat.eq(offered.write.beat), slot.tag.address.eq(offered.write.address),
            slot.tag.strobe.eq(offered.write.strobe), slot.tag.residual.eq(offered.residual),
            slot.tag.set.eq(offered.set)]
        # Without a residual the element passes through the same arithmetic.
        m.d.sync += [slot.tag[name].eq(offered[name] & offered.residual.replicate(_SHIFT_BITS)) for name in _SCALES]
        with m.If(requests.moving):
            m.d.sync += [has_request.eq(accept & offered.residual), place.eq(offered.write.address + offered.offset)]
        return arrived

    def _mirrored(self, m, accept, offered, moving):
        """The addresses of the last E + 1 writes that leave out element 0. Returns whether a write has no need to read,
        and the place of its element 0; both hold from the cycle behind its ``accept`` until ``moving``."""
        engines, bits = self._config.engines, self._config.memory_bits
        next_place, latest, oldest = (
            Signal(self._place_bits, name=name, init=init % (1 << self._place_bits))
            for name, init in (("next_place", 0), ("latest", -1), ("oldest", -1 - engines)))
        has_latest, has_oldest = signals("has_latest has_oldest")
        missing = Signal(range(engines + 2), name="missing", init=engines + 1)
        is_rest_write, is_zero_write = signals("is_rest_write is_zero_write")
        address, strobe = offered.write.address, offered.write.strobe
        m.d.comb += [is_rest_write.eq(offered.residual & ~strobe[0]), is_zero_write.eq(offered.residual & ~strobe[1])]
        m.submodules.addresses = memory = Memory(shape=bits, depth=1 << self._place_bits, init=[])
        write = write_port(memory)
        # Every address is written, so that no enable is needed: the next one takes the place of one not to keep.
        m.d.comb += [write.en.eq(1), write.addr.eq(next_place), write.data.eq(address)]
        with m.If(accept & is_rest_write):
            m.d.sync += [next_place.eq(next_place + 1), latest.eq(next_place), oldest.eq(oldest + 1)]
        with m.If(accept):  # nothing else in the enable: it comes late
            m.d.sync += [
                has_latest.eq(is_rest_write | (has_latest & ~offered.first)),
                has_oldest.eq(~offered.first & (has_oldest | (is_rest_write & (missing == 1)))),
                missing.eq(Mux(offered.first, engines + ~is_rest_write, missing - (is_rest_write & ~has_oldest)))]

        kept = []
        for name, place, known in (("latest", latest, has_latest), ("oldest", oldest, has_oldest)):
            read = read_port(memory)
            m.d.comb += read.addr.eq(place)
            query, match = Signal(name=f"{name}_query"), Signal(-(-bits // _COMPARED), name=f"{name}_match")
            with m.If(moving):
                m.d.sync += query.eq(is_zero_write & ~offered.first & known)
                m.d.sync += match.eq(Cat((address[at:at + _COMPARED] == read.data[at:at + _COMPARED])
                                         for at in range(0, bits, _COMPARED)))
            kept.append(query & match.all())
        # A write that leaves out element 0 has the latest place itself.
        return kept[0] | kept[1], Mux(kept[1], oldest, latest)

    def _element_zero(self, m, valid, tag):
        """Element 0 of the beat for the first write that waits: from its own beat, or the one that was kept."""
        beat = self.beats.payload.elements
        m.submodules.zeros = memory = Memory(shape=self._config.element_width, depth=1 << self._place_bits, init=[])
        write, read = write_port(memory), read_port(memory)
        # Written in every cycle in which the write waits: in the last of them its beat is there.
        m.d.comb += [write.en.eq(valid & tag.residual & ~tag.strobe[0]), write.addr.eq(tag.place),
                     write.data.eq(beat[0]), read.addr.eq(tag.place)]
        return Mux(tag.reads, beat[0], read.data)

    def _add(self, m, moving, number, own, other, joined, shifted):
        """v*2^a + r*2^b of one element, three stages. ``joined`` and ``shifted`` are the tags behind the first two."""
        width = self._config.element_width
        v, r, total = (Signal(signed(bits), name=f"{name}{number}", reset_less=True)
                       for name, bits in (("v", width), ("r", width), ("total", width + _GROWTH + 1)))
        wide_v = Signal(signed(width + _GROWTH), name=f"wide_v{number}", reset_less=True)
        wide_r = Signal(signed(width + _GROWTH - 1), name=f"wide_r{number}", reset_less=True)
        m.submodules[f"sum{number}"] = adder = SelectAdder(SelectAdderParameters(len(total), self._config.target))
        # The lowest bit of ``b`` is the adder's to select.
        m.d.comb += [
            adder.addend.eq(wide_v), adder.a.eq(wide_r), adder.b.eq(wide_r << 1), adder.select.eq(shifted.b[0])]
        gated = (r.as_unsigned() & joined.residual.replicate(width)).as_signed()
        with m.If(moving):
            m.d.sync += [v.eq(own), r.eq(other), wide_v.eq(v << joined.a),
                         wide_r.eq(gated << Cat(Const(0, 1), joined.b[1:])), total.eq(adder.o)]
        return total

    def _scale(self, m, moving, number, total, c, reach):
        """sat(half_up(total, c)), two stages and a multiplexer; returns the element and whether it was clamped.

        Rounding can bring back into range what is one too low, so the first stage keeps a bit more than an element.
        """
        width, sign = self._config.element_width, total[-1]
        scaled = Signal(signed(width + 2), name=f"scaled{number}", reset_less=True)  # the bit to round is the lowest
        rounded = Signal(signed(width + 1), name=f"rounded{number}", reset_less=True)
        excess, is_negative, late_excess, late_negative, is_clamped = (
            Signal(name=f"{name}{number}", reset_less=True)
            for name in ("excess", "is_negative", "late_excess", "late_negative", "is_clamped"))
        wide = Cat(Const(0, 1), total)
        near = Mux(c[2], wide[4:], wide[:-4])
        with m.If(moving):
            m.d.sync += [
                scaled.eq(near >> c[:2]),
                excess.eq(((total[width:-1] ^ sign.replicate(_GROWTH)) & reach).any()), is_negative.eq(sign),
                rounded.eq((scaled + 1) >> 1), late_excess.eq(excess), late_negative.eq(is_negative)]
        m.d.comb += is_clamped.eq(late_excess | (rounded[width] ^ rounded[width - 1]))
        extreme = Cat((~late_negative).replicate(width - 1), late_negative)
        return Mux(is_clamped, extreme, rounded[:width]), is_clamped
