"""Flow unit: addresses and control of the engines, each at the cycle in which the words pass by."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..isa.encoding import FIELDS
from ..isa.instruction import Opcode, Softmax
from ..isa.sparse import PICK_BITS
from ..layouts import instruction
from ..primitives.pipeline import delay
from ..softmax.layouts import row_control
from .address import GroupAddress
from .layouts import engine_control
from .mac_flow import MacFlow, softmax_events
from .shuffle import steer

__all__ = ["Flow"]


class Flow(wiring.Component):
    """Follows the groups of a pass through the pipeline and tells every stage what to do.

    ``valid`` issues a group; ``start``, never without it, marks the first of a pass, ``finish`` the last of a block.
    ``half`` and ``pass_fields`` stay still from one ``start`` to the next. Starts are at least pipeline_latency + 1
    cycles apart (the sequencer sees to it). So a stage captures the fields when the delayed start reaches it, and only
    single bits travel.

    With a ring ``mac`` says that the pass is a MAC, and stands still like the fields: its groups read ``row``, and a
    MacFlow takes its results to the banks. ``picks``: what PickMemory says of the group that was issued
    address_latency - 1 cycles ago; only a sparse MAC looks at them.

    Format: none, control only.
    Latency: from ``valid`` to the row address register of a bank address_latency, to column q ``column_cycle(q)``, to
    the write port address_latency + pipeline_latency. Outputs ``read`` and ``write`` are one cycle ahead of the
    registers they feed.
    Throughput: one group per cycle.
    Backpressure: none.
    Reset: clears what is in flight.
    Cost: two GroupAddress, two delay lines of address_latency + pipeline_latency bits, one register of a field for each
    stage that reads it.
    Source: docs/design.md section 5; docs/reference/architecture.md, One pass, exactly.
    """

    def __init__(self, config: CoreConfig):
        self._config = c = config
        rows = data.ArrayLayout(c.row_bits, c.lanes)
        port = data.StructLayout({"valid": 1, "half": 1, "rows": rows})
        mac = {"mac": In(1), "mac_fields": In(instruction(Opcode.MAC)), "row": In(c.row_bits), "step_last": In(1),
               "clamped_half": Out(1),
               **({"pair": In(dict(FIELDS[Opcode.MAC])["last_pair"]), "words_end": In(1),
                   "softmax": Out(softmax_events(c)), "rows": Out(row_control(c))} if c.softmax_pairs else {}),
               **({"picks": In(data.ArrayLayout(PICK_BITS, c.lanes))} if c.sparse else {})}
        super().__init__({
            **(mac if c.ring_words else {}), "valid": In(1), "start": In(1), "finish": In(1), "half": In(1),
            "pass_fields": In(instruction(Opcode.PASS)),
            "group": Out(c.row_bits),
            "read": Out(port), "write": Out(port),
            "control": Out(engine_control(c)),
            # One bit per column where a result leaves it, and the half it belongs to.
            "result_valid": Out(c.layers), "result_half": Out(c.layers),
            # One cycle before column q samples its shift: a new pass arrives.
            "shift_start": Out(c.layers), "result_start": Out(1),
            "dynamic_shifts": In(data.ArrayLayout(c.shift_bits, c.layers)),
            "done": Out(1),
        })

    def column_cycle(self, q: int) -> int:
        return self._config.address_latency + self._config.read_latency + q * self._config.butterfly_latency

    def elaborate(self, platform):
        m = Module()
        c = self._config
        end = self.column_cycle(c.layers)
        last = c.address_latency + c.pipeline_latency
        self._valid = [self.valid, *self._taps(m, self.valid, last, "valid")]
        self._start = [self.start, *self._taps(m, self.start, last, "start")]

        m.submodules.read = read = GroupAddress(c.index_bits, c.layers, c.pipeline, bool(c.ring_words))
        m.d.comb += [
            read.valid.eq(self.valid), read.start.eq(self.start), read.digit.eq(self.pass_fields.digit),
            self.group.eq(read.group), *([] if c.sparse else [self.read.rows.eq(read.rows)]),
            self.read.valid.eq(self._valid[c.address_latency - 1]),
            self.read.half.eq(self._at(m, self.half, c.address_latency - 1, "read_half"))]

        # The write side recounts the groups instead of carrying every address along.
        counted = end - c.address_latency
        m.submodules.write = write = GroupAddress(c.index_bits, c.layers, c.pipeline)
        m.d.comb += [
            write.valid.eq(self._valid[counted]), write.start.eq(self._start[counted]),
            write.digit.eq(self._at(m, self.pass_fields.digit, counted, "write_digit")),
            self.write.rows.eq(delay(m, write.rows, c.layers + 1, "write_rows")),
            self.write.valid.eq(self._valid[last - 1]),
            self.write.half.eq(self._at(m, self.half, last - 1, "write_half"))]

        control, fields = self.control, self.pass_fields
        # Switches are worked out a cycle or more before they are due: they drive wide multiplexers.
        selected = c.address_latency - 1
        lanes_select = self._sparse(m, read) if c.sparse else read.select
        pre = steer(m, lanes_select, self._at(m, fields.descending, selected, "pre_reverse"), c.layers, to_banks=False)
        post = steer(m, write.select, self._at(m, fields.descending, end - 1, "post_reverse"), c.layers, to_banks=True)
        m.d.comb += [
            control.half.eq(self._at(m, self.half, c.address_latency + c.ram_latency, "select_half")),
            control.pre.eq(delay(m, pre, c.ram_latency + 2, "pre")), control.post.eq(delay(m, post, 1, "post"))]
        for q in range(c.layers):
            self._column(m, q)
        finish = self.finish & ~self.mac if c.ring_words else self.finish
        m.d.comb += [self.result_start.eq(self._start[end]),
                     self.done.eq(delay(m, finish, last + 1, "finish", reset_less=False))]
        if c.ring_words:
            self._mac(m, read, last)
        return m

    def _mac(self, m, read, last):
        """What is other for a MAC; its results come later than the words that pass by."""
        c = self._config
        m.submodules.mac = mac = MacFlow(c)
        m.d.comb += [
            read.is_row.eq(self.mac), read.row.eq(self.row), mac.valid.eq(self.valid & self.mac),
            mac.start.eq(self.start & self.mac), mac.step_last.eq(self.valid & self.mac & self.step_last),
            mac.half.eq(self.half), mac.fields.eq(self.mac_fields), self.control.mac.eq(mac.control),
            self.clamped_half.eq(mac.clamped_half)]
        with m.If(self._at(m, self.mac, last - 1, "write_mac")):
            m.d.comb += self.write.valid.eq(0)
        with m.If(mac.write.valid):
            m.d.comb += self.write.eq(mac.write)
        with m.If(mac.control.result):
            m.d.comb += self.control.post.eq(mac.post)
        with m.If(mac.done):
            m.d.comb += self.done.eq(1)
        if c.softmax_pairs:
            self._softmax(m, mac)

    def _softmax(self, m, mac):
        """What the engines read and write of their rows; the infos are the array's."""
        cycle = self._config.address_latency - 1
        is_logits = self.mac & (self.mac_fields.softmax == Softmax.LOGITS)
        bank = Signal(name="maxima_bank")
        with m.If(self.start & is_logits):
            m.d.sync += bank.eq(~bank)
        pair = delay(m, self.pair, cycle, "row_pair")
        m.d.comb += [
            mac.words_end.eq(self.words_end), self.softmax.eq(mac.softmax), self.rows.row.eq(self.read.rows[0]),
            self.rows.pair.eq(pair), self.rows.bank.eq(self._at(m, bank, cycle, "read_bank")),
            self.rows.shift.eq(self.mac_fields.shift),
            self.rows.weighs.eq(self._at(m, self.mac & (self.mac_fields.softmax == Softmax.VALUES), cycle, "weighs")),
            self.rows.write.eq(mac.control.finished & is_logits), self.rows.write_row.eq(mac.softmax.row),
            self.rows.info_bank.eq(bank)]
        m.d.comb += [given.eq(taken) for given, taken in zip(self.rows.columns, mac.softmax.columns)]

    def _sparse(self, m, read):
        """Rows of the read port: those of a sparse MAC with the picks of their lanes. Its words stand plain. Returns
        what the shuffle selects by."""
        c, fields, cycle = self._config, self.mac_fields, self._config.address_latency - 1
        sparse = self.mac & (fields.log2_group != 0)
        is_sparse = self._at(m, sparse, cycle, "is_sparse")
        # A dense MAC has no place for them: no gate more behind the RAM.
        places = self._at(m, Mux(sparse, 1 << fields.log2_apart, 0)[:c.row_bits], cycle, "pick_places")
        for bank, pick in enumerate(self.picks):
            spread = Cat(Cat(pick[j] & places[b - j] for j in range(PICK_BITS) if b >= j).any()
                         for b in range(c.row_bits))
            m.d.comb += self.read.rows[bank].eq(read.rows[bank] | spread)
        return read.select & ~is_sparse.replicate(c.layers)

    def _taps(self, m, bit, cycles, name):
        taps = []
        for i in range(cycles):
            taps.append(delay(m, taps[-1] if taps else bit, 1, f"{name}{i + 1}", reset_less=False))
        return taps

    def _at(self, m, field, cycle, name):
        """A field of the pass as it is for the group that passes the stage ``cycle`` cycles after its
        issue."""
        held = Signal(field.shape(), name=name, reset_less=True)
        with m.If(self._start[cycle - 1]):
            m.d.sync += held.eq(field)
        return held

    def _column(self, m, q):
        c = self._config
        sample = self.column_cycle(q) + c.shift_delay
        out = self.column_cycle(q + 1)
        fixed = self._at(m, self.pass_fields.shifts[3 * q:3 * q + c.shift_bits], sample, f"shift{q}")
        dynamic = self._at(m, self.dynamic_shifts[q], sample, f"dynamic_shift{q}")
        block_float = self._at(m, self.pass_fields.block_float, sample, f"block_float{q}")
        with m.If(block_float):
            m.d.comb += self.control.shifts[q].eq(dynamic)
        with m.Else():
            m.d.comb += self.control.shifts[q].eq(fixed)
        m.d.comb += [self.shift_start[q].eq(self._start[sample - 1]), self.result_valid[q].eq(self._valid[out]),
                     self.result_half[q].eq(self._at(m, self.half, out, f"result_half{q}"))]
