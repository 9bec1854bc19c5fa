"""Butterfly unit: two words in, two words out, four multipliers that serve every kind of layer."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .config import BUTTERFLY_LATENCY, MULTIPLIER_LATENCY, ArrayConfig, Target
from .multiplier import Multiplier, MultiplierParameters
from .numeric import GUARD_BITS, coefficient_fraction_bits
from .once import once
from .pipeline import delay
from .shapes import unit_coefficient, word

__all__ = ["ButterflyUnit", "ButterflyParameters", "SHIFT_DELAY"]

SHIFT_DELAY = 7  # cycles after the words at which ``shift`` is sampled


@dataclass(frozen=True)
class ButterflyParameters:
    """Widths of one unit: W, C, bits of the right shift, technology."""

    width: int
    coefficient_width: int
    shift_bits: int
    target: Target = Target.PORTABLE

    def __post_init__(self):
        if not 8 <= self.width <= 18:
            raise ValueError(f"width: {self.width} is not allowed; allowed are 8..18")
        if not 8 <= self.coefficient_width <= 18:
            raise ValueError(f"coefficient_width: {self.coefficient_width} is not allowed; allowed are 8..18")

    @classmethod
    def of(cls, config: ArrayConfig) -> "ButterflyParameters":
        return cls(config.width, config.coefficient_width, config.shift_bits, config.target)


class ButterflyUnit(wiring.Component):
    """Unit-pivot butterfly, complex butterfly, pass and scale (design.md section 3).

    Formats: ``a``, ``b``, ``y1``, ``y2`` W-bit integers, coefficients Q2.(C-2); products cut to GUARD_BITS fraction
    bits, one round half up by GUARD_BITS + shift, saturation to W bits (``hw/numeric.py``).

    Latency: BUTTERFLY_LATENCY cycles. ``shift`` and nothing else is sampled SHIFT_DELAY cycles after the words,
    because block floating point learns it late. Throughput: one butterfly per cycle. There is no
    backpressure and no valid bit; ``saturated`` (any of the four results) means something only where the words did.
    Reset: none, the pipeline holds data only. Cost: 4 multipliers of W x C bits.

    The result for four real products m0 = c0*x0, m1 = c1*x1, m2 = c1*x2, m3 = c0*x3 is

        BPMM, SCALE, PASS   Y1 = (p0 + m0, p3 + m3)      Y2 = (p2 + m2, p1 + m1)
        FFT                 Y1 = (p0 + r0, p3 + r3)      Y2 = (p2 - r0, p1 - r3)     r0 = m0 - m1, r3 = m3 + m2

    with operands x and pivots p selected by the pivot bits; PASS has zero coefficients, SCALE gates the pivots.
    """

    def __init__(self, parameters: ButterflyParameters):
        self.parameters = p = parameters
        super().__init__({
            "a": In(word(p.width)), "b": In(word(p.width)),
            "coef": In(unit_coefficient(p.coefficient_width)),
            "shift": In(p.shift_bits),
            "y1": Out(word(p.width)), "y2": Out(word(p.width)),
            "saturated": Out(1),
        })

    @once("parameters")
    def elaborate(self, platform):
        m = Module()
        fft = delay(m, self.coef.fft, MULTIPLIER_LATENCY, "fft")
        no_pivot = delay(m, self.coef.no_pivot, MULTIPLIER_LATENCY + 2, "no_pivot")
        products, pivots = self._multiply(m)

        # Gating m1 and m2 by register reset costs no logic; r0 and r3 are then plain adders.
        m0, m1, m2, m3 = (delay(m, x, 1, f"m{i}") for i, x in enumerate(products))
        m1_fft, m2_fft = (Signal(x.shape(), name=f"m{i}_fft", reset_less=True) for i, x in ((1, m1), (2, m2)))
        m.d.sync += [m1_fft.eq(Mux(fft, products[1], 0)), m2_fft.eq(Mux(fft, products[2], 0))]
        fft = delay(m, fft, 1, "fft_products")

        sum_shape = signed(len(m0) + 1)
        r0, r3 = Signal(sum_shape, reset_less=True), Signal(sum_shape, reset_less=True)
        m.d.sync += [r0.eq(m0 - m1_fft), r3.eq(m3 + m2_fft)]
        m1, m2 = delay(m, m1, 1, "m1_sum"), delay(m, m2, 1, "m2_sum")
        fft = delay(m, fft, 1, "fft_sums")

        # -r = ~r + 1; the one enters below as the lowest guard bit of the pivot, which is otherwise zero.
        z2, z1 = Signal(sum_shape, reset_less=True), Signal(sum_shape, reset_less=True)
        m.d.sync += [z2.eq(Mux(fft, ~r0, m2)), z1.eq(Mux(fft, ~r3, m1))]
        r0, r3 = delay(m, r0, 1, "r0"), delay(m, r3, 1, "r3")
        negate = delay(m, fft, 1, "negate")

        saturated = []
        for out, pivot, addend, carry in (
                (self.y1.re, pivots[0], r0, Const(0, 1)), (self.y1.im, pivots[3], r3, Const(0, 1)),
                (self.y2.re, pivots[2], z2, negate), (self.y2.im, pivots[1], z1, negate)):
            gated = Signal(signed(len(pivot)), reset_less=True)
            m.d.sync += gated.eq(Mux(no_pivot, 0, pivot))
            saturated.append(self._finish(m, out, gated, addend, carry))
        m.d.comb += self.saturated.eq(Cat(saturated).any())
        return m

    def _multiply(self, m):
        """Products cut to guard precision and pivots, at MULTIPLIER_LATENCY and MULTIPLIER_LATENCY + 2."""
        p, coef = self.parameters, self.coef.word
        cut = coefficient_fraction_bits(p.coefficient_width) - GUARD_BITS
        products, pivots = [], []
        for i, (part, select, c) in enumerate((("re", coef.s0, coef.c0), ("im", coef.s1, coef.c1),
                                               ("re", coef.s1, coef.c1), ("im", coef.s0, coef.c0))):
            a, b = self.a[part], self.b[part]
            multiplier = Multiplier(MultiplierParameters(p.width, p.coefficient_width, p.target))
            m.submodules[f"multiplier{i}"] = multiplier
            m.d.comb += [multiplier.a.eq(Mux(select, a, b)), multiplier.b.eq(c)]
            products.append((multiplier.o >> cut).as_signed())
            pivot = Signal(signed(p.width), name=f"pivot{i}")
            m.d.comb += pivot.eq(Mux(select, b, a))
            pivots.append(delay(m, pivot, MULTIPLIER_LATENCY + 2, f"pivot{i}"))
        return products, pivots

    def _finish(self, m, out, pivot, addend, carry):
        """Add, shift, round and saturate one result; returns its saturation flag, in step with ``out``."""
        width = self.parameters.width
        # Three bits above W hold |A| + 2|B| + 2|B|, the most that any coefficient can make of W-bit words.
        total = Signal(signed(width + 3 + GUARD_BITS), reset_less=True)
        m.d.sync += total.eq(Cat(carry, Const(0, GUARD_BITS - 1), pivot).as_signed() + addend)

        shifted = total[GUARD_BITS - 1:].as_signed()  # one fraction bit is all that rounding looks at
        late = self.shift
        coarse, fine = (Signal(signed(len(shifted)), name=name, reset_less=True) for name in ("coarse", "fine"))
        low = Signal(reset_less=True)
        for bit in range(1, len(late)):
            shifted = Mux(late[bit], shifted >> (1 << bit), shifted)
        m.d.sync += [coarse.eq(shifted), low.eq(late[0]), fine.eq(Mux(low, coarse >> 1, coarse))]

        rounded = Signal(signed(width + 3), reset_less=True)
        m.d.sync += rounded.eq(fine[1:].as_signed() + fine[0])

        kept = Signal(signed(width), reset_less=True)
        negative, clamp, flag = Signal(reset_less=True), Signal(reset_less=True), Signal(reset_less=True)
        head = rounded[width - 1:]
        m.d.sync += [kept.eq(rounded[:width]), negative.eq(rounded[-1]), clamp.eq(head.any() & ~head.all())]
        limit = Cat((~negative).replicate(width - 1), negative).as_signed()
        result = Signal(signed(width), reset_less=True)
        m.d.sync += [result.eq(Mux(clamp, limit, kept)), flag.eq(clamp)]
        m.d.comb += out.eq(result)
        return flag


assert BUTTERFLY_LATENCY == MULTIPLIER_LATENCY + 4 + 5, "products, sums, operands, total; shift 2, round, test, clamp"
