"""Argmax: the number of the largest element of a beat, beside the elements."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..isa.parameter_set import WRITE_SET
from ..memory.port import MemoryParameters
from ..primitives.memory import read_port, write_port
from ..primitives.stream import SkidBuffer
from .parameters import ArgmaxTiming

__all__ = ["Argmax", "argmax_write"]

_CLASS_BITS = dict(WRITE_SET)["classes"]


def argmax_write(config: CoreConfig) -> data.StructLayout:
    """A write, whether its last element is replaced, and how many elements compete."""
    memory = MemoryParameters.of(config)
    return data.StructLayout({"write": memory.write, "argmax": 1, "classes": _CLASS_BITS})


class Argmax(wiring.Component):
    """The number of the largest element of a beat takes the place of its last element.

    ``i``: writes; ``o``: the same writes, in order. Where ``argmax`` is set, the last of the 2K elements is replaced by
    the number of the largest of the elements 0..``classes``-1, the lowest number where several are equal. ``classes``
    outside 1..2K-1 gives an undefined number. ``busy``: a write is inside.

    Format: elements of element_width bits, two's complement; the number too, so ``classes`` is at most
    2^(element_width-1).
    Latency: ``latency`` cycles from ``i`` to ``o``, log2(2K) + 2, for every write.
    Throughput: one write per cycle.
    Backpressure: cut in both directions, ``i.ready`` comes out of a register.
    Reset: forgets the writes inside.
    Cost: 2K - 1 comparators and multiplexers of element_width bits in a tree with a register per level, a register of a
    beat in front of it; the writes themselves wait in a LUT memory of log2(2K) places.
    Source: docs/reference/vector.md, Numbers.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        self._memory = MemoryParameters.of(config)
        self._timing = ArgmaxTiming.of(config)
        super().__init__({
            "i": In(stream.Signature(argmax_write(config))), "o": Out(stream.Signature(self._memory.write)),
            "busy": Out(1)})

    @property
    def latency(self) -> int:
        """Cycles from ``i`` to ``o``, when nothing stalls."""
        return self._timing.latency

    def elaborate(self, platform):
        m = Module()
        m.submodules.out = out = SkidBuffer(self._memory.write)
        wiring.connect(m, out.o, wiring.flipped(self.o))
        valids = Signal(self._timing.stages, name="valids")
        with m.If(out.moving):
            m.d.sync += valids.eq(Cat(self.i.valid, valids))
        number, wanted = self._tree(m, out.moving)
        write = self._delayed(m, out.moving)
        last = write.beat.elements[-1]
        m.d.comb += [
            self.i.ready.eq(out.i.ready), out.i.valid.eq(valids[-1]), out.i.payload.eq(write),
            out.i.payload.beat.elements[-1].eq(Mux(wanted, number, last)),
            self.busy.eq(valids.any() | self.o.valid)]
        return m

    def _tree(self, m, moving):
        """Winners of pairs, of fours and so on, a level per stage. Returns the number of the last winner, and in the
        same cycle whether it is wanted."""
        width, count = self._config.element_width, self._config.memory_elements
        here = [Signal(signed(width), name=f"element{n}", reset_less=True) for n in range(count)]
        classes = Signal(_CLASS_BITS, name="classes", reset_less=True)
        is_wanted = Signal(name="is_wanted", reset_less=True)
        with m.If(moving):
            m.d.sync += [classes.eq(self.i.payload.classes), is_wanted.eq(self.i.payload.argmax)]
            m.d.sync += [mine.eq(element) for mine, element in zip(here, self.i.payload.write.beat.elements)]
        numbers = [()] * count  # bits, the lowest first
        for level in range(self._timing.levels):
            winners, found = [], []
            for pair in range(0, len(here), 2):
                # Elements compete up to a number, so that only the later of the two has to be asked.
                name, later = f"level{level}_{pair // 2}", (pair + 1) << level
                # The sign of a difference is one carry chain, where a comparison of signed numbers is two.
                larger = (here[pair] - here[pair + 1])[-1] & (later < classes)
                winner = Signal(signed(width), name=name, reset_less=True)
                number = Signal(level + 1, name=f"{name}_number", reset_less=True)
                with m.If(moving):
                    m.d.sync += [winner.eq(Mux(larger, here[pair + 1], here[pair])),
                                 number.eq(Cat(Mux(larger, Cat(numbers[pair + 1]), Cat(numbers[pair])), larger))]
                winners.append(winner)
                found.append(tuple(number))
            here, numbers = winners, found
            last_classes, last_wanted = classes, is_wanted
            classes = Signal(_CLASS_BITS, name=f"classes{level}", reset_less=True)
            is_wanted = Signal(name=f"is_wanted{level}", reset_less=True)
            with m.If(moving):
                m.d.sync += [classes.eq(last_classes), is_wanted.eq(last_wanted)]
        assert len(here) == 1, "the last level has one winner"
        return Cat(numbers[0]), is_wanted

    def _delayed(self, m, moving):
        """The writes, in the cycle in which their numbers are known. Every place is read, then written again."""
        shape, places = self._memory.write, self._timing.levels
        m.submodules.writes = memory = Memory(shape=shape, depth=places, init=[])
        port, read = write_port(memory), read_port(memory)
        slot = Signal(range(places), name="slot")
        write = Signal(shape, name="delayed", reset_less=True)
        m.d.comb += [port.en.eq(moving), port.addr.eq(slot), port.data.eq(self.i.payload.write), read.addr.eq(slot)]
        with m.If(moving):
            m.d.sync += [slot.eq(Mux(slot == places - 1, 0, slot + 1)), write.eq(read.data)]
        return write
