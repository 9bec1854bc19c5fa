"""Pass sequencer: issues the groups of the passes of a block, back to back where the data allow it."""

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..isa.instruction import Opcode
from ..layouts import instruction, pass_command
from ..primitives.signals import signals
from .mac_counter import MacCounter
from .parameters import GAP_LIMIT, mac_spacing, softmax_spacing

__all__ = ["Sequencer"]


class Sequencer(wiring.Component):
    """Runs PASS instructions in order, one group per cycle.

    A pass marked ``first`` waits for ``loaded`` and takes that block (``take``); blocks alternate between the halves.
    Between two passes lie at least ``gap`` idle cycles of the later one (a gap of one takes two), and their first
    groups are at least ``config.pass_spacing`` cycles apart. ``computing`` and ``hazard`` say what the present cycle is
    spent on (neither: waiting for a block or an instruction).

    With a ring it runs MACs too (``mac``, ``mac_fields``, ports of a MacCounter). ``pass_fields`` are then zero but for
    ``first`` and ``last``. A MAC waits for the first panel of its matrix, and between two panels for the next one
    (``starved``, whatever else is waited for). The next pass begins mac_spacing cycles or more behind the first
    group of a MAC; a PASS does behind the last one.

    With ``softmax_pairs`` a MASK sets the mask of the MACs behind it (``mask_fields``, still from the first group of a
    MAC to that of the next); ``clear`` forgets it. What follows a MAC whose results a finisher makes begins
    softmax_spacing cycles or more behind its last group. ``pair``: the row pair of the present group.

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
        has_mac = bool(config.ring_words)
        mac = {"mac": Out(1), "mac_fields": Out(instruction(Opcode.MAC)), "starved": Out(1), "clear": In(1),
               "row": Out(config.row_bits), "place": Out(config.ring_bits), "step_last": Out(1),
               "filled": In(config.ring_bits + 1), "released": Out(config.ring_bits + 1), "is_read": Out(1)}
        if config.softmax_pairs:
            mac |= {"mask_fields": Out(instruction(Opcode.MASK)),
                    "pair": Out(instruction(Opcode.MAC).members["last_pair"])}
        super().__init__({
            **(mac if has_mac else {}), "i": In(stream.Signature(pass_command(has_mac))),
            "loaded": In(1), "take": Out(1),
            "valid": Out(1), "start": Out(1), "finish": Out(1), "half": Out(1, init=1),
            "pass_fields": Out(instruction(Opcode.PASS)),
            "computing": Out(1), "hazard": Out(1), "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        c = self._config
        given = Value.cast(self.i.payload.fields if c.ring_words else self.i.payload)
        held = Signal(len(given), name="next_pass")
        self._held, next_pass = held, data.View(instruction(Opcode.PASS), held[:instruction(Opcode.PASS).size])
        is_pass = ~self.i.payload.mask if c.softmax_pairs else Const(1)
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
            m.d.sync += [held.eq(given), occupied.eq(self.i.valid & is_pass)]
        with m.Elif(issue):
            m.d.sync += occupied.eq(0)
        conditions = armed & ~issue & loaded & spaced & gap_over
        if c.ring_words:
            conditions &= self._mac(m, next_pass, occupied, armed, issue, ended)
            m.d.sync += self._ready_mac.eq(conditions & self._next_is_mac)
        m.d.sync += [armed.eq(occupied & ~issue), ready.eq(conditions)]
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
        if c.ring_words:
            self._run_mac(m, next_pass, issue, ended)
        return m

    def _mac(self, m, next_pass, occupied, armed, issue, ended):
        """The counter of MACs, and what they wait for. Returns whether the instruction at hand may begin: the first
        panel of a MAC stands in the ring, the results of the last MAC stand in the banks where a PASS comes."""
        m.submodules.counter = counter = MacCounter(self._config)
        next_is_mac = Signal(name="next_is_mac")
        next_mac = data.View(instruction(Opcode.MAC), self._held[:instruction(Opcode.MAC).size])
        with m.If(~occupied):
            m.d.sync += next_is_mac.eq(self.i.payload.mac)
        self._counter, self._next_is_mac, self._next_mac = counter, next_is_mac, next_mac
        # ``ready`` where the instruction is a MAC, and ``valid`` where it was: what they enable is wide.
        self._ready_mac, self._steps = signals("ready_mac steps")
        own, most = mac_spacing(self._config), mac_spacing(self._config)
        if self._config.softmax_pairs:
            most = softmax_spacing(self._config)
            own = Mux(self._finishes(m, occupied, issue, next_is_mac), most, own)
        drain = Signal(range(most), name="drain")
        drained = Signal(name="drained", init=1)
        with m.If(self.valid & self.mac):
            m.d.sync += [drain.eq(own - 4), drained.eq(0)]
        with m.Else():
            m.d.sync += [drain.eq(drain - ~drained), drained.eq(drained | (drain == 0))]
        is_waiting = Signal(name="is_waiting")  # between two panels
        m.d.comb += [is_waiting.eq(self.mac & ~self.valid & ~ended),
                     self.starved.eq(is_waiting | (~self.valid & armed & next_is_mac & ~counter.is_first_filled)),
                     counter.next_fields.eq(next_mac), counter.fields.eq(self.mac_fields),
                     counter.load.eq(self._ready_mac & ended), counter.step.eq(self._steps),
                     counter.filled.eq(self.filled), counter.clear.eq(self.clear)]
        m.d.comb += [getattr(self, name).eq(getattr(counter, name))
                     for name in ("row", "place", "step_last", "released", "is_read",
                                  *(["pair"] if self._config.softmax_pairs else []))]
        with m.If(self.starved):
            m.d.comb += self.hazard.eq(0)
        with m.If(is_waiting):
            m.d.comb += self.idle.eq(0)
        may_follow = drained | ~self._is_finished if self._config.softmax_pairs else Const(1)
        return Mux(next_is_mac, counter.is_first_filled & may_follow, drained)

    def _finishes(self, m, occupied, issue, next_is_mac):
        """Whether a finisher makes the results of the present MAC: whatever follows waits for them. Keeps its mask."""
        layout, new = instruction(Opcode.MASK), self._next_mac
        next_mask = Signal(layout, name="next_mask", reset_less=True)
        with m.If(self.i.valid & ~occupied & self.i.payload.mask):
            m.d.sync += next_mask.eq(self.i.payload.fields[:layout.size])
        with m.If(self.clear):  # every key counts
            m.d.sync += next_mask.eq(0)
        self._is_finished = Signal(name="is_finished")
        with m.If(issue & next_is_mac):
            m.d.sync += [self.mask_fields.eq(next_mask), self._is_finished.eq((new.softmax != 0) & ~new.keep)]
        with m.Elif(issue):
            m.d.sync += self._is_finished.eq(0)
        return self._is_finished

    def _run_mac(self, m, next_pass, issue, ended):
        """Overrides what a PASS does: a MAC goes from panel to panel until its counter ends."""
        counter, next_is_mac = self._counter, self._next_is_mac
        is_closed, runs = signals("is_closed runs")  # the panel ends in this cycle or has ended; another one begins
        m.d.comb += [is_closed.eq(~self.valid | counter.panel_last), runs.eq(~is_closed | counter.is_next_filled),
                     counter.opens.eq(counter.load | (self.mac & ~ended & is_closed & counter.is_next_filled))]
        with m.If(self.mac & ~ended):
            m.d.sync += [self.valid.eq(runs), ended.eq(self.valid & counter.ends), self._steps.eq(runs)]
        with m.Else():
            m.d.sync += self._steps.eq(0)
        with m.If(issue):
            m.d.sync += [self.mac.eq(next_is_mac), self._steps.eq(next_is_mac)]
        with m.If(counter.load):
            kept = {"first": next_pass.first, "last": next_pass.last}
            m.d.sync += [self.pass_fields.eq(0), *(self.pass_fields[name].eq(value) for name, value in kept.items()),
                         self.mac_fields.eq(self._next_mac), ended.eq(0)]

    def _distances(self, m, next_pass, ended, spaced, gap_over):
        """Registers that say whether an issue two cycles from now keeps the spacing and the gap."""
        most = mac_spacing(self._config) if self._config.ring_words else self._config.pass_spacing
        spacing = Signal(range(most), name="spacing")
        with m.If(self.start):
            m.d.sync += [spacing.eq(self._config.pass_spacing - 4), spaced.eq(0)]
            if self._config.ring_words:
                with m.If(self.mac):
                    m.d.sync += spacing.eq(mac_spacing(self._config) - 4)
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
