"""Counters of a core made 64 bits wide, and a copy of all of them in one cycle."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ...isa.bit_fields import WORD_BITS
from ...primitives.memory import read_port, write_port
from ...primitives.signals import signals

__all__ = ["WideCounters"]

_SETTLE_CYCLES = 8  # from a start to the cycle in which all counters of the core have begun anew, and some more


class WideCounters(wiring.Component):
    """Takes ``counts`` of ``n`` counters of ``bits`` bits in turn and counts how often each has wrapped.

    Again and again all counts are caught in one cycle. Then they go into a memory of 64-bit totals, one after the
    other: one that is smaller than it was has wrapped. ``latch`` asks for a copy and stays until ``done``, which is
    high for a cycle; ``address`` is a word of the copy, the low word of a counter first, ``data`` that word.
    ``clear``: the counters of the core begin anew, and the totals with them.

    Format: totals of 64 bits; a counter must not wrap twice within 6 * n + 16 cycles.
    Latency: ``latch`` to ``done`` at most 6 * n + 12 cycles, ``address`` to ``data`` 1 cycle.
    Throughput: a copy in 3 * n + 1 cycles.
    Backpressure: ``done`` answers ``latch``.
    Reset: as ``clear``.
    Cost: a register of ``bits`` bits for each counter, two memories of n totals, an adder of 64 bits.
    Source: own.
    """

    def __init__(self, n: int, bits: int):
        self._n, self._bits = n, bits
        super().__init__({
            "counts": In(data.ArrayLayout(bits, n)), "clear": In(1), "latch": In(1), "done": Out(1),
            "address": In(range(2 * n)), "data": Out(WORD_BITS)})

    def elaborate(self, platform):
        m = Module()
        bits = self._bits
        m.submodules.totals = totals = Memory(shape=2 * WORD_BITS, depth=self._n, init=[])
        m.submodules.copies = copies = Memory(shape=2 * WORD_BITS, depth=self._n, init=[])
        total, store = read_port(totals, "sync"), write_port(totals)
        copy, keep = read_port(copies, "sync", "copy"), write_port(copies, "keep")
        caught = Signal.like(self.counts, name="caught", reset_less=True)
        number = Signal(range(self._n), name="number")
        settling = Signal(range(_SETTLE_CYCLES + 1), name="settling", init=_SETTLE_CYCLES)
        fresh, copying, half, wraps = signals("fresh copying half wraps")
        stale = Signal(name="stale", init=1)
        chain, low, high = Value.cast(caught), caught[0], total.data[bits:]
        m.d.comb += [
            total.addr.eq(number), store.addr.eq(number), store.data.eq(Cat(low, Mux(fresh, 0, high + wraps))),
            keep.addr.eq(number), keep.data.eq(store.data), keep.en.eq(store.en & copying),
            copy.addr.eq(self.address >> 1), self.data.eq(Mux(half, copy.data[WORD_BITS:], copy.data[:WORD_BITS]))]
        m.d.sync += half.eq(self.address[0])
        with m.If(settling != 0):
            m.d.sync += settling.eq(settling - 1)
        with m.FSM(name="sweep"):
            with m.State("Catch"):
                m.d.sync += [caught.eq(self.counts), copying.eq(self.latch), number.eq(0), fresh.eq(stale)]
                with m.If(settling == 0):
                    m.d.sync += stale.eq(0)
                    m.next = "Fetch"
            with m.State("Fetch"):
                m.next = "Compare"
            with m.State("Compare"):
                m.d.sync += wraps.eq(low < total.data[:bits])
                m.next = "Store"
            with m.State("Store"):
                m.d.comb += store.en.eq(1)
                m.d.sync += [chain.eq(chain >> bits), number.eq(number + 1)]
                m.next = "Fetch"
                with m.If(number == self._n - 1):
                    m.d.comb += self.done.eq(copying)
                    m.next = "Catch"
        with m.If(self.clear):
            m.d.sync += [settling.eq(_SETTLE_CYCLES), stale.eq(1)]
        return m
