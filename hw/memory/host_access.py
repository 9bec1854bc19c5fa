"""Host access: a host reads and writes words of the memory behind a core's memory port."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..isa.bit_fields import WORD_BITS
from ..layouts import word_access, word_answer
from ..primitives.signals import signals
from ..primitives.stream import SkidBuffer
from .port import MemoryParameters, MemoryPort, in_slot

__all__ = ["HostAccess"]

_OPEN_BITS = 12   # of the counts of requests of the core without an answer
_LATE = 2         # requests that the register of their limit does not know yet


class HostAccess(wiring.Component):
    """Stands in ``core``, the memory port of a core, and puts the accesses of a host on ``i`` between its requests.

    ``memory`` of ``beats`` beats gets both. Words are those of MemoryParameters in bytes. An access outside of the
    memory is answered with an error and does not reach it; nor does ``core`` see a ``refused`` that is not its own. An
    access is answered with an error where ``memory.failed`` was high while it waited.

    An access takes its turn among the requests of the core and its place in the order of beats and of ``written``, so
    the core may run: a read sees what the core had been told is written. The core is stalled for one request.

    Format: a word is WORD_BITS // slot_bits elements, each in the low bits of its slot, read sign-extended.
    Latency: 1 cycle more for each request of the core; an access takes 4 cycles and the memory's latency, where the
    core waits for nothing.
    Throughput: one read and one write of the core per cycle, without accesses; one access at a time.
    Backpressure: ``core.read`` and ``core.write`` are cut; ``memory.beats.ready`` sees ``core.beats.ready``.
    Reset: forgets what is under way; the memory must be reset too, unless it owes no answer.
    Cost: two registers of a read and of a write, four counters of 12 bits, a multiplexer of a beat.
    Source: own.

    Raises ValueError naming the parameter.
    """

    def __init__(self, memory: MemoryParameters, beats: int):
        if not 1 <= beats <= 1 << memory.address_bits:
            raise ValueError(f"beats: {beats}; allowed are 1..{1 << memory.address_bits}, what address_bits can name")
        if memory.beat_bytes * 8 < WORD_BITS:
            raise ValueError(f"memory: a beat of {memory.beat_bytes} bytes; allowed are {WORD_BITS // 8} and more")
        self._parameters, self._beats = memory, beats
        super().__init__({
            "core": In(MemoryPort(memory)), "memory": Out(MemoryPort(memory)),
            "i": In(stream.Signature(word_access(memory.address_bits + self._index_bits))),
            "o": Out(stream.Signature(word_answer()))})

    @property
    def _index_bits(self) -> int:
        """Bits of the place of a word in its beat."""
        return (self._parameters.beat_bytes * 8 // WORD_BITS).bit_length() - 1

    def elaborate(self, platform):
        m = Module()
        access, answer = Signal(self.i.payload.shape(), name="access"), Signal(word_answer(), name="answer")
        index, beat = access.address[:self._index_bits], access.address[self._index_bits:]
        asks_read, asks_write, read_taken, write_taken, beat_come, write_done = signals(
            "asks_read asks_write read_taken write_taken beat_come write_done")
        self._reads(m, beat, asks_read, read_taken, beat_come)
        self._writes(m, access, index, beat, asks_write, write_taken, write_done)
        m.d.comb += [self.core.refused.eq(self.memory.refused), self.core.failed.eq(self.memory.failed),
                     self.o.payload.eq(answer)]
        word = self._word(index)
        with m.FSM(name="host"):
            with m.State("Idle"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [access.eq(self.i.payload), answer.eq(0)]
                with m.If(self.i.valid):
                    m.next = "Judge"
            with m.State("Judge"):
                m.next = "Read"
                with m.If(access.write):
                    m.next = "Write"
                with m.If(beat >= self._beats):
                    m.d.sync += answer.error.eq(1)
                    m.next = "Answer"
            for name, asks, taken, end in (("Read", asks_read, read_taken, beat_come),
                                           ("Write", asks_write, write_taken, write_done)):
                with m.State(name):
                    m.d.comb += asks.eq(1)
                    with m.If(taken):
                        m.next = f"{name}End"
                with m.State(f"{name}End"):
                    with m.If(self.memory.failed):
                        m.d.sync += answer.error.eq(1)
                    with m.If(end):
                        if name == "Read":
                            m.d.sync += answer.data.eq(word)
                        m.next = "Answer"
            with m.State("Answer"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "Idle"
        return m

    def _reads(self, m, beat, asks, taken, come):
        """The read side: one request of the host between those of the core, and its beat out of theirs."""
        m.submodules.reads = out = SkidBuffer(self._parameters.address_bits)
        wiring.connect(m, out.o, wiring.flipped(self.memory.read))
        core, beats, source = self.core.read, self.core.beats, self.memory.beats
        has_room, is_turn = self._order(m, "read", core.valid & core.ready, beats.valid & beats.ready, taken, come)
        m.d.comb += [
            out.i.valid.eq(asks | (core.valid & has_room)), out.i.payload.eq(Mux(asks, beat, core.payload)),
            core.ready.eq(out.i.ready & has_room & ~asks), taken.eq(asks & out.i.ready),
            beats.payload.eq(source.payload), beats.valid.eq(source.valid & ~is_turn),
            source.ready.eq(beats.ready | is_turn), come.eq(source.valid & is_turn)]

    def _writes(self, m, access, index, beat, asks, taken, done):
        """The write side: a word is a few elements of a beat, which holds copies of it."""
        p = self._parameters
        m.submodules.writes = out = SkidBuffer(p.write)
        wiring.connect(m, out.o, wiring.flipped(self.memory.write))
        core, write = self.core.write, Signal(p.write, name="write")
        per_word = WORD_BITS // p.slot_bits
        m.d.comb += [write.address.eq(beat), write.strobe.eq(((1 << per_word) - 1) << (index * per_word)),
                     *(write.beat.elements[n].eq(access.data.word_select(n % per_word, p.slot_bits))
                       for n in range(p.elements))]
        has_room, is_turn = self._order(m, "write", core.valid & core.ready, self.core.written, taken, done)
        m.d.comb += [
            out.i.valid.eq(asks | (core.valid & has_room)),
            Value.cast(out.i.payload).eq(Mux(asks, write, core.payload)),
            core.ready.eq(out.i.ready & has_room & ~asks), taken.eq(asks & out.i.ready),
            self.core.written.eq(self.memory.written & ~is_turn), done.eq(self.memory.written & is_turn)]

    def _order(self, m, name, asked, answered, taken, come):
        """Whether the core may ask for more, and whether the next answer is that of the host."""
        pending, before = Signal(_OPEN_BITS, name=f"{name}s_open"), Signal(_OPEN_BITS, name=f"{name}s_before")
        has_room, waits, is_turn = (Signal(name=f"{name}_{part}") for part in ("room", "wait", "turn"))
        left = Signal(_OPEN_BITS, name=f"{name}s_left")
        m.d.comb += left.eq(Mux(taken, pending, before) - answered)
        m.d.sync += [pending.eq(pending + asked - answered), before.eq(left),
                     has_room.eq(pending < (1 << _OPEN_BITS) - 1 - _LATE),
                     waits.eq((waits | taken) & ~come), is_turn.eq((waits | taken) & ~come & (left == 0))]
        return has_room, is_turn

    def _word(self, index):
        """The word of the beat that has come."""
        p = self._parameters
        slots = [in_slot(self.memory.beats.payload.elements[n], p.slot_bits) for n in range(p.elements)]
        return Cat(*slots).word_select(index, WORD_BITS)
