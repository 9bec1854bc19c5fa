"""MAC counter: which row and which word of the ring every group of a MAC reads."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..isa.instruction import Opcode, Softmax
from ..isa.sparse import LOG2_GROUPS
from ..layouts import instruction
from ..primitives.pipeline import delay
from ..primitives.signals import signals
from .parameters import release_delay

__all__ = ["MacCounter"]


class MacCounter(wiring.Component):
    """Counts through a MAC: P outputs, of these all row pairs, of these P / S steps of S outputs, of these all inputs.

    ``load`` takes the MAC ``next_fields``, in the cycle before its first group or earlier; ``fields`` is the same MAC
    from the cycle after on. ``step``: a group is issued, at row ``row`` with word ``place`` of the ring. ``step_last``:
    it is the last one of a step, that is of S outputs of a row pair; ``panel_last``: of P outputs of all row pairs,
    whose words of the ring are a *panel*; ``ends``: the group behind it is the last of the MAC.

    ``filled``: words that were written into the ring, modulo twice its size. ``opens``: in this cycle the next panel
    is begun, which may be where ``is_next_filled`` (another one of the same MAC) or ``is_first_filled`` (the first one
    of ``next_fields``). ``released``: words that all columns have read for the last time, modulo the same. ``is_read``:
    every word that was written has been. ``clear`` empties the ring.

    Format: none, counts are unsigned.
    Latency: 3 cycles from ``filled``, ``opens`` and ``next_fields`` to the conditions; release_delay + 1 cycles from
    the group of the last row pair to ``released``.
    Throughput: a group per cycle; panels are begun 4 cycles apart or more.
    Backpressure: without ``step`` nothing moves.
    Reset: as ``clear``.
    Cost: counters of 12, 10 and 12 bits, three adders of row_bits, five counters of ring_bits.
    Source: docs/design.md section 4, MAC.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        count, fields = config.ring_bits + 1, instruction(Opcode.MAC)
        super().__init__({
            "next_fields": In(fields), "fields": In(fields), "load": In(1), "step": In(1), "opens": In(1),
            "clear": In(1), "row": Out(config.row_bits), "place": Out(config.ring_bits), "step_last": Out(1),
            "panel_last": Out(1), "ends": Out(1), "filled": In(count), "released": Out(count),
            "is_next_filled": Out(1), "is_first_filled": Out(1), "is_read": Out(1),
            **({"pair": Out(fields.members["last_pair"])} if config.softmax_pairs else {})})

    def elaborate(self, platform):
        m = Module()
        c, fields, new = self._config, self.fields, self.next_fields
        steps = c.lanes // c.layers
        inputs_left = Signal(new.last_input.shape(), name="inputs_left")
        pairs_left = Signal(new.last_pair.shape(), name="pairs_left")
        outputs_left = Signal(new.last_output.shape(), name="outputs_left")
        steps_done = Signal(range(steps), name="steps_done")
        is_last_step, is_last_pair, is_last_output = signals("is_last_step is_last_pair is_last_output")
        m.d.comb += [is_last_step.eq(steps_done == steps - 1), is_last_output.eq(outputs_left == 0)]
        # P outputs of one row pair end; ``panel_last``: those of all row pairs. A step has two groups or more, so what
        # it is the last of is known before its last group, and all three are registers.
        sweep_last, before_last = signals("sweep_last before_last")
        m.d.comb += [before_last.eq(inputs_left == 1),
                     self.ends.eq(before_last & is_last_step & is_last_pair & is_last_output)]
        with m.If(self.step):
            m.d.sync += [inputs_left.eq(Mux(self.step_last, fields.last_input, inputs_left - 1)),
                         self.step_last.eq(before_last), sweep_last.eq(before_last & is_last_step),
                         self.panel_last.eq(before_last & is_last_step & is_last_pair)]
        with m.If(self.step & self.step_last):
            m.d.sync += steps_done.eq(steps_done + 1)
        with m.If(self.step & sweep_last):
            m.d.sync += [pairs_left.eq(Mux(is_last_pair, fields.last_pair, pairs_left - 1)),
                         is_last_pair.eq(Mux(is_last_pair, fields.last_pair == 0, pairs_left == 1))]
        with m.If(self.step & self.panel_last):
            m.d.sync += outputs_left.eq(outputs_left - 1)
        with m.If(self.load):
            m.d.sync += [inputs_left.eq(new.last_input), pairs_left.eq(new.last_pair), steps_done.eq(0),
                         is_last_pair.eq(new.last_pair == 0), outputs_left.eq(new.last_output), self.step_last.eq(0),
                         sweep_last.eq(0), self.panel_last.eq(0)]
        self._rows(m, sweep_last, is_last_step, is_last_pair)
        self._places(m, sweep_last, is_last_pair)
        return m

    def _rows(self, m, sweep_last, is_last_step, is_last_pair):
        """The row of the present group: the inputs of a row pair again and again, then those of the next one."""
        row_pair, next_pair, stride, first_row = signals("row_pair next_pair stride first_row", self.row.shape(),
                                                         reset_less=True)
        # A step takes two groups or more and a row pair four: the row that the next step begins with may take its time.
        m.d.sync += [stride.eq(1 << self.fields.log2_in_stride),
                     next_pair.eq(Mux(is_last_pair, 0, row_pair + stride)),
                     first_row.eq(Mux(is_last_step, next_pair, row_pair))]
        row = Signal(self.row.shape(), name="own_row") if self._config.softmax_pairs else self.row
        is_last_pick, next_row = self._sparse_row(m, row) if self._config.sparse else (Const(1), row + 1)
        with m.If(self.step & (is_last_pick | self.step_last)):
            m.d.sync += row.eq(Mux(self.step_last, first_row, next_row))
        with m.If(self.step & sweep_last):
            m.d.sync += row_pair.eq(next_pair)
        with m.If(self.load):
            m.d.sync += [row.eq(0), row_pair.eq(0)]
        if self._config.softmax_pairs:
            self._softmax_rows(m, row, sweep_last, is_last_pair)

    def _softmax_rows(self, m, row, sweep_last, is_last_pair):
        """Probabilities stand where the results of the MAC before went. The number of the row pair."""
        new, base = self.next_fields, Signal(row.shape(), name="base", reset_less=True)
        m.d.comb += self.row.eq(row | base)
        with m.If(self.step & sweep_last):
            m.d.sync += self.pair.eq(Mux(is_last_pair, 0, self.pair + 1))
        with m.If(self.load):
            m.d.sync += [self.pair.eq(0), base.eq(Mux(new.softmax == Softmax.VALUES, new.out_base, 0))]

    def _sparse_row(self, m, row):
        """Whether the next group of a row pair has another row, and which: the same one for each of the picks of a
        group, then the next one whose bits of the member are zero. They come from the picks."""
        new, last_pick = self.next_fields, self.fields.last_pick
        members = Signal(self.row.shape(), name="members", reset_less=True)  # the bits of the member
        picks_left = Signal(last_pick.shape(), name="picks_left")
        is_last_pick = Signal(name="is_last_pick")
        with m.If(self.step):
            m.d.sync += [picks_left.eq(picks_left - 1), is_last_pick.eq(picks_left == 1)]
        with m.If(self.step & (is_last_pick | self.step_last)):
            m.d.sync += [picks_left.eq(last_pick), is_last_pick.eq(last_pick == 0)]
        with m.If(self.load):
            m.d.sync += [members.eq(((1 << new.log2_group) - 1)[:LOG2_GROUPS] << new.log2_apart),
                         picks_left.eq(new.last_pick), is_last_pick.eq(new.last_pick == 0)]
        return is_last_pick, ((row | members) + 1) & ~members

    def _places(self, m, sweep_last, is_last_pair):
        """Places in the ring, and how many words of it are there and may go."""
        steps = (self._config.lanes // self._config.layers).bit_length() - 1
        panel_start = Signal(self.place.shape(), name="panel_start")
        with m.If(self.step):
            m.d.sync += self.place.eq(self.place + 1)
        with m.If(self.step & sweep_last & ~is_last_pair):
            m.d.sync += self.place.eq(panel_start)
        with m.If(self.step & self.panel_last):
            m.d.sync += panel_start.eq(self.place + 1)

        # Words of the panels that were begun, and words that were written beyond them, both counted in steps of all
        # outputs of an input. ``last_input`` is one less: a one below the sum adds it, and ``<`` needs none.
        begun, surplus = signals("begun surplus", len(self.filled) - steps)
        last_input = Mux(self.load, self.next_fields.last_input, self.fields.last_input)[:len(begun)]
        with m.If(self.opens):
            m.d.sync += begun.eq((Cat(Const(1, 1), begun) + Cat(Const(1, 1), last_input))[1:])
        m.d.sync += [surplus.eq(self.filled[steps:] - begun),
                     self.is_next_filled.eq(self.fields.last_input < surplus),
                     self.is_first_filled.eq(self.next_fields.last_input < surplus)]
        # A word is read for the last time with the last row pair.
        read = Signal(name="read")
        m.d.comb += read.eq(delay(m, self.step & is_last_pair, release_delay(self._config), "read", reset_less=False))
        m.d.sync += [self.released.eq(self.released + read), self.is_read.eq(self.released == self.filled)]
        with m.If(self.clear):
            m.d.sync += [self.place.eq(0), panel_start.eq(0), begun.eq(0), self.released.eq(0)]
