"""Counters of what the units of a processor spend their cycles on."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..isa.setup import COUNTED_CAUSES, COUNTED_UNITS, UNITS
from ..layouts import processor_status, unit_activity

__all__ = ["UnitCounters"]


class UnitCounters(wiring.Component):
    """Counts, for each unit, the cycles in which it moves a beat or waits for its input or its output.

    Format: none, counts of 32 bits wrap.
    Latency: the sums lag by two cycles.
    Throughput: one cycle per cycle.
    Backpressure: none.
    Reset: zero, a cycle later, as after ``clear``.
    Cost: 12 counters of 32 bits.
    Source: docs/design.md section 5; docs/decisions/0010-conditions-are-registers.md.
    """

    def __init__(self):
        layout = data.StructLayout({name: shape for name, shape in processor_status().members.items()
                                    if name.endswith(COUNTED_CAUSES) and name.startswith(COUNTED_UNITS)})
        super().__init__({
            "clear": In(1), "activity": In(data.StructLayout({unit: unit_activity() for unit in UNITS})),
            "counts": Out(layout)})

    def elaborate(self, platform):
        m = Module()
        clear = Signal(name="clear", init=1)  # as in hw/array/counters.py
        m.d.sync += clear.eq(self.clear)
        for unit in COUNTED_UNITS:
            for cause in COUNTED_CAUSES:
                count = Signal(self.counts[f"{unit}_{cause}"].shape(), name=f"{unit}_{cause}", reset_less=True)
                now = Signal(name=f"{unit}_{cause}_now")
                m.d.sync += now.eq(self.activity[unit][cause])
                with m.If(now):
                    m.d.sync += count.eq(count + 1)
                with m.If(clear):
                    m.d.sync += count.eq(0)
                m.d.comb += self.counts[f"{unit}_{cause}"].eq(count)
        return m
