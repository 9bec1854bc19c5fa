"""Array beats to memory beats: the way back of ``hw/memory/gather.py``.

Contract: docs/reference/processor.md, "From beats to the array and back".
"""

from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..layouts import lanes
from .gather import Regrouper, memory_beat

__all__ = ["Scatter", "scatter_words", "scatter_beat"]


def scatter_words(config: CoreConfig) -> data.StructLayout:
    """What a Scatter takes: K words, the ``mode`` of their block, ``last`` on the final beat of the block; ``changes``
    as ``gather_beat`` says."""
    return data.StructLayout({"words": lanes(config.element_width, config.stream_words), "mode": 3, "last": 1,
                              "changes": 1})


def scatter_beat(config: CoreConfig) -> data.StructLayout:
    """What a Scatter gives. ``other`` holds the first beat of a pair of SPLIT, and nothing of meaning otherwise."""
    return data.StructLayout({"beat": memory_beat(config), "other": memory_beat(config), "mode": 3, "last": 1})


def _unzip_order(n_lanes: int) -> tuple[int, ...]:
    """P words of the even cell and P words of the odd cell -> their 2P re, then their 2P im."""
    return tuple(cell * 2 * n_lanes + 2 * lane + part
                 for part in range(2) for cell in range(2) for lane in range(n_lanes))


class Scatter(wiring.Component):
    """Takes beats of the array apart to beats of memory: the writer's table of docs/reference/processor.md.

    ``i``: beats of K words of the stream format as :func:`scatter_words`; ``o``: :func:`scatter_beat`, ``last`` on the
    final beat of the block. ``empty``: no final beat is inside. The arithmetic is left to the writer.

    | mode | beats in | beats out |
    |---|---|---|
    | COLUMNS | 1 | 1 |
    | ROWS | J | J |
    | PAIRS | 2J | 2J, re and im of each row pair in turn |
    | REAL, FOLD | 2J | J, those of re |
    | SPLIT | 2 | 1: the second in ``beat``, the first in ``other`` |

    Format: elements of element_width bits, unchanged.
    Latency: from beat n in to beat n out: COLUMNS 1 cycle, ROWS J + 1, PAIRS 2J + 2; with J = 1: 1, 1 and 2. REAL and
    FOLD: from beat 2n to beat n as PAIRS; SPLIT: 1 cycle from the second beat.
    Throughput: one beat per cycle on ``i``, without a gap between blocks of equal mode; the first beat of a block of
    another mode is taken one cycle after the final beat of the block before has left. Blocks that do not follow at
    once: :class:`Regrouper`.
    Backpressure: that of :class:`Regrouper`.
    Reset: forgets what is inside; the mode is COLUMNS.
    Cost: a Regrouper with ``splits``.
    Source: docs/reference/processor.md, From beats to the array and back.

    Raises ValueError when the configuration has no memory.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({"i": In(stream.Signature(scatter_words(config))),
                          "o": Out(stream.Signature(scatter_beat(config))), "empty": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.regrouper = regrouper = Regrouper(self._config, _unzip_order(self._config.lanes), splits=True)
        to, back = regrouper.i, regrouper.o
        m.d.comb += [
            to.payload.elements.as_value().eq(self.i.payload.words.as_value()),
            to.payload.mode.eq(self.i.payload.mode), to.payload.last.eq(self.i.payload.last),
            to.payload.changes.eq(self.i.payload.changes), to.valid.eq(self.i.valid), self.i.ready.eq(to.ready),
            self.empty.eq(regrouper.empty), self.o.valid.eq(back.valid), back.ready.eq(self.o.ready),
            self.o.payload.beat.elements.eq(back.payload.elements),
            self.o.payload.other.elements.eq(back.payload.other),
            self.o.payload.mode.eq(back.payload.mode), self.o.payload.last.eq(back.payload.last)]
        return m
