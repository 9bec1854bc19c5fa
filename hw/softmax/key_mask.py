"""Key mask: which logits count, and what is added to them for the distance of their key."""

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..isa.encoding import FIELDS
from ..isa.instruction import Opcode
from ..layouts import instruction
from .parameters import DISTANCE_BITS, MASK_LATENCY

__all__ = ["KeyMask"]


class KeyMask(wiring.Component):
    """Follows the logits of a MAC: P keys of a row, the rows of a group of engines, row pairs, P keys after P keys.

    ``load`` begins a MAC of ``mask`` and ``last_pair``, with ``length`` keys; ``row`` is the number of the first row
    of the first engine in a block. ``step``: the next logit. ``distance``: how far its key lies above the limit of its
    row; ``allowed``: it counts.

    Format: ``docs/reference/architecture.md``, Softmax; distances two's complement.
    Latency: MASK_LATENCY - 1 cycles from ``step`` to ``distance``, MASK_LATENCY to ``allowed``.
    Throughput: a logit per cycle.
    Backpressure: without ``step`` nothing moves.
    Reset: none; ``load`` begins.
    Cost: counters of 16, 17 and 17 bits, a subtractor, two comparators.
    Source: docs/decisions/0030-softmax-in-the-array.md.
    """

    def __init__(self, config: CoreConfig, rows: int, row: int):
        """``rows`` of the group of engines in a row pair of each; ``row``: the first of them."""
        self._config, self._rows, self._row = config, rows, row
        super().__init__({
            "mask": In(instruction(Opcode.MASK)), "last_pair": In(dict(FIELDS[Opcode.MAC])["last_pair"]),
            "length": In(16), "load": In(1), "step": In(1),
            "distance": Out(signed(DISTANCE_BITS)), "allowed": Out(1)})

    def elaborate(self, platform):
        m = Module()
        c = self._config
        lane = Signal(range(c.lanes), name="lane")
        row = Signal(range(self._rows), name="row")
        pair = Signal.like(self.last_pair, name="pair")
        keys = Signal(16 - c.layers, name="keys")  # P each
        row_limit, pair_limit = (Signal(signed(DISTANCE_BITS), name=f"{name}_limit") for name in ("row", "pair"))
        row_ends, pair_ends, all_end = Signal(name="row_ends"), Signal(name="pair_ends"), Signal(name="all_end")
        first = Signal(signed(DISTANCE_BITS), name="first_limit")
        is_last_pair = Signal(name="is_last_pair")  # a pair lasts for many steps
        m.d.sync += is_last_pair.eq(pair == self.last_pair)
        m.d.comb += [row_ends.eq(lane == c.lanes - 1), pair_ends.eq(row_ends & (row == self._rows - 1)),
                     all_end.eq(pair_ends & is_last_pair),
                     first.eq(self.mask.limit.as_signed() + self._row)]
        with m.If(self.step):
            m.d.sync += lane.eq(lane + 1)
            with m.If(row_ends):
                m.d.sync += [row.eq(row + 1), row_limit.eq(row_limit + 1)]
            with m.If(pair_ends):
                m.d.sync += [row.eq(0), pair.eq(pair + 1), pair_limit.eq(pair_limit + 2 * c.engines),
                             row_limit.eq(pair_limit + 2 * c.engines)]
            with m.If(all_end):
                m.d.sync += [pair.eq(0), keys.eq(keys + 1), pair_limit.eq(first), row_limit.eq(first)]
        with m.If(self.load):
            m.d.sync += [lane.eq(0), row.eq(0), pair.eq(0), keys.eq(self.mask.key >> c.layers), pair_limit.eq(first),
                         row_limit.eq(first)]
        key = Cat(lane, keys)
        is_inside = Signal(name="is_inside", reset_less=True)
        m.d.sync += [self.distance.eq(key - row_limit), is_inside.eq((key < self.length) | (self.mask.length == 0))]
        is_above = ~self.distance[-1] & self.distance.any()
        is_behind = self.distance < -self.mask.window.as_unsigned()
        m.d.sync += self.allowed.eq(is_inside & ~(self.mask.upper & is_above) & ~(self.mask.window.any() & is_behind))
        assert MASK_LATENCY == 2
        return m
