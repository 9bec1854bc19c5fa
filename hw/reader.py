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

    ``i_command``: as ``shapes.memory_command``, the commands of this unit only. ``write``: words of its descriptor table
    (``hw/sequence.py``). ``clear``: a program begins; counts of READs and WRITEs go to zero. ``completed`` is high for
    one cycle per WRITE that is complete; from the cycle after it on ``progress`` belongs to the next WRITE.
    ``read`` and ``beats``: the read side of a memory port. ``o``: every beat of every block; zeros where the position is
    not valid, and in the tail of a row. ``in_flight``: how many beats may at least be on their way between ``read`` and
    ``o``; more than the latency of the memory, or its throughput falls.

    READ number n begins when, of the READs before it, fewer than ``after`` have no complete WRITE, or exactly ``after``
    and the oldest of those WRITEs has ``after_beats`` beats. ``after`` > n raises ``bad_after`` for one cycle; the
    reader then takes nothing more until it is reset. A descriptor outside the table gives undefined beats.

    ``running``: a READ is inside whose last request has not left. ``waiting``: only its ``after`` holds a READ up.
    ``idle``: no READ and no beat is inside; it rises a cycle late. ``tag``: READs begun since ``clear``, mod 2^16.

    Latency: 2 cycles from a READ to its begin, which is the start of a BeatSequence; BeatSequence.latency more to
    its first request (11 in all, short 9); 3 cycles from an invalid beat in the place of a request to ``o``, and as many
    from a request, or those of the memory if they are more. A READ that waits for its ``after`` begins 2 cycles after
    ``completed``, or 1 cycle after the first in which ``progress`` has reached ``after_beats``. SET: 1 cycle.
    Throughput: one beat per cycle; a READ that waits for nothing else begins in the cycle after the last position of the
    one before, so that there are BeatSequence.latency cycles (9, short 7) without a request, whatever is in flight.
    A memory answers at full throughput when at most ``in_flight`` + 2 requests are on their way.
    Backpressure: the paths ``beats`` -> ``o`` and ``o.ready`` -> ``beats.ready`` are **not** cut: one gate per bit;
    ``read.ready`` is not cut from the counters, ``read.valid`` and the beat number come out of registers and a
    multiplexer. Reset: empties everything but the table and the address registers; beats in flight are not awaited.
    Cost: a BeatSequence, a queue of ``in_flight`` tokens, two registers of a token with a bit per element.

    Raises ValueError naming the parameter.
    """

    def __init__(self, config: ArrayConfig, in_flight: int = 64):
        if not 2 <= in_flight <= 1024:
            raise ValueError(f"in_flight: {in_flight} is not in 2..1024")
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
        held, decided, begin = Signal(), Signal(), Signal()
        m.d.comb += [
            sequence.write.eq(self.write), sequence.write_en.eq(self.write_en), self.i_command.ready.eq(~held),
            sequence.start.payload.descriptor.eq(command.descriptor), sequence.start.payload.rows.eq(command.rows),
            sequence.start.payload.base.eq(self._registers(m, command, held, begin)),
            begin.eq(sequence.start.valid & sequence.start.ready)]
        m.d.sync += decided.eq(held & ~begin)
        with m.If(~held):
            m.d.sync += [command.eq(self.i_command.payload.fields),
                         held.eq(self.i_command.valid & ~self.i_command.payload.set)]
        with m.If(begin):
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

    def _registers(self, m, command, held, begin):
        """The address registers; returns the one that ``command`` names, from its second cycle on."""
        bits = self._config.memory_bits
        setting = data.View(instruction(Opcode.SET), self.i_command.payload.fields[:instruction(Opcode.SET).size])
        m.submodules.registers = registers = Memory(shape=bits, depth=1 << _FIELDS["register"], init=[])
        write, read = registers.write_port(), registers.read_port(domain="comb")
        base = Signal(bits, reset_less=True)
        m.d.sync += base.eq(read.data)
        m.d.comb += [
            read.addr.eq(command.register), write.addr.eq(Mux(held, command.register, setting.register)),
            write.data.eq(Mux(held, base + command.increment, setting.value)),
            write.en.eq(begin | (self.i_command.valid & ~held & self.i_command.payload.set))]
        return base

    def _dependency(self, m, command, begin):
        """Whether the READ in ``command`` may begin and whether it never may, both from its second cycle on.

        The first stays true until it begins: WRITEs only go on."""
        # READs begun whose WRITE is not complete. ``after`` is small, the count of tags is not.
        open_blocks, after_bits = Signal(16), _FIELDS["after"]
        many, none, fewer, same, enough, bad = (Signal(name=n) for n in ("many", "none", "fewer", "same", "enough", "bad"))
        m.d.sync += [
            open_blocks.eq(open_blocks + begin - self.completed), self.tag.eq(self.tag + begin),
            many.eq(many | self.tag[after_bits]), none.eq(command.after == 0), fewer.eq(open_blocks < command.after),
            same.eq((open_blocks == command.after) & (command.after_beats != 0)),
            enough.eq(self.progress >= command.after_beats), bad.eq(~many & (command.after > self.tag))]
        with m.If(self.clear):
            m.d.sync += [open_blocks.eq(0), self.tag.eq(0), many.eq(0)]
        return none | fewer | (same & enough), bad

    def _beats(self, m, sequence, mode):
        """Requests, tokens that go along with them, and what the tokens make of the beats. Returns whether any token
        is on its way."""
        n_elements = self._config.memory_elements
        place = sequence.o.payload
        token = Signal(data.StructLayout({"valid": 1, "tail": 1, "tail_elements": range(n_elements), "mode": _MODE_BITS,
                                          "last": 1}))
        m.submodules.tokens = tokens = SyncFIFOBuffered(width=len(token.as_value()), depth=self._in_flight + 1)
        # Invalid beats make no request and still keep their place.
        m.d.comb += [
            token.valid.eq(place.valid), token.tail_elements.eq(place.tail_elements), token.mode.eq(mode),
            token.tail.eq(place.tail & (place.tail_elements < n_elements)), token.last.eq(place.last),
            self.read.payload.eq(place.address), self.read.valid.eq(sequence.o.valid & place.valid & tokens.w_rdy),
            sequence.o.ready.eq(tokens.w_rdy & (~place.valid | self.read.ready)),
            tokens.w_data.eq(token), tokens.w_en.eq(sequence.o.valid & (~place.valid | self.read.ready))]

        m.submodules.skid = skid = SkidBuffer(
            data.StructLayout({"valid": 1, "keep": n_elements, "mode": _MODE_BITS, "last": 1}))
        head, go = data.View(token.shape(), tokens.r_data), skid.o.payload
        present = Signal()
        m.d.comb += [
            skid.i.valid.eq(tokens.r_rdy), tokens.r_en.eq(skid.i.ready), skid.i.payload.valid.eq(head.valid),
            skid.i.payload.keep.eq(Cat(head.valid & ~(head.tail & (head.tail_elements <= number))
                                       for number in range(n_elements))),
            skid.i.payload.mode.eq(head.mode), skid.i.payload.last.eq(head.last),
            present.eq(~go.valid | self.beats.valid), self.o.valid.eq(skid.o.valid & present),
            skid.o.ready.eq(self.o.ready & present), self.beats.ready.eq(skid.o.valid & go.valid & self.o.ready),
            self.o.payload.mode.eq(go.mode), self.o.payload.last.eq(go.last)]
        for number, element in enumerate(self.o.payload.beat.elements):
            m.d.comb += element.eq(self.beats.payload.elements[number] & go.keep[number].replicate(len(element)))
        return (tokens.level != 0) | skid.o.valid
