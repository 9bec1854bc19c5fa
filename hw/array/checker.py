"""Checker: is the instruction that was fetched one that the processor can run?"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..isa.encoding import INSTRUCTION_WORDS, OPCODE_BITS
from ..isa.instruction import OF_RECORDS, OF_RING, OF_SOFTMAX, Destination, Fault, MemoryMode, Opcode, Softmax
from ..isa.setup import LENGTHS, TAG_BITS
from ..isa.sparse import LOG2_GROUPS
from ..isa.walk import SubOrder
from ..layouts import instruction
from ..numeric import MAC_TERMS
from ..primitives.signals import signals
from ..softmax.parameters import state_cycles

__all__ = ["Checker"]


class Checker(wiring.Component):
    """Judges an instruction by its fields and by what has been handed out before it.

    ``instruction`` is the whole of it, ``address`` the program address behind it. ``taken`` counts it as handed out.
    ``looping`` says that a LOOP has jumped back and not ended. ``tag`` is the number of instructions of its kind before
    it; for kinds without a block it is the number of READs.

    Format: none, counts wrap at 16 bits.
    Latency: 3 cycles from ``instruction`` to ``fault`` and ``tag``; ``instruction`` stays until it is taken.
    ``address`` stands a cycle earlier.
    Throughput: one instruction per ``taken``, at least 5 cycles apart.
    Backpressure: none.
    Reset: nothing handed out, a cycle later, as after ``clear``.
    Cost: six counters of 16 bits and their comparisons with each other; comparisons of every field with the
    configuration.
    Source: docs/reference/processor.md, Program.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({
            "instruction": In(32 * INSTRUCTION_WORDS), "address": In(range(config.program_words)),
            "looping": In(1), "taken": In(1), "clear": In(1), "fault": Out(Fault), "tag": Out(TAG_BITS)})

    def elaborate(self, platform):
        m = Module()
        # An instruction still stands in the cycle after it was taken.
        taken = Signal(name="taken")
        clear = Signal(name="clear", init=1)  # as in hw/array/counters.py: the counts need no gate for a reset
        m.d.sync += [taken.eq(self.taken), clear.eq(self.clear)]
        opcode = self.instruction[:OPCODE_BITS]
        fields = {code: data.View(instruction(code), self.instruction[OPCODE_BITS:][:instruction(code).size])
                  for code in Opcode if (code not in OF_RECORDS or self._config.records)
                  and (code not in OF_RING or self._config.ring_words)
                  and (code not in OF_SOFTMAX or self._config.softmax_pairs)}
        kinds = {code: Signal(name=f"is_{code.name.lower()}") for code in fields}
        m.d.sync += [signal.eq(opcode == code) for code, signal in kinds.items()]
        # The walk of a LOAD stands where that of a STORE does; only a STORE has a base.
        walks = [(kinds[Opcode.LOAD] | kinds[Opcode.STORE], condition)
                 for condition in self._walk(fields[Opcode.STORE])]
        base = fields[Opcode.STORE].base
        load = fields[Opcode.LOAD]
        walks.append((kinds[Opcode.LOAD], load.plain & (load.window != self._config.lanes - 1)
                      if self._config.sparse else load.plain))
        walks.append((kinds[Opcode.STORE], base[self._config.index_bits if self._config.ring_words else 0:].any()))
        # Conditions and the kinds that they are for; they meet a cycle later.
        faults = {
            Fault.OPCODE: [(~Cat(*kinds.values()).any(), Const(1))], Fault.WALK: walks,
            Fault.PASS: self._passes(kinds, fields),
            Fault.LOOP: self._loop(m, taken, kinds[Opcode.LOOP], fields[Opcode.LOOP]),
            Fault.MEMORY: self._memory(kinds, fields),
            **self._order(m, taken, clear, kinds, fields[Opcode.PASS])}
        found = {fault: Signal(name=f"fault_{fault.name.lower()}") for fault in faults}
        for fault, pairs in faults.items():
            conditions = Signal(len(pairs), name=f"conditions_{fault.name.lower()}")
            m.d.sync += [conditions.eq(Cat(condition for _, condition in pairs)),
                         found[fault].eq((conditions & Cat(kind for kind, _ in pairs)).any())]
        # The codes of two faults would mix: the first in the table counts.
        code = Const(Fault.NONE, 4)
        for fault, signal in reversed(found.items()):
            code = Mux(signal, fault, code)
        m.d.sync += self.fault.eq(code)
        return m

    def _walk(self, walk):
        """A mask, or the number of steps or sub-steps, that leaves the half."""
        c = self._config
        masks = walk.inner | walk.outer | walk.window
        places = [(walk.sub_order != SubOrder.NONE) & (walk.sub_bits == bits)
                  & (walk.sub_at > c.index_bits - max(1, bits)) for bits in range(min(c.sub_bits, c.index_bits) + 1)]
        return [masks[c.index_bits:].any(), walk.last_step[c.row_bits:].any(), walk.sub_bits > c.sub_bits, *places]

    def _passes(self, kinds, fields):
        """A PASS or MAC that leaves its memories."""
        found = [(kinds[Opcode.PASS], condition) for condition in self._pass(fields[Opcode.PASS])]
        if self._config.ring_words:
            found += [(kinds[Opcode.MAC], condition) for condition in self._mac(fields[Opcode.MAC])]
        if self._config.softmax_pairs:
            mask = fields[Opcode.MASK]
            found += [(kinds[Opcode.MASK], mask.key[:self._config.layers].any()),
                      (kinds[Opcode.MASK], mask.length > LENGTHS)]
        return found

    def _mac(self, fields):
        """Rows outside the half, groups that reach into the next row pair, one group alone, a panel that the ring
        cannot hold, more terms than the sums have bits for, or more sums than are kept."""
        c, rows = self._config, self._config.row_bits
        panel = c.ring_words // (c.lanes // c.layers)
        strides = []
        for name, last in (("log2_in_stride", fields.last_input), ("log2_out_stride", fields.last_output)):
            for stride in range(16):
                here = fields[name] == stride
                strides += [here & last[stride:].any(), here & fields.last_pair[max(0, rows - stride):].any()]
        most = min(panel, MAC_TERMS // c.lanes)
        return [*strides, fields.last_input == 0, fields.last_input >= most, fields.last_input[rows:].any(),
                fields.last_output[rows:].any(), fields.out_base[rows:].any(), fields.zero.any(),
                *((fields.merge | fields.keep) & condition for condition in self._sums(fields)),
                *self._sparse(fields), *self._softmax(fields)]

    def _softmax(self, fields):
        """Rows that nobody keeps, values faster than a finisher takes them, a row that comes back too soon; what only a
        MAC of a softmax says."""
        c, kind = self._config, fields.softmax
        if not c.softmax_pairs:
            return [kind.any() | fields.fresh]
        is_one, steps = kind != Softmax.NONE, c.lanes // c.layers
        fewest = -(-2 * c.lanes * c.engines // c.finishers // steps) - 1
        least = {pair: -(-state_cycles(c) // (steps * (pair + 1))) - 1 for pair in range(state_cycles(c) // steps)}
        soon = [(fields.last_pair == pair) & (fields.last_input < inputs) for pair, inputs in least.items() if inputs]
        return [kind > Softmax.VALUES, fields.fresh & (kind != Softmax.LOGITS),
                (kind == Softmax.LOGITS) & (fields.keep | fields.merge), is_one & fields.log2_group.any(),
                is_one & (fields.last_pair >= c.softmax_pairs), is_one & (fields.last_input < fewest),
                *(is_one & condition for condition in soon)]

    def _sparse(self, fields):
        """A group that is too large, or one that has fewer members than elements."""
        if not self._config.sparse:
            return [(fields.last_pick | fields.log2_group | fields.log2_apart).any()]
        return [fields.log2_group > LOG2_GROUPS, *((fields.log2_group == bits) & fields.last_pick[bits:].any()
                                                   for bits in range(LOG2_GROUPS))]

    def _sums(self, fields):
        """More sums than are kept, numbers of outputs and row pairs rounded up to powers of two."""
        c = self._config
        if not c.partial_words:
            return [Const(1)]
        most = (c.partial_words * c.layers // c.lanes).bit_length() - 1  # bits of both together

        def has(count, bits):
            return count[bits - 1:].any() if bits else Const(1)
        return [has(fields.last_output, bits) & has(fields.last_pair, most + 1 - bits) for bits in range(most + 2)]

    def _pass(self, fields):
        """A digit outside the half, more groups than it has, or coefficients that are not there."""
        c = self._config
        coefficients = [(fields.coef_mask_bits == bits) & (fields.coef_base > c.coefficient_words - (1 << bits))
                        for bits in range(c.coefficient_words.bit_length())]
        return [fields.digit >= c.index_bits // c.layers, fields.last_group[c.row_bits:].any(),
                fields.coef_mask_bits >= c.coefficient_words.bit_length(), *coefficients]

    def _loop(self, m, taken, is_loop, fields):
        """A jump that does not go back, a loop inside a loop, or a program that runs out of its memory."""
        end, address, start = signals("loop_end address_before own_address", self.address.shape())
        looping = Signal(name="looping")
        m.d.sync += [address.eq(self.address), looping.eq(self.looping), start.eq(self.address - INSTRUCTION_WORDS)]
        with m.If(taken & is_loop & ~looping):
            m.d.sync += end.eq(address)
        target = Cat(fields.target, fields.target_above)
        return [(is_loop, target >= start), (is_loop, self.looping & (end != self.address)),
                (Const(1), self.address < INSTRUCTION_WORDS)]

    def _memory(self, kinds, fields):
        c = self._config
        read, write, value = fields[Opcode.READ], fields[Opcode.WRITE], fields[Opcode.SET].value
        reads, none = kinds[Opcode.READ] | kinds[Opcode.SUMS], Const(int(not c.vector_lanes))  # SUMS are like a READ
        fetches = []
        if c.records:
            fetch, is_fetch = fields[Opcode.FETCH], kinds[Opcode.FETCH]
            known = [fetch.destination == code for code, is_there in (
                (Destination.SETUP, True), (Destination.RING, c.ring_words), (Destination.PICKS, c.sparse),
                (Destination.IDS, c.row_ids)) if is_there]
            fetches = [(is_fetch, fetch.descriptor >= c.descriptors), (is_fetch, ~Cat(known).any()),
                       (is_fetch, fetch.by_id)]
            if c.row_ids:
                fetches.append((is_fetch, (fetch.destination == Destination.IDS) & ~fetch.fence))
        # Rows that are found by their ids have no sums.
        by_id = (read.vector.any() if c.row_ids else Const(1)) | kinds[Opcode.SUMS]
        return [*fetches, (reads, read.by_id & by_id),
                (reads, (read.descriptor >= c.descriptors) | (read.mode > MemoryMode.PAIRS)),
                (reads, none & read.vector.any()), (kinds[Opcode.SUMS], none),
                (kinds[Opcode.WRITE], none & write.vector.any()),
                (kinds[Opcode.WRITE], (write.descriptor >= c.descriptors) | (write.mode > MemoryMode.SPLIT)),
                (kinds[Opcode.SET], value[c.memory_bits:].any())]

    def _order(self, m, taken, clear, kinds, fields):
        """Blocks go through the five kinds of instruction one after the other, each kind in its order."""
        read, loaded, begun, computed, stored, written = (
            Signal(TAG_BITS, name=name, reset_less=True)
            for name in ("read", "loaded", "begun", "computed", "stored", "written"))
        is_block_open = Signal(name="is_block_open", reset_less=True)  # a block whose last pass has not come
        is_pass = kinds[Opcode.PASS] | kinds[Opcode.MAC] if self._config.ring_words else kinds[Opcode.PASS]
        counted = ((read, kinds[Opcode.READ]), (loaded, kinds[Opcode.LOAD]), (begun, is_pass & fields.first),
                   (computed, is_pass & fields.last), (stored, kinds[Opcode.STORE]), (written, kinds[Opcode.WRITE]))
        for count, kind in counted:
            counts = Signal(name=f"{count.name}_counts")
            m.d.sync += [counts.eq(taken & kind), count.eq(count + counts)]
        with m.If(taken & is_pass):
            m.d.sync += is_block_open.eq(~fields.last)
        with m.If(clear):
            m.d.sync += [*(count.eq(0) for count, _ in counted), is_block_open.eq(0)]
        tag = Signal(TAG_BITS, name="tag")
        m.d.sync += [tag.eq(read), self.tag.eq(tag)]
        for count, kind in ((loaded, kinds[Opcode.LOAD]), (computed, is_pass), (stored, kinds[Opcode.STORE]),
                            (written, kinds[Opcode.WRITE])):
            with m.If(kind):
                m.d.sync += tag.eq(count)
        # Neither may wait for a block of which some instructions stand behind it.
        is_halt = kinds[Opcode.HALT] | kinds[Opcode.WAIT] if self._config.records else kinds[Opcode.HALT]
        return {
            Fault.INPUT: [(kinds[Opcode.LOAD], loaded == read), (is_pass, is_block_open == fields.first),
                          (is_pass, fields.first & (begun == loaded)), (is_halt, is_block_open | (read != begun))],
            Fault.OUTPUT: [(kinds[Opcode.STORE], stored == computed), (kinds[Opcode.WRITE], written == stored),
                           (is_halt, computed != written)]}
