"""From stages and their blocks to a program of the processor: order, dependencies, loops, tables.

The READ and LOAD of a block stand before the passes of the block before it, so that the units overlap; the sums of rows
that stand in front of a block go before its READ. What a READ or SUMS must wait for follows from the beats that the
blocks read and write.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from itertools import accumulate
from typing import NamedTuple, Protocol

import numpy as np

from ....hw.config import CoreConfig
from ....hw.errors import WingbeatError
from ....hw.isa.descriptor import DESCRIPTOR_WORDS, Descriptor
from ....hw.isa.encoding import INSTRUCTION_WORDS
from ....hw.isa.instruction import (Destination, Fetch, Halt, Instruction, Loop, MemoryMode, Read, Set, Sums,
                                    Unit, Write)
from ....hw.isa.parameter_set import SET_WORDS, SETS, ReadSet, WriteSet
from ....hw.isa.setup import SETUP_READER, SETUP_WRITER, SETUP_READ_SETS, SETUP_WRITE_SETS
from ....sim.model.memory import read_addresses, write_addresses
from ....sim.model.processor import BlockOutcome, ProcessorModel
from ....sim.model.progress import RingUse, check_progress
from ....sim.model.ring import set_beats, word_sets
from .stage import Block, Stage

__all__ = ["Transfer", "SumRows", "Program", "Work", "SetNumbers", "TableNumbers", "DescriptorTable", "Fetched",
           "assemble", "arrange", "check_assembled", "read_beats", "written_beats"]

_MOST_AFTER = 63
_SUMS_REGISTER = 1
_MATRIX_REGISTER = 3  # register 2 belongs to records, stream.py
_ID_REGISTER = 4
_LONGEST_LOOP = 64  # blocks of the longest loop body that is looked for


class Transfer(NamedTuple):
    """One block of a stage."""

    stage: Stage
    block: Block


class SumRows(NamedTuple):
    """Sums of ``rows`` rows from beat ``at`` on, for the rows that are normalised with ``normalise``."""

    read: Descriptor
    at: int
    rows: int
    normalise: ReadSet


@dataclass(frozen=True, eq=False)
class Program:
    """Instructions and setup writes (target, address, data) of one run, and the stage of every block by its tag."""

    instructions: list[Instruction]
    setup: list[tuple[int, int, int]] = field(repr=False)
    stages: list[Stage] = field(repr=False)

    def run_model(self, config: CoreConfig, memory: np.ndarray) -> list[BlockOutcome]:
        """Run on the integer model; ``memory`` (beats, 2K) int64 is changed in place. Raises as ProcessorModel does."""
        return self.model(config, memory).run(self.instructions)

    def model(self, config: CoreConfig, memory: np.ndarray) -> ProcessorModel:
        """The integer model on ``memory``, with all setup writes done."""
        model = ProcessorModel(config, [], [], memory)
        for write in self.setup:
            model.write_setup(*write)
        return model


def read_beats(config: CoreConfig, stage: Stage, block: Block) -> np.ndarray:
    """Numbers of the beats that a block reads, in order; none by id, which are constant."""
    if stage.read.by_id:
        return np.empty(0, dtype=np.int64)
    read = Read(0, 0, block.read_rows, stage.read_mode)
    return read_addresses(config, stage.read.words(config.beat_groups), read, block.read_at)


def written_beats(config: CoreConfig, stage: Stage, block: Block) -> np.ndarray:
    """Numbers of the beats that a block writes, in order."""
    write = Write(0, 0, block.write_rows, stage.write_mode, 0, block.fold_from, block.fold_rows)
    writes = write_addresses(config, stage.write.words(config.beat_groups), write, block.write_at)
    return writes.address[writes.enabled]


def added_beats(config: CoreConfig, stage: Stage, written: np.ndarray) -> np.ndarray:
    """Numbers of the beats that are added to those ``written``."""
    if stage.finish is None or not stage.finish.residual:
        return written[:0]
    return written + stage.finish.offset & (1 << config.memory_bits) - 1


def _matrix_beats(config: CoreConfig, stage: Stage, block: Block) -> list[np.ndarray]:
    """Numbers of the beats of the pieces of a matrix that the program writes."""
    if stage.matrix is None or not stage.matrix.is_computed:
        return []
    return [read_addresses(config, piece.descriptor.words(config.beat_groups),
                           Read(0, 0, piece.rows, MemoryMode.COLUMNS), at)
            for piece, at in zip(stage.matrix.pieces, block.matrix_at)]


def _summed_beats(config: CoreConfig, sums: SumRows) -> np.ndarray:
    read = Read(0, 0, sums.rows, MemoryMode.COLUMNS)
    return read_addresses(config, sums.read.words(config.beat_groups), read, sums.at)


def assemble(config: CoreConfig, tasks: Sequence[Transfer | SumRows],
             setup: Sequence[tuple[int, int, int]] = ()) -> Program:
    """Program that runs ``tasks`` in this order, each after those whose results it reads.

    ``setup``: writes beside those of coefficients, descriptors and parameter sets. Raises WingbeatError when
    descriptors, parameter sets, program or memory are too small.
    """
    work = Work.of(tasks)
    readers, writers = (DescriptorTable(config, unit) for unit in ("reader", "writer"))
    read_sets, write_sets = _Sets("READs"), _Sets("WRITEs")
    instructions = arrange(config, work, TableNumbers(readers, writers, read_sets, write_sets))
    check_assembled(config, instructions, readers)
    found = [*_coefficients(work.blocks), *readers.setup(SETUP_READER), *writers.setup(SETUP_WRITER),
             *read_sets.setup(SETUP_READ_SETS), *write_sets.setup(SETUP_WRITE_SETS), *setup]
    return Program(instructions, found, [task.stage for task in work.blocks])


class Fetched(NamedTuple):
    """A FETCH and the last block that uses what it overwrites, -1 for none."""

    fetch: Fetch
    behind: int


def arrange(config: CoreConfig, work: "Work", tables: "TableNumbers", first: Sequence[Instruction] = (),
            fetched: Mapping[int, Sequence[Fetched]] | None = None) -> list[Instruction]:
    """The program of ``work``, behind the instructions ``first``; ``fetched``: what stands in front of the READ of a
    block and the sums before it."""
    fetched = fetched or {}
    waits = _dependencies(config, work, fetched)
    groups: list[tuple[Instruction, ...]] = []
    for number, (stage, block) in enumerate(work.blocks):
        own: list[Instruction] = [
            *_passes(work, number, tables, waits, fetched), stage.store,
            Write(tables.writers.number(stage.write), 0, block.write_rows, stage.write_mode,
                  _step(work.write_places, number), block.fold_from, block.fold_rows,
                  tables.write_sets.number(stage.finish, number) if stage.finish else 0)]
        groups.append(tuple(own))
    start = [*first, Set(Unit.READER, 0, work.blocks[0].block.read_at),
             Set(Unit.WRITER, 0, work.blocks[0].block.write_at),
             *(Set(Unit.READER, _SUMS_REGISTER, sums.at) for sums in work.sums[:1]),
             *(Set(Unit.READER, _MATRIX_REGISTER, at) for at in work.matrix_places[:1]),
             *_fetch(work, 0, tables, waits, fetched)]
    return _looped(start, groups)


def check_assembled(config: CoreConfig, instructions: Sequence[Instruction], readers: "DescriptorTable") -> None:
    """Raises WingbeatError where the program memory is too small, or an instruction would wait for ever."""
    need = INSTRUCTION_WORDS * len(instructions)
    if need > config.program_words:
        raise WingbeatError(f"program_words: {config.program_words} is too small for a program of {need} words; "
                            f"allowed are {1 << (need - 1).bit_length()} and more")
    known = {number: descriptor.words(config.beat_groups) for descriptor, number in readers.descriptors.items()}

    @cache
    def beats(descriptor: int, rows: int) -> int:
        return read_addresses(config, known[descriptor], Read(0, 0, rows, MemoryMode.COLUMNS), 0).size

    ring = RingUse(config, lambda fetch: word_sets(
        config, set_beats(config, fetch.destination, beats(fetch.descriptor, fetch.rows))))
    try:
        check_progress(instructions, ring)
    except ValueError as fault:
        raise WingbeatError(str(fault)) from fault


@dataclass(frozen=True)
class Work:
    """Blocks, sums, and how many of the sums stand in front of each block, with those behind the last block last."""

    blocks: list[Transfer]
    sums: list[SumRows]
    before: list[int]

    @classmethod
    def of(cls, tasks: Sequence[Transfer | SumRows]) -> "Work":
        sums = [task for task in tasks if isinstance(task, SumRows)]
        before, seen = [], 0
        for task in tasks:
            if isinstance(task, Transfer):
                before.append(seen)
            else:
                seen += 1
        return cls([task for task in tasks if isinstance(task, Transfer)], sums, [*before, seen])

    @cached_property
    def read_places(self) -> list[int]:
        return [block.read_at for _, block in self.blocks]

    @cached_property
    def write_places(self) -> list[int]:
        return [block.write_at for _, block in self.blocks]

    @cached_property
    def sum_places(self) -> list[int]:
        return [sums.at for sums in self.sums]

    @cached_property
    def matrix_places(self) -> list[int]:
        """Of the pieces of all matrices."""
        return [at for _, block in self.blocks for at in block.matrix_at]

    @cached_property
    def matrix_numbers(self) -> list[int]:
        """Of each block, how many pieces the blocks before it have."""
        return list(accumulate((len(block.matrix_at) for _, block in self.blocks), initial=0))

    def in_front(self, number: int) -> range:
        """Numbers of the sums between block ``number`` - 1 and block ``number``."""
        return range(self.before[number - 1] if number else 0, self.before[number])


class SetNumbers(Protocol):
    """Numbers of the parameter sets of one side."""

    def number(self, chosen: ReadSet | WriteSet, block: int) -> int:
        """Of the set that block ``block`` uses, or sums in front of it."""


class TableNumbers(NamedTuple):
    """Descriptors and parameter sets of reader and writer."""

    readers: "DescriptorTable"
    writers: "DescriptorTable"
    read_sets: SetNumbers
    write_sets: SetNumbers


class _Sets:
    """Parameter sets of one side, each once; set 0 is not used."""

    def __init__(self, users: str):
        self.users = users
        self.sets: dict[ReadSet | WriteSet, int] = {}

    def number(self, chosen: ReadSet | WriteSet, block: int) -> int:
        return self.sets.setdefault(chosen, len(self.sets) + 1)

    def setup(self, target: int) -> list[tuple[int, int, int]]:
        if len(self.sets) >= SETS:
            raise WingbeatError(f"parameter sets: {len(self.sets)} different ones for the {self.users} of a program; "
                                f"allowed are {SETS - 1}")
        return [(target, SET_WORDS * number + at, word) for chosen, number in self.sets.items()
                for at, word in enumerate(chosen.words())]


class DescriptorTable:
    """Descriptors of one memory unit, each once."""

    def __init__(self, config: CoreConfig, unit: str):
        self.config, self.unit = config, unit
        self.descriptors: dict[Descriptor, int] = {}

    def number(self, descriptor: Descriptor) -> int:
        return self.descriptors.setdefault(descriptor, len(self.descriptors))

    def setup(self, target: int) -> list[tuple[int, int, int]]:
        if len(self.descriptors) > self.config.descriptors:
            raise WingbeatError(f"descriptors: {self.config.descriptors} are too few for the {self.unit}; allowed are "
                                f"{len(self.descriptors)} and more")
        return [(target, DESCRIPTOR_WORDS * number + at, word) for descriptor, number in self.descriptors.items()
                for at, word in enumerate(descriptor.words(self.config.beat_groups))]


def _coefficients(tasks: Sequence[Transfer]) -> list[tuple[int, int, int]]:
    images = {id(stage.image): stage.image for stage, _ in tasks}
    return [(int(bank), int(address), int(data)) for image in images.values() for bank, address, data in image]


def _step(places: Sequence[int], number: int) -> int:
    """From this place to the next one: one register serves the whole program."""
    return places[number + 1] - places[number] if number + 1 < len(places) else 0


def _fetch(work: Work, number: int, tables: TableNumbers, waits: "_Waits",
           fetched: Mapping[int, Sequence[Fetched]]) -> list[Instruction]:
    """READ and LOAD of a block, behind what is fetched for it and the sums in front of it; the load follows the store
    of the block before in its half where it may."""
    before_read: list[Instruction] = [
        *(replace(piece.fetch, after=after) for piece, after in zip(fetched.get(number, ()), waits.fetches[number])),
        *(_sums(work, at, number, tables, waits) for at in work.in_front(number))]
    if number >= len(work.blocks):
        return before_read
    stage, block = work.blocks[number]
    before_read += _ids(block, tables)
    after, beats = waits.reads[number]
    read = Read(tables.readers.number(stage.read), 0, block.read_rows, stage.read_mode,
                _step(work.read_places, number), after, beats,
                tables.read_sets.number(stage.normalise, number) if stage.normalise else 0, stage.read.by_id)
    before = work.blocks[number - 2].stage if number >= 2 else None
    load = stage.load if before is not None and stage.follows(before) else replace(stage.load, overlap=False, lag=0)
    return [*before_read, read, load, *_matrix(work, number, 0, tables)]


def _passes(work: Work, number: int, tables: TableNumbers, waits: "_Waits",
            fetched: Mapping[int, Sequence[Fetched]]) -> list[Instruction]:
    """The passes of a block. In front of those of each part of its matrix the next part is fetched, in front of the
    last ones what the next block needs."""
    stage = work.blocks[number].stage
    parts = stage.matrix.parts if stage.matrix else 1
    each, found = len(stage.passes) // parts, []
    for part in range(parts):
        found += (_matrix(work, number, part + 1, tables) if part + 1 < parts
                  else _fetch(work, number + 1, tables, waits, fetched))
        found += stage.passes[part * each:(part + 1) * each]
    return found


def _ids(block: Block, tables: TableNumbers) -> list[Instruction]:
    """The FETCH of the ids of a block."""
    if block.ids is None:
        return []
    descriptor, rows, at = block.ids
    return [Set(Unit.READER, _ID_REGISTER, at),
            Fetch(tables.readers.number(descriptor), _ID_REGISTER, rows, MemoryMode.COLUMNS,
                  destination=Destination.IDS, fence=True)]


def _matrix(work: Work, number: int, part: int, tables: TableNumbers) -> list[Instruction]:
    """The FETCHes of a part of the matrix of a block. They wait for its MACs, so its READ stands before them; the next
    READ, behind them, comes in while the last words of the ring are used."""
    stage = work.blocks[number].stage
    if not stage.matrix:
        return []
    matrix = stage.matrix
    found: list[Instruction] = []
    each = len(matrix.pieces) // matrix.parts
    for at in range(part * each, (part + 1) * each):
        piece, place = matrix.pieces[at], work.matrix_numbers[number] + at
        found.append(Fetch(tables.readers.number(piece.descriptor), _MATRIX_REGISTER, piece.rows, MemoryMode.COLUMNS,
                           _step(work.matrix_places, place), destination=matrix.destination))
    return found


def _sums(work: Work, at: int, number: int, tables: TableNumbers, waits: "_Waits") -> Sums:
    sums = work.sums[at]
    after, beats = waits.sums[at]
    return Sums(tables.readers.number(sums.read), _SUMS_REGISTER, sums.rows, MemoryMode.COLUMNS,
                _step(work.sum_places, at), after, beats, tables.read_sets.number(sums.normalise, number))


class _Waits(NamedTuple):
    """``after`` and ``after_beats`` of every READ and SUMS; ``after`` of what is fetched in front of each READ."""

    reads: list[tuple[int, int]]
    sums: list[tuple[int, int]]
    fetches: list[list[int]]


def _dependencies(config: CoreConfig, work: Work, fetched: Mapping[int, Sequence[Fetched]]) -> _Waits:
    """What every FETCH, READ and SUMS must see and those before it have not waited for.

    A READ also waits for what its own WRITE adds to its elements.
    """
    written = _Written(config)
    waits = _Waits([], [], [])
    for number in range(len(work.blocks) + 1):
        waits.fetches.append([written.whole(number, piece.behind) for piece in fetched.get(number, ())])
        for at in work.in_front(number):
            waits.sums.append(written.wait(number, _summed_beats(config, work.sums[at])))
        if number < len(work.blocks):
            stage, block = work.blocks[number]
            target = written_beats(config, stage, block)
            added = added_beats(config, stage, target)
            waits.reads.append(written.wait(number, read_beats(config, stage, block), added,
                                            *_matrix_beats(config, stage, block)))
            written.add(number, target)
    return waits


class _Written:
    """Which WRITE has last written each beat of the memory, and what has been waited for."""

    def __init__(self, config: CoreConfig):
        size = 1 << config.memory_bits
        self.writer = np.full(size, -1, dtype=np.int32)
        self.order = np.zeros(size, dtype=np.int32)  # which beat of that WRITE it is
        self.counts: list[int] = []                  # beats of every WRITE
        self.seen = -1

    def add(self, number: int, beats: np.ndarray) -> None:
        self.writer[beats] = number
        self.order[beats] = np.arange(beats.size)
        self.counts.append(beats.size)

    def wait(self, number: int, *needed: np.ndarray) -> tuple[int, int]:
        """``after`` and ``after_beats`` in front of READ ``number`` for the beats ``needed``."""
        newest = max(int(self.writer[beats].max(initial=-1)) for beats in needed)
        if newest <= self.seen:
            return 0, 0
        last = max(int(self.order[beats[self.writer[beats] == newest]].max(initial=-1)) for beats in needed) + 1
        partial = last if newest == number - 1 and last < self.counts[newest] else 0
        if number - newest > _MOST_AFTER:
            newest, partial = number - _MOST_AFTER, 0
        self.seen = newest - bool(partial)
        return number - newest, partial

    def whole(self, number: int, block: int) -> int:
        """``after`` in front of READ ``number`` for all that block ``block`` writes."""
        if block <= self.seen:
            return 0
        self.seen = max(block, number - _MOST_AFTER)
        return number - self.seen


def _looped(start: list[Instruction], groups: list[tuple[Instruction, ...]]) -> list[Instruction]:
    """The groups one after the other, runs of equal sequences as loops; the longest saving is taken first."""
    program, at = list(start), 0
    numbers: dict[tuple[Instruction, ...], int] = {}
    names = [numbers.setdefault(group, len(numbers)) for group in groups]
    while at < len(groups):
        period, count = max(((p, _repeats(names, at, p)) for p in range(1, min(_LONGEST_LOOP, len(groups) - at) + 1)),
                            key=lambda found: (found[0] * (found[1] - 1), -found[0]))
        if count == 1:
            period = 1
        target = len(program)
        for group in groups[at:at + period]:
            program += group
        if count > 1:
            program.append(Loop(target, count))
        at += period * count
    return [*program, Halt()]


def _repeats(names: list[int], at: int, period: int) -> int:
    """How often the sequence of ``period`` groups from ``at`` on stands there."""
    body, count = names[at:at + period], 1
    while names[at + count * period:at + (count + 1) * period] == body:
        count += 1
    return count
