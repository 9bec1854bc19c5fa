"""Setup of a program out of memory: the program begins by fetching what the host would have to write otherwise."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ....hw.config import CoreConfig
from ....hw.errors import WingbeatError
from ....hw.isa.descriptor import (DESCRIPTOR_WORDS, ENTRY_WORDS, GROUP_EVENT, ORIGIN, OTHER, SHAPE, STEP_EVENT,
                                   Descriptor, Move)
from ....hw.isa.instruction import Fetch, Instruction, Loop, MemoryMode, Set, Unit, Wait
from ....hw.isa.record import record_beats
from ....hw.isa.setup import NO_TARGET, SETUP_READER
from .assemble import Program, check_program_size

__all__ = ["Boot", "boot"]

_REGISTER = 2          # address register of the reader that no block and no SUMS uses
_MOST_BEATS = 1 << 14  # of one FETCH: what the moves of a descriptor reach


class Boot(NamedTuple):
    """``program`` with its setup in memory: ``records``, beats int64 (n, 2K)."""

    program: Program
    records: np.ndarray


def boot(config: CoreConfig, program: Program, base: int) -> Boot:
    """``program`` with a setup of one descriptor, of the reader; it fetches all the rest from beat ``base`` on before
    its first block.

    Raises WingbeatError where no descriptor is left, or program or memory are too small.
    """
    number = _free_descriptor(config, program.setup)
    places = config.memory_elements // config.record_elements
    beats = -(-len(program.setup) // places)
    fetches = -(-beats // _MOST_BEATS)
    steps = -(-beats // (fetches * config.beat_groups))
    size = steps * config.beat_groups
    nothing = [(NO_TARGET, 0, 0)] * (fetches * size * places - len(program.setup))
    records = record_beats(config, [*program.setup, *nothing])
    if base + len(records) > 1 << config.memory_bits:
        raise WingbeatError(f"memory.address_bits: {config.memory_bits} are too few for {base + len(records)} beats, "
                            f"{len(records)} of them records; allowed are {(base + len(records) - 1).bit_length()} and "
                            "more")
    fetch = Fetch(number, _REGISTER, size, MemoryMode.COLUMNS, size)
    start: list[Instruction] = [Set(Unit.READER, _REGISTER, base), *[fetch] * fetches, Wait()]
    instructions = [*start, *_moved(program.instructions, len(start))]
    check_program_size(config, instructions)
    moves = tuple(Move(config.beat_groups << bit) for bit in range((steps - 1).bit_length()))
    line = Descriptor((), Move(1), moves, 1, 1, steps=steps)
    return Boot(replace(program, instructions=instructions, setup=_setup(config, number, line)), records)


def _setup(config: CoreConfig, number: int, line: Descriptor) -> list[tuple[int, int, int]]:
    """The words of the descriptor that are looked at."""
    used = {GROUP_EVENT, ORIGIN, SHAPE, OTHER, *(STEP_EVENT + bit for bit in range(len(line.step)))}
    return [(SETUP_READER, number * DESCRIPTOR_WORDS + at, word)
            for at, word in enumerate(line.words(config.beat_groups)) if at // ENTRY_WORDS in used]


def _free_descriptor(config: CoreConfig, setup: Sequence[tuple[int, int, int]]) -> int:
    used = {address // DESCRIPTOR_WORDS for target, address, _ in setup if target == SETUP_READER}
    free = [number for number in range(config.descriptors) if number not in used]
    if not free:
        raise WingbeatError(f"descriptors: {config.descriptors} are too few for the reader and its records; allowed "
                            f"are {config.descriptors + 1} and more")
    return free[0]


def _moved(instructions: Sequence[Instruction], by: int) -> list[Instruction]:
    """The same, ``by`` instructions further on in the program."""
    return [replace(step, target=step.target + by) if isinstance(step, Loop) else step for step in instructions]
