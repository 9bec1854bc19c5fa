"""Reader: executes the READ commands of a program, up to the beats in the order of memory."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .config import ArrayConfig
from .memory import MemoryParameters
from .program import FIELDS, Opcode
from .sequence import BeatSequence
from .shapes import instruction, memory_command, table_write
from .stream import SkidBuffer

__all__ = ["Reader", "reader_beat"]

_FIELDS = dict(FIELDS[Opcode.READ])
_MODE_BITS = 2  # the modes of a READ are the lowest


def reader_beat(parameters: MemoryParameters) -> data.StructLayout:
    """A beat of memory, how its block is to be rearranged, and whether it is the last of the block."""
    return data.StructLayout({"beat": parameters.beat, "mode": _MODE_BITS, "last": 1})


class Reader(wiring.Component):
    """Takes READ and SET commands and turns every READ into the beats of its block, in order.

    ``i_command``: as ``shapes.memory_command``, the commands of this unit only. ``write``: words of its descriptor
    table (``hw/sequence.py``). ``clear``: a program begins, all blocks are complete; the count of READs goes to zero.
    ``completed`` is high for one cycle per WRITE that is complete; from the cycle after it on ``progress`` belongs to
    the next WRITE. ``read`` and ``beats``: the read side of a memory port. ``o``: every beat of every block; zeros
    where the position is not valid, and in the tail of a row. ``in_flight``: beats that may be on their way between
    ``read`` and ``o``, 4..1024; up to three more are.

    READ number n begins when, of the READs before it, fewer than ``after`` have no complete WRITE, or exactly ``after``
    and the oldest of those WRITEs has ``after_beats`` beats. ``after`` > n raises ``bad_after`` for one cycle; the
    reader then takes nothing more until it is reset. A descriptor outside the table gives undefined beats.

    ``running``: a READ is inside whose last position has not had its turn. ``waiting``: a READ would begin but for its
    ``after``. ``idle``: no READ and no beat is inside; it rises a cycle late. ``tag``: READs begun since ``clear``, mod
    2^16, from the cycle after the begin on.

    Latency: 2 cycles from a READ to its begin, which is the start of a BeatSequence; BeatSequence.latency more to the
    turn of its first position, the request (11 in all, in a short pipeline 8). A beat is on ``o`` 4 cycles after its
    turn, or in the cycle in which it is on ``beats`` if that is later. A READ that waits for its ``after`` begins 2
    cycles after ``completed``, or 1 cycle after the first in which ``progress`` has reached ``after_beats``. The next
    command is taken 2 cycles after a begin. SET: 1 cycle.
    Throughput: one beat per cycle, if the memory answers within ``in_flight`` cycles. A READ that waits for nothing but
    its turn begins in the cycle after the last position of the one before, so that there are BeatSequence.latency
    cycles (9, short 6) without a position, whatever is in flight.
    Backpressure: the paths ``beats`` -> ``o`` and ``o.ready`` -> ``beats.ready`` are **not** cut, there is a gate per
    bit; ``read.ready`` ends in registers, ``read.valid`` and the beat number come out of them through a multiplexer and
    two gates. Reset: empties everything but the table and the address registers; answers of the memory that are still
    to come must not come. Cost: a BeatSequence, a queue of ``in_flight`` tokens, two registers of a bit per element.

    Raises ValueError naming the parameter.
    """

    def __init__(self, config: ArrayConfig, in_flight: int = 64):
        if not 4 <= in_flight <= 1024:
            raise ValueError(f"in_flight: {in_flight} is not in 4..1024")
        self._config, self._in_flight = config, in_flight
        memory = MemoryParameters(config.memory_elements, config.element_width, config.memory_bits)
        super().__init__({
            "i_command": In(stream.Signature(memory_command())),
            "write": In(table_write()), "write_en": In(1), "clear": In(1), "completed": In(1), "progress": In(16),
            "read": Out(stream.Signature(config.memory_bits)), "beats": In(stream.Signature(memory.beat)),
            "o": Out(stream.Signature(reader_beat(memory))),
            "idle": Out(1), "running": Out(1), "waiting": Out(1), "tag": Out(16), "bad_after": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.sequence = sequence = BeatSequence(self._config)
        command = Signal(instruction(Opcode.READ), reset_less=True)
        # ``held``: a READ is in ``command``; ``decided``: what depends on it is in its registers.
        held, decided, begin, begun = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            sequence.write.eq(self.write), sequence.write_en.eq(self.write_en), self.i_command.ready.eq(~held),
            sequence.start.payload.descriptor.eq(command.descriptor), sequence.start.payload.rows.eq(command.rows),
            sequence.start.payload.base.eq(self._registers(m, command, held, begun)),
            begin.eq(sequence.start.valid & sequence.start.ready)]
        m.d.sync += [decided.eq(held & ~begin & ~begun), begun.eq(begin)]
        with m.If(~held):
            m.d.sync += [command.eq(self.i_command.payload.fields),
                         held.eq(self.i_command.valid & ~self.i_command.payload.set)]
        with m.If(begun):
            m.d.sync += held.eq(0)

        may, bad = self._dependency(m, command, begin)
        refused = Signal()
        with m.If(self.bad_after):
            m.d.sync += refused.eq(1)
        m.d.comb += [
            sequence.start.valid.eq(decided & may & ~bad), self.bad_after.eq(decided & bad & ~refused),
            self.running.eq(held | ~sequence.start.ready),
            self.waiting.eq(decided & ~may & ~bad & sequence.start.ready)]

        mode = Signal(_MODE_BITS, reset_less=True)
        with m.If(begin):
            m.d.sync += mode.eq(command.mode)
        in_flight = self._beats(m, sequence, mode)
        empty = Signal(init=1)
        m.d.sync += empty.eq(~self.running & ~in_flight)
        m.d.comb += self.idle.eq(empty & ~held)
        return m

    def _registers(self, m, command, held, begun):
        """The address registers; returns the one that ``command`` names, from its second cycle on. It takes its
        increment in the cycle ``begun``."""
        bits = self._config.memory_bits
        setting = data.View(instruction(Opcode.SET), self.i_command.payload.fields[:instruction(Opcode.SET).size])
        m.submodules.registers = registers = Memory(shape=bits, depth=1 << _FIELDS["register"], init=[])
        write, read = registers.write_port(), registers.read_port(domain="comb")
        base, following = Signal(bits, reset_less=True), Signal(bits, reset_less=True)
        m.d.sync += [base.eq(read.data), following.eq(base + command.increment)]
        m.d.comb += [
            read.addr.eq(command.register), write.addr.eq(Mux(held, command.register, setting.register)),
            write.data.eq(Mux(held, following, setting.value)),
            write.en.eq(begun | (self.i_command.valid & ~held & self.i_command.payload.set))]
        return base

    def _dependency(self, m, command, begin):
        """Whether the READ in ``command`` may begin and whether it never may, both from its second cycle on.

        The first stays true until it begins: WRITEs only go on."""
        # READs begun whose WRITE is not complete. ``after`` is small, the count of tags is not.
        open_blocks, after_bits = Signal(16), _FIELDS["after"]
        many, may, bad = Signal(), Signal(), Signal()
        fewer, same, enough = (
            open_blocks < command.after, open_blocks == command.after, self.progress >= command.after_beats)
        m.d.sync += [
            open_blocks.eq(open_blocks + begin - self.completed), self.tag.eq(self.tag + begin),
            many.eq(many | self.tag[after_bits]), bad.eq(~many & (command.after > self.tag)),
            may.eq((command.after == 0) | fewer | (same & enough & (command.after_beats != 0)))]
        with m.If(self.clear):
            m.d.sync += [open_blocks.eq(0), self.tag.eq(0), many.eq(0)]
        return may, bad

    def _beats(self, m, sequence, mode):
        """Requests, tokens that go along with them, and what the tokens make of the beats. Returns whether any token
        is on its way."""
        n_elements, place = self._config.memory_elements, sequence.o.payload
        token = Signal(data.StructLayout({"valid": 1, "tail": 1, "tail_elements": range(n_elements), "mode": _MODE_BITS,
                                          "last": 1}), reset_less=True)
        places = self._in_flight + 1
        m.submodules.tokens = tokens = SyncFIFOBuffered(width=len(token.as_value()), depth=places)
        # Places of the queue that no token has been promised, and whether there is one.
        free, space = Signal(range(places + 1), init=places), Signal(init=1)
        move, moved, pop = Signal(), Signal(), Signal()
        with m.If(move ^ pop):
            m.d.sync += free.eq(free + Mux(pop, 1, -1))
        m.d.sync += [
            space.eq((free > 1) | ((free == 1) & ~move)), moved.eq(move),
            token.valid.eq(place.valid), token.tail_elements.eq(place.tail_elements), token.mode.eq(mode),
            token.tail.eq(place.tail & (place.tail_elements < n_elements)), token.last.eq(place.last)]
        # Invalid beats make no request and still keep their place.
        m.d.comb += [
            self.read.payload.eq(place.address), self.read.valid.eq(sequence.o.valid & place.valid & space),
            sequence.o.ready.eq(space & (~place.valid | self.read.ready)), move.eq(sequence.o.valid & sequence.o.ready),
            tokens.w_data.eq(token), tokens.w_en.eq(moved)]

        m.submodules.skid = skid = SkidBuffer(
            data.StructLayout({"valid": 1, "keep": n_elements, "mode": _MODE_BITS, "last": 1}))
        head = data.View(token.shape(), tokens.r_data)
        m.d.comb += [
            skid.i.valid.eq(tokens.r_rdy), tokens.r_en.eq(skid.i.ready), pop.eq(tokens.r_rdy & skid.i.ready),
            skid.i.payload.valid.eq(head.valid), skid.i.payload.mode.eq(head.mode), skid.i.payload.last.eq(head.last),
            skid.i.payload.keep.eq(Cat(head.valid & ~(head.tail & (head.tail_elements <= number))
                                       for number in range(n_elements)))]
        self._deliver(m, skid.o)
        return (free != places) | skid.o.valid

    def _deliver(self, m, tokens):
        """Every token leaves, those of a request with their beat."""
        go, present = tokens.payload, Signal()
        m.d.comb += [
            present.eq(~go.valid | self.beats.valid), self.o.valid.eq(tokens.valid & present),
            tokens.ready.eq(self.o.ready & present), self.beats.ready.eq(tokens.valid & go.valid & self.o.ready),
            self.o.payload.mode.eq(go.mode), self.o.payload.last.eq(go.last)]
        for number, element in enumerate(self.o.payload.beat.elements):
            m.d.comb += element.eq(self.beats.payload.elements[number] & go.keep[number].replicate(len(element)))
