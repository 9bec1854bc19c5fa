"""Emission: beats that were rearranged and the places they belong to become writes of the memory port."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..isa.parameter_set import SET_BITS
from ..primitives.adder import SelectAdder, SelectAdderParameters
from ..primitives.signals import signals
from ..primitives.stream import SkidBuffer
from .parameters import EMIT_STAGES
from .port import MemoryParameters
from .scatter import scatter_beat

__all__ = ["Emit", "emitted", "place"]

# Where an element of a write comes from: itself, or a word of the lower or upper half of one of the two beats.
_CHOICE = data.StructLayout({"direct": 1, "beat": data.ArrayLayout(1, 2), "other": data.ArrayLayout(1, 2)})


def place(config: CoreConfig) -> data.StructLayout:
    """Where one beat goes: ``address``; ``second`` and ``third`` where the mode asks for more writes.

    ``valid``: it is written at all. ``fold``: two mirrored writes follow. ``split``: one of the two places of a pair.
    ``high``: the later one of them. ``twice``: the place at row 0; a write at ``second`` follows. ``last``: final place
    of the block. Without ``valid`` there is neither ``fold`` nor ``twice``.
    """
    bits = config.memory_bits
    vector = {"row0": 1, "set": SET_BITS} if config.vector_lanes else {}
    return data.StructLayout({"address": bits, "second": bits, "third": bits, "valid": 1, "fold": 1, "split": 1,
                              "twice": 1, "high": 1, "last": 1} | vector)


def emitted(config: CoreConfig) -> data.StructLayout:
    """A write. With a vector unit that is ``write``, and beside it ``row0``: it stands in row 0; ``first``: it begins
    its block; ``set``: its parameter set."""
    write = MemoryParameters.of(config).write
    return data.StructLayout({"write": write, "row0": 1, "first": 1, "set": SET_BITS}) if config.vector_lanes else write


class Emit(wiring.Component):
    """Writes of one beat after the other, at one place after the other.

    ``i`` delivers the beats, ``places`` where they go. A beat has one place, in SPLIT two: low, then high.

    | place | writes |
    |---|---|
    | not ``valid`` | none: it drops its beat in one cycle |
    | ``fold`` | three: direct, mirrored without element 0, element 0 alone |
    | ``twice`` | two: the word of the first beat of the pair, which is ``other``, then that of the second |
    | any other | one |

    ``issued``: a write has joined its data in this cycle. ``ended``: the final place of a block has; it waits for
    ``room``. ``saturated``: one cycle for each write of a SPLIT with a clamped element. ``busy``: a place or a write is
    inside.

    Format: elements of element_width bits, two's complement. SPLIT makes sums exact, halves them with one round half up
    and saturates. All other modes pass elements on unchanged, through the same adders: x = (x + x) / 2.
    Latency: 3 cycles from a place to the cycle in which it can join its beat, 4 from there to ``memory``; ``saturated``
    comes with the write on ``memory`` when nothing stalls.
    Throughput: one write per cycle.
    Backpressure: ``memory.valid`` comes out of a register, ``i.ready`` and ``places.ready`` depend on registers only.
    Reset: forgets all places and writes inside.
    Cost: 2K adders of element_width + 1 bits, K of them with an incrementer; five registers of a beat, one of a place,
    two of an address.
    Source: docs/reference/processor.md, From beats to the array and back;
    docs/decisions/0012-real-mixing-transforms-the-tokens-first.md.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        tag = {"address": config.memory_bits, "strobe": 2, "mirrored": 1, "split": 1}
        if config.vector_lanes:
            tag |= {"row0": 1, "first": 1, "set": SET_BITS}
        self._tag = data.StructLayout(tag)
        self._slot = data.StructLayout(tag | {"writes": 1, "last": 1, "pops": 1, "high": 1, "later": 2})
        super().__init__({
            "places": In(stream.Signature(place(config))), "i": In(stream.Signature(scatter_beat(config))),
            "memory": Out(stream.Signature(emitted(config))), "room": In(1),
            "issued": Out(1), "ended": Out(1), "saturated": Out(1), "busy": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.out = out = SkidBuffer(emitted(self._config))
        wiring.connect(m, out.o, wiring.flipped(self.memory))
        m.submodules.slots = slots = SkidBuffer(self._slot)
        there = self._expand(m, slots.i)
        tag, choices, present, writes, joined = self._join(m, slots.o, out.i.ready)

        chosen = self._choose(m, out.moving, choices)
        valid, valids, tags = joined & writes, [], []
        for stage in ("chosen", "total", "rounded"):
            valid_here = Signal(name=f"{stage}_valid")
            tag_here = Signal(self._tag, name=f"{stage}_tag", reset_less=True)
            with m.If(out.moving):
                m.d.sync += [valid_here.eq(valid), tag_here.eq(tag)]
            valid, tag = valid_here, tag_here
            valids.append(valid)
            tags.append(tag)
        assert len(valids) == EMIT_STAGES
        rounded = self._halve(m, out.moving, chosen, tags[0].split)
        clamped = self._output(m, out.i.payload, rounded, tag)

        inside = Cat(self.places.valid, there, slots.o.valid, present, *valids, self.memory.valid)
        m.d.comb += [out.i.valid.eq(valid), self.busy.eq(inside.any())]
        m.d.sync += self.saturated.eq(valid & out.i.ready & clamped)
        return m

    def _expand(self, m, to):
        """Turns one place after the other into its slots: a slot is a write, or a beat to drop. Returns whether a place
        is inside."""
        target = Signal(place(self._config), name="target", reset_less=True)
        has_place = Signal(name="has_place")
        # Which write of the place is next, and whether it is the final one or there is none.
        is_second, is_third = signals("is_second is_third")
        is_final = Signal(name="is_final", init=1)
        offered, slot = self.places.payload, to.payload
        m.d.comb += [
            self.places.ready.eq(to.ready & is_final), to.valid.eq(has_place),
            slot.address.eq(Mux(is_third, target.third, Mux(is_second, target.second, target.address))),
            slot.strobe.eq(Cat(~(target.fold & is_second), ~is_third)),
            slot.mirrored.eq(target.fold & (is_second | is_third)),
            slot.split.eq(target.split), slot.high.eq(target.high), slot.writes.eq(target.valid),
            slot.last.eq(is_final & target.last), slot.pops.eq(is_final & (~target.split | target.high)),
            # Z[0] and Z[N/2] stand for their own mirror images: both operands are the same word.
            slot.later.eq(Cat(is_second, is_second | ~target.twice))]
        if self._config.vector_lanes:  # only the first write of a place stands in its row
            is_first_write = Signal(name="is_first_write", init=1)
            m.d.comb += [slot.set.eq(target.set), slot.row0.eq(target.row0 & ~(is_second | is_third)),
                         slot.first.eq(is_first_write)]
            with m.If(has_place & to.ready):
                m.d.sync += is_first_write.eq(slot.last | (is_first_write & ~target.valid))
        with m.If(self.places.ready):
            m.d.sync += [target.eq(offered), has_place.eq(self.places.valid), is_second.eq(0), is_third.eq(0),
                         is_final.eq(~self.places.valid | ~(offered.fold | offered.twice))]
        with m.Elif(to.ready):
            m.d.sync += [is_second.eq(~is_second), is_third.eq(is_second), is_final.eq(is_second | ~target.fold)]
        return has_place

    def _join(self, m, slots, ready):
        """One slot at a time waits for its data, in a register that controls the wide multiplexers.

        Returns its tag, its two choices, whether there is one, whether it writes, and ``joined``: it joins its data."""
        slot = slots.payload
        tag = Signal(self._tag, name="tag", reset_less=True)
        choices = Signal(data.ArrayLayout(_CHOICE, 2), name="choices", reset_less=True)
        present, writes, pops, last, joined, free, held = signals("present writes pops last joined free held")
        m.d.comb += [
            held.eq(slot.last & ~self.room), joined.eq(ready & present & self.i.valid), free.eq(~present | joined),
            slots.ready.eq(free & ~held), self.i.ready.eq(ready & pops),
            self.issued.eq(joined & writes), self.ended.eq(joined & last)]
        with m.If(free):
            m.d.sync += [present.eq(slots.valid & ~held), writes.eq(slot.writes), last.eq(slot.last),
                         pops.eq(slot.pops & slots.valid & ~held)]
            m.d.sync += [tag[name].eq(slot[name]) for name in self._tag.members]
            for choice, later in zip(choices, slot.later):
                m.d.sync += choice.direct.eq(~slot.split)
                for half, wanted in enumerate((~slot.high, slot.high)):
                    m.d.sync += [choice.other[half].eq(slot.split & wanted & ~later),
                                 choice.beat[half].eq(slot.split & wanted & later)]
        return tag, choices, present, writes, joined

    def _choose(self, m, moving, choices):
        """The elements themselves; in SPLIT the operands a, b, d, c of each transform, where Z[q] = a + jb and
        Z[-q] = c + jd: then every result stands where its first operand stood."""
        c = self._config
        beat, other = self.i.payload.beat.elements, self.i.payload.other.elements
        chosen = []
        for number in range(c.memory_elements):
            transform, operand = divmod(number, 4)
            choice = choices[operand >> 1]
            sources = [(choice.direct, beat[number])]
            for half in range(2):
                element = 2 * transform + half * c.stream_words + (0, 1, 1, 0)[operand]
                sources += [(choice.beat[half], beat[element]), (choice.other[half], other[element])]
            register = Signal(signed(c.element_width), name=f"chosen{number}", reset_less=True)
            gated = Const(0, c.element_width)
            for wanted, source in sources:
                gated |= source & wanted.replicate(c.element_width)
            with m.If(moving):
                m.d.sync += register.eq(gated)
            chosen.append(register)
        return chosen

    def _halve(self, m, moving, chosen, split):
        """(a + c)/2, (b - d)/2, (d + b)/2, (c - a)/2 in two stages, the differences with one bit more than an
        element; without ``split`` every element twice, halved."""
        width = self._config.element_width
        rounded = []
        for number, own in enumerate(chosen):
            partner, subtract = chosen[number ^ 3], number & 1
            # The lowest bits make the carry: half of the last bit kept of a sum, the one of the two's complement of a
            # difference.
            a = Cat(Const(1 - subtract, 1), own).as_signed()
            b = Cat(Const(1, 1), ~partner if subtract else partner).as_signed()
            m.submodules[f"sum{number}"] = adder = SelectAdder(SelectAdderParameters(width + 2, self._config.target))
            m.d.comb += [adder.addend.eq(Cat(Const(1, 1), own).as_signed()), adder.a.eq(a), adder.b.eq(b),
                         adder.select.eq(split)]
            total = Signal(signed(width + 1), name=f"total{number}", reset_less=True)
            result = Signal(signed(width + subtract), name=f"rounded{number}", reset_less=True)
            with m.If(moving):
                m.d.sync += [total.eq(adder.o[1:]), result.eq((total + subtract) >> 1)]
            rounded.append(result)
        return rounded

    def _output(self, m, write, rounded, tag):
        """Clamp and mirror, which do not meet in one mode; returns whether an element was clamped."""
        if self._config.vector_lanes:
            m.d.comb += [write.row0.eq(tag.row0), write.first.eq(tag.first), write.set.eq(tag.set)]
            write = write.write
        width, count = self._config.element_width, self._config.memory_elements
        clamped = []
        for number in range(count):
            result = rounded[number][:width]
            if number & 1:  # of the differences only the largest, 2^(width-1), does not fit
                overflow = Signal(name=f"overflow{number}")
                m.d.comb += overflow.eq(rounded[number][width] ^ rounded[number][width - 1])
                result ^= overflow.replicate(width)
                clamped.append(overflow)
            mirrored = rounded[-number % count][:width]
            m.d.comb += write.beat.elements[number].eq(Mux(tag.mirrored, mirrored, result))
        m.d.comb += [write.address.eq(tag.address),
                     write.strobe.eq(Cat(tag.strobe[0], tag.strobe[1].replicate(count - 1)))]
        return Cat(clamped).any()
