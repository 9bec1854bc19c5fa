"""Parts that stand between two streams: a skid buffer and the two width converters.

A stream word moves on the clock edge where valid and ready are both 1; valid never waits for ready, and holds
its payload until the word has moved. Each part says which of its two paths it does *not* cut.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

from amaranth.hdl import Cat, Module, Mux, Shape, ShapeLike, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .parameters import SKID_WORDS
from .signals import signals

__all__ = ["SkidBuffer", "WidthParameters", "Upsizer", "Downsizer"]


class SkidBuffer(wiring.Component):
    """Two registers that cut a stream in both directions.

    Parameter ``shape``: shape of the payload. ``deciding``: its fields ("mode", "write.strobe") that ``o.ready`` hangs
    on; their selection does not wait for that of hundreds of bits. Ports ``i`` and ``o``, streams of that shape;
    ``moving`` repeats ``i.ready``, for enables of a whole pipeline.

    The registers take turns. The one whose turn it is follows the input until a word is accepted, so every enable of a
    payload bit is a register.

    Format: none, words pass unchanged.
    Latency: 1 cycle.
    Throughput: one word per cycle. Depth: two words.
    Backpressure: ``i.ready`` and ``o.valid`` come out of registers, ``o.payload`` through one multiplexer; no path is
    left uncut.
    Reset: empties the buffer.
    Cost: two registers of the payload, a 2:1 multiplexer of the payload, 8 control bits.
    Source: docs/decisions/0010-conditions-are-registers.md.
    """

    def __init__(self, shape: ShapeLike, deciding: Iterable[str] = ()):
        self._deciding = deciding
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape)),
                          "moving": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        words = [Signal(Shape.cast(self.i.payload.shape()), name=f"word{n}") for n in range(SKID_WORDS)]
        follows = [Signal(name=f"follows{n}", init=n == 0) for n in range(SKID_WORDS)]
        # Not the inverse of ``moving``, which synthesis would share: the enable of a pipeline and the gates of its
        # control want registers of their own.
        stopped, writing, reading = signals("stopped writing reading")
        ready, accept, leave, full, writing_next = signals("ready accept leave full writing_next")
        m.d.comb += [
            ready.eq(~stopped), self.i.ready.eq(ready), accept.eq(self.i.valid & ready),
            leave.eq(self.o.valid & self.o.ready),
            full.eq(Mux(ready, self.o.valid & self.i.valid & ~self.o.ready, ~self.o.ready)),
            writing_next.eq(writing ^ accept), _bits(self.o.payload).eq(Mux(reading, words[1], words[0]))]
        m.d.sync += [
            stopped.eq(full), self.moving.eq(~full), writing.eq(writing_next), reading.eq(reading ^ leave),
            self.o.valid.eq(accept | (self.o.valid & ~self.o.ready) | ~ready)]
        for n in range(SKID_WORDS):
            m.d.sync += follows[n].eq(~full & (writing_next == n))
            with m.If(follows[n]):
                m.d.sync += words[n].eq(_bits(self.i.payload))
        if self._deciding:
            # The inverse of ``reading``: it is not shared either.
            is_first = Signal(name="is_first", init=1)
            m.d.sync += is_first.eq(is_first ^ leave)
            first, second = (data.View(self.i.payload.shape(), word) for word in words)
            for path in self._deciding:
                m.d.comb += _field(self.o.payload, path).eq(Mux(is_first, _field(first, path), _field(second, path)))
        return m


def _field(view, path):
    return reduce(lambda part, name: part[name], path.split("."), view)


def _bits(payload):
    return payload.as_value() if isinstance(payload, data.View) else payload


@dataclass(frozen=True)
class WidthParameters:
    """Two payloads, one ``ratio`` times as wide as the other in its field ``words``.

    ``narrow`` is a StructLayout whose field ``words`` is an ArrayLayout of K elements; ``wide`` differs
    from it in the number of elements only, K * ratio. All other fields are sideband.
    Raises ValueError when ``ratio`` is less than 1 or there is no such field.
    """

    narrow: data.StructLayout
    ratio: int

    def __post_init__(self):
        if self.ratio < 1:
            raise ValueError(f"ratio: {self.ratio} is less than 1")
        members = self.narrow.members if isinstance(self.narrow, data.StructLayout) else {}
        if not isinstance(members.get("words"), data.ArrayLayout):
            raise ValueError(f"narrow: {self.narrow!r} is not a struct with an array field 'words'")

    @property
    def wide(self) -> data.StructLayout:
        words = self.narrow.members["words"]
        return data.StructLayout({**self.narrow.members,
                                  "words": data.ArrayLayout(words.elem_shape, words.length * self.ratio)})

    @property
    def sideband(self) -> list[str]:
        return [name for name in self.narrow.members if name != "words"]


class Upsizer(wiring.Component):
    """Gathers ``ratio`` beats of K words into one beat of K * ratio words, low words first.

    Sideband fields are those of the final narrow beat. Ports ``i`` (``narrow``) and ``o`` (``wide``).

    Format: none, words pass unchanged.
    Latency: 1 cycle from the final narrow beat.
    Throughput: one narrow beat per cycle, no bubble.
    Backpressure: ``o.valid`` and ``o.payload`` come out of registers; the path ``o.ready`` -> ``i.ready`` is **not**
    cut.
    Reset: forgets the beats gathered.
    Cost: one register of the wide payload, log2(ratio) + 1 control bits.
    Source: own.
    """

    def __init__(self, narrow: data.StructLayout, ratio: int):
        self.parameters = WidthParameters(narrow, ratio)
        super().__init__({"i": In(stream.Signature(narrow)),
                          "o": Out(stream.Signature(self.parameters.wide))})

    def elaborate(self, platform):
        m = Module()
        final = self.parameters.ratio - 1
        piece = Signal(range(self.parameters.ratio), name="piece")
        gathered = self.o.payload.words.as_value()
        arriving = self.i.payload.words.as_value()
        m.d.comb += self.i.ready.eq(self.o.ready | ~self.o.valid)

        with m.If(self.i.ready):
            m.d.sync += self.o.valid.eq(self.i.valid & (piece == final))
        with m.If(self.i.ready & self.i.valid):
            # A shift register: after ``ratio`` beats the first one has reached the low end.
            m.d.sync += [gathered.eq(Cat(gathered, arriving)[len(arriving):]),
                         piece.eq(Mux(piece == final, 0, piece + 1))]
            m.d.sync += [self.o.payload[name].eq(self.i.payload[name]) for name in self.parameters.sideband]
        return m


class Downsizer(wiring.Component):
    """Splits one beat of K * ratio words into ``ratio`` beats of K words, low words first.

    Sideband fields pass on each narrow beat, except ``last``: it is 1 on the final narrow beat only. Ports ``i``
    (``wide``) and ``o`` (``narrow``).

    Format: none, words pass unchanged.
    Latency: 1 cycle to the first narrow beat.
    Throughput: one narrow beat per cycle, no bubble.
    Backpressure: ``o.valid`` and ``o.payload`` come out of registers (``last`` through one gate); the path ``o.ready``
    -> ``i.ready`` is **not** cut.
    Reset: forgets the beat held.
    Cost: one register of the wide payload, log2(ratio) + 1 control bits.
    Source: own.
    """

    def __init__(self, narrow: data.StructLayout, ratio: int):
        self.parameters = WidthParameters(narrow, ratio)
        super().__init__({"i": In(stream.Signature(self.parameters.wide)),
                          "o": Out(stream.Signature(narrow))})

    def elaborate(self, platform):
        m = Module()
        final = self.parameters.ratio - 1
        piece = Signal(range(self.parameters.ratio), name="piece")
        held = Signal(self.parameters.wide, name="held")
        words, leaving = held.words.as_value(), self.o.payload.words.as_value()
        m.d.comb += [
            leaving.eq(words[:len(leaving)]),
            self.i.ready.eq((self.o.ready & (piece == final)) | ~self.o.valid),
        ]
        for name in self.parameters.sideband:
            value = held[name] & (piece == final) if name == "last" else held[name]
            m.d.comb += self.o.payload[name].eq(value)

        with m.If(self.i.ready):
            m.d.sync += [held.eq(self.i.payload), self.o.valid.eq(self.i.valid), piece.eq(0)]
        with m.Elif(self.o.ready):
            m.d.sync += [words.eq(words[len(leaving):]), piece.eq(piece + 1)]
        return m
