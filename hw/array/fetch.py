"""Fetch unit: the program memory, and the hand-out of instructions in order."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..isa.bit_fields import field_places
from ..isa.encoding import FIELDS, INSTRUCTION_WORDS, OPCODE_BITS
from ..isa.instruction import Fault, Opcode, Unit
from ..isa.setup import TAG_BITS
from ..layouts import instruction, memory_command, pass_command, setup, store_command
from ..primitives.pipeline import delay
from ..primitives.ram import Ram, RamParameters
from ..primitives.signals import signals
from .checker import Checker
from .parameters import QUEUE_PLACES, read_cycles

__all__ = ["FetchUnit"]


class FetchUnit(wiring.Component):
    """Reads instructions and hands each to the unit it is for; ``start`` begins at instruction 0.

    The next instruction is fetched when the unit has taken the present one, so the order of the program holds for every
    unit and between them. HALT waits until ``units_idle``, as it was a cycle ago; WAIT until
    ``fetch_ended`` has come for every FETCH handed out and ``records_idle``, as it was a cycle ago.

    In a processor every instruction is checked first (``hw/array/checker.py``). One that is not legal is not handed
    out: the program ends, with the code in ``fault`` for one cycle and the tag of its block in ``fault_tag``. ``stop``
    ends a program too. With a ring a HALT where ``ring_read`` is low is not legal either.

    Format: none, instructions as hw/isa/encoding.py packs them.
    Latency: 1 + INSTRUCTION_WORDS + ram_latency + check_latency cycles from ``start`` to the first offer. As many from
    one hand-out to the next offer, in a processor one more; a LOOP between them takes as many again.
    Throughput: one instruction in as many cycles.
    Backpressure: each ``o_*`` stream.
    Reset: not running; the memory is kept.
    Cost: one RAM of program_words x 32 bits, a register of an instruction; in a processor a Checker.
    Source: docs/design.md section 5; docs/reference/processor.md, Program.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        units = {
            "o_load": Out(stream.Signature(instruction(Opcode.LOAD))),
            "o_pass": Out(stream.Signature(pass_command(bool(config.ring_words)))),
            "o_store": Out(stream.Signature(store_command(bool(config.ring_words)))),
        }
        if config.is_processor:
            units |= {"o_reader": Out(stream.Signature(memory_command())),
                      "o_writer": Out(stream.Signature(memory_command())),
                      "stop": In(1), "fault": Out(Fault), "fault_tag": Out(TAG_BITS)}
        if config.records:
            units |= {"fetch_ended": In(1), "records_idle": In(1)}
        if config.ring_words:
            units |= {"ring_read": In(1), "unread": Out(1)}
        super().__init__({
            "start": In(1), "running": Out(1), "units_idle": In(1),
            "write": In(setup()), "write_en": In(1), **units})

    def elaborate(self, platform):
        m = Module()
        c = self._config
        m.submodules.memory = memory = Ram(RamParameters(32, c.program_words, c.target, c.pipeline))
        bits = (c.program_words - 1).bit_length()
        address = Signal(bits, name="address", reset_less=True)  # 0 where nothing runs
        count = Signal(range(read_cycles(c) + 1), name="count")
        buffer = Signal(32 * INSTRUCTION_WORDS, name="buffer")
        fields = buffer[OPCODE_BITS:]
        # Decoded one shift before the first word reaches the low end.
        next_buffer = buffer[32:]
        is_loop, is_halt, looping, repeat = signals("is_loop is_halt looping repeat")
        offering, taken, offer_end = signals("offering taken offer_end")
        loop, loop_coming = signals("loop loop_coming", instruction(Opcode.LOOP))
        loops_left, loops_before = signals("loops_left loops_before", loop.count.shape())
        m.d.comb += [loop.eq(fields), loop_coming.eq(next_buffer[OPCODE_BITS:])]
        rest = Mux(looping, loops_left, loop_coming.count)
        has_more_loops, final = signals("has_more_loops final")
        m.d.sync += [has_more_loops.eq(loops_left[1:].any()), final.eq(count == read_cycles(c) - 2)]
        reading = Signal(name="reading")  # a word is read in this cycle
        capture = delay(m, reading, c.ram_latency, "capture", reset_less=False)
        with m.If(capture):
            m.d.sync += buffer.eq(Cat(buffer[32:], memory.r_data))
        m.d.comb += [
            memory.r_en.eq(1), memory.r_addr.eq(address),
            memory.w_en.eq(self.write_en), memory.w_addr.eq(self.write.address), memory.w_data.eq(self.write.data)]
        units = self._units(m, buffer)
        # A cycle old: when HALT looks at it, nothing has been handed out for longer than that.
        quiet = Signal(name="quiet")
        m.d.sync += quiet.eq(self.units_idle)

        waits = self._waits(m, buffer) if c.records else None
        # A register, not the OR of the offers: it holds back the address and all that counts.
        m.d.comb += taken.eq(Cat(*(port.valid & port.ready for port, _ in units), is_loop, is_halt & quiet,
                                 *([waits[0] & waits[1]] if waits else [])).any())
        m.d.sync += offering.eq(final | (offering & ~offer_end))
        with m.If(~self.running):
            m.d.sync += self.running.eq(self.start)
        with m.Elif(~offering):
            # The memory answers ram_latency cycles later; the first word read ends up at the low end.
            m.d.sync += [count.eq(Mux(final, 0, count + 1)), loops_before.eq(rest),
                         repeat.eq(Mux(looping, has_more_loops, loop_coming.count[1:].any()))]
        if c.is_processor:  # its queues stand far away
            m.d.sync += offer_end.eq(taken)
            due, decoded = self._check(m, buffer, address, looping, final, taken, is_halt & quiet), buffer
        else:
            m.d.comb += offer_end.eq(taken)
            due, decoded = self.running & final, next_buffer
        with m.If(due):
            m.d.sync += [is_loop.eq(decoded[:OPCODE_BITS] == Opcode.LOOP),
                         is_halt.eq(decoded[:OPCODE_BITS] == Opcode.HALT)]
            m.d.sync += [port.valid.eq(wanted(decoded)) for port, wanted in units]
            if waits:
                m.d.sync += waits[0].eq(decoded[:OPCODE_BITS] == Opcode.WAIT)
        with m.If(is_loop):
            m.d.sync += [is_loop.eq(0), looping.eq(repeat), loops_left.eq(loops_before - 1)]
        with m.If(is_halt & quiet):
            m.d.sync += [is_halt.eq(0), self.running.eq(0)]
        self._address(m, address, reading, count, offering, is_loop & repeat, loop)
        return m

    def _waits(self, m, buffer):
        """Whether a WAIT is on offer, and whether it may end."""
        is_wait, played, given, ended = signals("is_wait played given ended")
        # Handed out and not ``ended``: in the queue, or in the reader, where a FETCH may be a beat. An end comes late
        # and counts a cycle later; till then one FETCH is none.
        fetches = Signal(range(4 * QUEUE_PLACES + self._config.in_flight), name="fetches")
        m.d.comb += given.eq(self.o_reader.valid & self.o_reader.ready & (buffer[:OPCODE_BITS] == Opcode.FETCH))
        m.d.sync += [ended.eq(self.fetch_ended), fetches.eq(fetches + given - ended),
                     played.eq((fetches == ended) & self.records_idle)]
        with m.If(is_wait & played):
            m.d.sync += is_wait.eq(0)
        return is_wait, played

    def _units(self, m, buffer):
        """The port of each unit, and the function that tells whether an instruction is for it."""
        def is_for(*codes, unit=None):
            def wanted(bits):
                opcode = bits[:OPCODE_BITS]
                set_one = (opcode == Opcode.SET) & (bits[OPCODE_BITS] == unit) if unit is not None else 0
                return opcode.matches(*codes) | set_one
            return wanted

        has_mac = bool(self._config.ring_words)
        passes = [Opcode.PASS, *([Opcode.MAC, Opcode.MASK] if has_mac else [])]
        units = [(port, is_for(*codes)) for codes, port in (
            ([Opcode.LOAD], self.o_load), (passes, self.o_pass), ([Opcode.STORE], self.o_store))]
        for port, _ in units:
            m.d.comb += port.payload.eq(buffer[OPCODE_BITS:])
        if has_mac:
            m.d.comb += [self.o_pass.payload.fields.eq(buffer[OPCODE_BITS:]),
                         self.o_pass.payload.mac.eq(buffer[:OPCODE_BITS] == Opcode.MAC),
                         self.o_pass.payload.mask.eq(buffer[:OPCODE_BITS] == Opcode.MASK)]
        if self._config.is_processor:
            reads = [Opcode.READ, Opcode.SUMS, *([Opcode.FETCH] if self._config.records else [])]
            for codes, unit, port in ((reads, Unit.READER, self.o_reader),
                                      ([Opcode.WRITE], Unit.WRITER, self.o_writer)):
                m.d.comb += [port.payload.fields.eq(buffer[OPCODE_BITS:]),
                             port.payload.set.eq(buffer[:OPCODE_BITS] == Opcode.SET),
                             port.payload.sums.eq(buffer[:OPCODE_BITS] == Opcode.SUMS)]
                units.append((port, is_for(*codes, unit=unit)))
        if self._config.records:
            # Only a FETCH has a destination; the bits of other instructions are nobody's.
            offset, width = field_places(FIELDS[Opcode.FETCH])["destination"]
            destination = buffer[OPCODE_BITS + offset:][:width]
            m.d.comb += self.o_reader.payload.fields[offset:offset + width].eq(
                Mux(buffer[:OPCODE_BITS] == Opcode.FETCH, destination, 0))
        for port, _ in units:
            with m.If(port.ready):
                m.d.sync += port.valid.eq(0)
        return units

    def _check(self, m, buffer, address, looping, final, taken, ends):
        """Judge the instruction; the cycle in which a legal one may be offered. ``ends``: the program does now."""
        c = self._config
        m.submodules.checker = checker = Checker(c)
        m.d.comb += [checker.instruction.eq(buffer), checker.address.eq(address), checker.looping.eq(looping),
                     checker.taken.eq(taken), checker.clear.eq(self.start), self.fault_tag.eq(checker.tag)]
        checked = delay(m, self.running & final, c.check_latency, "checked", reset_less=False)
        legal = Signal(name="legal")
        m.d.comb += legal.eq(checker.fault == Fault.NONE)
        with m.If(checked):
            m.d.comb += self.fault.eq(checker.fault)
        if c.ring_words:
            m.d.comb += self.unread.eq(ends & ~self.ring_read)
        with m.If(self.stop | (checked & ~legal)):
            m.d.sync += self.running.eq(0)
        return checked & legal & ~self.stop

    def _address(self, m, address, reading, count, offering, jump, loop):
        """The words of an instruction are read in its first cycles; a jump falls between two instructions."""
        words_left = Signal(name="words_left", init=1)
        m.d.comb += reading.eq(words_left & ~offering)  # also before the start: only the last words count
        with m.If(offering):
            m.d.sync += words_left.eq(1)
        with m.Elif(count == INSTRUCTION_WORDS - 1):
            m.d.sync += words_left.eq(0)
        with m.If(jump):
            m.d.sync += address.eq(Cat(loop.target, loop.target_above))
        with m.Elif(reading):
            m.d.sync += address.eq(address + 1)
        with m.If(~self.running):
            m.d.sync += address.eq(0)
