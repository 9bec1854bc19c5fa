"""MAC flow: what the columns, the captures of results and the banks do for each group of a MAC, and when."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..isa.instruction import Opcode, Softmax
from ..layouts import instruction
from ..primitives.pipeline import delay
from ..primitives.signals import signals
from .layouts import mac_control, switches
from ..softmax.parameters import row_lead
from .parameters import (align_stages, dot_cycle, mac_capture, mac_column_latency, mac_latency, partial_lead,
                         sum_cycle)
from .shuffle import steer

__all__ = ["MacFlow", "softmax_events"]


def softmax_events(config: CoreConfig) -> data.StructLayout:
    """``begin``: the values of P outputs enter the chains; ``ahead``: row_lead cycles before, where they are divided.
    ``row``: where the words that a finisher has ended go. ``columns``: as those of ``row_control`` in
    ``hw/softmax/row_memory.py``."""
    column = data.StructLayout({"merge_im": 1, "divides": 1, "is_logit": 1})
    return data.StructLayout({"begin": 1, "ahead": 1, "row": config.row_bits,
                              "columns": data.ArrayLayout(column, config.layers)})


class MacFlow(wiring.Component):
    """Follows the groups of a MAC to the columns and its results to the banks.

    ``valid`` issues a group; ``start``, never without it, is the first of a MAC; ``step_last``, never without it, the
    last group of S outputs of a row pair. ``half`` and ``fields`` stay still from one ``start`` to the next pass.
    Starts are at least mac_spacing cycles apart. ``write``: P words of a row pair go to the banks, as the port of that
    name of ``hw/array/flow.py``; ``post``: the switches that take them there. ``clamped_half``: the half of the
    values that were captured in the cycle before.

    Format: none, control only.
    Latency: from ``valid`` to ``columns[q]`` dot_cycle(q), to ``capture_re`` mac_capture, to ``result`` mac_latency; to
    ``write`` S more; ``done`` two behind the last write.
    Throughput: one group per cycle.
    Backpressure: none.
    Reset: clears what is in flight.
    Cost: three delay lines of up to mac_latency + S bits, counters of 10 and 12 bits, two registers of a row.
    Source: docs/design.md section 4, MAC.
    """

    def __init__(self, config: CoreConfig):
        self._config = c = config
        port = data.StructLayout({"valid": 1, "half": 1, "rows": data.ArrayLayout(c.row_bits, c.lanes)})
        super().__init__({
            "valid": In(1), "start": In(1), "step_last": In(1), "half": In(1), "fields": In(instruction(Opcode.MAC)),
            "control": Out(mac_control(c)), "post": Out(switches(c.layers)), "write": Out(port),
            "clamped_half": Out(1), "done": Out(1),
            **({"softmax": Out(softmax_events(c)), "words_end": In(1)} if c.softmax_pairs else {})})

    def elaborate(self, platform):
        m = Module()
        c = self._config
        self._start = self._line(m, self.start, mac_latency(c) + c.layers, "start")
        self._read_im = []
        last = c.layers - 1
        read = sum_cycle(c, last) - partial_lead(c) if c.partial_words else 0
        valid = self._line(m, self.valid, max(dot_cycle(c, last), read), "valid")
        ends = self._line(m, self.step_last, mac_capture(c), "step_end")
        for q in range(c.layers):
            self._column(m, q, valid[dot_cycle(c, q)], ends[dot_cycle(c, q)])
        steps = c.lanes // c.layers
        step, step_before = signals("step step_before", range(steps))
        captured = Signal(name="captured")  # im is
        capture = ends[mac_capture(c)]
        m.d.sync += [captured.eq(capture), step_before.eq(step)]
        with m.If(capture):
            m.d.sync += step.eq(step + 1)
        kept = self._kept(m, valid, ends) if c.partial_words else Const(0)
        complete = captured & (step_before == steps - 1)
        if c.softmax_pairs:
            complete = self._softmax(m, complete & ~kept, ends, steps)
        m.d.comb += [self.control.capture_re.eq((capture & ~kept) << step),
                     self.control.capture_im.eq((captured & ~kept) << step_before),
                     self.clamped_half.eq(self._at(m, self.half, mac_capture(c) + 2, "clamped_half"))]
        self._write(m, complete, kept)
        return m

    def _softmax(self, m, complete, ends, steps):
        """Words that a finisher makes: their values enter its chains when they are ``complete``. Returns when the words
        of P outputs are, be they its or those of another MAC."""
        c, fields, events = self._config, self.fields, self.softmax
        is_finished = self._at(m, (fields.softmax != 0) & ~fields.keep, mac_capture(c) + 1, "is_finished")
        step = Signal(range(steps), name="step_ahead")
        tap = mac_capture(c) + 2 - row_lead(c)
        with m.If(ends[tap]):
            m.d.sync += step.eq(step + 1)
        divides = self._at(m, (fields.softmax == Softmax.VALUES) & ~fields.keep, tap - 1, "divides_ahead")
        m.d.comb += [events.begin.eq(delay(m, complete & is_finished, 1, "begin", reset_less=False)),
                     events.ahead.eq(ends[tap] & (step == steps - 1) & divides),
                     self.control.finished.eq(delay(m, self.words_end, 1, "finished", reset_less=False))]
        for q, column in enumerate(events.columns):
            due = dot_cycle(c, q) + mac_column_latency(c.lanes, align_stages(c)) - 4
            m.d.comb += [
                column.divides.eq(self._at(m, (fields.softmax == Softmax.VALUES) & ~fields.keep, due, f"divides{q}")),
                column.is_logit.eq(self._at(m, fields.softmax == Softmax.LOGITS, due, f"is_logit{q}")),
                column.merge_im.eq(delay(m, self._read_im[q], c.ram_latency, f"merges_im{q}", reset_less=False))]
        # Whether a logit that counts is clamped the finisher knows.
        are_logits = self._at(m, fields.softmax == Softmax.LOGITS, mac_capture(c) + 1, "logits_captured")
        m.d.comb += self.control.keeps.eq(self._keeps | are_logits)
        return (complete & ~is_finished) | self.words_end

    def _line(self, m, bit, cycles, name):
        """The bit now and so many cycles ago."""
        taps = [bit]
        for i in range(cycles):
            taps.append(delay(m, taps[-1], 1, f"{name}{i + 1}", reset_less=False))
        return taps

    def _at(self, m, field, cycle, name):
        """A field as it is for the group that was issued ``cycle`` cycles ago."""
        held = Signal(field.shape(), name=name, reset_less=True)
        with m.If(self._start[cycle - 1]):
            m.d.sync += held.eq(field)
        return held

    def _column(self, m, q, valid, last):
        """A group behind a last one is a first one. The shift meets the values: its high bits first."""
        c = self._config
        column = self.control.columns[q]
        first = Signal(name=f"first{q}", init=1)
        with m.If(valid):
            m.d.sync += first.eq(last)
        # The shift of a value of re is due with its sum, four cycles before its end; that of im a cycle later.
        due = dot_cycle(c, q) + mac_column_latency(c.lanes, align_stages(c)) - 4
        shift = self._at(m, self.fields.shift, due, f"shift{q}")
        m.d.comb += [column.valid.eq(valid), column.first.eq(first), column.last.eq(last),
                     column.shift.eq(Cat(delay(m, shift[0], 2, f"shift{q}_0"), delay(m, shift[1:3], 1, f"shift{q}_1"),
                                         shift[3:]))]

    def _kept(self, m, valid, ends):
        """Places of the sums that are kept; whether those that are captured are kept and no results."""
        c = self._config
        for q in range(c.layers):
            self._partial_read(m, q, sum_cycle(c, q), valid, ends)
            self._partial_write(m, q, sum_cycle(c, q) + 2, ends)
        # A start may come a cycle behind the last capture of re: that of im belongs to the MAC before.
        kept = self._at(m, self.fields.keep, mac_capture(c) + 1, "kept")
        self._keeps = kept
        if not c.softmax_pairs:
            m.d.comb += self.control.keeps.eq(kept)
        return kept

    def _partial_read(self, m, q, at, valid, ends):
        """One sum after the other, re and im, for the first group of each output."""
        port, cycle = self.control.columns[q].partial, at - partial_lead(self._config)
        is_first = Signal(name=f"reads_first{q}", init=1)
        place = Signal(len(port.r_addr) - 1, name=f"read_place{q}")
        read_im = Signal(name=f"read_im{q}")
        with m.If(valid[cycle]):
            m.d.sync += is_first.eq(ends[cycle])
        self._read_im.append(read_im)
        m.d.sync += [read_im.eq(valid[cycle] & is_first), place.eq(place + read_im)]
        with m.If(self._start[cycle - 1]):
            m.d.sync += place.eq(0)
        m.d.comb += [port.r_addr.eq(Cat(read_im, place)),
                     port.merge.eq(self._at(m, self.fields.merge, at - 1, f"merge{q}"))]

    def _partial_write(self, m, q, cycle, ends):
        """One sum after the other, re and im, behind the last group of each output. That of im may be kept when the
        next MAC has begun."""
        port = self.control.columns[q].partial
        place = Signal(len(port.w_addr) - 1, name=f"write_place{q}")
        write_im = Signal(name=f"write_im{q}")
        m.d.sync += [write_im.eq(ends[cycle]), place.eq(place + write_im)]
        with m.If(self._start[cycle]):
            m.d.sync += place.eq(0)
        keep = self._at(m, self.fields.keep, cycle + 1, f"keep{q}")
        m.d.comb += [port.w_addr.eq(Cat(write_im, place)), port.w_en.eq((ends[cycle] | write_im) & keep)]

    def _write(self, m, complete, kept):
        """``complete``: in the next cycle the words of P outputs stand in front of the shuffle, if they are not
        ``kept``."""
        c, ready = self._config, mac_latency(self._config) - 1
        begin = self._start[ready - 1]
        fields = Signal(self.fields.shape(), name="write_fields", reset_less=True)
        with m.If(begin):
            m.d.sync += fields.eq(self.fields)
        pair, output, stride = signals("pair output stride", c.row_bits, reset_less=True)
        pairs_left = Signal(fields.last_pair.shape(), name="pairs_left")
        is_last_pair, is_last = signals("is_last_pair is_last")
        row = Signal(c.row_bits, name="row")
        base = Mux(fields.softmax == Softmax.VALUES, 0, fields.out_base) if c.softmax_pairs else fields.out_base
        m.d.comb += [is_last_pair.eq(pairs_left == 0), row.eq(base | pair | output),
                     is_last.eq(is_last_pair & (output == fields.last_output))]
        m.d.sync += stride.eq(1 << fields.log2_out_stride)
        with m.If(complete):
            m.d.sync += [pair.eq(Mux(is_last_pair, 0, pair + stride)),
                         pairs_left.eq(Mux(is_last_pair, fields.last_pair, pairs_left - 1)),
                         output.eq(output + is_last_pair)]
        with m.If(begin):
            m.d.sync += [pair.eq(0), output.eq(0), pairs_left.eq(self.fields.last_pair)]
        select = Signal(c.layers, name="select")
        # As in BankAddress: the XOR of the digits of the index, of which the lowest are zero.
        m.d.comb += select.eq(Cat(Cat(row[b - c.layers] for b in range(c.layers, c.index_bits)
                                      if b % c.layers == q).xor() for q in range(c.layers)))
        post = steer(m, select, Const(0, 1), c.layers, to_banks=True)
        m.d.comb += [
            self.post.eq(delay(m, post, 1, "post")),
            self.control.result.eq(delay(m, complete & ~kept, 1, "result", reset_less=False)),
            self.write.valid.eq(delay(m, complete & ~kept, c.layers + 1, "write", reset_less=False)),
            self.write.half.eq(self._at(m, self.half, mac_latency(c) + c.layers, "write_half")),
            self.done.eq(delay(m, complete & is_last & fields.last, c.layers + 3, "done", reset_less=False))]
        late = delay(m, row, c.layers + 1, "write_row")
        if c.softmax_pairs:
            m.d.comb += self.softmax.row.eq(delay(m, row, 1, "finished_row"))
        m.d.comb += [self.write.rows[bank].eq(late) for bank in range(c.lanes)]
