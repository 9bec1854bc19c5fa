"""Tile transposer: beats that hold one row of a tile become beats that hold one column."""

from amaranth.hdl import Module, Mux, ShapeLike, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .signals import signals

__all__ = ["Transposer", "transposer_beat"]


def transposer_beat(cell: ShapeLike, side: int) -> data.StructLayout:
    """``side`` cells, the row or the column of a tile; ``last`` marks the end of a run of tiles.

    Raises ValueError when ``side`` is less than 1.
    """
    if side < 1:
        raise ValueError(f"side: {side} is less than 1")
    return data.StructLayout({"cells": data.ArrayLayout(cell, side), "last": 1})


class Transposer(wiring.Component):
    """``side`` beats of ``side`` cells in, as many out: cell r of beat c is cell c of beat r that came in.

    Memory holds rows one after the other, an array takes the same columns of several rows at once. A square of
    registers shifts upwards for one tile and to the left for the next: while the rows of a tile enter on one side, the
    columns of the tile before leave on the other. So one square is enough for one beat per cycle.

    A tile leaves when the next one enters. Where the final beat of a tile has ``last``, the tile also leaves when
    nothing follows; then the first beat of a new tile waits until that tile is out. ``last`` comes with the final beat
    of a tile only, and leaves with the final beat of the same tile.

    Format: none, cells pass unchanged.
    Latency: ``side`` cycles from the first beat in to the first beat out; 0 where ``side`` is 1.
    Throughput: one beat per cycle; at most ``side`` cycles are lost after a ``last`` that nothing follows at once.
    Backpressure: the path ``o.ready`` -> ``i.ready`` and the path ``i.valid`` -> ``o.valid`` are **not** cut.
    Reset: forgets the tiles inside.
    Cost: side^2 cells of registers, each with a 2:1 multiplexer; a side of one is wires.
    Source: docs/reference/processor.md, From beats to the array and back.
    """

    def __init__(self, cell: ShapeLike, side: int):
        self._cell, self._side = cell, side
        beat = stream.Signature(transposer_beat(cell, side))
        super().__init__({"i": In(beat), "o": Out(beat)})

    def elaborate(self, platform):
        m = Module()
        if self._side == 1:
            wiring.connect(m, wiring.flipped(self.i), wiring.flipped(self.o))
            return m
        side = self._side
        # The present phase lasts ``side`` steps; it takes a tile, or gives the one that ``full`` says is inside, or
        # does both.
        position = Signal(range(side), name="position")
        upwards, full, final = signals("upwards full final")
        taking, taking_before, first, end, step = signals("taking taking_before first end step")
        m.d.comb += [
            first.eq(position == 0), end.eq(position == side - 1),
            taking.eq(Mux(first, ~(full & final) | self.i.valid, taking_before)),
            step.eq((~taking | self.i.valid) & (~full | self.o.ready)),
            self.i.ready.eq(taking & (~full | self.o.ready)), self.o.valid.eq(full & (~taking | self.i.valid)),
            self.o.payload.last.eq(final & end)]
        with m.If(step):
            m.d.sync += [position.eq(Mux(end, 0, position + 1)), taking_before.eq(taking)]
        with m.If(step & end):
            m.d.sync += [upwards.eq(~upwards), full.eq(taking), final.eq(self.i.payload.last)]
        self._square(m, upwards, step)
        return m

    def _square(self, m, upwards, step):
        side = self._side
        square = [[Signal(self._cell, name=f"cell{r}_{c}", reset_less=True) for c in range(side)] for r in range(side)]
        for r in range(side):
            m.d.comb += self.o.payload.cells[r].eq(Mux(upwards, square[0][r], square[r][0]))
            for c in range(side):
                below = square[r + 1][c] if r + 1 < side else self.i.payload.cells[c]
                right = square[r][c + 1] if c + 1 < side else self.i.payload.cells[r]
                with m.If(step):
                    m.d.sync += square[r][c].eq(Mux(upwards, below, right))
