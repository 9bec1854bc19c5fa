"""Reciprocal: one over the mantissa of a total, and where its highest bit stands."""

from amaranth.hdl import Array, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..numeric import RECIPROCAL_BITS, RECIPROCAL_SEGMENT_BITS, reciprocal_table
from ..primitives.multiplier import Multiplier, MultiplierParameters
from ..primitives.pipeline import delay
from .parameters import reciprocal_latency, total_bits

__all__ = ["Reciprocal", "highest_bit"]

_REST_BITS = RECIPROCAL_BITS - RECIPROCAL_SEGMENT_BITS
_FALL_BITS = 11


class Reciprocal(wiring.Component):
    """Reads the reciprocal of a mantissa off chords: no divider.

    ``total`` is 2^``highest`` times a mantissa in [1, 2); ``reciprocal`` that of the mantissa. ``is_empty``: the total
    is 0, and they mean nothing.

    Format: totals unsigned; reciprocals unsigned, RECIPROCAL_BITS fraction bits, less than 1: ``hw/numeric.py``.
    Latency: reciprocal_latency cycles to all outputs.
    Throughput: a total per cycle.
    Backpressure: none.
    Reset: none, the registers hold data only.
    Cost: a multiplier, a shifter of total_bits, a table of 128 * 28 bits in logic.
    Source: hw/numeric.py, softmax; docs/decisions/0030-softmax-in-the-array.md.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        bits = total_bits(config)
        super().__init__({"total": In(bits), "highest": Out(range(bits)), "is_empty": Out(1),
                          "reciprocal": Out(RECIPROCAL_BITS)})

    def elaborate(self, platform):
        m = Module()
        c, bits = self._config, len(self.total)
        found, is_zero = highest_bit(self.total)
        highest = Signal.like(self.highest, name="highest_found", reset_less=True)
        is_empty = Signal(name="is_empty_found", reset_less=True)
        m.d.sync += [highest.eq(found), is_empty.eq(is_zero)]

        # The mantissa to the top, its leading one out.
        total = delay(m, self.total, 1, "late_total")
        left = (bits - 1 - highest)[:len(highest)]
        coarse = Signal(bits, name="coarse", reset_less=True)
        fine = Signal(bits, name="fine", reset_less=True)
        low = Signal(3, name="low_shift", reset_less=True)
        m.d.sync += [coarse.eq(total << (left[3:] << 3)), low.eq(left[:3]), fine.eq(coarse << low)]
        fraction = fine[bits - 1 - RECIPROCAL_BITS:bits - 1]

        m.submodules.multiplier = multiplier = Multiplier(MultiplierParameters(
            _FALL_BITS + 1, _REST_BITS + 1, c.target, c.pipeline))
        segment, rest = fraction[_REST_BITS:], fraction[:_REST_BITS]
        begin, fall, inside = (Signal(width, name=name, reset_less=True) for name, width in (
            ("begin", RECIPROCAL_BITS), ("fall", _FALL_BITS), ("rest", _REST_BITS)))
        table = reciprocal_table()
        m.d.sync += [begin.eq(Array(Const(first, RECIPROCAL_BITS) for first, _ in table)[segment]),
                     fall.eq(Array(Const(drop, _FALL_BITS) for _, drop in table)[segment]), inside.eq(rest)]
        m.d.comb += [multiplier.a.eq(fall), multiplier.b.eq(inside)]
        late = delay(m, begin, c.multiplier_latency, "late_begin")
        m.d.sync += self.reciprocal.eq(late - (multiplier.o >> _REST_BITS))
        behind = reciprocal_latency(c) - 1
        m.d.comb += [self.highest.eq(delay(m, highest, behind, "late_highest")),
                     self.is_empty.eq(delay(m, is_empty, behind, "late_empty"))]
        return m


def highest_bit(bits: Value) -> tuple[Value, Value]:
    """Number of the highest bit that is one, and whether there is none; two inputs a level."""
    if len(bits) == 1:
        return Const(0, 0), ~bits
    half = 1 << (len(bits) - 1).bit_length() - 1
    low, low_empty = highest_bit(bits[:half])
    high, high_empty = highest_bit(bits[half:])
    width = half.bit_length() - 1
    number = Mux(high_empty, low | Const(0, width), high | Const(1 << width, width + 1))
    return number, low_empty & high_empty
