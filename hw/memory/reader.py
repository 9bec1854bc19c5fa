"""Reader: executes the READ commands of a program, up to the beats in the order of memory."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..isa.encoding import FIELDS, REGISTERS
from ..isa.instruction import Destination, Opcode
from ..isa.parameter_set import ROW_ADDRESS_BITS, SET_BITS
from ..isa.setup import TAG_BITS
from ..layouts import instruction, memory_command, table_write
from ..primitives.memory import read_port, write_port
from ..primitives.parameters import LATE_WORDS
from ..primitives.queue import TokenQueue
from ..primitives.signals import signals
from ..primitives.stream import SkidBuffer
from .gather import memory_beat
from .parameters import PROGRESS_BITS
from .port import MemoryParameters
from .row_ids import RowIds
from .sequence import BeatSequence

__all__ = ["Reader", "reader_beat"]

_FIELDS = dict(FIELDS[Opcode.READ])
_MODE_BITS = 2  # the modes of a READ are the lowest


def reader_beat(config: CoreConfig) -> data.StructLayout:
    """A beat of memory and what its block asks for. ``mode``: how the block is rearranged. ``last``: final beat of the
    block. ``changes``: first beat of a block whose mode is not that of the block before; COLUMNS stands before the
    first block. With a vector unit also ``vector``, what that unit needs to know, and ``keep``, a bit for every element
    inside its row. With records also ``fetch_marks``, and ``present``, it came from memory."""
    vector = {"vector": vector_tag(), "keep": config.memory_elements} if config.vector_lanes else {}
    records = {**fetch_marks(config), "present": 1} if config.records else {}
    return data.StructLayout({"beat": memory_beat(config), "mode": _MODE_BITS, "last": 1, "changes": 1} | vector
                             | records)


def fetch_marks(config: CoreConfig) -> dict[str, int]:
    """With records ``setup``: it belongs to a FETCH. With a ring ``ring``: to one whose beats go there; ``picks``:
    those of a sparse matrix. ``ids``: to one of ids, which go no further."""
    marks = {"setup": config.records, "ring": config.ring_words > 0, "picks": config.sparse,
             "ids": config.row_ids > 0}
    return {name: 1 for name, is_there in marks.items() if is_there}


def vector_tag() -> data.StructLayout:
    """``set``: parameter set of the READ or SUMS. ``sums``: it is a SUMS. ``address``: low bits of the address of the
    beat. ``ends``: the beat is the last of its row."""
    return data.StructLayout({"set": SET_BITS, "sums": 1, "address": ROW_ADDRESS_BITS, "ends": 1})


class Reader(wiring.Component):
    """Takes READ, SUMS, FETCH and SET commands and turns every one but SET into the beats of its block, in order.

    ``i_command``: commands of this unit only (``memory_command`` of hw/layouts.py). ``write``: words of its descriptor
    table (``hw/memory/sequence.py``). ``clear``: a program begins while all blocks are complete; the count of READs is
    zero a cycle later. ``completed``: one cycle for every WRITE that is complete. ``progress``: writes of the oldest
    incomplete WRITE that are visible; from the cycle after ``completed`` on it belongs to the next WRITE. ``read``,
    ``beats``: the read side of a memory port. ``o``: every beat of every block; zeros where the position is not valid
    and in the tail of a row. ``in_flight``: beats that may be between ``read`` and ``o``, 4..1024; up to ram_latency +
    4 more are.

    READ number n waits for a WRITE, if ``after`` > 0. With c the number of WRITEs complete it may begin where

        c > n - after                                  WRITE number n - after is complete, or
        c = n - after and progress >= after_beats > 0  enough of it is visible.

    A READ with ``after`` > n waits for nothing that exists: ``bad_after`` is high for one cycle, and the reader takes
    nothing more until it is reset. A descriptor outside the table gives undefined beats. SUMS wait like the READ that
    follows them, and do not count; nor does a FETCH. Behind a FETCH with ``fence`` the next command is taken when
    all beats have left and ``played`` says that the records are in their tables; ids are in theirs then. ``bad_id``: an
    id names no row, one cycle.

    ``running``: the last position of a READ has not had its turn; it falls a cycle late. ``waiting``: only its
    ``after`` keeps a READ from its begin. ``idle``: no READ and no beat is inside; it rises a cycle late. ``tag``:
    READs begun since ``clear``, mod 2^16, from the cycle after the begin on.

    Format: elements of element_width bits, unchanged or zero.
    Latency: 3 cycles from a READ to its begin, which is the start of a BeatSequence. BeatSequence.latency more to the
    turn of its first position, the request (13 in all, in a short pipeline 9). From its turn a beat takes 4 +
    ram_latency cycles to ``o``, or 1 cycle from ``beats`` if that is later. A READ that waits for its ``after`` begins
    3 cycles after ``completed``, or 2 cycles after the first in which ``progress`` has reached ``after_beats``. The
    next command is taken 2 cycles after a begin. SET: 1 cycle.
    Throughput: one beat per cycle, if the memory answers within ``in_flight`` cycles. A READ that waits for its turn
    only begins two cycles after the last position of the one before. So BeatSequence.latency + 1 cycles (11, short 7)
    have no position, whatever is in flight.
    Backpressure: ``o`` is cut in both directions. ``beats.ready`` comes out of registers through a multiplexer and a
    gate. ``read.ready`` ends in registers; ``read.valid`` and the beat number come out of them through a multiplexer
    and two gates.
    Reset: as ``clear``, and empties everything but the table and the address registers; answers of the memory that are
    still to come must not come.
    Cost: a BeatSequence, a queue of ``in_flight`` tokens, two registers of a beat and two of a bit per element, 8
    address registers of memory_bits.
    Source: docs/reference/processor.md, Descriptors and Program.

    Raises ValueError naming the parameter.
    """

    def __init__(self, config: CoreConfig, in_flight: int = 64):
        if not 4 <= in_flight <= 1024:
            raise ValueError(f"in_flight: {in_flight} is not in 4..1024")
        self._config, self._in_flight = config, in_flight
        memory = MemoryParameters.of(config)
        super().__init__({
            "i_command": In(stream.Signature(memory_command())),
            "write": In(table_write()), "write_en": In(1), "clear": In(1), "completed": In(1),
            "progress": In(PROGRESS_BITS), **({"played": In(1)} if config.records else {}),
            "read": Out(stream.Signature(config.memory_bits)), "beats": In(stream.Signature(memory.beat)),
            "o": Out(stream.Signature(reader_beat(config))),
            "idle": Out(1), "running": Out(1), "waiting": Out(1), "tag": Out(TAG_BITS), "bad_after": Out(1),
            **({"bad_id": Out(1)} if config.row_ids else {}),
        })
        self.count = Signal(TAG_BITS, name="count", reset_less=True)  # public: a test of its wrap begins near it
        self._empty = Signal(name="empty", init=1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.sequence = sequence = BeatSequence(self._config, self._config.row_ids > 0)
        has_records = self._config.records
        command = Signal(instruction(Opcode.FETCH if has_records else Opcode.READ), name="command", reset_less=True)
        # ``held``: a READ is in ``command``. ``known``: the registers behind ``command`` have followed it.
        held, known, begin, begun, sums = signals("held known begin begun sums")
        is_fetch = command.destination.any() if has_records else Const(0)
        may_take = ~held & ~self._fence(m, begin & is_fetch & command.fence) if has_records else ~held
        uncounted = sums | is_fetch if has_records else sums
        m.d.comb += [
            sequence.write.eq(self.write), sequence.write_en.eq(self.write_en), self.i_command.ready.eq(may_take),
            sequence.start.payload.descriptor.eq(command.descriptor), sequence.start.payload.rows.eq(command.rows),
            sequence.start.payload.base.eq(self._registers(m, command, may_take, held, begun)),
            begin.eq(sequence.start.valid & sequence.start.ready)]
        m.d.sync += [known.eq(held & ~begin & ~begun), begun.eq(begin)]
        with m.If(may_take):
            m.d.sync += [command.eq(self.i_command.payload.fields), sums.eq(self.i_command.payload.sums),
                         held.eq(self.i_command.valid & ~self.i_command.payload.set)]
        with m.If(begun):
            m.d.sync += held.eq(0)
        if self._config.row_ids:
            self._row_ids(m, sequence, command)

        permit, is_bad = self._dependency(m, command, begin & ~uncounted, begun & ~uncounted)
        has_wait, is_refusal, refused = signals("has_wait is_refusal refused")
        asks = known & ~begin & ~begun
        m.d.sync += [sequence.start.valid.eq(asks & permit & ~is_bad), has_wait.eq(asks & ~permit & ~is_bad),
                     is_refusal.eq(asks & is_bad)]
        with m.If(self.bad_after):
            m.d.sync += refused.eq(1)
        m.d.comb += [
            self.bad_after.eq(is_refusal & ~refused), self.running.eq(held | ~sequence.start.ready),
            self.waiting.eq(has_wait & sequence.start.ready)]

        mode = Signal(_MODE_BITS, name="mode")
        changes, is_other_mode = signals("changes is_other_mode")
        m.d.sync += is_other_mode.eq(command.mode != mode)
        with m.If(sequence.o.valid & sequence.o.ready):
            m.d.sync += changes.eq(0)
        with m.If(begin & ~uncounted):
            m.d.sync += [mode.eq(command.mode), changes.eq(is_other_mode)]
        in_flight = self._beats(m, sequence, mode, changes, self._marks(m, command, begin, sums))
        m.d.sync += self._empty.eq(~self.running & ~in_flight)
        # A bad id is known when nothing else is inside.
        m.d.comb += self.idle.eq(self._empty & ~held & ~(self.bad_id if self._config.row_ids else 0))
        return m

    def _row_ids(self, m, sequence, command):
        """Element 0 of every beat of ids as it leaves. A fence keeps the descriptor of their FETCH in the sequence, and
        later READs away, until the last of them is kept."""
        m.submodules.row_ids = row_ids = RowIds(self._config)
        beat, leaves = self.o.payload, self.o.valid & self.o.ready
        m.d.comb += [
            sequence.start.payload.by_id.eq(command.by_id),
            row_ids.id.eq(beat.beat.elements[0]), row_ids.id_valid.eq(leaves & beat.ids & beat.present),
            row_ids.clear.eq(leaves & beat.last), row_ids.base.eq(sequence.other), row_ids.format.eq(sequence.keep),
            row_ids.number.eq(sequence.id_number), row_ids.moving.eq(sequence.moving),
            sequence.place.eq(row_ids.place), self.bad_id.eq(row_ids.refused)]

    def _marks(self, m, command, begin, sums):
        """What goes along with every beat of the block that has begun last."""
        c = self._config
        marks = Signal(data.StructLayout({"set": SET_BITS, "sums": 1} | fetch_marks(c)), name="marks", reset_less=True)
        found = {"set": command.vector, "sums": sums}
        if c.records:
            is_matrix = Cat(command.destination == code for code in (Destination.RING, Destination.PICKS)).any()
            found |= {"setup": command.destination.any(), "ring": is_matrix,
                      "picks": command.destination == Destination.PICKS, "ids": command.destination == Destination.IDS}
        with m.If(begin):
            m.d.sync += [marks[name].eq(found[name]) for name in marks.shape().members]
        return marks

    def _fence(self, m, begins):
        """Whether the records of a FETCH with a fence, which ``begins`` in a cycle, are still to come."""
        fenced = Signal(name="fenced")
        with m.If(begins):
            m.d.sync += fenced.eq(1)
        with m.Elif(self._empty & self.played):
            m.d.sync += fenced.eq(0)
        return fenced

    def _registers(self, m, command, may_take, held, begun):
        """The address registers; returns the one that ``command`` names, from its second cycle on. In the cycle
        ``begun`` the register takes its increment."""
        bits = self._config.memory_bits
        setting = data.View(instruction(Opcode.SET), self.i_command.payload.fields[:instruction(Opcode.SET).size])
        m.submodules.registers = registers = Memory(shape=bits, depth=REGISTERS, init=[])
        write, read = write_port(registers), read_port(registers)
        base, next_base = signals("base next_base", bits, reset_less=True)
        m.d.comb += read.addr.eq(command.register)
        m.d.sync += [
            base.eq(read.data), next_base.eq(base + command.increment),
            write.addr.eq(Mux(held, command.register, setting.register)),
            write.data.eq(Mux(held, next_base, setting.value)),
            write.en.eq(begun | (self.i_command.valid & may_take & self.i_command.payload.set))]
        return base

    def _dependency(self, m, command, begin, begun):
        """Whether the READ in ``command`` may begin, and whether it never may. Both hold from its second cycle on, and
        are registers but for one gate. What may begin stays so, because WRITEs only go on."""
        # READs begun whose WRITE is not complete. ``after`` is small, the count of tags is not.
        tag = self.count
        open_blocks = Signal(TAG_BITS, name="open_blocks", reset_less=True)
        has_many_tags = Signal(name="has_many_tags", reset_less=True)
        # clear: as in hw/array/counters.py
        after_bits = _FIELDS["after"]
        clear = Signal(name="clear", init=1)
        # READs begin many cycles apart
        is_bad = Signal(name="is_bad")
        next_tag = Signal.like(self.tag, name="next_tag")
        is_free, has_fewer_open, has_equal_open = signals("is_free has_fewer_open has_equal_open")
        has_progress, has_after_beats = signals("has_progress has_after_beats")
        m.d.sync += [
            is_free.eq(command.after == 0), has_fewer_open.eq(open_blocks < command.after),
            has_equal_open.eq(open_blocks == command.after),
            has_progress.eq(self.progress >= command.after_beats), has_after_beats.eq(command.after_beats != 0),
            open_blocks.eq(open_blocks + begun - self.completed), next_tag.eq(tag + 1), clear.eq(self.clear),
            has_many_tags.eq(has_many_tags | tag[after_bits]), is_bad.eq(~has_many_tags & (command.after > tag))]
        with m.If(begin):
            m.d.sync += tag.eq(next_tag)
        with m.If(clear):
            m.d.sync += [open_blocks.eq(0), tag.eq(0), has_many_tags.eq(0)]
        m.d.comb += self.tag.eq(tag)
        return is_free | has_fewer_open | (has_equal_open & has_progress & has_after_beats), is_bad

    def _beats(self, m, sequence, mode, changes, marks):
        """Requests, the tokens that go along with them, and what the tokens make of the beats. Returns whether a token
        is inside."""
        n_elements, place = self._config.memory_elements, sequence.o.payload
        vector = {"vector": vector_tag()} if self._config.vector_lanes else {}
        records = fetch_marks(self._config)
        token = Signal(data.StructLayout({"valid": 1, "tail": 1, "tail_elements": range(n_elements), "mode": _MODE_BITS,
                                          "last": 1, "changes": 1} | vector | records),
                       reset_less=True, name="token")
        places = self._in_flight
        m.submodules.tokens = tokens = TokenQueue(self._config.target, self._config.pipeline,
                                                  len(token.as_value()), places)
        # It does not know the tokens of this cycle and of the one before; so the next one needs a third free place.
        free_places = Signal(range(places + 1), name="free_places", init=places)
        space = Signal(name="space", init=1)
        move, moved = signals("move moved")
        m.d.sync += [
            # A request on offer keeps its place, also when the moves before it are counted only now.
            free_places.eq(free_places + tokens.pop - moved),
            space.eq((free_places > LATE_WORDS - 1) | (self.read.valid & ~self.read.ready)),
            moved.eq(move),
            token.valid.eq(place.valid), token.tail_elements.eq(place.tail_elements), token.mode.eq(mode),
            token.tail.eq(place.tail & (place.tail_elements < n_elements)), token.last.eq(place.last),
            token.changes.eq(changes)]
        if vector:
            m.d.sync += [token.vector.set.eq(marks.set), token.vector.sums.eq(marks.sums),
                         token.vector.address.eq(place.address), token.vector.ends.eq(place.last_chunk & place.valid)]
        m.d.sync += [token[name].eq(marks[name]) for name in records]
        # Invalid beats make no request and still keep their place.
        m.d.comb += [
            self.read.payload.eq(place.address), self.read.valid.eq(sequence.o.valid & place.valid & space),
            sequence.o.ready.eq(space & (~place.valid | self.read.ready)), move.eq(sequence.o.valid & sequence.o.ready),
            tokens.w_data.eq(token), tokens.w_en.eq(moved)]

        m.submodules.skid = skid = SkidBuffer(
            data.StructLayout({"valid": 1, "keep": n_elements, "mode": _MODE_BITS, "last": 1, "changes": 1} | vector
                              | records))
        head = data.View(token.shape(), tokens.r_data)
        m.d.comb += [
            skid.i.valid.eq(tokens.r_valid), tokens.moving.eq(skid.moving),
            skid.i.payload.valid.eq(head.valid), skid.i.payload.mode.eq(head.mode), skid.i.payload.last.eq(head.last),
            skid.i.payload.changes.eq(head.changes),
            skid.i.payload.keep.eq(Cat(head.valid & ~(head.tail & (head.tail_elements <= number))
                                       for number in range(n_elements)))]
        if vector:
            m.d.comb += skid.i.payload.vector.eq(head.vector)
        m.d.comb += [skid.i.payload[name].eq(head[name]) for name in records]
        self._deliver(m, skid.o)
        return moved | ~tokens.empty | skid.o.valid | self.o.valid

    def _deliver(self, m, tokens):
        """Every token leaves; the token of a request leaves together with its beat."""
        deciding = ("present", *fetch_marks(self._config)) if self._config.records else ()
        m.submodules.out = out = SkidBuffer(self.o.payload.shape(), ("last", "changes", *deciding))
        wiring.connect(m, out.o, wiring.flipped(self.o))
        go, to = tokens.payload, out.i
        is_present = Signal(name="is_present")
        m.d.comb += [
            is_present.eq(~go.valid | self.beats.valid), to.valid.eq(tokens.valid & is_present),
            tokens.ready.eq(to.ready & is_present), self.beats.ready.eq(tokens.valid & go.valid & to.ready),
            to.payload.mode.eq(go.mode), to.payload.last.eq(go.last), to.payload.changes.eq(go.changes)]
        if self._config.vector_lanes:
            m.d.comb += [to.payload.vector.eq(go.vector), to.payload.keep.eq(go.keep)]
        if self._config.records:
            m.d.comb += [*(to.payload[name].eq(go[name]) for name in fetch_marks(self._config)),
                         to.payload.present.eq(go.valid)]
        for number, element in enumerate(to.payload.beat.elements):
            m.d.comb += element.eq(self.beats.payload.elements[number] & go.keep[number].replicate(len(element)))
