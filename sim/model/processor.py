"""Bit-exact model of the processor: programs of tagged blocks between a memory and itself, docs/reference/processor.md.

The model works on what the hardware holds: program words and table words. It first goes through the program as the
fetch unit does and judges every instruction; then it runs the blocks one after the other. The hardware runs them
overlapped, so the model also refuses programs whose result would depend on when.
"""

from collections import deque
from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from typing import NamedTuple

import numpy as np

from ...hw.config import CoreConfig
from ...hw.isa.descriptor import DESCRIPTOR_WORDS, Descriptor
from ...hw.isa.encoding import REGISTERS, decode, encode
from ...hw.isa.instruction import (Destination, Fault, Fetch, Instruction, Load, Mac, Mask, MemoryMode, Opcode, Pass,
                                   Read, Set, Softmax, Store, Sums, Unit, Wait, Write)
from ...hw.isa.record import records_of
from ...hw.isa.setup import HOST_TARGETS, SETUP_READER, SETUP_WRITER, SetupWrite
from ...hw.numeric import saturate
from .array import ArrayModel, check_overlaps
from .handout import Blocks, Command, ProgramFault, executed, misplaced
from .legality import field_fault
from .mac_rules import check_macs
from .memory import arranged, positions, read_elements, row_chunks, write_addresses, write_block
from .races import Asking, first_race
from .progress import RingUse, check_executed
from .ring import Ring, mac_words, set_beats, word_sets
from .row_ids import RowIds
from .softmax_rules import check_softmax
from .tables_in_use import TablesInUse
from .vector_unit import VectorUnit

__all__ = ["BlockOutcome", "ProcessorModel", "fetched_records"]


class BlockOutcome(NamedTuple):
    """What the array reports of one block: its exponent (modulo 64) and whether it clamped anything; ``clamped``: how
    often an element was clamped on its way to the array or from it."""

    exponent: int
    saturated: bool
    clamped: int = 0


class ProcessorModel:
    """One processor: an array, the tables of reader and writer, a memory int64 (beats, 2K) that it changes in place.

    ``reader`` and ``writer`` fill the first descriptors of each table; :meth:`write_setup` writes all the rest.
    Of the last run: ``clamped``, how often an element was clamped between memory and array, ``sums_clamped`` for each
    SUMS that elements of its rows will be; ``saturated``, the sticky flag, is set by that and by every block that
    clamped something.
    Raises ValueError when the configuration has no memory or the arguments do not fit it.
    """

    def __init__(self, config: CoreConfig, reader: list[Descriptor], writer: list[Descriptor], memory: np.ndarray):
        if not config.is_processor:
            raise ValueError("memory_bits: 0; a processor has at least 1")
        if memory.ndim != 2 or memory.shape[1] != config.memory_elements or memory.dtype != np.int64 \
                or not memory.flags.c_contiguous or not 0 < len(memory) <= 1 << config.memory_bits:
            raise ValueError(f"memory: {memory.dtype} {memory.shape}; allowed is int64 (1..{1 << config.memory_bits}, "
                             f"{config.memory_elements}) in C order")
        if np.any(saturate(memory, config.element_width)[1]):
            raise ValueError(f"memory: a value does not fit element_width = {config.element_width} bits")
        self.config, self.memory, self.saturated, self.clamped = config, memory, False, 0
        self.sums_clamped: list[int] = []
        self.array, self.vector, self.ring = ArrayModel(config), VectorUnit(config), Ring(config)
        self.row_ids = RowIds(config)
        self.tables = {target: [0] * (config.descriptors * DESCRIPTOR_WORDS) for target in (SETUP_READER, SETUP_WRITER)}
        self.registers = {unit: [0] * REGISTERS for unit in Unit}
        for target, descriptors in ((SETUP_READER, reader), (SETUP_WRITER, writer)):
            for address, word in enumerate(w for d in descriptors for w in d.words(config.beat_groups)):
                self.write_setup(target, address, word)

    def write_setup(self, target: int, address: int, data: int) -> None:
        """One word on the setup port, as :meth:`ArrayModel.write_setup`; targets and addresses: hw/isa/setup.py."""
        if target not in self.tables:
            if not self.vector.write_setup(target, address, data):
                self.array.write_setup(target, address, data)
            return
        table = self.tables[target]
        if not 0 <= address < len(table):
            raise ValueError(f"address: {address} is not in 0..{len(table) - 1} of setup target {target}")
        table[address] = data & 0xFFFFFFFF

    def load_program(self, program: list[Instruction]) -> None:
        """Write ``program`` into the program memory through the setup port."""
        self.array.load_program(program)

    def run(self, program: list[Instruction] | None = None) -> list[BlockOutcome]:
        """Run ``program`` (None: the one in program memory); one outcome per block.

        Raises ProgramFault where the hardware stops with an error; the memory is then not defined. Raises ValueError
        when the result would depend on timing: a READ takes a beat that the WRITE of an earlier block writes, and no
        ``after`` up to this READ covers that beat. Nothing else can race: units run in tag order, the memory keeps the
        order of reads and that of writes, and all beats that READs up to tag k ask for are in the array before WRITE k
        begins. Raises ValueError too where a LOAD would overtake a STORE. Not checked: the condition of ``gap``.
        """
        blocks = self._checked(self.array.program if program is None else encode(program))
        self.saturated, self.clamped, self.sums_clamped, outcomes = False, 0, [], []
        self.ring, self.row_ids = Ring(self.config), RowIds(self.config)
        self._ahead = deque((command, tag) for command, tag in blocks.ahead
                            if tag < len(blocks.reads) or isinstance(command.instruction, Fetch))
        for number in range(len(blocks.reads)):
            outcomes.append(self._block(blocks, number))
        self._run_ahead(len(blocks.reads))
        return outcomes

    def fetched(self, words: Sequence[int]) -> list[list[list[SetupWrite]]]:
        """See :func:`fetched_records`."""
        found: list[list[list[SetupWrite]]] = []
        for command, _ in self._fetch(list(words)).ahead:
            if command.destination is Destination.SETUP:
                found.append([self._play(beat[None]) for beat in self._fetched(command)])
            elif isinstance(command.instruction, Fetch):
                found.append([[] for _ in self._asked(command)])
        return found

    def check(self, words: Sequence[int]) -> int:
        """Number of blocks of the program ``words`` (32 bits each) if :meth:`run` would run it, else raises like it."""
        return len(self._checked(list(words), counts=True).reads)

    def _checked(self, words: list[int], counts: bool = False) -> Blocks:
        """``counts``: also whether the memory units move as many words as the array."""
        blocks = self._fetch(words)
        self._check_after(blocks)
        if not self.config.ring_words:
            self._check_waits(blocks, [])
        words = self._check_memory(blocks, counts)
        if self.config.ring_words:
            self._check_waits(blocks, words)
            check_macs(self.config, list(zip(blocks.loads, blocks.passes)))
            check_softmax(self.config, [pair for own in zip(blocks.passes, blocks.masks) for pair in zip(*own)])
        check_overlaps(blocks.loads, blocks.stores)
        return blocks

    # --- fetch: what is handed out, and what is refused ---------------------------------------

    def _fetch(self, words: list[int]) -> Blocks:
        """All instructions up to the HALT, judged in the order of the program; address registers as they go."""
        blocks = Blocks()
        for number, opcode, values, raw in executed(words, blocks):
            code, why = self._judge(opcode, values, blocks)
            if code:
                kind = None if code is Fault.OPCODE else opcode
                raise ProgramFault(code, f"instruction {number} {opcode.name}: {why}", blocks.tag(kind))
            if opcode is Opcode.HALT:
                return blocks
            instruction = decode(raw, self.config.layers)[0]
            blocks.steps.append((number, instruction))
            if isinstance(instruction, Set):
                self.registers[instruction.unit][instruction.register] = instruction.value
            elif isinstance(instruction, Wait):
                blocks.waited = blocks.fetches
            elif isinstance(instruction, Sums | Fetch):
                blocks.fetches += isinstance(instruction, Fetch)
                command = Command(instruction, self._base(Unit.READER, instruction), blocks.waited)
                blocks.ahead.append((command, len(blocks.reads)))
            elif isinstance(instruction, Read):
                blocks.reads.append(Command(instruction, self._base(Unit.READER, instruction), blocks.waited))
            elif isinstance(instruction, Write):
                blocks.writes.append(Command(instruction, self._base(Unit.WRITER, instruction), blocks.waited))
            elif isinstance(instruction, Mask):
                blocks.mask = instruction
            elif isinstance(instruction, Load | Pass | Mac | Store):
                blocks.add(instruction)
        raise AssertionError("a program ends with a HALT or a fault")

    def _judge(self, opcode: Opcode, values: dict[str, int], blocks: Blocks) -> tuple[Fault | None, str]:
        code, why = field_fault(self.config, opcode, values)
        return (code, why) if code else misplaced(opcode, values, blocks)

    def _base(self, unit: Unit, instruction: Read | Write) -> int:
        registers = self.registers[unit]
        base = registers[instruction.register]
        registers[instruction.register] = base + instruction.increment & (1 << self.config.memory_bits) - 1
        return base

    # --- blocks -------------------------------------------------------------------------------

    @staticmethod
    def _check_after(blocks: Blocks) -> None:
        asked: list[tuple[int, Read]] = [(tag, ahead.instruction) for ahead, tag in blocks.ahead]
        asked += [(tag, read.instruction) for tag, read in enumerate(blocks.reads)]
        for tag, read in sorted(asked, key=lambda one: one[0]):
            if read.after > tag:
                name = f"the {type(read).__name__.upper()} before READ" if isinstance(read, Sums | Fetch) else "READ"
                raise ProgramFault(Fault.AFTER, f"after: {read.after} of {name} {tag} names a block before the first",
                                   tag)

    def _check_waits(self, blocks: Blocks, words: list[int]) -> None:
        """Whether the program ends; ``words`` that every FETCH of a matrix brings for the ring."""
        coming = iter(words)
        try:
            left = check_executed(blocks.steps, RingUse(self.config, lambda fetch: next(coming)))
        except ValueError as circle:
            raise ProgramFault(Fault.WATCHDOG, str(circle)) from None
        if left:
            raise ProgramFault(Fault.RING, f"HALT: {left} words are left in the ring", len(blocks.reads))

    def _check_memory(self, blocks: Blocks, counts: bool) -> list[int]:
        """Goes through the blocks with the tables as each of them finds them: races in memory, records that change
        what is in use, and, with ``counts``, words that are missing or too many. Returns the words of the ring that
        every FETCH of a matrix brings."""
        softmax = self.array.softmax
        own = self.tables, self.vector, self.array.coefficients, softmax.lengths
        self.tables, self.vector, self.array.coefficients, softmax.lengths = deepcopy(own)
        self.row_ids = RowIds(self.config)
        written: list[np.ndarray] = []
        askings: list[Asking] = []
        matrix_beats = [0]  # of all FETCHes of a matrix so far
        least = self.config.coefficient_words  # word of a coefficient bank that records write
        use = TablesInUse(self.config)
        ahead = deque(blocks.ahead)
        changed = np.zeros(len(self.memory), dtype=bool)
        try:
            for tag in range(len(blocks.reads) + 1):
                while ahead and ahead[0][1] == tag:
                    early, _ = ahead.popleft()
                    beats = self._asked(early)
                    askings.append(Asking(tag, (early.instruction.after, early.instruction.after_beats), beats))
                    use.command(tag, early.instruction, early.waited)
                    if early.brings_matrix:
                        matrix_beats.append(matrix_beats[-1] + set_beats(self.config, early.instruction.destination,
                                                                         len(beats)))
                    if early.destination is Destination.IDS:
                        if changed[beats].any():
                            raise ValueError(f"ids: the FETCH before READ {tag} brings results of the program; allowed "
                                             "are ids that it does not write")
                        self._keep_ids(early)
                    if early.destination is Destination.SETUP:
                        records = self._play(self._fetched(early))
                        use.change(tag, early.instruction, records, changed[beats].any())
                        least = min([least, *(address for target, address, _ in records
                                              if target < self.config.n_units)])
                if tag < len(blocks.reads):
                    read, write = blocks.reads[tag], blocks.writes[tag]
                    askings.append(Asking(tag, (read.instruction.after, read.instruction.after_beats),
                                          self._asked(read)))
                    writes = write_addresses(self.config, self._table(SETUP_WRITER, write.instruction.descriptor),
                                             write.instruction, write.base)
                    written.append(self._inside(writes.address[writes.enabled]))
                    changed[written[-1]] = True
                    # A residual is sure of what its own READ has waited for, not of what the next one waits for.
                    askings.append(Asking(tag + 1, (0, 0), self._inside(
                        self.vector.residual_beats(write.instruction.vector, written[-1]))))
                    use.command(tag, read.instruction, read.waited)
                    passes = [step for step in blocks.passes[tag] if isinstance(step, Pass)]
                    use.block(tag, passes, write.instruction, write.waited, len(writes.address),
                              self.vector)
                    use.lengths(tag, [mask.length for step, mask in zip(blocks.passes[tag], blocks.masks[tag])
                                      if isinstance(step, Mac) and step.softmax is Softmax.LOGITS])
                    if counts:
                        self._check_read(read, tag, blocks.loads[tag])
                        self._check_write(write, tag, blocks.stores[tag])
        finally:
            self.tables, self.vector, self.array.coefficients, softmax.lengths = own
        race = first_race(askings, written, len(self.memory))
        if race:
            raise ValueError(f"after: READ {race.tag} takes beat {race.beat}, which is beat {race.place} of WRITE "
                             f"{race.writer}; it has not waited for that")
        if least < self.config.ring_words and any(isinstance(step, Mac) for _, step in blocks.steps):
            raise ValueError(f"record: coefficient {least} lies in the ring; allowed are {self.config.ring_words} and "
                             "more beside MACs")
        words = [word_sets(self.config, beats) for beats in matrix_beats]
        if matrix_beats[-1] % self.config.layers:
            raise ProgramFault(Fault.WATCHDOG, f"FETCH: {matrix_beats[-1]} beats of matrices are no whole sets of "
                                               f"{self.config.layers}")
        return [behind - before for before, behind in zip(words, words[1:])]

    def _asked(self, command: Command) -> np.ndarray:
        """The beats that a command of the reader asks for."""
        read = command.instruction
        beats = positions(self.config, self._table(SETUP_READER, read.descriptor), read.rows, command.base)
        if read.by_id:
            beats = self.row_ids.located(beats)
        return self._inside(beats.address[beats.valid])

    def _play(self, beats: np.ndarray) -> list[SetupWrite]:
        """The records in ``beats``, all written."""
        records = records_of(self.config, beats)
        for target, address, data in records:
            if target in HOST_TARGETS:
                raise ProgramFault(Fault.RECORD, f"record: target {target}, address {address}; no record may name the "
                                                 "program memory or the control register")
            self.write_setup(target, address, data)
        return records

    def _inside(self, addresses: np.ndarray) -> np.ndarray:
        outside = addresses[addresses >= len(self.memory)]
        if outside.size:
            raise ProgramFault(Fault.REFUSED, f"address: {outside[0]} is not in 0..{len(self.memory) - 1}, the memory")
        return addresses

    def _block(self, blocks: Blocks, tag: int) -> BlockOutcome:
        read, write = blocks.reads[tag], blocks.writes[tag]
        load, store = blocks.loads[tag], blocks.stores[tag]
        self._run_ahead(tag)
        words, clamped_in = self._words(read)
        self._check_count("READ", "LOAD", tag, len(words), load)
        block, _ = self.array.load(load, words)
        for step, self.array.softmax.mask in zip(blocks.passes[tag], blocks.masks[tag]):
            if isinstance(step, Mac):
                self.array.run_mac(step, self._matrix(step), block)
            else:
                self.array.run_pass(step, block)
        result = self.array.store(store, block)
        self._check_write(write, tag, store)
        step = write.instruction
        table = self._table(SETUP_WRITER, step.descriptor)
        finish = partial(self.vector.finish, step.vector) if step.vector else None
        clamped = write_block(self.config, table, step, write.base, result.words, self.memory, finish)
        self._count(clamped)
        self.saturated |= result.saturated
        return BlockOutcome(result.exponent, result.saturated, clamped_in + clamped)

    def _matrix(self, step: Mac) -> np.ndarray:
        """The matrix of a MAC: of FETCHes as many as it needs. They may stand behind later READs, and find the memory
        that this block finds: what it writes itself would come too late for it."""
        while self.ring.words < mac_words(self.config, step):
            self._next_ahead()
        return self.ring.take(step)

    def _run_ahead(self, tag: int) -> None:
        """SUMS and FETCHes in front of READ ``tag`` that have not run."""
        while self._ahead and self._ahead[0][1] <= tag:
            self._next_ahead()

    def _next_ahead(self) -> None:
        command, _ = self._ahead.popleft()
        if isinstance(command.instruction, Sums):
            self._sum_rows(command.instruction, command.base)
        elif command.brings_matrix:
            self.ring.fetch(self._fetched(command), command.instruction.destination is Destination.PICKS)
        elif command.destination is Destination.SETUP:
            self._play(self._fetched(command))
        else:
            self._keep_ids(command)

    def _keep_ids(self, command: Command) -> None:
        """The ids that a FETCH brings."""
        bad = self.row_ids.fetch(self._table(SETUP_READER, command.instruction.descriptor), self._fetched(command))
        if bad is not None:
            raise ProgramFault(Fault.ID, f"id: {bad} names no row of its table")

    def _fetched(self, command: Command) -> np.ndarray:
        """The beats (n, 2K) that a FETCH brings, zeros where its descriptor has none."""
        fetch = command.instruction
        table = self._table(SETUP_READER, fetch.descriptor)
        beats, elements, _ = read_elements(self.config, table, fetch, command.base, self.memory)
        return elements[beats.valid]

    def _words(self, command: Command) -> tuple[np.ndarray, int]:
        """Words of a block, normalised where the READ says so; how often an element was clamped."""
        read, base, _ = command
        table = self._table(SETUP_READER, read.descriptor)
        beats, elements, inside = read_elements(self.config, table, read, base, self.memory,
                                                self.row_ids.located if read.by_id else None)
        clamped = 0
        if read.vector:
            elements, clamped = self.vector.normalise(read.vector, beats, elements, inside)
            self._count(clamped)
        return arranged(self.config, read, elements), clamped

    def _count(self, clamped: int) -> None:
        self.clamped += clamped
        self.saturated |= bool(clamped)

    def _sum_rows(self, sums: Sums, base: int) -> None:
        table = self._table(SETUP_READER, sums.descriptor)
        beats, elements, _ = read_elements(self.config, table, sums, base, self.memory)
        clamped = self.vector.sum_rows(sums.vector, beats, elements, row_chunks(table))
        self.sums_clamped.append(clamped)
        self._count(clamped)

    def _check_read(self, command: Command, tag: int, load: Load) -> None:
        read = command.instruction
        beats = len(positions(self.config, self._table(SETUP_READER, read.descriptor), read.rows, command.base).address)
        self._check_count("READ", "LOAD", tag, beats * self.config.stream_words, load)

    def _check_write(self, command: Command, tag: int, store: Store) -> None:
        write = command.instruction
        table = self._table(SETUP_WRITER, write.descriptor)
        beats = len(write_addresses(self.config, table, write, command.base).address)
        halved = write.mode in (MemoryMode.REAL, MemoryMode.FOLD)
        self._check_count("WRITE", "STORE", tag, (beats << halved) * self.config.stream_words, store)

    def _check_count(self, memory: str, array: str, tag: int, words: int, instruction: Load | Store) -> None:
        want = instruction.walk.beats * self.config.beat_groups * self.config.beat_words
        if words != want:
            raise ProgramFault(Fault.WATCHDOG, f"{memory} {tag}: {words} words; its {array} has {want}")

    def _table(self, target: int, descriptor: int) -> list[int]:
        return self.tables[target][descriptor * DESCRIPTOR_WORDS:(descriptor + 1) * DESCRIPTOR_WORDS]


def fetched_records(config: CoreConfig, program: Sequence[Instruction], setup: Sequence[SetupWrite],
                    image: np.ndarray) -> list[list[list[SetupWrite]]]:
    """The records of every beat of every FETCH in the order of ``program``, out of a memory that stays as ``image``
    (beats, 2K). Raises as :meth:`ProcessorModel.run` for a program that is not legal."""
    model = ProcessorModel(config, [], [], image.copy())
    for write in setup:
        model.write_setup(*write)
    return model.fetched(encode(program))
