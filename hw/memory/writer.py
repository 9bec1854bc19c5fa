"""Writer: executes the WRITE commands of a program, from the output of the array to the writes of the memory port."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..isa.encoding import FIELDS, REGISTERS
from ..isa.instruction import MemoryMode, Opcode
from ..isa.setup import TAG_BITS
from ..layouts import instruction, memory_command, output_beat, table_write
from ..primitives.memory import read_port, write_port
from ..primitives.pipeline import delay
from ..primitives.signals import signals
from ..primitives.stream import SkidBuffer
from .emit import Emit, emitted, place
from .parameters import COMPLETED_LATENCY, ENDS_ROOM, PLACE_STAGES, PROGRESS_BITS, UNSEEN_ENDS, WAITING_WRITES
from .scatter import Scatter
from .sequence import BeatSequence

__all__ = ["Writer", "Completion"]

_FIELDS = dict(FIELDS[Opcode.WRITE])


class Completion(wiring.Component):
    """Finds out when WRITEs are complete, from counts that wrap around.

    ``issued``: a write is on its way to memory. ``ended``: so are all writes of the present WRITE, that of this cycle
    included. ``written``: one write has become visible. ``completed``: one cycle for every WRITE that is complete, in
    order. ``progress``: writes of the oldest incomplete WRITE that have become visible, at most its largest value; in
    the cycle of ``completed`` it belongs to the next WRITE already. ``room``: the final place of a WRITE may be taken.

    Format: counts of ``bits`` bits; fewer than 2^(bits-1) writes may be on their way, and ``progress`` is right for
    WRITEs of fewer than 2^bits.
    Latency: 3 cycles from ``written`` to ``progress``, 6 to ``completed``; 9 from ``ended`` where nothing is left to
    wait for.
    Throughput: one write per cycle, a WRITE every four cycles.
    Backpressure: ``room`` is a register.
    Reset: forgets everything.
    Cost: six counters and sums of ``bits`` bits, a FIFO of 8 counts and a register for its head.
    Source: docs/reference/processor.md, Program.
    """

    def __init__(self, bits: int, progress_bits: int = PROGRESS_BITS):
        self._bits = bits
        super().__init__({"issued": In(1), "ended": In(1), "written": In(1), "room": Out(1),
                          "completed": Out(1), "progress": Out(progress_bits)})

    def elaborate(self, platform):
        m = Module()
        n_issued, n_written, difference = signals("n_issued n_written difference", self._bits)
        n_begin, n_end, writes_left = signals("n_begin n_end writes_left", self._bits)
        shown = len(self.progress)
        issue, block_end, reached = signals("issue block_end reached")
        m.d.sync += [issue.eq(self.issued), block_end.eq(delay(m, self.ended, 1, "ended", reset_less=False))]
        known = Signal(2, name="known")  # ``n_end`` is the head of the FIFO, ``writes_left`` belongs to it
        m.submodules.ends = ends = SyncFIFO(width=self._bits, depth=WAITING_WRITES)
        m.d.comb += [ends.w_data.eq(n_issued), ends.w_en.eq(block_end), ends.r_en.eq(reached)]
        m.d.sync += [
            n_end.eq(ends.r_data), writes_left.eq(n_end - n_written), known.eq(Mux(reached, 0, Cat(ends.r_rdy, known))),
            n_issued.eq(n_issued + issue), n_written.eq(n_written + self.written),
            self.room.eq(ends.level <= ENDS_ROOM),
            # The end that is being taken out would show once more.
            reached.eq(known[1] & ~reached & ((writes_left == 0) | writes_left[-1])),
            difference.eq(n_written - n_begin),
            self.progress.eq(difference[:shown] | difference[shown:].any().replicate(shown))]
        with m.If(reached):
            m.d.sync += n_begin.eq(n_end)
        m.d.comb += self.completed.eq(delay(m, reached, COMPLETED_LATENCY, "reached", reset_less=False))
        return m


class Writer(wiring.Component):
    """Takes WRITE and SET commands and puts the blocks of the array into memory, in order.

    ``i_command``: commands of this unit only (``memory_command`` of hw/layouts.py). ``i``: the output of the array; its
    k-th block belongs to the k-th WRITE. ``write``: words of the descriptor table (``hw/memory/sequence.py``).
    ``clear``: a program begins, while ``idle``. ``memory`` and ``written``: the write side of a memory port.

    ``completed`` and ``progress``: :class:`Completion`. ``saturated``: one cycle for each write of a SPLIT with a
    clamped element. ``running``: a WRITE has begun and not all of its writes have left on ``memory``. ``tag``: WRITEs
    begun since ``clear``, mod 2^16. ``idle``: no command and no final beat is inside, every WRITE is complete. Writes
    are undefined where the descriptor is outside the table, the mode does not exist, or the block has another length
    than its WRITE.

    Format: elements of element_width bits; the arithmetic of SPLIT is that of :class:`Emit`.
    Latency: SET 1 cycle. From a WRITE 3 cycles to its begin, which is the start of a BeatSequence; two cycles later
    ``i`` accepts its block, if that of the WRITE before has entered. BeatSequence.latency + 7 cycles after the begin
    the first place can join its beat. A beat can join when it leaves the Scatter. 4 cycles from there to ``memory``, so
    24 at least from a WRITE to its first write (short 20).
    Throughput: one write per cycle, one cycle for a place that is not valid. ``i_command`` takes a WRITE every three
    cycles, until two wait behind the one that has begun. Between two WRITEs the sequence loses BeatSequence.latency + 1
    cycles, whatever is still to be ``written``.
    Backpressure: ``memory.valid`` comes out of a register; ``i.ready`` as Scatter says, and waits for a WRITE;
    ``i_command.ready`` is a register.
    Reset: empties everything but the table and the address registers; ``tag`` is 0 a cycle later, as after ``clear``.
    Cost: BeatSequence, Scatter, Emit, Completion; two registers each of a WRITE and of a place; 8 address registers of
    memory_bits.
    Source: docs/reference/processor.md, Program.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({
            "i_command": In(stream.Signature(memory_command())), "write": In(table_write()), "write_en": In(1),
            "clear": In(1), "i": In(stream.Signature(output_beat(config.element_width, config.stream_words))),
            "memory": Out(stream.Signature(emitted(config))), "written": In(1),
            "completed": Out(1), "progress": Out(PROGRESS_BITS), "saturated": Out(1),
            "idle": Out(1), "running": Out(1), "tag": Out(TAG_BITS)})
        self._vector = {"vector": _FIELDS["vector"]} if config.vector_lanes else {}
        # Of the writes of a WRITE, and of those on their way; a place gives up to three.
        self.count_bits = 16 + config.beat_groups.bit_length() + config.sub_bits + 2

    def elaborate(self, platform):
        m = Module()
        m.submodules.sequence = sequence = BeatSequence(self._config)
        m.submodules.scatter = scatter = Scatter(self._config)
        m.submodules.emit = emit = Emit(self._config)
        m.submodules.completion = completion = Completion(self.count_bits)
        wiring.connect(m, scatter.o, emit.i)
        wiring.connect(m, emit.memory, wiring.flipped(self.memory))
        held, begin, start, mode = self._commands(m)
        self._input(m, mode, scatter.i)

        # Held until all places of the WRITE have left the sequence.
        current = Signal(data.StructLayout({"fold": 1, "split": 1, "fold_from": 1, "fold_rows": _FIELDS["fold_rows"]}
                                          | self._vector),
                         name="current", reset_less=True)
        begun, is_active = signals("begun is_active")
        m.d.comb += [
            sequence.write.eq(self.write), sequence.write_en.eq(self.write_en),
            sequence.start.valid.eq(start.o.valid), start.o.ready.eq(sequence.start.ready),
            begun.eq(start.o.valid & sequence.start.ready)]
        m.d.comb += [sequence.start.payload[name].eq(start.o.payload[name]) for name in ("descriptor", "base", "rows")]
        with m.If(sequence.start.ready):
            m.d.sync += [current[name].eq(start.o.payload[name]) for name in current.shape().members]
        m.d.comb += is_active.eq(self._places(m, sequence, current, emit.places) | ~sequence.start.ready)

        n_inside = Signal(range(2 * WAITING_WRITES + UNSEEN_ENDS), name="n_inside")
        entered = Signal(name="entered")
        # ``clear``: as in hw/array/counters.py.
        tag = Signal(TAG_BITS, name="tag", reset_less=True)
        clear = Signal(name="clear", init=1)
        next_tag = Signal.like(tag, name="next_tag")  # long before it is needed
        m.d.sync += [entered.eq(begin), n_inside.eq(n_inside + entered - self.completed), next_tag.eq(tag + 1),
                     clear.eq(self.clear)]
        with m.If(begun):
            m.d.sync += tag.eq(next_tag)
        with m.If(clear):
            m.d.sync += tag.eq(0)
        m.d.comb += self.tag.eq(tag)
        m.d.comb += [
            completion.issued.eq(emit.issued), completion.ended.eq(emit.ended), completion.written.eq(self.written),
            emit.room.eq(completion.room), self.completed.eq(completion.completed),
            self.progress.eq(completion.progress), self.saturated.eq(emit.saturated),
            self.running.eq(is_active | emit.busy), self.idle.eq(~held & ~entered & (n_inside == 0) & scatter.empty)]
        return m

    def _commands(self, m):
        """Executes SETs and finds the address of every WRITE. A WRITE then waits in two queues, ``start`` for the
        sequence and ``mode`` for the input, which is ahead of the sequence. Returns whether a WRITE is in front of the
        queues, whether it enters them, and the queues."""
        c = self._config
        command = Signal(instruction(Opcode.WRITE), name="command", reset_less=True)
        held, decided, begin = signals("held decided begin")
        setting = data.View(instruction(Opcode.SET), self.i_command.payload.fields[:instruction(Opcode.SET).size])
        m.submodules.start = start = SkidBuffer(data.StructLayout({
            "descriptor": _FIELDS["descriptor"], "base": c.memory_bits, "rows": _FIELDS["rows"], "fold": 1, "split": 1,
            "fold_from": 1, "fold_rows": _FIELDS["fold_rows"]} | self._vector))
        m.submodules.mode = mode = SkidBuffer(data.StructLayout({"mode": _FIELDS["mode"], "changes": 1}))
        mode_before = Signal(_FIELDS["mode"], name="mode_before", init=MemoryMode.COLUMNS)
        changes = Signal(name="changes")
        with m.If(~held):
            m.d.sync += [command.eq(self.i_command.payload.fields),
                         held.eq(self.i_command.valid & ~self.i_command.payload.set)]
        with m.If(begin):
            m.d.sync += [held.eq(0), mode_before.eq(command.mode)]
        m.d.sync += [decided.eq(held & ~begin), changes.eq(command.mode != mode_before)]

        m.submodules.registers = registers = Memory(shape=c.memory_bits, depth=REGISTERS, init=[])
        write, read = write_port(registers), read_port(registers)
        base = Signal(c.memory_bits, name="base", reset_less=True)
        next_base = Signal(c.memory_bits, name="next_base", reset_less=True)
        to = start.i.payload
        m.d.sync += [base.eq(read.data), next_base.eq(read.data + command.increment)]
        m.d.sync += [write.addr.eq(Mux(held, command.register, setting.register)),
                     write.data.eq(Mux(held, next_base, setting.value)),
                     write.en.eq(begin | (self.i_command.valid & ~held & self.i_command.payload.set))]
        m.d.comb += [
            self.i_command.ready.eq(~held), begin.eq(decided & start.i.ready & mode.i.ready),
            read.addr.eq(command.register), start.i.valid.eq(begin), mode.i.valid.eq(begin),
            mode.i.payload.mode.eq(command.mode), mode.i.payload.changes.eq(changes), to.base.eq(base),
            to.fold.eq(command.mode == MemoryMode.FOLD), to.split.eq(command.mode == MemoryMode.SPLIT)]
        m.d.comb += [to[name].eq(command[name]) for name in ("descriptor", "rows", "fold_from", "fold_rows",
                                                             *self._vector)]
        return held, begin, start, mode

    def _input(self, m, mode, to):
        """Gives every beat of the array the mode of its WRITE. The mode waits in a register behind its queue."""
        current = Signal.like(mode.o.payload, name="current")
        has_mode, block_end = signals("has_mode block_end")
        is_first = Signal(name="is_first", init=1)
        m.d.comb += [
            to.payload.words.eq(self.i.payload.words), to.payload.last.eq(self.i.payload.last),
            to.payload.mode.eq(current.mode), to.payload.changes.eq(current.changes & is_first),
            to.valid.eq(self.i.valid & has_mode), self.i.ready.eq(to.ready & has_mode),
            block_end.eq(self.i.valid & self.i.ready & self.i.payload.last), mode.o.ready.eq(~has_mode | block_end)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += is_first.eq(self.i.payload.last)
        with m.If(~has_mode | block_end):
            m.d.sync += [current.eq(mode.o.payload), has_mode.eq(mode.o.valid)]

    def _places(self, m, sequence, current, to):
        """Places of the beats: three stages and a buffer behind the sequence. Returns whether a stage has a place."""
        bits = self._config.memory_bits
        m.submodules.places = skid = SkidBuffer(place(self._config))
        wiring.connect(m, skid.o, to)
        here, moving, valid = sequence.o.payload, skid.moving, sequence.o.payload.valid
        is_high = Signal(name="is_high")
        place0, place1, place2 = signals("place0 place1 place2", place(self._config), reset_less=True)
        is_row_zero, is_fold_row, is_from_one = signals("is_row_zero is_fold_row is_from_one")
        # back: from the second write to the third, less one
        valids = Signal(PLACE_STAGES, name="valids")
        distance, distance_late = signals("distance distance_late", 17)
        other_base, keep_mask = signals("other_base keep_mask", bits, reset_less=True)
        kept = sequence.keep[:bits] & (~current.split).replicate(bits)
        mirrored = ~(place0.split.replicate(bits) | keep_mask)
        m.d.comb += [sequence.o.ready.eq(skid.i.ready), skid.i.valid.eq(valids[-1]), skid.i.payload.eq(place2)]
        with m.If(moving):
            m.d.sync += [valids.eq(Cat(sequence.o.valid, valids)), place1.eq(place0), place2.eq(place1)]
            m.d.sync += [
                place0.address.eq(here.address), other_base.eq(sequence.other | kept), keep_mask.eq(kept),
                place0.valid.eq(valid),
                place0.split.eq(current.split), place0.last.eq(here.last), place0.high.eq(is_high),
                place0.twice.eq(current.split & valid), place0.fold.eq(current.fold & valid),
                is_row_zero.eq(here.row == 0), is_fold_row.eq(here.row < current.fold_rows),
                is_from_one.eq(current.fold_from),
                place1.twice.eq(place0.twice & is_row_zero),
                place1.fold.eq(place0.fold & is_fold_row & ~(is_from_one & is_row_zero)),
                distance.eq(1 - (here.first_chunk.replicate(16) & sequence.chunks)), distance_late.eq(distance),
                # One carry chain makes other + address or other - address. ``other_base`` has ones in the bits that are
                # kept: with the carry that enters them the ones become zeros, the address stays, the carry goes on.
                place1.second.eq((Cat(1, other_base) + Cat(~place0.split, place0.address ^ mirrored))[1:]),
                place2.third.eq(place1.second + distance_late.as_signed())]
            if self._vector:
                m.d.sync += [place0.set.eq(current.vector), place1.row0.eq(is_row_zero)]
        with m.If(sequence.o.valid & skid.i.ready):
            m.d.sync += is_high.eq(~is_high & ~here.last)
        return valids.any()
