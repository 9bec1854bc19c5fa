"""Statistics of a row: from its sums to what normalises its elements, docs/reference/vector.md.

N: elements of a row, EW: bits of an element, half_up and sat: as there. All values are integers.

    F = 4, U = min(18, EW + 2)
    S1 = sum x, S2 = sum x^2, D = N*S2 - S1^2 + E                           1 <= E <= N^2 * 4^(EW-1), E < 2^62
    n = bit_length(N) - 1,           A = floor(N^2 * 2^18 / 4^n)            2^18 <= A < 2^20
    k = (bit_length(D) - 1) div 2,   W = floor(D * 2^18 / 4^k)              2^18 <= W < 2^20
    j = 1 if A < W else 0,           m = isqrt((A << (32 + 2*j)) div W)     2^16 <= m < 2^17
    p = clamp(EW + n - k - j - r, 0, 31)                                    saturated: below 0
    M = floor((S1*2^(F+1) + N) / (2*N))                                     the mean, F fraction bits

    u = half_up((x*2^F - M) << p, F + 4 + EW - U)
    y = sat(half_up(u*m, 16 + U - EW))                   saturated: u does not fit U bits, or y was clamped

so that y stands for (x - S1/N) * N / sqrt(D) * 2^(EW-4-r). The shift stands in front of the product: there it needs U
bits, and the result is as exact for rows of small variance as for others. m comes digit by digit and needs no table.
"""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig, Pipeline, Target
from ..isa.parameter_set import EPSILON_BITS, READ_SET
from ..primitives.adder import SelectAdder, SelectAdderParameters
from ..primitives.pipeline import delay
from ..primitives.shared import once
from ..primitives.signals import signals
from .parameters import FRACTION, MANTISSA_BITS, OPERAND_BITS, SHIFT_BITS, NormaliseTiming

__all__ = ["NormaliseParameters", "RowSums", "StatisticsUnit", "row_entry"]

_WINDOW = 20         # bits of W and of A
_LENGTH_BITS = dict(READ_SET)["n"]
_RANGE_BITS = dict(READ_SET)["range_bits"]


@dataclass(frozen=True)
class NormaliseParameters:
    """A beat of ``elements`` of ``element_width`` bits, of which ``lanes`` are worked on per cycle, and a table of
    ``rows`` entries, which ``units`` StatisticsUnit make; technology and pipeline. Raises ValueError naming the field.
    """

    elements: int
    element_width: int
    lanes: int
    rows: int
    units: int = 1
    target: Target = Target.PORTABLE
    pipeline: Pipeline = Pipeline.DEEP

    def __post_init__(self) -> None:
        if not 8 <= self.element_width <= OPERAND_BITS:
            raise ValueError(f"element_width: {self.element_width} is not in 8..{OPERAND_BITS}")
        if not 1 <= self.lanes <= self.elements or self.lanes & (self.lanes - 1) or self.elements % self.lanes:
            raise ValueError(f"lanes: {self.lanes} does not divide a beat of {self.elements} elements; allowed are "
                             f"powers of two up to {self.elements}")
        if not 2 <= self.rows <= 1 << 16 or self.rows & (self.rows - 1):
            raise ValueError(f"rows: {self.rows} is not the size of a table of rows; allowed are powers of two of "
                             f"2..{1 << 16}")
        if not 1 <= self.units <= 4:
            raise ValueError(f"units: {self.units} is not in 1..4")

    @classmethod
    def of(cls, config: CoreConfig, lanes: int, rows: int, units: int) -> "NormaliseParameters":
        return cls(config.memory_elements, config.element_width, lanes, rows, units, config.target, config.pipeline)

    @property
    def timing(self) -> NormaliseTiming:
        return NormaliseTiming(self.elements, self.lanes, self.element_width, self.units, self.pipeline)

    @property
    def pieces(self) -> int:
        """Cycles that the lanes need for a beat."""
        return self.timing.pieces

    @property
    def row_bits(self) -> int:
        return self.rows.bit_length() - 1

    @property
    def operand_width(self) -> int:
        """U, bits of a deviation from the mean when it is multiplied."""
        return min(OPERAND_BITS, self.element_width + 2)

    @property
    def right_shift(self) -> int:
        """Bits that a deviation has below the lowest of an operand where p = 0."""
        return FRACTION + 4 + self.element_width - self.operand_width

    @property
    def sum_width(self) -> int:
        """Bits of S1, signed."""
        return self.element_width + 16

    @property
    def square_width(self) -> int:
        """Bits of S2, unsigned: 2^16 elements of -2^(EW-1) at most."""
        return 2 * self.element_width + 15


def row_entry(parameters: NormaliseParameters) -> data.StructLayout:
    """A row as its elements need it. ``offset``: -M and the half that rounds u, F fraction bits; ``mantissa``: m
    without its highest bit, which is 1; ``up``: p."""
    return data.StructLayout({"offset": signed(parameters.element_width + FRACTION + 1),
                              "mantissa": unsigned(MANTISSA_BITS - 1), "up": unsigned(SHIFT_BITS)})


class RowSums(wiring.Component):
    """S1 and S2 of a row from the elements of ``lanes`` at a time and their squares.

    ``elements`` in a cycle with ``valid``, their ``squares`` multiplier_latency cycles later; ``last`` ends a row.
    ``done``: one cycle in which ``sum`` and ``squares_sum`` are those of a whole row.

    Format: integers, exact for 2^16 elements.
    Latency: multiplier_latency + log2(lanes) + 1 cycles from the last elements to ``done``.
    Throughput: ``lanes`` elements per cycle, row behind row without a gap.
    Backpressure: none.
    Reset: the next elements begin a row.
    Cost: two trees of lanes - 1 adders and two accumulators, of EW + 16 and 2 * EW + 15 bits.
    Source: docs/reference/vector.md, Numbers.
    """

    def __init__(self, parameters: NormaliseParameters):
        self._parameters = p = parameters
        super().__init__({
            "elements": In(data.ArrayLayout(signed(p.element_width), p.lanes)),
            "squares": In(data.ArrayLayout(unsigned(2 * p.element_width - 1), p.lanes)),
            "valid": In(1), "last": In(1), "done": Out(1),
            "sum": Out(signed(p.sum_width)), "squares_sum": Out(unsigned(p.square_width))})

    def elaborate(self, platform) -> Module:
        m = Module()
        p = self._parameters
        behind = p.pipeline.multiplier_latency + p.timing.tree_levels
        valid = delay(m, self.valid, behind, "valid", reset_less=False)
        last = delay(m, self.last, behind, "last", reset_less=False)
        begins = Signal(name="begins")  # after a reset the accumulators are zero
        with m.If(valid):
            m.d.sync += begins.eq(last)
        m.d.sync += self.done.eq(valid & last)

        lanes = range(p.lanes)
        total = self._tree(m, [self.elements[i] for i in lanes], "sum")
        total = delay(m, total, p.pipeline.multiplier_latency, "sum_late")
        squares = self._tree(m, [self.squares[i] for i in lanes], "squares")
        for name, value, accumulator in (("sum", total, self.sum), ("squares", squares, self.squares_sum)):
            m.submodules[f"add_{name}"] = adder = SelectAdder(SelectAdderParameters(len(accumulator), p.target))
            m.d.comb += [adder.addend.eq(value), adder.a.eq(accumulator), adder.b.eq(0), adder.select.eq(begins)]
            with m.If(valid):
                m.d.sync += accumulator.eq(adder.o)
        return m

    @staticmethod
    def _tree(m: Module, values: list[Value], name: str) -> Value:
        """Sum of 2^n values, one register a level."""
        level = 0
        while len(values) > 1:
            pairs, values, level = list(zip(values[::2], values[1::2])), [], level + 1
            for number, (a, b) in enumerate(pairs):
                register = Signal((a + b).shape(), name=f"{name}_{level}_{number}", reset_less=True)
                m.d.sync += register.eq(a + b)
                values.append(register)
        return values[0]


class _SerialProduct(wiring.Component):
    """Product of ``multiplicand`` and a number that comes serially, two bits per cycle.

    ``bits`` shows three bits in every cycle: the digit of two bits and the highest bit of the digit before (radix 4,
    recoded to -2..2). ``digit``: two bits of the product, lowest first. ``clear``: in this cycle ``bits`` is the first
    digit. ``multiplicand`` holds still.

    Format: signed integers, exact; behind the last digit ``bits`` repeats the sign.
    Latency: 2 cycles from the first digit on ``bits`` to the first on ``digit``.
    Throughput: one digit per cycle.
    Backpressure: none.
    Reset: none, ``clear`` begins.
    Cost: one adder and a multiplexer of width + 3 bits.
    Source: Booth's recoding in radix 4.
    """

    def __init__(self, width: int):
        self._width = width
        super().__init__({"multiplicand": In(signed(width)), "bits": In(3), "clear": In(1), "digit": Out(2)})

    @once("_width")
    def elaborate(self, platform) -> Module:
        m = Module()
        before, low, high = self.bits
        is_one, is_two, is_negative = signals("is_one is_two is_negative")
        m.d.sync += [is_one.eq(before ^ low), is_two.eq(~(before ^ low) & (low ^ high)), is_negative.eq(high)]
        accumulator = Signal(signed(self._width + 3), name="accumulator", reset_less=True)
        x, n = self.multiplicand, len(accumulator)
        single, double = signals("single double", signed(n))
        m.d.comb += [single.eq(x), double.eq(x << 1)]
        operand = ((single & is_one.replicate(n)) | (double & is_two.replicate(n))) ^ is_negative.replicate(n)
        # The lowest bits make the carry that completes the two's complement.
        total = Cat(Const(1, 1), accumulator >> 2).as_signed() + Cat(is_negative, operand).as_signed()
        m.d.sync += accumulator.eq(total[1:])
        with m.If(self.clear):
            m.d.sync += accumulator.eq(0)
        m.d.comb += self.digit.eq(accumulator[:2])
        return m


class StatisticsUnit(wiring.Component):
    """Entry of the table of rows from the sums of a row: the formulas above.

    ``start``: one cycle in which ``sum``, ``squares_sum``, ``n``, ``epsilon``, ``range_bits`` (r) and ``row`` are those
    of a row; at least ``statistics_period`` cycles after the one before. ``done``: one cycle with ``entry``, ``o_row``
    and ``clamped``: p would be below 0, the elements of the row come out too large.

    The digits of D and of N^2 come from three serial products, lowest first. A window holds the last ten digits up to
    the highest that is not zero; it is W and A, and the number of that digit is k and n. A division that does not
    restore gives the mean meanwhile. Then m takes two cycles per bit, while the next row may be in the first half.

    Format: ``sum`` signed, ``squares_sum``, ``n`` (1..2^16) and ``epsilon`` unsigned; the entry as :func:`row_entry`.
    Latency: at most statistics_latency - 1 cycles from ``start`` to ``done``.
    Throughput: one row per statistics_period cycles (38).
    Backpressure: none.
    Reset: forgets the rows inside.
    Cost: adders of EW + 20, twice 20, 18, 40 and 41 bits.
    Source: the formulas at the head of this file; docs/reference/vector.md, Numbers.
    """

    def __init__(self, parameters: NormaliseParameters):
        self._parameters = p = parameters
        super().__init__({
            "start": In(1), "sum": In(signed(p.sum_width)), "squares_sum": In(p.square_width), "n": In(_LENGTH_BITS),
            "epsilon": In(EPSILON_BITS), "range_bits": In(_RANGE_BITS), "row": In(p.row_bits),
            "done": Out(1), "clamped": Out(1), "entry": Out(row_entry(p)), "o_row": Out(p.row_bits)})

    def elaborate(self, platform) -> Module:
        m = Module()
        p = self._parameters
        length = Signal(_LENGTH_BITS, name="length", reset_less=True)
        row = Signal(p.row_bits, name="row_first", reset_less=True)
        range_bits = Signal(_RANGE_BITS, name="range_first", reset_less=True)
        with m.If(self.start):
            m.d.sync += [length.eq(self.n), row.eq(self.row), range_bits.eq(self.range_bits)]
        digits, begin = self._digits(m, length)
        count = p.timing.digits
        assert p.timing.variance_latency == count + 5, "clear, two for the products, begin, a digit a cycle, root"
        running = Signal(name="running")
        place = Signal(range(count), name="place")
        root = delay(m, running & (place == count - 1), 1, "root", reset_less=False)
        m.d.sync += place.eq(Mux(begin, 0, place + 1))
        with m.If(begin):
            m.d.sync += running.eq(1)
        with m.Elif(place == count - 1):
            m.d.sync += running.eq(0)
        (variance, k), (square, n) = (self._window(m, digit, place, begin, name)
                                      for name, digit in zip(("variance", "square"), digits))
        mean = self._mean(m, length)
        mantissa, has_late_bit, ended = self._root(m, root, variance, square)

        base = Signal(signed(7), name="base", reset_less=True)
        shift = Signal(signed(8), name="shift", reset_less=True)
        shift_up = Signal(SHIFT_BITS, name="shift_up", reset_less=True)
        rounding = Signal(p.right_shift + 1, name="rounding", reset_less=True)
        quotient = Signal(mean.shape(), name="quotient_root", reset_less=True)
        with m.If(root):
            m.d.sync += [base.eq(n - k - range_bits), quotient.eq(mean), self.o_row.eq(row)]
        # ``has_late_bit`` is known long before m.
        m.d.sync += shift.eq(base + Mux(has_late_bit, p.element_width - 1, p.element_width))
        m.d.sync += self.clamped.eq(shift < 0)
        m.d.sync += shift_up.eq(Mux(shift < 0, 0,
                                    Mux(shift >= 1 << SHIFT_BITS, (1 << SHIFT_BITS) - 1, shift[:SHIFT_BITS])))
        # ``quotient`` has one bit more than M: half up makes -M = (-quotient) >> 1. The half for u stands at the bit
        # below the ones that p leaves.
        m.d.sync += [
            rounding.eq(Cat(Const(1, 1), (shift_up == p.right_shift - bit for bit in range(1, p.right_shift + 1)))),
            self.entry.offset.eq((~quotient + rounding) >> 1)]
        m.d.comb += [self.done.eq(ended), self.entry.mantissa.eq(mantissa), self.entry.up.eq(shift_up)]
        return m

    def _digits(self, m: Module, length: Signal) -> tuple[tuple[Signal, Signal], Signal]:
        """Digits of D and of N^2 and the strobe in the cycle before the first of them."""
        p = self._parameters
        sums = Signal(signed(p.sum_width + 1), name="sums", reset_less=True)
        squares = Signal(p.square_width + 1, name="squares", reset_less=True)
        lengths = Signal(_LENGTH_BITS + 1, name="lengths", reset_less=True)  # a bit below the lowest is zero
        epsilon = Signal(EPSILON_BITS, name="epsilon_left", reset_less=True)
        factor = Signal(signed(p.sum_width), name="factor", reset_less=True)
        clear = delay(m, self.start, 1, "clear", reset_less=False)
        first = delay(m, clear, 2, "first", reset_less=False)
        begin = delay(m, first, 1, "begin", reset_less=False)
        m.d.sync += [sums.eq(sums >> 2), squares.eq(squares >> 2), lengths.eq(lengths >> 2)]
        with m.If(self.start):
            m.d.sync += [sums.eq(Cat(Const(0, 1), self.sum)), squares.eq(Cat(Const(0, 1), self.squares_sum)),
                         lengths.eq(Cat(Const(0, 1), self.n)), factor.eq(self.sum)]
        products = []
        for name, multiplicand, bits in (("length_squares", length, squares), ("sum_sum", factor, sums),
                                         ("length_length", length, lengths)):
            width = len(multiplicand) + (not multiplicand.shape().signed)
            m.submodules[name] = product = _SerialProduct(width)
            m.d.comb += [product.multiplicand.eq(multiplicand), product.bits.eq(bits[:3]), product.clear.eq(clear)]
            products.append(product.digit)

        with m.If(~(clear | delay(m, clear, 1, "wait", reset_less=False))):
            m.d.sync += epsilon.eq(epsilon >> 2)
        with m.If(self.start):
            m.d.sync += epsilon.eq(self.epsilon)
        digit = Signal(2, name="digit")
        carry = Signal(signed(2), name="carry")
        difference = Signal(signed(4), name="difference")
        total = difference + carry
        m.d.sync += [difference.eq(products[0] - products[1] + epsilon[:2]), digit.eq(total), carry.eq(total >> 2)]
        with m.If(first):
            m.d.sync += carry.eq(0)
        return (digit, delay(m, products[2], 2, "square_digit")), begin

    @staticmethod
    def _window(m: Module, digit: Signal, place: Signal, begin: Signal, name: str) -> tuple[Signal, Signal]:
        """The last digits up to the highest that is not zero, and its place. A number of zero leaves them open."""
        passing = Signal(_WINDOW - 2, name=f"{name}_passing", reset_less=True)
        window = Signal(_WINDOW, name=f"{name}_window", reset_less=True)
        found = Signal.like(place, name=f"{name}_place")
        shown = Cat(passing, digit)
        m.d.sync += passing.eq(shown[2:])
        with m.If(digit != 0):
            m.d.sync += [window.eq(shown), found.eq(place)]
        with m.If(begin):
            m.d.sync += passing.eq(0)
        return window, found

    def _mean(self, m: Module, length: Signal) -> Signal:
        """floor(S1 * 2^(F+1) / N), a bit per cycle."""
        width = self._parameters.element_width
        rest = Signal(signed(_LENGTH_BITS + 1), name="rest", reset_less=True)
        low_bits = Signal(width - 1, name="low_bits", reset_less=True)
        quotient = Signal(signed(width + FRACTION + 1), name="quotient", reset_less=True)
        steps = Signal(range(len(quotient) + 1), name="steps")
        # The lowest bits make the carry that completes the two's complement of N.
        m.submodules.rest = adder = SelectAdder(SelectAdderParameters(len(rest) + 1, self._parameters.target))
        m.d.comb += [adder.addend.eq(Cat(Const(1, 1), low_bits[-1], rest)), adder.select.eq(rest[-1]),
                     adder.a.eq(~Cat(Const(0, 1), length, Const(0, 1))), adder.b.eq(Cat(Const(0, 1), length))]
        with m.If(self.start):
            m.d.sync += [rest.eq(self.sum >> (width - 1)), low_bits.eq(self.sum), steps.eq(len(quotient))]
        with m.Elif(steps != 0):
            m.d.sync += [rest.eq(adder.o[1:]), low_bits.eq(low_bits << 1), quotient.eq(Cat(~rest[-1], quotient)),
                         steps.eq(steps - 1)]
        # The digits are 1 and -1; so the highest bit is that of the sum of them, which counts from -2^(n-1) on.
        mean = Signal.like(quotient, name="mean")
        m.d.comb += mean.eq(Cat(quotient[:-1], ~quotient[-1]))
        return mean

    def _root(self, m: Module, start: Value, variance: Signal, square: Signal) -> tuple[Signal, Signal, Signal]:
        """m, j, and the cycle in which they are there.

        With m' of the bits so far: ``rest`` = 4 * (A*4^i - m'^2 * W) and ``trial`` = (4m' + 1) * W; the next bit is 1
        where trial <= rest.
        """
        p = self._parameters
        window = Signal(_WINDOW, name="window", reset_less=True)
        rest, trial = signals("rest trial", 2 * _WINDOW, reset_less=True)
        difference = Signal(signed(2 * _WINDOW + 1), name="difference", reset_less=True)
        mantissa = Signal(MANTISSA_BITS, name="mantissa", reset_less=True)
        running, has_late_bit = signals("root_running has_late_bit")
        is_second, is_first, ended = signals("is_second is_first ended")
        bit = ~difference[-1]
        m.submodules.trial = adder = SelectAdder(SelectAdderParameters(len(trial), p.target))
        # First 2*trial - W, where the lowest bit of 2*trial makes the carry, then + 4W where the bit was 1.
        four = Cat(Const(0, 2), window, Const(0, len(trial) - _WINDOW - 2))
        minus = Cat(~window, Const(-1, signed(len(trial) - _WINDOW)))
        m.d.comb += [adder.addend.eq(Mux(is_second, four & bit.replicate(len(trial)), minus)),
                     adder.select.eq(is_second),
                     adder.a.eq(Cat(Const(1, 1), trial)), adder.b.eq(trial)]
        m.d.sync += [is_second.eq(running & ~is_second & ~start), ended.eq(running & is_second & mantissa[-2])]
        with m.If(running):
            m.d.sync += trial.eq(adder.o)
            with m.If(is_second):
                m.d.sync += [rest.eq(Mux(bit, difference, rest) << 2), mantissa.eq(Cat(bit, mantissa)), is_first.eq(0)]
                with m.If(is_first):
                    m.d.sync += has_late_bit.eq(~bit)
                with m.If(mantissa[-2]):
                    m.d.sync += running.eq(0)
            with m.Else():
                m.d.sync += difference.eq(rest - trial)
        with m.If(start):
            m.d.sync += [window.eq(variance), trial.eq(variance), rest.eq(square), mantissa.eq(0), running.eq(1),
                         is_first.eq(1)]
        return mantissa, has_late_bit, ended
