"""Memory beats to array beats, and the part that does it, which the way back (``hw/memory/scatter.py``) uses too.

Contract: docs/reference/processor.md, "From beats to the array and back".
"""

from enum import IntEnum

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..isa.instruction import MemoryMode
from ..layouts import input_beat
from ..primitives.signals import signals
from ..primitives.stream import SkidBuffer
from ..primitives.transposer import Transposer
from .port import MemoryParameters

__all__ = ["Gather", "Regrouper", "gather_beat", "memory_beat"]


def memory_beat(config: CoreConfig) -> data.StructLayout:
    """A beat of the memory of ``config``. Raises ValueError when it has none."""
    if not config.is_processor:
        raise ValueError(f"memory_bits: {config.memory_bits} means no memory; allowed are 1..32")
    return MemoryParameters.of(config).beat


def gather_beat(config: CoreConfig) -> data.StructLayout:
    """What a Gather takes: a beat, the ``mode`` of its block, ``last`` on the final beat of the block. ``changes``:
    first beat of a block whose mode is not that of the block before; COLUMNS stands before the first block."""
    return data.StructLayout({"beat": memory_beat(config), "mode": 2, "last": 1, "changes": 1})


class _Source(IntEnum):
    """Where the elements of a beat that leaves come from."""

    INPUT = 0
    FIRST = 1   # of the two beats that the transposer gives at once
    SECOND = 2
    ROW = 3


class _SourceState:
    """The source of the elements in ``chosen``, and in registers of their own what control and enables want to know."""

    def __init__(self):
        self.chosen = Signal(_Source, name="source")
        self.is_input, self.fills_lower = signals("is_input fills_lower", init=1)
        self.pairs, self.is_second = signals("pairs is_second")

    def becomes(self, source: _Source):
        is_second = source == _Source.SECOND
        return [self.chosen.eq(source), self.is_input.eq(source == _Source.INPUT), self.fills_lower.eq(not is_second),
                self.pairs.eq(is_second or source == _Source.FIRST), self.is_second.eq(is_second)]


class Regrouper(wiring.Component):
    """Exchanges chunk and row (or engine) in tiles of beats, in the way that each block asks for.

    A beat has 2K = 2*P*J elements, J cells of 2P. By ``mode``, a :class:`MemoryMode` that is the same on all beats of a
    block:

    * ``COLUMNS``: beats as they are.
    * ``SPLIT``: two beats to one: the second, with the first in ``o``'s ``other`` where there is one (``splits``).
    * ``ROWS``: J beats to J beats: cell r of beat c is cell c of beat r that came in.
    * ``PAIRS``: 2J beats to 2J beats. Cells c of beats 2r and 2r+1 together are 4P elements; ``order`` lists them anew,
      entry e being the position of the one that becomes number e, and they leave as cells r of beats 2c and 2c+1.
    * ``REAL``, ``FOLD``: as PAIRS, but the odd beats do not leave.

    ``changes`` marks the first beat of a block whose mode is not that of the block before; a comparison here would
    leave no time. ``last`` marks the final beat of a block, in and out. Blocks consist of whole tiles. ``empty``: every
    final beat that came in has left, from two cycles after on.

    Format: elements of element_width bits, unchanged.
    Latency: from beat n in to beat n out, of a block that comes without a gap into an ``o`` that is ready:

    | mode | cycles | with J = 1 |
    |---|---|---|
    | COLUMNS | 1 | 1 |
    | ROWS | J + 1 | 1 |
    | PAIRS | 2J + 2 | 2 |
    | REAL, FOLD | beat r leaves when beat 2r of PAIRS would | |
    | SPLIT | 1 from the second beat | 1 |

    The same holds for the last tile of a block: nothing has to follow, and what follows changes nothing.
    Throughput: one beat per cycle; a block of equal mode that follows at once costs no cycle. Otherwise:

    * A block of equal mode that comes later, with J > 1, while the last tile is on its way out: its first beat (ROWS)
      moves J + 1 cycles after the final beat of the block before, or its second one (PAIRS, REAL, FOLD) 2J + 1.
    * A block of another mode: its first beat moves one cycle after the final beat of the block before has moved on
      ``o`` or, if that is later, one cycle after it has come.

    Backpressure: a skid buffer cuts ``o`` in both directions. ``i.ready`` follows ``i.valid`` and ``i.payload.changes``
    without a register, through the transposer's control.
    Reset: forgets what is inside; the mode is COLUMNS.
    Cost: the transposer, 4*J*K elements of registers with a 2:1 multiplexer each; 4*K elements of registers for the
    halves of pairs; the skid buffer, 4*K and 2*K 2:1 multiplexers; a 4:1 multiplexer for each of the 2*K elements. With
    J = 1 the transposer is wires. ``splits``: 4*K more elements of registers in the skid buffer.
    Source: docs/reference/processor.md, From beats to the array and back.
    """

    def __init__(self, config: CoreConfig, order: tuple[int, ...], splits: bool = False):
        self._width, self._cells, self._cell = config.element_width, config.engines_per_beat, 2 * config.lanes
        self._order, self._splits = order, splits
        elements = data.ArrayLayout(config.element_width, config.memory_elements)
        beat = {"elements": elements, "mode": 3, "last": 1}
        output = beat | ({"other": elements} if splits else {})
        super().__init__({"i": In(stream.Signature(data.StructLayout(beat | {"changes": 1}))),
                          "o": Out(stream.Signature(data.StructLayout(output))), "empty": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.tiles = tiles = Transposer(2 * self._cell * self._width, self._cells)
        m.submodules.skid = skid = SkidBuffer(self.o.payload.shape())
        wiring.connect(m, skid.o, wiring.flipped(self.o))
        mode = Signal(3, name="mode")
        source = _SourceState()
        is_input, pairs, is_second = source.is_input, source.pairs, source.is_second
        switched = Signal(name="switched")
        is_pairs, is_split = signals("is_pairs is_split")
        m.d.comb += is_pairs.eq(mode == MemoryMode.PAIRS)

        # The first beat of a pair waits in ``upper``; the transposer takes both together, and so gives two beats at
        # once, of which the second waits in ``lower``. A SPLIT has them leave together.
        is_odd, arriving, has_match, accept, second_valid = signals("is_odd arriving has_match accept second_valid")
        m.d.comb += [
            has_match.eq(~self.i.payload.changes | switched), arriving.eq(self.i.valid & has_match),
            self.i.ready.eq(has_match & Mux(is_input, skid.i.ready, (pairs & ~is_odd) | tiles.i.ready)),
            accept.eq(self.i.valid & self.i.ready),
            tiles.i.valid.eq(arriving & ~is_input & (is_odd | ~pairs)), tiles.i.payload.last.eq(self.i.payload.last),
            tiles.o.ready.eq(skid.i.ready & ~is_second),
            skid.i.valid.eq(Mux(is_input, arriving & (is_odd | ~is_split),
                                Mux(is_second, second_valid, tiles.o.valid))),
            skid.i.payload.mode.eq(mode)]
        if self._splits:
            m.d.comb += is_split.eq(mode == MemoryMode.SPLIT)
        fills_upper = Signal(name="fills_upper", init=1)  # as above: the inverse of ``is_odd``
        flips = accept & (pairs | is_split)
        m.d.sync += [is_odd.eq(is_odd ^ flips), fills_upper.eq(fills_upper ^ flips)]
        with m.If(accept):
            m.d.sync += switched.eq(0)

        # The cycle after each step of the transposer belongs to the second beat, also where there is none: the
        # transposer must not see the end of its input before the next pair has had the time to arrive.
        given = tiles.o.valid & tiles.o.ready
        with m.If(is_second):
            with m.If(skid.i.ready | ~second_valid):
                m.d.sync += source.becomes(_Source.FIRST)
        with m.Else():
            m.d.sync += second_valid.eq(is_pairs & given)
            with m.If(pairs & (given | (tiles.i.valid & tiles.i.ready))):
                m.d.sync += source.becomes(_Source.SECOND)
        last = self._elements(m, tiles, skid.i.payload, source, fills_upper)
        m.d.comb += skid.i.payload.last.eq(
            Mux(is_input, self.i.payload.last, Mux(is_second, last, tiles.o.payload.last & ~is_pairs)))
        # Final beats inside, at most six: two in the transposer (``blocks`` below), three behind it, one that has just
        # left. What comes in and what goes out is registered before it is counted.
        ends = Signal(3, name="ends")
        arrived, ending, offered, taken, final = signals("arrived ending offered taken final")
        m.d.sync += [arrived.eq(accept), ending.eq(self.i.payload.last), offered.eq(self.o.valid),
                     taken.eq(self.o.ready), final.eq(self.o.payload.last),
                     ends.eq(ends + (arrived & ending) - (offered & taken & final))]
        m.d.comb += self.empty.eq((ends == 0) & ~(arrived & ending))
        left = skid.i.valid & skid.i.ready & skid.i.payload.last
        self._switch(m, mode, source, switched, self.i.valid & ~has_match, ~is_input, accept, left)
        return m

    def _elements(self, m, tiles, out, source, fills_upper):
        """Moves elements into the transposer and out of it. Returns ``last`` of the pair whose second beat waits."""
        size, cells = self._cell * self._width, range(self._cells)
        now = self.i.payload.elements.as_value()
        upper, lower = signals("upper lower", len(now), reset_less=True)
        last = Signal(name="last")
        # A row enters alone, as the lower one of a pair: no multiplexer.
        m.d.comb += [tiles.i.payload.cells[n].eq(Cat(upper.word_select(n, size), now.word_select(n, size)))
                     for n in cells]
        given = tiles.o.payload.cells
        if self._splits:
            m.d.comb += out.other.as_value().eq(upper)
        pick = lambda order: Cat(given[n].word_select(e, self._width) for n in cells for e in order)
        with m.If(fills_upper):
            m.d.sync += upper.eq(now)
        with m.If(source.fills_lower):
            m.d.sync += [lower.eq(pick(self._order[self._cell:])), last.eq(tiles.o.payload.last)]
        beats = {_Source.INPUT: now, _Source.FIRST: pick(self._order[:self._cell]), _Source.SECOND: lower,
                 _Source.ROW: Cat(given[n][size:] for n in cells)}
        with m.Switch(source.chosen):
            for case, beat in beats.items():
                with m.Case(case):
                    m.d.comb += out.elements.as_value().eq(beat)
        return last

    def _switch(self, m, mode, source, switched, waiting, tiled, accept, left):
        """Takes the mode of the block that waits, once the transposer is empty. ``blocks`` counts the final beats in
        the transposer, at most two: one on its way in, one on its way out."""
        wanted = self.i.payload.mode
        blocks = Signal(2, name="blocks")
        m.d.sync += blocks.eq(blocks + (tiled & accept & self.i.payload.last) - (tiled & left))
        with m.If(waiting & (blocks == 0)):
            m.d.sync += [mode.eq(wanted), switched.eq(1)]
            with m.If(wanted.matches(MemoryMode.COLUMNS, MemoryMode.SPLIT)):
                m.d.sync += source.becomes(_Source.INPUT)
            with m.Elif(wanted == MemoryMode.ROWS):
                m.d.sync += source.becomes(_Source.ROW)
            with m.Else():
                m.d.sync += source.becomes(_Source.FIRST)


def _zip_order(lanes: int) -> tuple[int, ...]:
    """2P elements of each of two rows -> P words (upper, lower) of the even cell, then P words of the odd cell."""
    return tuple(row * 2 * lanes + cell * lanes + lane
                 for cell in range(2) for lane in range(lanes) for row in range(2))


class Gather(wiring.Component):
    """Puts beats of memory together to beats of the array: the reader's table of docs/reference/processor.md.

    ``i``: beats of 2K elements as :func:`gather_beat`, with the mode COLUMNS, ROWS or PAIRS; ``o``: beats of K words of
    the stream format, as the Array takes them. COLUMNS: one beat; ROWS: tiles of J beats; PAIRS: tiles of 2J beats, the
    rows in turn. ``empty``: no final beat is inside.

    Format: elements of element_width bits, unchanged.
    Latency: from beat n of a block to beat n: COLUMNS 1 cycle, ROWS J + 1, PAIRS 2J + 2; with J = 1: 1, 1 and 2.
    Throughput: one beat per cycle, without a gap between blocks of equal mode; the first beat of a block of another
    mode is taken one cycle after the final beat of the block before has left. Blocks that do not follow at once:
    :class:`Regrouper`.
    Backpressure: that of :class:`Regrouper`.
    Reset: forgets what is inside; the mode is COLUMNS.
    Cost: a Regrouper without ``splits``.
    Source: docs/reference/processor.md, From beats to the array and back.

    Raises ValueError when the configuration has no memory.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({"i": In(stream.Signature(gather_beat(config))),
                          "o": Out(stream.Signature(input_beat(config.element_width, config.stream_words))),
                          "empty": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.regrouper = regrouper = Regrouper(self._config, _zip_order(self._config.lanes))
        to, back = regrouper.i, regrouper.o
        m.d.comb += [
            to.payload.elements.eq(self.i.payload.beat.elements), to.payload.mode.eq(self.i.payload.mode),
            to.payload.last.eq(self.i.payload.last), to.payload.changes.eq(self.i.payload.changes),
            to.valid.eq(self.i.valid), self.i.ready.eq(to.ready),
            self.o.payload.words.as_value().eq(back.payload.elements.as_value()), self.o.valid.eq(back.valid),
            back.ready.eq(self.o.ready), self.empty.eq(regrouper.empty)]
        return m
