"""MAC column: the sums of products of a column of units, accumulated over the groups of an output, rounded once."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig, Target
from ..layouts import lanes
from ..isa.encoding import FIELDS
from ..isa.instruction import Opcode
from ..numeric import LOGIT_BITS, mac_bits, mac_dot_bits
from ..primitives.adder import SelectAdder, SelectAdderParameters
from ..primitives.pipeline import delay
from ..primitives.ram import Ram, RamParameters
from ..primitives.saturate import clamp
from ..primitives.shared import once
from ..softmax.layouts import column_softmax
from .layouts import partial_port
from .parameters import ALIGN_STAGES, mac_column_latency, mac_tree_levels

__all__ = ["MacColumn", "MacColumnParameters"]


@dataclass(frozen=True)
class MacColumnParameters:
    """Widths of a column: W, C, bits of an element of the memory; the P lanes of its P/2 units; how many sums of two
    rows it keeps; technology."""

    width: int
    coefficient_width: int
    element_width: int
    lanes: int
    partial_words: int = 0
    target: Target = Target.PORTABLE
    has_softmax: bool = False

    def __post_init__(self):
        for name, least, most in (("width", 8, 18), ("coefficient_width", 8, 18), ("element_width", 8, self.width)):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name}: {getattr(self, name)} is not allowed; allowed are {least}..{most}")
        if self.lanes not in (2, 4, 8, 16):
            raise ValueError(f"lanes: {self.lanes} is not allowed; allowed are 2, 4, 8 and 16")

    @classmethod
    def of(cls, config: CoreConfig) -> "MacColumnParameters":
        return cls(config.width, config.coefficient_width, config.element_width, config.lanes, config.partial_words,
                   config.target, config.softmax_pairs > 0)

    @property
    def dot_bits(self) -> int:
        """Bits of the sum of two products of a unit."""
        return mac_dot_bits(self.width, self.coefficient_width)

    @property
    def tree_levels(self) -> int:
        """Adder levels that make one sum of the P/2 dots of a group."""
        return mac_tree_levels(self.lanes)

    @property
    def sum_bits(self) -> int:
        """Bits of the sum of a group."""
        return self.dot_bits + self.tree_levels

    @property
    def accumulator_bits(self) -> int:
        """Bits of the sum of an output."""
        return mac_bits(self.width, self.coefficient_width, self.element_width)

    @property
    def partial_ram(self) -> RamParameters:
        """Of the kept sums."""
        return RamParameters(self.accumulator_bits, 2 * self.partial_words, self.target)

    @property
    def align_stages(self) -> int:
        """Registers that align the sum of a group, and a kept sum."""
        return ALIGN_STAGES if self.has_softmax else 0

    @property
    def value_bits(self) -> int:
        """Bits of a value, which may be a logit."""
        return max(self.width, LOGIT_BITS) if self.has_softmax else self.width

    @property
    def latency(self) -> int:
        """Cycles from the last dots of an output to its value of re."""
        return mac_column_latency(self.lanes, self.align_stages)


class MacColumn(wiring.Component):
    """Adds the ``dots`` of the groups of an output, from ``first`` to ``last``, and rounds both sums to words.

    ``first`` and ``last`` mean something with ``valid`` only, and may come in one cycle; between groups there may be
    any pauses. The value of re leaves first, that of im in the next cycle: one shifter serves both. ``saturated``, with
    ``o``, says that the value was clamped. ``shift`` stands still from the first ``last`` of a pass until the last
    value of the pass has left.

    With ``partial_words`` a column keeps sums. The sum of a group is made log2(P/2) cycles behind its dots.
    ``partial.w_addr`` and ``w_en``: where the sum of re is kept, 2 cycles behind the sum of its last group; in the next
    cycle that of im. ``partial.r_addr``: the kept sum that an output begins with, partial_lead cycles before the sum of
    its first group for re, in the next one for im. Without ``partial.merge``, in the cycle before that sum and in that
    of it, it begins with zero.

    With ``softmax`` sums are aligned before they are added: those of a group by ``align``, the kept one by ``merge``,
    and ``shifts`` of the row is in the place of ``shift`` where ``divides``; all stand where the sum that they belong
    to is made. A word is the sign and the lowest W - 1 bits of ``o``; a logit has all of them.

    Format: dots are sums of two cut products (``hw/numeric.py``), of at most MAC_TERMS products in an output; the sum
    is exact in accumulator_bits; one round half up by ``shift``, 0..31; saturation to W bits.
    Latency: log2(P/2) + 7 cycles from the dots with ``last`` to re at ``o``, im a cycle later; align_stages more with
    ``softmax``.
    Throughput: a group per cycle; outputs end 2 cycles apart or more, ``last`` is never set in two consecutive cycles.
    Backpressure: none.
    Reset: outputs that have begun or have not left are forgotten, the next group is a first one. Data has no reset.
    Cost: 2 * (P/2 - 1) adders of dot_bits + 1 and more, 2 selecting adders of accumulator_bits, a selecting adder of
    W + 4 bits, multiplexers of 1 * accumulator_bits, 3 * (W + 9) and 3 * (W + 3) bits; a RAM of 2 * partial_words *
    accumulator_bits.
    Source: docs/design.md section 3.
    """

    def __init__(self, parameters: MacColumnParameters):
        self.parameters = p = parameters
        super().__init__({
            "dots": In(lanes(p.dot_bits, p.lanes // 2)), "valid": In(1), "first": In(1), "last": In(1),
            "shift": In(dict(FIELDS[Opcode.MAC])["shift"]),
            **({"partial": In(partial_port(p.partial_words))} if p.partial_words else {}),
            **({"softmax": In(column_softmax())} if p.has_softmax else {}),
            "o": Out(signed(p.value_bits)), "o_valid": Out(1), "saturated": Out(1),
        })

    @once("parameters")
    def elaborate(self, platform):
        m = Module()
        p = self.parameters
        behind = p.tree_levels + p.align_stages
        valid, first, last = (delay(m, bit, behind, f"group_{name}", reset_less=False) for name, bit in
                              (("valid", self.valid), ("first", self.first), ("last", self.last)))
        sum_re, sum_im = self._tree(m, "re"), self._tree(m, "im")
        if p.has_softmax:
            sum_re, sum_im = (self._aligned(m, total, part, amount.shift, amount.is_dead) for total, part, amount in
                              ((sum_re, "re", self.softmax.align[0]), (sum_im, "im", self.softmax.align[1])))
        value = Signal(signed(p.accumulator_bits), name="value", reset_less=True)
        kept = self._kept(m, value) if p.partial_words else Const(0)
        re = self._accumulate(m, "re", sum_re, valid, first, kept)

        # Im walks a cycle behind re. So each accumulator is complete when the shifter takes it, and a register of the
        # sum of a group does what one of the whole accumulator would have to do.
        sum_im = delay(m, sum_im, 1, "sum_im")
        valid_im, first_im = (delay(m, bit, 1, f"im_{name}", reset_less=False) for name, bit in
                              (("valid", valid), ("first", first)))
        im = self._accumulate(m, "im", sum_im, valid_im, first_im, kept)

        end_re = delay(m, valid & last, 1, "end_re", reset_less=False)
        end_im = delay(m, end_re, 1, "end_im", reset_less=False)
        m.d.sync += value.eq(Mux(end_re, re, im))

        result, flag = self._finish(m, value, self._shifts(m, end_im) if p.has_softmax else self.shift)
        behind_end = p.latency - behind - 1
        m.d.comb += [self.o.eq(result), self.saturated.eq(flag),
                     self.o_valid.eq(delay(m, end_re | end_im, behind_end, "o_valid", reset_less=False))]
        return m

    def _tree(self, m, part):
        """Sum of the dots of a group, a register behind each level."""
        values = [dot[part] for dot in self.dots]
        while len(values) > 1:
            level = []
            for i in range(0, len(values), 2):
                total = Signal(signed(len(values[i]) + 1), name=f"sum_{part}_{len(values) // 2}_{i // 2}",
                               reset_less=True)
                m.d.sync += total.eq(values[i] + values[i + 1])
                level.append(total)
            values = level
        return values[0]

    def _kept(self, m, value):
        """What an output begins with, re and then im; ``value`` is a sum that may be kept."""
        p, port = self.parameters, self.partial
        m.submodules.partial_ram = ram = Ram(p.partial_ram)
        kept = Signal(value.shape(), name="kept", reset_less=True)
        m.d.comb += [ram.r_en.eq(1), ram.r_addr.eq(port.r_addr), ram.w_en.eq(port.w_en), ram.w_addr.eq(port.w_addr),
                     ram.w_data.eq(value)]
        if not p.has_softmax:
            m.d.sync += kept.eq(Mux(port.merge, ram.r_data, 0))
            return kept
        aligned = self._aligned(m, ram.r_data.as_signed(), "kept", self.softmax.merge, Const(0))
        m.d.comb += kept.eq(Mux(delay(m, port.merge, 1, "merges"), aligned, 0))
        return kept

    def _aligned(self, m, value, name, shift, is_dead):
        """The value shifted right by ``shift``, 0..63, half up, ALIGN_STAGES cycles later; 0 where it ``is_dead``."""
        coarse, fine = (Signal(signed(len(value) + 1), name=f"{name}_{stage}", reset_less=True) for stage in
                        ("coarse", "fine"))
        aligned = Signal(value.shape(), name=f"{name}_aligned", reset_less=True)
        low = Signal(3, name=f"{name}_low_shift", reset_less=True)
        m.d.sync += [coarse.eq(Cat(Const(0, 1), value).as_signed() >> (shift[3:] << 3)), low.eq(shift[:3]),
                     fine.eq(coarse >> low), aligned.eq((fine + 1) >> 1)]
        with m.If(delay(m, is_dead, ALIGN_STAGES - 1, f"{name}_dead")):
            m.d.sync += aligned.eq(0)
        return aligned

    def _shifts(self, m, is_re):
        """That of a division is one for each row: of re where ``is_re``, else that of im, which came along with it. Its
        high bits meet the values, its low bits follow them."""
        own = Signal(5, name="own_shift")
        m.d.comb += own.eq(Mux(is_re, self.softmax.shifts[0], delay(m, self.softmax.shifts[1], 1, "shift_im")))
        staged = Cat(delay(m, own[0], 2, "own_shift0"), delay(m, own[1:3], 1, "own_shift1"), own[3:])
        return Mux(self.softmax.divides, staged, self.shift)

    def _accumulate(self, m, part, group, valid, first, kept):
        """Sum of the groups since ``first``, which selects what it begins with inside the carry chain."""
        p = self.parameters
        accumulator = Signal(signed(p.accumulator_bits), name=f"accumulator_{part}", reset_less=True)
        m.submodules[f"add_{part}"] = adder = SelectAdder(SelectAdderParameters(p.accumulator_bits, p.target))
        m.d.comb += [adder.addend.eq(group), adder.a.eq(accumulator), adder.b.eq(kept), adder.select.eq(first)]
        with m.If(valid):
            m.d.sync += accumulator.eq(adder.o)
        return accumulator

    def _finish(self, m, value, shift):
        """Shift, round and saturate; returns the value and whether it was clamped.

        A shift drops the high bits that no result has, and remembers that they said something. What it keeps above W
        bits is a fraction bit, the shift that is still to come, and one bit more: the rounding can bring a value back
        that lies below the smallest one by half.
        """
        p, width = self.parameters, self.parameters.value_bits
        fine, has_coarse_overflow = self._shift(
            m, "coarse", Cat(Const(0, 1), value).as_signed(), shift[3:5], 8, width + 2 + 7)
        narrow, has_fine_overflow = self._shift(m, "fine", fine, shift[1:3], 2, width + 2 + 1)
        has_overflow = delay(m, has_coarse_overflow, 1, "has_coarse_overflow") | has_fine_overflow
        negative = delay(m, value[-1], 2, "negative")
        above = delay(m, has_overflow & ~negative, 1, "above_range")
        below = delay(m, has_overflow & negative, 1, "below_range")

        # The last shift and the half that is added share a carry chain: (x >> 1 or x) + 1, lowest bit dropped.
        m.submodules.round = rounder = SelectAdder(SelectAdderParameters(width + 4, p.target))
        m.d.comb += [rounder.addend.eq(1), rounder.a.eq(narrow), rounder.b.eq(narrow >> 1),
                     rounder.select.eq(shift[0])]
        rounded = Signal(signed(width + 3), name="rounded", reset_less=True)
        m.d.sync += rounded.eq(rounder.o[1:])
        if p.has_softmax:  # words have fewer bits than logits: their sign and lowest bits are taken
            head, is_word = rounded[p.width - 1:], ~self.softmax.is_logit
            above, below = (above | is_word & ~below & ~head[-1] & head.any(),
                            below | is_word & ~above & head[-1] & ~head.all())
        return clamp(m, rounded, width, "result", above, below)

    @staticmethod
    def _shift(m, name, value, select, step, width):
        """The lowest ``width`` bits of ``value`` >> ``step`` * ``select``, and whether the others are more than its
        sign, a cycle later."""
        def selected(choices):
            return Mux(select[1], Mux(select[0], choices[3], choices[2]), Mux(select[0], choices[1], choices[0]))

        value = Cat(value, value[-1].replicate(max(0, width + 1 - len(value)))).as_signed()  # narrow sums, wide logits
        # Reducing the high bits first is cheaper than shifting them.
        head = value[width - 1:-1] ^ value[-1].replicate(len(value) - width)
        shifted = Signal(signed(width), name=name, reset_less=True)
        has_overflow = Signal(name=f"{name}_overflow", reset_less=True)
        m.d.sync += [shifted.eq(selected([value >> step * k for k in range(4)])),
                     has_overflow.eq(selected([(head >> step * k).any() for k in range(4)]))]
        return shifted, has_overflow
