"""Pass sequencer: issues the groups of the passes of a block, back to back where the data allow it."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..isa.instruction import Opcode
from ..layouts import instruction
from ..primitives.signals import signals
from .parameters import GAP_LIMIT

__all__ = ["Sequencer"]


class Sequencer(wiring.Component):
    """Runs PASS instructions in order, one group per cycle.

    A pass marked ``first`` waits for ``loaded`` and takes that block (``take``); blocks alternate between the halves.
    Between two passes lie at least ``gap`` idle cycles of the later one (a gap of one takes two), and their first
    groups are at least ``config.pass_spacing`` cycles apart. ``computing`` and ``hazard`` say what the present cycle is
    spent on (neither: waiting for a block or an instruction).

    Format: none, control only.
    Latency: 4 cycles from an accepted instruction to its first group, 2 from ``loaded``, 1 from ``take``.
    Throughput: one group per cycle, no cycle lost between passes if the next instruction is accepted 3 cycles before
    the last group.
    Backpressure: ``i.ready`` is a register.
    Reset: idle, half 0 next.
    Cost: two registers of a PASS instruction, counters of row_bits, of the gap and of the spacing.
    Source: docs/design.md section 4, bubbles; docs/decisions/0010-conditions-are-registers.md.
    """

    def __init__(self, config: CoreConfig):
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
        next_pass = Signal.like(self.i.payload, name="next_pass")
        occupied, armed, ready, issue = signals("occupied armed ready issue")
        # Every condition is a register, computed while the instruction settles: issuing is one gate deep.
        loaded, gap_over = signals("loaded gap_over")
        ended, spaced = signals("ended spaced", init=1)
        m.d.comb += [
            self.i.ready.eq(~occupied), issue.eq(ready & ended), loaded.eq(~next_pass.first | self.loaded),
            self.take.eq(issue & next_pass.first), self.finish.eq(self.valid & ended & self.pass_fields.last),
            self.computing.eq(self.valid), self.hazard.eq(~self.valid & armed & loaded),
            self.idle.eq(~self.valid & ~occupied)]
        with m.If(~occupied):
            m.d.sync += [next_pass.eq(self.i.payload), occupied.eq(self.i.valid)]
        with m.Elif(issue):
            m.d.sync += occupied.eq(0)
        m.d.sync += [armed.eq(occupied & ~issue), ready.eq(armed & ~issue & loaded & spaced & gap_over)]
        self._distances(m, next_pass, ended, spaced, gap_over)

        groups_left = Signal(c.row_bits, name="groups_left")
        is_single = Signal(name="is_single")
        m.d.sync += [is_single.eq(next_pass.last_group == 0), self.start.eq(issue)]
        with m.If(issue):
            m.d.sync += [self.pass_fields.eq(next_pass), self.valid.eq(1), self.half.eq(self.half ^ next_pass.first),
                         groups_left.eq(next_pass.last_group), ended.eq(is_single)]
        with m.Elif(ended):
            m.d.sync += self.valid.eq(0)
        with m.Else():
            m.d.sync += [groups_left.eq(groups_left - 1), ended.eq(groups_left == 1)]
        return m

    def _distances(self, m, next_pass, ended, spaced, gap_over):
        """Registers that say whether an issue two cycles from now keeps the spacing and the gap."""
        spacing = Signal(range(self._config.pass_spacing), name="spacing")
        with m.If(self.start):
            m.d.sync += [spacing.eq(self._config.pass_spacing - 4), spaced.eq(0)]
        with m.Else():
            m.d.sync += [spacing.eq(spacing - ~spaced), spaced.eq(spaced | (spacing == 0))]

        # Idle cycles there will be two cycles from now; the top bit stops the count.
        idle_cycles = Signal(GAP_LIMIT.bit_length(), name="idle_cycles", init=-1)
        with m.If(self.start):
            m.d.sync += idle_cycles.eq(Mux(ended, 3, 2))
        with m.Elif(ended & ~idle_cycles[-1]):
            m.d.sync += idle_cycles.eq(idle_cycles + 1)
        no_gap, has_gap = signals("no_gap has_gap")
        m.d.sync += [no_gap.eq(next_pass.gap == 0),
                     has_gap.eq((~self.valid | ended) & (idle_cycles >= next_pass.gap))]
        m.d.comb += gap_over.eq(no_gap | has_gap)
