"""Pass sequencer: issues the groups of the passes of a block, back to back where the data allow it."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .config import ArrayConfig
from .program import Opcode
from .shapes import instruction

__all__ = ["Sequencer"]


class Sequencer(wiring.Component):
    """Runs PASS instructions in order, one group per cycle.

    A pass marked ``first`` waits for ``loaded`` and takes that block (``take``); blocks alternate between the halves. Between
    two passes lie at least ``gap`` idle cycles of the later one, and their first groups are at least
    ``config.pass_spacing`` cycles apart.

    Latency: 2 cycles from an accepted instruction to its first group. Throughput: one group per cycle, no cycle lost
    between passes if the next instruction is there. Backpressure: ``i.ready`` is a register. Reset: idle, half 0 next.
    ``computing`` and ``hazard`` say what the present cycle is spent on (neither: waiting for a block).
    """

    def __init__(self, config: ArrayConfig):
        self._config = config
        super().__init__({
            "i": In(stream.Signature(instruction(Opcode.PASS))),
            "loaded": In(1), "take": Out(1),
            "valid": Out(1), "start": Out(1), "finish": Out(1), "half": Out(1, init=1),
            "pass_fields": Out(instruction(Opcode.PASS)),
            "computing": Out(1), "hazard": Out(1), "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        c = self._config
        following, waiting = Signal.like(self.i.payload), Signal()
        left = Signal(c.row_bits)
        idle_cycles = Signal(following.gap.shape(), init=-1)
        spacing = Signal(range(c.pass_spacing))

        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [following.eq(self.i.payload), waiting.eq(1)]
        m.d.comb += self.i.ready.eq(~waiting)

        data_ready, timing_ready = Signal(), Signal()
        m.d.comb += [
            data_ready.eq(waiting & (~following.first | self.loaded)),
            timing_ready.eq((spacing == 0) & ((following.gap == 0) | (~self.valid & (idle_cycles + 1 >= following.gap)))),
            self.take.eq(data_ready & timing_ready & (left == 0) & following.first),
            self.finish.eq(self.valid & (left == 0) & self.pass_fields.last),
            self.computing.eq(self.valid), self.hazard.eq(~self.valid & data_ready),
            self.idle.eq(~self.valid & ~waiting)]

        with m.If(spacing != 0):
            m.d.sync += spacing.eq(spacing - 1)
        m.d.sync += self.start.eq(0)
        with m.If(left != 0):
            m.d.sync += left.eq(left - 1)
        with m.Elif(data_ready & timing_ready):
            m.d.sync += [self.pass_fields.eq(following), waiting.eq(0), self.valid.eq(1), self.start.eq(1),
                         left.eq(following.last_group), self.half.eq(self.half ^ following.first),
                         spacing.eq(c.pass_spacing - 1), idle_cycles.eq(0)]
        with m.Else():
            m.d.sync += self.valid.eq(0)
            with m.If(~self.valid & ~idle_cycles.all()):
                m.d.sync += idle_cycles.eq(idle_cycles + 1)
        return m
