"""Addresses: from a position in a block to the row of every bank and the constant of the shuffle."""

from contextlib import nullcontext

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import Pipeline
from ..isa.walk import SubOrder
from ..primitives.pipeline import optional
from ..primitives.signals import signals

__all__ = ["BankAddress", "GroupAddress", "Walker"]


class BankAddress(wiring.Component):
    """Rows and shuffle constant of one beat.

    ``base`` is the index of lane 0 (its window bits are zero), ``window`` the mask of the S index bits in which the
    lanes differ. Bank k then holds lane ``k ^ select`` and reads row ``rows[k]``; ``select`` is the XOR of the S-bit
    digits of ``base``. Window bit b takes bit b mod S of the lane, which makes every bank appear exactly once.

    Format: none, indices are unsigned.
    Latency: 1 cycle from ``base`` to ``select`` and ``rows``, none in a short pipeline; ``rows`` leaves through logic,
    register it.
    Throughput: one beat per cycle.
    Backpressure: with ``en`` low nothing moves.
    Reset: none.
    Cost: index_bits/2 + P * row_bits LUTs; 2 * index_bits + S flip-flops (deep).
    Source: docs/design.md section 4, bank hash.
    """

    def __init__(self, index_bits: int, layers: int, pipeline: Pipeline = Pipeline.DEEP):
        self._layers, self._pipeline = layers, pipeline
        super().__init__({
            "en": In(1, init=1), "base": In(index_bits), "window": In(index_bits), "select": Out(layers),
            "rows": Out(data.ArrayLayout(index_bits - layers, 1 << layers)),
        })

    def elaborate(self, platform):
        m = Module()
        s, bits = self._layers, len(self.base)
        base = Signal(bits, name="base", reset_less=True)
        window = Signal(bits, name="window", reset_less=True)
        select = Signal(s, name="select", reset_less=True)
        stage = optional(m, self._pipeline)
        with m.If(self.en) if self._pipeline.is_deep else nullcontext():
            stage += [base.eq(self.base), window.eq(self.window)]
            stage += select.eq(Cat(Cat(self.base[b] for b in range(q, bits, s)).xor() for q in range(s)))
        m.d.comb += self.select.eq(select)
        for bank in range(1 << s):
            lane = Const(bank, s) ^ select
            m.d.comb += self.rows[bank].eq(Cat(base[b] | (window[b] & lane[b % s]) for b in range(s, bits)))
        return m


class GroupAddress(wiring.Component):
    """Counts the groups of a pass and gives rows and shuffle constant of each.

    A group with ``start`` begins a pass, any other continues it; ``digit`` is sampled with every group. Index of lane 0
    = the group number with S zero bits inserted at bit ``digit * S``. With ``has_rows`` the group number is ``row``
    where ``is_row``, and the digit 0: the P words of one row of the banks.

    Format: none, indices are unsigned.
    Latency: address_latency - 1 cycles to ``select`` and ``rows``; ``rows`` leaves through logic.
    Throughput: one group per cycle.
    Backpressure: none.
    Reset: none, the count restarts at ``start``.
    Cost: a BankAddress, a counter of row_bits, 2 * index_bits flip-flops behind a multiplexer of index_bits / S inputs.
    Source: docs/design.md section 4, bank hash.
    """

    def __init__(self, index_bits: int, layers: int, pipeline: Pipeline = Pipeline.DEEP, has_rows: bool = False):
        self._layers, self._pipeline, self._has_rows = layers, pipeline, has_rows
        super().__init__({
            **({"is_row": In(1), "row": In(index_bits - layers)} if has_rows else {}),
            "valid": In(1), "start": In(1), "digit": In(4), "select": Out(layers), "group": Out(index_bits - layers),
            "rows": Out(data.ArrayLayout(index_bits - layers, 1 << layers)),
        })

    def elaborate(self, platform):
        m = Module()
        s, bits = self._layers, len(self.group) + self._layers
        m.submodules.bank = bank = BankAddress(bits, s, self._pipeline)
        next_group = Signal.like(self.group, name="next_group")
        m.d.comb += self.group.eq(Mux(self.start, 0, next_group))
        with m.If(self.valid):
            m.d.sync += next_group.eq(Mux(self.start, 1, next_group + 1))

        with m.Switch(self.digit):
            for d in range(bits // s):  # a digit that sticks out of the half is not legal
                with m.Case(d):
                    low, high = self.group[:d * s], self.group[d * s:]
                    m.d.sync += bank.base.eq(Cat(low, Const(0, s), high))
                    m.d.sync += bank.window.eq(((1 << s) - 1) << (d * s))
        if self._has_rows:
            with m.If(self.is_row):
                m.d.sync += [bank.base.eq(Cat(Const(0, s), self.row)), bank.window.eq((1 << s) - 1)]
        m.d.comb += [self.select.eq(bank.select), self.rows.eq(bank.rows)]
        return m


assert Pipeline.DEEP.address_latency == 3, "insertion, hash, and the row register of the buffer"
assert Pipeline.SHORT.address_latency == 2, "insertion, and the row register of the buffer"


class Walker(wiring.Component):
    """Counts through the beats of a block in the order of a walk (``hw/isa/instruction.py``).

    ``restart`` takes up the masks and goes to the first beat; it is needed before the first step. ``step`` moves to the
    next beat, after the last one to the first. ``inner`` and ``outer`` must stand still from the cycle before a restart
    until the next restart; in a short pipeline from the restart itself. ``base`` is the index of lane 0 of the present
    beat. The bits of ``inner`` count fastest, then those of ``outer``; ``inner`` is empty only where ``outer`` is too.

    ``sub`` is the number of the beat in its step, 0 in the first cycle of every step. It enters ``base`` in the same
    cycle, at bit ``sub_at``; ``sub_order`` may turn it upside down. ``sub_length`` is the bits it has in this walk; the
    port exists where sub_bits > 2. With ``mirror`` the walker also knows SubOrder.MIRROR.

    A counter whose bits lie scattered: with all other bits set to one the carry jumps over them. It runs one step
    ahead, so that its carry says in time that the next position is the last.

    Format: none, indices are unsigned.
    Latency: 1 cycle from ``step`` and ``restart`` to ``base``; ``restart`` wins over ``step``.
    Throughput: one step per cycle.
    Backpressure: without ``step`` nothing moves.
    Reset: waits for ``restart``.
    Cost: two adders of index_bits, six registers of index_bits; the mirror image takes an OR over the bits below each
    bit, no adder.
    Source: docs/decisions/0005-words-enter-in-the-order-the-buffer-frees-them.md; docs/reference/architecture.md, Walks
    and overlap.
    """

    def __init__(self, index_bits: int, pipeline: Pipeline = Pipeline.DEEP, sub_bits: int = 0, mirror: bool = False):
        if mirror and not sub_bits:
            raise ValueError("sub_bits: 0 leaves no bit to tell a mirror image by; allowed with mirror are 1 or more")
        self._pipeline, self._mirror = pipeline, mirror
        self._spare = max(0, sub_bits - 2)  # bits that two reversed ones lie too high: the others come in below them
        length = {"sub_length": In(3)} if self._spare else {}
        super().__init__({"inner": In(index_bits), "outer": In(index_bits), "restart": In(1), "step": In(1),
                          "sub_order": In(2), "sub_at": In(4), **length, "sub": In(sub_bits), "base": Out(index_bits)})

    def measure(self, command):
        """Statements that give the length of ``sub`` in a LOAD or STORE instruction to the port, where there is one."""
        return [self.sub_length.eq(command.sub_bits)] if self._spare else []

    def elaborate(self, platform):
        m = Module()
        inner_full, single = signals("inner_full single")
        stage = optional(m, self._pipeline)
        stage += single.eq(~self.inner.any())
        inner, last = self._counter(m, "inner", self.inner, self.step)
        outer, _ = self._counter(m, "outer", self.outer, self.step & inner_full)
        with m.If(self.step):
            m.d.sync += inner_full.eq(last)
        with m.If(self.restart):
            m.d.sync += inner_full.eq(single)
        if self._mirror:
            m.d.comb += self.base.eq((inner | outer) ^ self._sub(m, inner | outer))
        else:
            m.d.comb += self.base.eq(inner | outer | self._sub(m, None))
        return m

    def _sub(self, m, position):
        """The bits in which ``sub`` changes the index: its number at its place, or what differs in the mirror image."""
        if not len(self.sub):
            return 0
        ordered = Signal(self.sub.shape(), name="ordered")
        places = Signal(len(self.base) + self._spare, name="places", reset_less=True)
        m.d.comb += ordered.eq(Mux(self.sub_order == SubOrder.DOWN, Cat(reversed(self.sub)), self.sub))
        with m.If(self.restart):
            m.d.sync += places.eq(Mux(self.sub_order == SubOrder.NONE, 0, 1 << self._place()))
        lowest = places[self._spare:]
        if self._mirror:
            lowest = self._mirrored(m, lowest, position)
        spread = [Cat(bit & (places[b + self._spare - i] if i else lowest[b]) for i, bit in enumerate(ordered)
                      if b + self._spare >= i).any() for b in range(len(self.base))]
        return Cat(spread)

    def _place(self):
        """Place of the lowest bit of the ordered ``sub``: fewer bits than there can be lie too high when reversed."""
        if not self._spare:
            return self.sub_at
        return self.sub_at + Mux(self.sub_order == SubOrder.DOWN, self.sub_length - 2, self._spare)[:3]

    def _mirrored(self, m, places, position):
        """``places``, and in a mirror walk the other bits that differ between i and -i mod 2^n.

        -e differs from e in the bits above the lowest one of e. Bit n - 1, the place, differs always: it is clear in e,
        and 2^(n-1) stands for -0. The position stands still from one beat of a pair to the other, so its bits may
        take one cycle.
        """
        below = Signal(places.shape(), name="below_place", reset_less=True)
        differing = Signal(places.shape(), name="differing", reset_less=True)
        with m.If(self.restart):
            m.d.sync += below.eq(Mux(self.sub_order == SubOrder.MIRROR, (1 << self.sub_at) - 1, 0))
        m.d.sync += differing.eq(places | (below & Cat(position[:b].any() for b in range(len(position)))))
        return differing

    def _counter(self, m, name, mask, step):
        """Position, and whether the next one is the last."""
        position = Signal(mask.shape(), name=name)
        lookahead = Signal(mask.shape(), name=f"{name}_lookahead")  # next position, ones outside the mask
        increment = Signal(len(mask) + 1, name=f"{name}_increment")
        # The second position has the lowest bit of the mask: all ones but the bits of the mask above that.
        first = Signal(mask.shape(), name=f"{name}_first", reset_less=True)
        stage = optional(m, self._pipeline)
        stage += first.eq(Cat(~(bit & mask[:i].any()) for i, bit in enumerate(mask)))
        m.d.comb += increment.eq(lookahead + 1)
        with m.If(step):
            m.d.sync += [position.eq(lookahead & mask), lookahead.eq(increment[:-1] | ~mask)]
        with m.If(self.restart):
            m.d.sync += [position.eq(0), lookahead.eq(first)]
        return position, increment[-1]
