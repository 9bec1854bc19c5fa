"""Hardware counters: what every cycle of a run was spent on."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..layouts import status
from ..primitives.signals import signals

__all__ = ["Counters"]


class Counters(wiring.Component):
    """Counts the cycles of a run by cause; exactly one of four counters moves in each running cycle.

    | counter | the cycle |
    |---|---|
    | ``computing`` | a group was issued |
    | ``waiting_hazard`` | else: a pass waits for its gap |
    | ``waiting_output`` | else: the store unit keeps the half that is needed next |
    | ``waiting_input`` | else |

    The store unit keeps that half when it holds back the load unit, or when nothing is left to load.

    Format: none, counts of 32 bits wrap.
    Latency: the sums lag by two cycles; ``busy`` rises at once and falls a cycle late, when they are complete.
    Throughput: one cycle per cycle.
    Backpressure: none.
    Reset: zero, a cycle later, as after ``clear`` (a start).
    Cost: six counters of 32 bits.
    Source: docs/design.md section 5; docs/decisions/0010-conditions-are-registers.md.
    """

    def __init__(self):
        super().__init__({
            "clear": In(1), "starting": In(1), "running": In(1), "computing": In(1), "hazard": In(1),
            "load_blocked": In(1), "load_idle": In(1), "store_idle": In(1), "block_out": In(1), "saturated": In(1),
            "status": Out(status()),
        })

    def elaborate(self, platform):
        m = Module()
        # A reset clears through the register of ``clear``, so that the counters need no gate for it.
        count = Signal(status(), name="count", reset_less=True)
        clear = Signal(name="clear_now", init=1)
        running, computing, hazard = signals("running_now computing_now hazard_now")
        output, block_out, saturated = signals("output_now block_out_now saturated_now")
        m.d.sync += [
            clear.eq(self.clear), running.eq(self.running), computing.eq(self.computing), hazard.eq(self.hazard),
            output.eq(self.load_blocked | (self.load_idle & ~self.store_idle)), block_out.eq(self.block_out),
            saturated.eq(self.saturated)]
        with m.If(running):
            m.d.sync += count.total.eq(count.total + 1)
            with m.If(computing):
                m.d.sync += count.computing.eq(count.computing + 1)
            with m.Elif(hazard):
                m.d.sync += count.waiting_hazard.eq(count.waiting_hazard + 1)
            with m.Elif(output):
                m.d.sync += count.waiting_output.eq(count.waiting_output + 1)
            with m.Else():
                m.d.sync += count.waiting_input.eq(count.waiting_input + 1)
        with m.If(block_out):
            m.d.sync += count.blocks.eq(count.blocks + 1)
        with m.If(saturated):
            m.d.sync += count.saturated.eq(1)
        with m.If(clear):
            for name in ("total", "computing", "waiting_input", "waiting_output", "waiting_hazard", "blocks",
                         "saturated"):
                m.d.sync += count[name].eq(0)
        m.d.comb += [self.status.eq(count), self.status.busy.eq(self.running | running | self.starting)]
        return m
