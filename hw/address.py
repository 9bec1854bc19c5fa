"""Addresses: from a position in a block to the row of every bank and the constant of the shuffle."""

from contextlib import nullcontext

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .config import Pipeline
from .pipeline import optional

__all__ = ["BankAddress", "GroupAddress", "Walker"]


class BankAddress(wiring.Component):
    """Rows and shuffle constant of one beat.

    ``base`` is the index of lane 0 (its window bits are zero), ``window`` the mask of the S index bits in
    which the lanes differ. Bank k then holds lane ``k ^ select`` and reads row ``rows[k]``; ``select`` is the
    XOR of the S-bit digits of ``base``. Window bit b takes bit b mod S of the lane, which makes every bank
    appear exactly once.

    Latency: one cycle from ``base`` to ``select`` and ``rows`` (``rows`` leaves through logic, register it),
    none in a short pipeline. Throughput: one beat per cycle; with ``en`` low nothing moves. No reset. Cost:
    index_bits/2 + P*row_bits LUTs.
    Source: design.md section 4, bank hash.
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
        base = Signal(bits, reset_less=True)
        window = Signal(bits, reset_less=True)
        select = Signal(s, reset_less=True)
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

    A group starts a pass where ``start``, else continues it; ``digit`` is sampled with every group. Index of
    lane 0 = the group number with S zero bits inserted at bit ``digit * S``.

    Latency: address_latency - 1 cycles to ``select`` and ``rows`` (``rows`` leaves through logic).
    Throughput: one group per cycle. No backpressure. Reset: the count restarts at ``start``.
    """

    def __init__(self, index_bits: int, layers: int, pipeline: Pipeline = Pipeline.DEEP):
        self._layers, self._pipeline = layers, pipeline
        super().__init__({
            "valid": In(1), "start": In(1), "digit": In(4), "select": Out(layers), "group": Out(index_bits - layers),
            "rows": Out(data.ArrayLayout(index_bits - layers, 1 << layers)),
        })

    def elaborate(self, platform):
        m = Module()
        s, bits = self._layers, len(self.group) + self._layers
        m.submodules.bank = bank = BankAddress(bits, s, self._pipeline)
        following = Signal.like(self.group)
        m.d.comb += self.group.eq(Mux(self.start, 0, following))
        with m.If(self.valid):
            m.d.sync += following.eq(Mux(self.start, 1, following + 1))

        with m.Switch(self.digit):
            for d in range(bits // s):  # a digit that sticks out of the half is not legal
                with m.Case(d):
                    low, high = self.group[:d * s], self.group[d * s:]
                    m.d.sync += bank.base.eq(Cat(low, Const(0, s), high))
                    m.d.sync += bank.window.eq(((1 << s) - 1) << (d * s))
        m.d.comb += [self.select.eq(bank.select), self.rows.eq(bank.rows)]
        return m


assert Pipeline.DEEP.address_latency == 3, "insertion, hash, and the row register of the buffer"
assert Pipeline.SHORT.address_latency == 2, "insertion, and the row register of the buffer"


class Walker(wiring.Component):
    """Counts through the beats of a block in the order of a walk (``hw/program.py``).

    ``restart`` takes up the masks and goes to the first beat; it is needed before the first step, and
    ``inner`` and ``outer`` stay as they are until the next. ``base`` is the index of lane 0 of the present
    beat; ``step`` moves to the next; ``last`` marks the final beat, after which the walk is back at its
    start. The bits of ``inner`` count fastest, then those of ``outer``; ``inner`` is empty only where ``outer``
    is too.

    A counter whose bits lie scattered: with all other bits set to one the carry jumps over them. It runs one
    step ahead, so that its carry says in time that the next position is the last.

    Latency: ``base`` and ``last`` follow ``step`` and ``restart``, which wins over it, by one cycle. Reset:
    waits for ``restart``. Cost: two adders of index_bits.
    """

    def __init__(self, index_bits: int):
        super().__init__({"inner": In(index_bits), "outer": In(index_bits), "restart": In(1), "step": In(1),
                          "base": Out(index_bits), "last": Out(1)})

    def elaborate(self, platform):
        m = Module()
        counters = []
        enable = self.step
        for name, mask in (("inner", self.inner), ("outer", self.outer)):
            # ``ahead`` is the next position with ones outside the mask: no gate before the carry.
            position, full = Signal(mask.shape(), name=name), Signal(name=f"{name}_full")
            ahead = Signal(mask.shape(), name=f"{name}_ahead")
            following = Signal(len(mask) + 1, name=f"{name}_following")
            full_next = Signal(name=f"{name}_full_next")
            # The second position has the lowest bit of the mask: all ones but the bits of the mask above that.
            first = Cat(~(bit & mask[:i].any()) for i, bit in enumerate(mask))
            m.d.comb += following.eq(ahead + 1)
            with m.If(enable):
                m.d.sync += [position.eq(ahead & mask), ahead.eq(following[:-1] | ~mask), full.eq(full_next)]
            with m.If(self.restart):
                m.d.sync += [position.eq(0), ahead.eq(first), full.eq(~mask.any())]
            counters.append((position, full, full_next, following[-1]))
            enable = self.step & full
        (inner, inner_full, inner_full_next, inner_carry), (outer, outer_full, outer_full_next, outer_carry) = counters
        m.d.comb += [self.base.eq(inner | outer), inner_full_next.eq(inner_carry)]
        m.d.sync += outer_full_next.eq(outer_carry)  # the outer counter never moves in two cycles running
        with m.If(self.step):
            m.d.sync += self.last.eq(inner_carry & Mux(inner_full, outer_full_next, outer_full))
        with m.If(self.restart):
            m.d.sync += self.last.eq(~self.inner.any())
        return m
