"""Activation: what one lane of the vector unit makes of an element that has its scale; and the clamp of its lanes."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig, Pipeline, Target
from ..isa.parameter_set import BELOW_BITS, WIDE_BITS
from ..isa.vector_tables import BASE_BITS, INDEX_ONLY_BITS, SEGMENTS, SLOPE_BITS
from ..primitives.adder import SelectAdder, SelectAdderParameters
from ..primitives.multiplier import Multiplier, MultiplierParameters
from ..primitives.pipeline import delay
from ..primitives.ram import Ram, RamParameters
from ..primitives.saturate import clamp
from ..primitives.shared import once
from .parameters import CLAMP_LATENCY, LaneTiming

__all__ = ["ActivationLane", "VectorLaneParameters", "gelu_word"]

_INDEX_BITS = (SEGMENTS - 1).bit_length()
_SLOPE_CUT = 6  # a slope counts in 2^-16, a place in a segment 2^(EW-10) to 1, the table in 2^-EW


@dataclass(frozen=True)
class VectorLaneParameters:
    """``element_width`` bits of an element (8..18), technology and pipeline. Raises ValueError naming the field."""

    element_width: int
    target: Target = Target.PORTABLE
    pipeline: Pipeline = Pipeline.DEEP

    def __post_init__(self) -> None:
        if not 8 <= self.element_width <= 18:
            raise ValueError(f"element_width: {self.element_width} is not an element of the vector unit; "
                             "allowed are 8..18")

    @classmethod
    def of(cls, config: CoreConfig) -> "VectorLaneParameters":
        return cls(config.element_width, config.target, config.pipeline)

    @property
    def timing(self) -> LaneTiming:
        return LaneTiming(self.pipeline)


def gelu_word() -> data.StructLayout:
    """A segment of the table of D: ``base`` in units of 2^-EW, ``slope``: its fall in 2^-16."""
    return data.StructLayout({"base": BASE_BITS, "slope": signed(SLOPE_BITS)})


class ActivationLane(wiring.Component):
    """Nothing, ReLU or GELU of one element per cycle.

    ``y``: the element. ``rectify``: negative ones become zero; ``gelu`` (with ``rectify``): D(|y|) is subtracted, which
    is 0 outside the table. ``fall``, 0..7: bits below an element that the result has lost, 4 without ``gelu``. ``z``:
    the result, ``clamped``: it did not fit. There is no valid bit. ``write`` of ``write_en``: a word
    (:func:`gelu_word`) for segment ``write_index`` of the table, in use for a ``y`` of the same cycle or later.

    Format: ``y`` an integer of element_width + WIDE_BITS bits, ``z`` of element_width; a product of a slope is rounded
    half up, and so is the result, once.
    Latency: ``latency`` cycles (12, in a short pipeline 9).
    Throughput: one element per cycle.
    Backpressure: none.
    Reset: none, the table is kept.
    Cost: a multiplier of 10 x (element_width - 9) bits (none up to 10 bits), a RAM of 512 x 28 bits, four carry chains
    of about element_width + 8 bits.
    Source: docs/reference/vector.md, Numbers.
    """

    def __init__(self, parameters: VectorLaneParameters):
        self.parameters = parameters
        width = parameters.element_width
        super().__init__({
            "y": In(signed(width + WIDE_BITS)), "rectify": In(1), "gelu": In(1), "fall": In(3),
            "write": In(gelu_word()), "write_index": In(_INDEX_BITS), "write_en": In(1),
            "z": Out(signed(width)), "clamped": Out(1)})

    @property
    def latency(self) -> int:
        """Cycles from ``y`` to ``z``."""
        return self.parameters.timing.activation_latency

    @once("parameters")
    def elaborate(self, platform) -> Module:
        m = Module()
        p = self.parameters
        found, product_latency = p.timing.segment_latency, p.timing.product_latency
        assert self.latency == found + product_latency + 1 + 2 + CLAMP_LATENCY, "segment, product, sum, rounding, clamp"
        magnitude = self._magnitude(m)
        m.submodules.table = table = Ram(RamParameters(BASE_BITS + SLOPE_BITS, SEGMENTS, p.target, p.pipeline))
        inside, outside = magnitude[:p.element_width - 1], magnitude[p.element_width - 1:].any()
        index = Cat(Const(0, max(0, INDEX_ONLY_BITS - p.element_width)), inside[-_INDEX_BITS:])
        inverted = Cat(~self.write.base, self.write.slope)  # the base is subtracted
        # A register behind the inverter: the tables of many lanes lie far from each other.
        m.d.comb += [table.r_en.eq(1), table.r_addr.eq(index),
                     table.w_en.eq(delay(m, self.write_en, 1, "written", reset_less=False)),
                     table.w_addr.eq(delay(m, self.write_index, 1, "write_index")),
                     table.w_data.eq(delay(m, inverted, 1, "inverted"))]
        segment = data.View(gelu_word(), table.r_data)

        # The RAM stands far from the adder; while the product is made there is time for a register between them.
        near = int(p.pipeline.is_deep)
        rectify, y = delay(m, self.rectify, found - 1 + near, "rectify"), delay(m, self.y, found - 1 + near, "y")
        positive = Signal.like(self.y, name="positive", reset_less=True)
        m.d.sync += positive.eq(y)
        with m.If(rectify & y[-1]):
            m.d.sync += positive.eq(0)
        before = p.timing.magnitude_latency
        gelu = delay(m, delay(m, self.gelu, before, "gelu") & ~outside, found - 1 - before, "gelu_inside")
        less_base = self._less_base(m, positive, delay(m, segment.base, near, "base"),
                                    delay(m, gelu, 1 + near, "gelu_found"))
        total = Signal(less_base.shape(), name="total", reset_less=True)
        rest = delay(m, less_base, product_latency - 1 - near, "less_base")
        product = self._product(m, inside[:-_INDEX_BITS], segment.slope, gelu)
        # Round half up: the highest bit cut off is the carry.
        m.d.sync += total.eq((Cat(product[_SLOPE_CUT - 1], rest).as_signed() +
                              Cat(Const(1, 1), product[_SLOPE_CUT:]).as_signed()) >> 1)

        fall = delay(m, self.fall, found + 1 + product_latency, "fall")
        z, clamped = clamp(m, self._round(m, total, fall), p.element_width, "z_register")
        m.d.comb += [self.z.eq(z), self.clamped.eq(clamped)]
        return m

    def _magnitude(self, m):
        """min(|y|, largest), magnitude_latency cycles later. The smallest element is inverted only: one more would not
        fit."""
        low = self.y[:-1]
        y_before = Signal.like(self.y, name="y_before", reset_less=True)
        carry = Signal(name="carry", reset_less=True)
        m.d.sync += [y_before.eq(self.y), carry.eq(self.y[-1] & low.any())]
        bits = y_before[:-1]
        m.submodules.absolute = adder = SelectAdder(SelectAdderParameters(len(low) + 1, self.parameters.target))
        magnitude = Signal(len(low), name="magnitude", reset_less=True)
        m.d.comb += [adder.addend.eq(carry), adder.a.eq(Cat(Const(1, 1), bits)), adder.b.eq(Cat(Const(1, 1), ~bits)),
                     adder.select.eq(y_before[-1])]
        m.d.sync += magnitude.eq(adder.o[1:])
        return magnitude

    def _less_base(self, m, positive, inverted, gelu):
        """positive * 16, with ``gelu`` less the base whose inverse is ``inverted``, in a register."""
        width = max(len(positive) + BELOW_BITS, BASE_BITS + 1) + 1
        m.submodules.less_base = adder = SelectAdder(SelectAdderParameters(width + 1, self.parameters.target))
        # The lowest bits make the carry of the two's complement.
        m.d.comb += [adder.addend.eq(Cat(Const(1, 1 + BELOW_BITS), positive).as_signed()), adder.a.eq(0),
                     adder.b.eq(Cat(Const(1, 1), inverted, Const(1, 1)).as_signed()), adder.select.eq(gelu)]
        result = Signal(signed(width), name="less_base", reset_less=True)
        m.d.sync += result.eq(adder.o[1:])
        return result

    def _product(self, m, below, slope, gelu):
        """slope * ``below``, or zero without ``gelu``. ``below`` is the place inside the segment, in the cycle in which
        the index goes to the table; ``gelu`` comes a cycle before the segment."""
        p = self.parameters
        if not len(below):  # a segment for each element
            return Const(0, _SLOPE_CUT + 1)
        below = delay(m, below, p.pipeline.ram_latency - 1, "place_bits")
        place = Signal(len(below) + 1, name="place", reset_less=True)
        m.d.sync += place.eq(Mux(gelu, below, 0))
        m.submodules.multiplier = multiplier = Multiplier(
            MultiplierParameters(SLOPE_BITS, len(place), p.target, p.pipeline))
        m.d.comb += [multiplier.a.eq(slope), multiplier.b.eq(place)]
        return delay(m, multiplier.o, p.timing.product_latency - p.pipeline.multiplier_latency, "product")

    def _round(self, m, total, fall):
        """half_up(total, fall), two cycles later; a fraction bit of its own lets ``fall`` be 0."""
        coarse = Signal(signed(len(total) + 1), name="coarse", reset_less=True)
        low = Signal(name="low_fall", reset_less=True)
        fine = Cat(Const(0, 1), total).as_signed()
        chosen = Mux(fall[2], Mux(fall[1], fine >> 6, fine >> 4), Mux(fall[1], fine >> 2, fine))
        m.d.sync += [coarse.eq(chosen), low.eq(fall[0])]
        m.submodules.rounder = rounder = SelectAdder(SelectAdderParameters(len(coarse), self.parameters.target))
        rounded = Signal(signed(len(total)), name="rounded", reset_less=True)
        m.d.comb += [rounder.addend.eq(1), rounder.a.eq(coarse), rounder.b.eq(coarse >> 1), rounder.select.eq(low)]
        m.d.sync += rounded.eq(rounder.o[1:])
        return rounded
