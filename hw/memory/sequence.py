"""Beat sequence: counts through a block and says where each of its beats stands in memory."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..isa.descriptor import SHAPE_FIELDS, ENTRIES, GROUP_EVENT, ORIGIN, OTHER, SHAPE, STEP_EVENT, SUB_EVENTS
from ..isa.encoding import FIELDS
from ..isa.instruction import Opcode
from ..layouts import layout_of, table_write
from ..primitives.pipeline import delay, optional
from ..primitives.ram import Ram, RamParameters
from ..primitives.signals import signals
from ..primitives.stream import SkidBuffer
from .parameters import SequenceTiming

__all__ = ["BeatSequence", "beat_position", "sequence_start"]

_FIELDS = dict(FIELDS[Opcode.READ])  # as of a WRITE
_SUB_BITS = SUB_EVENTS - 1
_STEP_BITS = dict(SHAPE_FIELDS)["last_step"]


def sequence_start(memory_bits: int, has_ids: bool = False) -> data.StructLayout:
    """A block to count through: ``base`` is the beat at row 0, chunk 0; rows from ``rows`` on are not valid. ``by_id``,
    where there are ids: addresses are numbers of ids, and a chunk is so many beats behind the begin of their row."""
    by_id = {"by_id": 1} if has_ids else {}
    return data.StructLayout({"descriptor": _FIELDS["descriptor"], "base": memory_bits, "rows": _FIELDS["rows"],
                              **by_id})


def beat_position(memory_bits: int) -> data.StructLayout:
    """One beat. ``row`` and ``chunk``: 16 bits of two's complement. ``valid``: both, taken as unsigned numbers, lie
    inside the block. ``tail``: the chunk is the last of its row, and only ``tail_elements`` of its elements count."""
    return data.StructLayout({"address": memory_bits, "row": 16, "chunk": 16, "valid": 1, "first_chunk": 1,
                              "last_chunk": 1, "tail": 1, "tail_elements": 16, "last": 1})


class BeatSequence(wiring.Component):
    """The address side of a memory unit: the descriptor table, its counters and what they add up to.

    ``write``: words of the table (``hw/isa/descriptor.py``), for config.beat_groups groups of engines. A word is in the
    table two cycles after its ``write_en``; words outside the table are dropped. ``start``: one block; a descriptor
    outside the table gives undefined beats. ``o``: the beats of the block, in the order of docs/reference/processor.md.
    ``chunks``, ``other`` and ``keep`` are those of the block whose beats are on ``o``; they stay until the next
    ``start`` has moved. With ``has_ids`` the address of a block ``by_id`` is a number ``id_number``, and
    ram_latency cycles with ``moving`` later ``place`` is the beat where its row begins.

    The next count is known before it is needed. So the event that leads to it, its entry of the table, the sum and, in
    a deep pipeline, its comparisons each have cycles of their own. All registers of the path move together with the
    skid buffer at its end.

    Format: addresses unsigned, modulo 2^memory_bits; ``row`` and ``chunk`` 16 bits, two's complement, modulo 2^16.
    Latency: ``latency`` cycles from ``start`` to the first beat on ``o`` (10, in a short pipeline 6; with ``has_ids``
    13 and 8).
    Throughput: one beat per cycle. ``start.ready`` rises two cycles after the last beat of a block has left ``o``; so
    the first beat of a block that waits is there ``latency`` + 2 cycles after that last beat (12, short 8).
    Backpressure: ``start.ready`` and ``o.valid`` come out of registers, ``o.payload`` through one multiplexer.
    Reset: idle; the table is kept.
    Cost: two RAMs of descriptors * 32 words of 32 bits, adders of memory_bits and twice 16 bits, two registers of a
    beat; with ``has_ids`` ram_latency + 1 more and an adder.
    Source: docs/decisions/0011-descriptors-are-tables-of-differences.md; docs/reference/processor.md, Descriptors.
    """

    def __init__(self, config: CoreConfig, has_ids: bool = False):
        self._config, self._has_ids = config, has_ids
        self._timing = SequenceTiming(config.pipeline, has_ids)
        ids = {"id_number": Out(config.memory_bits), "moving": Out(1), "place": In(config.memory_bits)}
        super().__init__({
            "write": In(table_write()), "write_en": In(1),
            "start": In(stream.Signature(sequence_start(config.memory_bits, has_ids))),
            "o": Out(stream.Signature(beat_position(config.memory_bits))),
            "chunks": Out(16), "other": Out(32), "keep": Out(32), **(ids if has_ids else {}),
        })

    @property
    def latency(self) -> int:
        """Cycles from ``start`` to its first beat, when nothing stalls."""
        return self._timing.latency

    def elaborate(self, platform):
        m = Module()
        c = self._config
        layout = self.o.payload.shape().members
        m.submodules.skid = skid = SkidBuffer(
            data.StructLayout({name: layout[name] for name in layout if name != "tail_elements"}))
        accept, moving, running, final, block_end = signals("accept moving running final block_end")
        ready = Signal(name="ready", init=1)
        descriptor = Signal(_FIELDS["descriptor"], name="descriptor", reset_less=True)
        m.d.comb += [accept.eq(self.start.valid & ready), self.start.ready.eq(ready), moving.eq(skid.moving)]
        # The next block may start when the last beat of the present one is out: its shape is still needed till then.
        m.d.sync += [block_end.eq(skid.o.valid & skid.o.ready & skid.o.payload.last),
                     ready.eq((ready | block_end) & ~accept)]

        # The path is empty while a block begins, so nothing stalls its first entries: SHAPE is read in the cycle of
        # ``accept``, OTHER in the next.
        shape_there = delay(m, accept, c.ram_latency, "accepted", reset_less=False)
        other_there = delay(m, shape_there, 1, "shaped", reset_less=False)
        entry = Signal(5, name="entry")
        differences = self._table(m, Cat(entry, Mux(ready, self.start.payload.descriptor, descriptor)), moving)
        shape = data.View(layout_of(SHAPE_FIELDS), Cat(differences.address, differences.position))
        # ``i.ready`` says the same as ``moving``, whose many loads stand far apart.
        m.d.comb += entry.eq(self._count(m, shape, accept, shape_there, running, skid.i.ready, final))

        rows, tail, last_chunk, has_tail = (
            Signal(n, name=name, reset_less=True)
            for name, n in (("rows", 16), ("tail", 16), ("last_chunk", 16), ("has_tail", 1)))
        with m.If(ready):
            m.d.sync += [descriptor.eq(self.start.payload.descriptor), rows.eq(self.start.payload.rows)]
        with m.If(shape_there):
            m.d.sync += [self.chunks.eq(shape.chunks), tail.eq(shape.tail)]
        with m.If(other_there):
            m.d.sync += [self.other.eq(differences.address), self.keep.eq(differences.position)]
        m.d.sync += [last_chunk.eq(self.chunks - 1), has_tail.eq(tail != 0)]  # in time for the first beat

        # From ``accept``: the shape, the counters, the path and the skid buffer.
        assert self.latency == c.ram_latency + 2 + self._timing.count_stages + 1
        position = self._accumulate(m, differences, ready, running, final, moving)
        judged = Signal(data.StructLayout({"address": c.memory_bits, "row": 16, "chunk": 16, "row_inside": 1,
                                           "chunk_inside": 1, "first_chunk": 1, "last_chunk": 1}),
                        name="judged", reset_less=True)
        stage = optional(m, c.pipeline)
        with m.If(moving | (not c.pipeline.is_deep)):
            stage += [judged[name].eq(position[name]) for name in ("address", "row", "chunk")]
            stage += [
                judged.row_inside.eq(position.row < rows), judged.chunk_inside.eq(position.chunk < self.chunks),
                judged.first_chunk.eq(position.chunk == 0), judged.last_chunk.eq(position.chunk == last_chunk)]
        if self._has_ids:
            judged = self._located(m, judged, moving)
        m.d.comb += [
            skid.i.valid.eq(position.valid), skid.i.payload.last.eq(position.last),
            skid.i.payload.valid.eq(judged.row_inside & judged.chunk_inside),
            skid.i.payload.tail.eq(judged.last_chunk & has_tail), skid.i.payload.last_chunk.eq(judged.last_chunk),
            self.o.valid.eq(skid.o.valid), skid.o.ready.eq(self.o.ready), self.o.payload.tail_elements.eq(tail)]
        m.d.comb += [skid.i.payload[name].eq(judged[name]) for name in ("address", "row", "chunk", "first_chunk")]
        m.d.comb += [self.o.payload[name].eq(skid.o.payload[name]) for name in skid.o.payload.shape().members]
        return m

    def _located(self, m, judged, moving):
        """Positions ram_latency + 1 moves later, with the beat that the id of their row says where they go by id."""
        by_id = Signal(name="by_id", reset_less=True)
        with m.If(self.start.ready):
            m.d.sync += by_id.eq(self.start.payload.by_id)
        m.d.comb += [self.id_number.eq(judged.address), self.moving.eq(moving)]
        for stage in range(self._config.ram_latency + 1):
            following = Signal.like(judged, name=f"located_{stage}", reset_less=True)
            with m.If(moving):
                m.d.sync += following.eq(judged)
                if stage == self._config.ram_latency:
                    m.d.sync += following.address.eq(Mux(by_id, self.place + judged.chunk, judged.address))
            judged = following
        return judged

    def _table(self, m, entry, moving):
        """The two RAMs; the differences of ``entry`` show ram_latency moves later."""
        c = self._config
        depth = c.descriptors * ENTRIES
        bits = (depth - 1).bit_length()
        found = Signal(data.StructLayout({"address": 32, "position": 32}), name="differences")
        write = Signal.like(self.write, name="write_now", reset_less=True)
        table_enables = Signal(2, name="table_enables")
        of_entry = self.write.address[1:]
        m.d.sync += [write.eq(self.write),
                     table_enables.eq((self.write_en & (of_entry < depth)) << self.write.address[0])]
        for number, field in enumerate(("address", "position")):
            m.submodules[f"table_{field}"] = ram = Ram(RamParameters(32, depth, c.target, c.pipeline))
            m.d.comb += [
                ram.w_en.eq(table_enables[number]), ram.w_addr.eq(write.address[1:1 + bits]), ram.w_data.eq(write.data),
                ram.r_en.eq(moving), ram.r_addr.eq(entry), found[field].eq(ram.r_data)]
        return found

    def _count(self, m, shape, accept, shape_there, running, moving, final):
        """The counters of sub-steps, groups and steps, one count per move while ``running``.

        Returns the entry that leads to the present count. Between two blocks that is SHAPE; OTHER and ORIGIN follow
        ``accept``. ``final`` belongs to the last count.
        """
        groups = self._config.beat_groups
        group = Signal(range(groups), name="group")
        steps_left = Signal(_STEP_BITS, name="steps_left")
        sub = Signal(_SUB_BITS, name="sub")
        sub_bits = Signal(range(SUB_EVENTS), name="sub_bits", reset_less=True)
        sub_end = Signal(name="sub_end")
        # One bit per four bits of ``steps_left``: not one of these registers waits for all of them.
        step_ends = Signal(_STEP_BITS // 4, name="step_ends")
        group_end, advance, ends, step_final = signals("group_end advance ends step_final")
        m.d.comb += [group_end.eq(group == groups - 1), advance.eq(running & moving),
                     step_final.eq(step_ends.all()), ends.eq(sub_end & group_end), final.eq(ends & step_final)]
        begin = delay(m, shape_there, 1, "begin", reset_less=False)
        with m.If(shape_there):
            m.d.sync += [steps_left.eq(shape.last_step), sub_bits.eq(shape.sub_bits)]

        # Bits of ``sub`` that do not count stand at one, so that its end is the same for all numbers of bits.
        sub_full = Const((1 << _SUB_BITS) - 1, _SUB_BITS)
        sub_start = sub_end | begin
        with m.If(advance | begin):
            m.d.sync += [sub.eq(Mux(sub_start, (sub_full << sub_bits)[:_SUB_BITS], sub + 1)),
                         sub_end.eq(Mux(sub_start, sub_bits == 0, sub == sub_full - 1))]
        with m.If(advance & sub_end):
            m.d.sync += group.eq(Mux(group_end, 0, group + 1))
        with m.If(advance & ends):
            m.d.sync += [steps_left.eq(steps_left - 1), step_ends.eq(_equal_parts(steps_left, 1))]
        with m.If(advance & final):
            m.d.sync += running.eq(0)
        with m.If(begin):
            m.d.sync += [step_ends.eq(_equal_parts(steps_left, 0)), running.eq(1)]

        is_sub_event, is_group_event = signals("is_sub_event is_group_event")
        sub_code = Signal(3, name="sub_code")
        with m.If(advance):
            m.d.sync += [is_sub_event.eq(~sub_end), is_group_event.eq(~group_end), sub_code.eq(_lowest_zero(sub)[0])]
        step_entry = self._step_entry(m, accept, begin, advance, ends, step_final)
        return Mux(is_sub_event, sub_code, Mux(is_group_event, GROUP_EVENT, step_entry))

    @staticmethod
    def _step_entry(m, accept, begin, advance, ends, step_final):
        """The entry that leads to the present count where that begins a step, and the entries between two blocks."""
        # The step after the next, and which of its bits goes to one: known a step before it is needed.
        second_next_step = Signal(_STEP_BITS, name="second_next_step")
        bit = Signal(range(_STEP_BITS), name="bit")
        accepted = Signal(name="accepted")
        entry = Signal(5, name="entry", init=SHAPE)
        m.d.sync += accepted.eq(accept)
        with m.If(begin):
            m.d.sync += [second_next_step.eq(1), bit.eq(0)]
        with m.Elif(advance & ends):
            m.d.sync += [second_next_step.eq(second_next_step + 1), bit.eq(_lowest_zero(second_next_step)[0])]
        with m.If(advance):
            m.d.sync += entry.eq(Mux(step_final, SHAPE, Array(range(STEP_EVENT, STEP_EVENT + _STEP_BITS))[bit]))
        with m.If(accept):
            m.d.sync += entry.eq(OTHER)
        with m.If(accepted):
            m.d.sync += entry.eq(ORIGIN)
        return entry

    def _accumulate(self, m, differences, ready, running, final, moving):
        """Position, in the cycle behind the differences. Its ``valid`` and ``last`` belong to the position that has
        been judged: the same one, in a deep pipeline the one a stage further."""
        memory_bits, deep, timing = self._config.memory_bits, self._config.pipeline.is_deep, self._timing
        stages = timing.count_stages
        assert timing.sum_stages == self._config.ram_latency + 1 + deep, "table, near, sum"
        assert timing.judge_stages == timing.sum_stages + deep, "judged"
        position = Signal(data.StructLayout({"valid": 1, "last": 1, "address": memory_bits, "row": 16, "chunk": 16}),
                          name="position", reset_less=True)
        count_stages = Signal(stages, name="count_stages")
        last_stages = Signal(stages, name="last_stages", reset_less=True)
        m.d.comb += [position.valid.eq(count_stages[-1]), position.last.eq(last_stages[-1])]
        with m.If(moving):
            m.d.sync += [count_stages.eq(Cat(running, count_stages)), last_stages.eq(Cat(final, last_stages))]
        if deep:  # block RAMs stand far from the adders
            near_differences = Signal.like(differences, name="near_differences", reset_less=True)
            with m.If(moving):
                m.d.sync += near_differences.eq(differences)
            differences = near_differences
        with m.If(ready):
            m.d.sync += [position.address.eq(self.start.payload.base), position.row.eq(0), position.chunk.eq(0)]
        with m.Elif(moving & count_stages[timing.sum_stages - 2]):
            m.d.sync += [position.address.eq(position.address + differences.address),
                         position.row.eq(position.row + differences.position[:16]),
                         position.chunk.eq(position.chunk + differences.position[16:])]
        return position


def _lowest_zero(bits: Value) -> tuple[Value, Value]:
    """Number of the lowest bit that is zero, and whether there is none; two inputs a level."""
    if len(bits) == 1:
        return Const(0, 0), bits
    half = 1 << (len(bits) - 1).bit_length() - 1
    low, low_full = _lowest_zero(bits[:half])
    high, high_full = _lowest_zero(bits[half:])
    return Cat(Mux(low_full, high, low), low_full), low_full & high_full


def _equal_parts(bits: Value, number: int) -> Value:
    """For every four bits whether they are those of ``number``."""
    return Cat(bits[at:at + 4] == (number >> at & 15) for at in range(0, len(bits), 4))
