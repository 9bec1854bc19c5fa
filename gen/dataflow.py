"""From stages and their blocks to a program of the processor: order, dependencies, loops, tables.

The READ and LOAD of a block stand before the passes of the block before it, so that the units overlap. What a READ
must wait for follows from the beats that the blocks read and write.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ..hw.config import ArrayConfig
from ..hw.descriptor import ENTRIES, Descriptor
from ..hw.errors import WingbeatError
from ..hw.program import INSTRUCTION_WORDS, Halt, Instruction, Load, Loop, Read, Set, Unit, Write
from ..sim.memory import read_addresses, write_addresses
from ..sim.processor import READER_TARGET, WRITER_TARGET, BlockOutcome, ProcessorModel
from .stages import Block, Stage

__all__ = ["Task", "Program", "assemble", "read_beats", "written_beats"]

_MOST_AFTER = 63
_LONGEST_LOOP = 64  # blocks of the longest loop body that is looked for


class Task(NamedTuple):
    """One block of a stage."""

    stage: Stage
    block: Block


@dataclass(frozen=True, eq=False)
class Program:
    """Instructions and setup writes (target, address, data) of one run, and the stage of every block by its tag."""

    instructions: list[Instruction]
    setup: list[tuple[int, int, int]] = field(repr=False)
    stages: list[Stage] = field(repr=False)

    def run_model(self, config: ArrayConfig, memory: np.ndarray) -> list[BlockOutcome]:
        """Run on the integer model; ``memory`` (beats, 2K) int64 is changed in place. Raises as ProcessorModel does."""
        model = ProcessorModel(config, [], [], memory)
        for target, address, data in self.setup:
            model.write_setup(target, address, data)
        return model.run(self.instructions)


def read_beats(config: ArrayConfig, stage: Stage, block: Block) -> np.ndarray:
    """Numbers of the beats that a block reads, in order."""
    read = Read(0, 0, block.read_rows, stage.read_mode)
    return read_addresses(config, stage.read.words(config.beat_groups), read, block.read_at)


def written_beats(config: ArrayConfig, stage: Stage, block: Block) -> np.ndarray:
    """Numbers of the beats that a block writes, in order."""
    write = Write(0, 0, block.write_rows, stage.write_mode, 0, block.fold_from, block.fold_rows)
    writes = write_addresses(config, stage.write.words(config.beat_groups), write, block.write_at)
    return writes.address[writes.enabled]


def assemble(config: ArrayConfig, tasks: Sequence[Task]) -> Program:
    """Program that runs ``tasks`` in this order, each after those whose results it reads.

    Raises WingbeatError when descriptors, program or memory are too small.
    """
    readers, writers = _Table(config, "reader"), _Table(config, "writer")
    waits = _dependencies(config, tasks)
    groups: list[tuple[Instruction, ...]] = []
    for number, (stage, block) in enumerate(tasks):
        own: list[Instruction] = [
            *stage.passes, stage.store,
            Write(writers.number(stage.write), 0, block.write_rows, stage.write_mode,
                  _step(tasks, number, "write_at"), block.fold_from, block.fold_rows)]
        groups.append(tuple([*_fetch(tasks, number + 1, readers, waits), *own]))
    start = [Set(Unit.READER, 0, tasks[0].block.read_at), Set(Unit.WRITER, 0, tasks[0].block.write_at),
             *_fetch(tasks, 0, readers, waits)]
    instructions = _looped(start, groups)
    need = INSTRUCTION_WORDS * len(instructions)
    if need > config.program_words:
        raise WingbeatError(f"program_words: {config.program_words} is too small for a program of {need} words; "
                            f"allowed are {1 << (need - 1).bit_length()} and more")
    setup = [*_coefficients(tasks), *readers.setup(READER_TARGET), *writers.setup(WRITER_TARGET)]
    return Program(instructions, setup, [task.stage for task in tasks])


class _Table:
    """Descriptors of one memory unit, each once."""

    def __init__(self, config: ArrayConfig, unit: str):
        self.config, self.unit = config, unit
        self.descriptors: dict[Descriptor, int] = {}

    def number(self, descriptor: Descriptor) -> int:
        return self.descriptors.setdefault(descriptor, len(self.descriptors))

    def setup(self, target: int) -> list[tuple[int, int, int]]:
        if len(self.descriptors) > self.config.descriptors:
            raise WingbeatError(f"descriptors: {self.config.descriptors} are too few for the {self.unit}; allowed are "
                                f"{len(self.descriptors)} and more")
        return [(target, 2 * ENTRIES * number + at, word) for descriptor, number in self.descriptors.items()
                for at, word in enumerate(descriptor.words(self.config.beat_groups))]


def _coefficients(tasks: Sequence[Task]) -> list[tuple[int, int, int]]:
    images = {id(stage.image): stage.image for stage, _ in tasks}
    return [(int(bank), int(address), int(data)) for image in images.values() for bank, address, data in image]


def _step(tasks: Sequence[Task], number: int, side: str) -> int:
    """From the address of this block to that of the next one: one register serves the whole program."""
    if number + 1 == len(tasks):
        return 0
    return getattr(tasks[number + 1].block, side) - getattr(tasks[number].block, side)


def _fetch(tasks: Sequence[Task], number: int, table: _Table, waits: list[tuple[int, int]]) -> list[Instruction]:
    """READ and LOAD of a block; the load follows the store of the block before in its half where it may."""
    if number >= len(tasks):
        return []
    stage, block = tasks[number]
    after, beats = waits[number]
    read = Read(table.number(stage.read), 0, block.read_rows, stage.read_mode, _step(tasks, number, "read_at"), after,
                beats)
    before = tasks[number - 2].stage if number >= 2 else None
    load = stage.load if before is not None and stage.follows(before) else Load(stage.load.walk)
    return [read, load]


def _dependencies(config: ArrayConfig, tasks: Sequence[Task]) -> list[tuple[int, int]]:
    """``after`` and ``after_beats`` of every READ: what it must see and the READs before it have not waited for."""
    counts: list[int] = []  # beats of every WRITE
    size = 1 << config.memory_bits
    writer = np.full(size, -1, dtype=np.int32)
    order = np.zeros(size, dtype=np.int32)  # which beat of that WRITE it is
    waits, seen = [], -1
    for number, (stage, block) in enumerate(tasks):
        beats, written = read_beats(config, stage, block), written_beats(config, stage, block)
        newest = int(writer[beats].max(initial=-1))
        if newest <= seen:
            waits.append((0, 0))
        else:
            last = int(order[beats[writer[beats] == newest]].max()) + 1
            partial = last if newest == number - 1 and last < counts[newest] else 0
            if number - newest > _MOST_AFTER:
                newest, partial = number - _MOST_AFTER, 0
            waits.append((number - newest, partial))
            seen = newest - bool(partial)
        writer[written] = number
        order[written] = np.arange(written.size)
        counts.append(written.size)
    return waits


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
