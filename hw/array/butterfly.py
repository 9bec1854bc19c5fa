"""Butterfly unit: two words in, two words out, four multipliers that serve every kind of layer."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig, Pipeline, Target
from ..layouts import word
from ..numeric import GUARD_BITS, coefficient_fraction_bits, mac_dot_bits, mac_guard_bits
from ..primitives.adder import SelectAdder, SelectAdderParameters
from ..primitives.multiplier import Multiplier, MultiplierParameters
from ..primitives.pipeline import delay, optional
from ..primitives.shared import once
from ..primitives.signals import signals
from .layouts import unit_coefficient

__all__ = ["ButterflyUnit", "ButterflyParameters"]


@dataclass(frozen=True)
class ButterflyParameters:
    """Widths of one unit: W, C, bits of the right shift, technology, pipeline. ``has_dots``: it has the sums of a
    MAC."""

    width: int
    coefficient_width: int
    shift_bits: int
    target: Target = Target.PORTABLE
    pipeline: Pipeline = Pipeline.DEEP
    has_dots: bool = False

    def __post_init__(self):
        if not 8 <= self.width <= 18:
            raise ValueError(f"width: {self.width} is not allowed; allowed are 8..18")
        if not 8 <= self.coefficient_width <= 18:
            raise ValueError(f"coefficient_width: {self.coefficient_width} is not allowed; allowed are 8..18")

    @classmethod
    def of(cls, config: CoreConfig) -> "ButterflyParameters":
        return cls(config.width, config.coefficient_width, config.shift_bits, config.target, config.pipeline,
                   bool(config.ring_words))

    @property
    def dot_bits(self) -> int:
        """Bits of the sum of two products of a MAC."""
        return mac_dot_bits(self.width, self.coefficient_width)


class ButterflyUnit(wiring.Component):
    """Unit-pivot butterfly, complex butterfly, pass and scale.

    The result for four real products m0 = c0*x0, m1 = c1*x1, m2 = c1*x2, m3 = c0*x3 is

        BPMM, SCALE, PASS   Y1 = (p0 + m0, p3 + m3)      Y2 = (p2 + m2, p1 + m1)
        FFT                 Y1 = (p0 + r0, p3 + r3)      Y2 = (p2 - r0, p1 - r3)     r0 = m0 - m1, r3 = m3 + m2

    with operands x and pivots p selected by the pivot bits; PASS has zero coefficients, SCALE gates the pivots.
    With ``has_dots`` a MAC passes both words on, whatever the coefficients, and ``dots`` has the sums of their
    products, a cycle behind the multipliers:

        MAC                 Y1 = A    Y2 = B    dots = (m0 + m2, m3 + m1) = (c0*B.re + c1*A.re, c0*B.im + c1*A.im)

    ``saturated`` (any of the four results) means something only where the words did: there is no valid bit.

    Format: ``a``, ``b``, ``y1``, ``y2`` W-bit integers, coefficients Q2.(C-2); products cut to GUARD_BITS fraction
    bits, one round half up by GUARD_BITS + shift, saturation to W bits (``hw/numeric.py``).
    Latency: 11 cycles, in a short pipeline 2 (before the shift and behind the clamp). ``shift`` alone is sampled
    ``Pipeline.shift_delay`` = 7 or 1 cycles after the words, because block floating point learns it late.
    Throughput: one butterfly per cycle.
    Backpressure: none.
    Reset: none, the pipeline holds data only.
    Cost: 4 multipliers of W x C bits, 2 adders and 4 selecting adders of W + 7 bits, 4 selecting adders of W + 4 bits.
    Source: docs/design.md sections 2 and 3; docs/decisions/0004-products-keep-four-fraction-bits.md.
    """

    def __init__(self, parameters: ButterflyParameters):
        self.parameters = p = parameters
        super().__init__({
            "a": In(word(p.width)), "b": In(word(p.width)),
            "coef": In(unit_coefficient(p.coefficient_width, p.has_dots)),
            "shift": In(p.shift_bits),
            "y1": Out(word(p.width)), "y2": Out(word(p.width)),
            "saturated": Out(1), **({"dots": Out(word(p.dot_bits))} if p.has_dots else {}),
        })

    @once("parameters")
    def elaborate(self, platform):
        m = Module()
        pipeline = self.parameters.pipeline
        deep, stage = int(pipeline.is_deep), optional(m, pipeline)
        fft = delay(m, self.coef.fft, pipeline.multiplier_latency, "fft")
        products = self._multiply(m)

        # Gating m1 and m2 by register reset costs no logic; r0 and r3 are then plain adders.
        m0, m1, m2, m3 = (delay(m, x, deep, f"m{i}") for i, x in enumerate(products))
        m1_fft, m2_fft = (Signal(x.shape(), name=f"m{i}_fft", reset_less=True) for i, x in ((1, m1), (2, m2)))
        stage += [m1_fft.eq(Mux(fft, products[1], 0)), m2_fft.eq(Mux(fft, products[2], 0))]
        fft = delay(m, fft, deep, "fft_products")

        sum_shape = signed(len(m0) + 1)
        r0, r3 = signals("r0 r3", sum_shape, reset_less=True)
        stage += [r0.eq(m0 - m1_fft), r3.eq(m3 + m2_fft)]
        is_mac = self._gated(m, stage, [r0, r3])
        m1, m2 = delay(m, m1, deep, "m1_sum"), delay(m, m2, deep, "m2_sum")
        fft = delay(m, fft, deep, "fft_sums")

        # -r = ~r + 1; the one enters below as the lowest guard bit of the pivot, which is otherwise zero.
        z2, z1 = signals("z2 z1", sum_shape, reset_less=True)
        stage += [z2.eq(Mux(fft, ~r0, m2)), z1.eq(Mux(fft, ~r3, m1))]
        if is_mac is not None:
            with m.If(delay(m, is_mac, 1, "is_mac_late")):
                stage += [z2.eq(0), z1.eq(0)]
        r0, r3 = delay(m, r0, deep, "r0"), delay(m, r3, deep, "r3")
        negate = delay(m, fft, deep, "negate")

        pivots, select = self._pivots(m)
        saturated = []
        for i, (out, part, selected, addend, carry) in enumerate((
                (self.y1.re, "re", 0, r0, Const(0, 1)), (self.y1.im, "im", 0, r3, Const(0, 1)),
                (self.y2.re, "re", 1, z2, negate), (self.y2.im, "im", 1, z1, negate))):
            a, b = (Cat(carry, Const(0, GUARD_BITS - 1), word[part]).as_signed() for word in pivots)
            saturated.append(self._finish(m, i, out, (a, b, select[selected]), addend))
        m.d.comb += self.saturated.eq(Cat(saturated).any())
        return m

    def _gated(self, m, stage, sums):
        """Clears ``sums`` where a MAC adds nothing to its words. Returns whether it does, in step with them."""
        p = self.parameters
        if not p.has_dots:
            return None
        is_mac = delay(m, self.coef.mac, p.pipeline.multiplier_latency + 1, "is_mac")
        with m.If(is_mac):
            stage += [value.eq(0) for value in sums]
        return is_mac

    def _pivots(self, m):
        """Both words and the pivot bits, in step with the sums: the adder selects. SCALE gates the words."""
        pipeline = self.parameters.pipeline
        cycles = pipeline.shift_delay - 1  # the total stands between
        early, stage = cycles - pipeline.is_deep, optional(m, pipeline)
        no_pivot = delay(m, self.coef.no_pivot, early, "no_pivot")
        gated = []
        for name, value in (("a", self.a), ("b", self.b)):
            late = delay(m, value, early, f"pivot_{name}")
            gated.append(Signal(late.shape(), name=f"gated_{name}", reset_less=True))
            with m.If(no_pivot):
                stage += gated[-1].eq(0)
            with m.Else():
                stage += gated[-1].eq(late)
        bits = self.coef.word.s0, self.coef.word.s1
        return gated, [delay(m, bit, cycles, f"select_{i}") for i, bit in enumerate(bits)]

    def _multiply(self, m):
        """Products cut to guard precision, at ``multiplier_latency``."""
        p, coef = self.parameters, self.coef.word
        cut = coefficient_fraction_bits(p.coefficient_width) - GUARD_BITS
        products = []
        for i, (part, select, c) in enumerate((("re", coef.s0, coef.c0), ("im", coef.s1, coef.c1),
                                               ("re", coef.s1, coef.c1), ("im", coef.s0, coef.c0))):
            multiplier = Multiplier(MultiplierParameters(p.width, p.coefficient_width, p.target, p.pipeline))
            m.submodules[f"multiplier{i}"] = multiplier
            m.d.comb += [multiplier.a.eq(Mux(select, self.a[part], self.b[part])), multiplier.b.eq(c)]
            products.append(multiplier.o)
        if p.has_dots:
            fine = [(product >> cut + GUARD_BITS - mac_guard_bits(p.coefficient_width)).as_signed()
                    for product in products]
            dots = Signal(self.dots.shape(), name="dots", reset_less=True)
            m.d.sync += [dots.re.eq(fine[0] + fine[2]), dots.im.eq(fine[3] + fine[1])]
            m.d.comb += self.dots.eq(dots)
        return [(product >> cut).as_signed() for product in products]

    def _finish(self, m, number, out, pivot, addend):
        """Add, shift, round and saturate one result; returns its saturation flag, in step with ``out``."""
        p, stage = self.parameters, optional(m, self.parameters.pipeline)
        width = p.width
        # Three bits above W hold |A| + 2|B| + 2|B|, the most that any coefficient can make of W-bit words.
        total = Signal(signed(width + 3 + GUARD_BITS), name="total", reset_less=True)
        m.submodules[f"sum{number}"] = adder = SelectAdder(SelectAdderParameters(len(total), p.target))
        a, b, select = pivot
        # The pivot is the word that the multiplier did not get: b where the pivot bit is 1.
        m.d.comb += [adder.addend.eq(addend), adder.a.eq(a), adder.b.eq(b), adder.select.eq(select)]
        m.d.sync += total.eq(adder.o)

        shifted = total[GUARD_BITS - 1:].as_signed()  # one fraction bit is all that rounding looks at
        coarse = Signal(signed(len(shifted)), name="coarse", reset_less=True)
        low = Signal(name="low", reset_less=True)
        for bit in range(1, len(self.shift)):
            shifted = Mux(self.shift[bit], shifted >> (1 << bit), shifted)
        stage += [coarse.eq(shifted), low.eq(self.shift[0])]

        # The last shift and the half that is added share a carry chain: (x >> 1 or x) + 1, lowest bit
        # dropped.
        m.submodules[f"round{number}"] = rounder = SelectAdder(SelectAdderParameters(len(coarse), p.target))
        rounded = Signal(signed(width + 3), name="rounded", reset_less=True)
        m.d.comb += [rounder.addend.eq(1), rounder.a.eq(coarse), rounder.b.eq(coarse >> 1), rounder.select.eq(low)]
        stage += rounded.eq(rounder.o[1:])

        # Set and reset of registers do the clamping: no logic on the data.
        head, negative = rounded[width - 1:], rounded[-1]
        kept = Signal(signed(width), name="kept", reset_less=True)
        overflow, clamp, flag = signals("overflow clamp flag", reset_less=True)
        stage += [kept.eq(Cat(rounded[:width - 1], negative)), overflow.eq(~negative & head.any()),
                     clamp.eq(head.any() & ~head.all())]
        with m.If(negative & ~head.all()):
            stage += kept[:width - 1].eq(0)
        result = Signal(signed(width), name="result", reset_less=True)
        m.d.sync += [result.eq(kept), flag.eq(clamp)]
        with m.If(overflow):
            m.d.sync += result[:width - 1].eq(-1)
        m.d.comb += out.eq(result)
        return flag


for _p in Pipeline:
    _stages = 4 if _p.is_deep else 1  # products, sums, operands, total; shift, round, test, clamp
    assert _p.shift_delay == _p.multiplier_latency + _stages and _p.butterfly_latency == _p.shift_delay + _stages
