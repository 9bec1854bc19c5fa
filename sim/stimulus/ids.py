"""Random READs by id for a job of a processor: rows that ids in memory pick, not rows that follow one another."""

from collections.abc import Sequence
from dataclasses import replace
import random

import numpy as np

from ...hw.config import CoreConfig
from ...hw.isa.bit_fields import bits_of_words, pack, unpack, words_of_bits
from ...hw.isa.descriptor import (DESCRIPTOR_WORDS, DIFFERENCE, ENTRY_WORDS, ID_FIELDS, SHAPE, Descriptor, Move)
from ...hw.isa.encoding import INSTRUCTION_WORDS
from ...hw.isa.instruction import Destination, Fetch, Instruction, MemoryMode, Read, Set, Unit
from ...hw.isa.setup import SETUP_READER, SetupWrite
from ..model.memory import Positions, positions
from .processor import ProcessorJob
from .records import free_descriptors, free_registers, inserted, is_legal

__all__ = ["with_ids"]

_TRIES = 4
_ADDED = 3  # instructions in front of a READ by id


def with_ids(config: CoreConfig, job: ProcessorJob, rng: random.Random) -> ProcessorJob:
    """``job`` with some of its READs by id, each with the weakest ``after`` with which the program is legal; as it was
    where nothing of it is free for them, or the configuration keeps no ids."""
    if not config.row_ids:
        return job
    for _ in range(_TRIES):
        descriptors, registers = free_descriptors(config, job), free_registers(job)
        if len(descriptors) > 1 and registers:
            job = _with_one(config, job, (descriptors[0], descriptors[1]), registers[0], rng)
    return job


def _with_one(config: CoreConfig, job: ProcessorJob, numbers: tuple[int, int], register: int,
              rng: random.Random) -> ProcessorJob:
    """One READ by id more, or ``job`` itself where it does not become legal."""
    plain = [at for at, step in enumerate(job.program) if type(step) is Read and not step.vector and not step.by_id]
    room = INSTRUCTION_WORDS * (len(job.program) + _ADDED) <= config.program_words
    if not plain or not room:
        return job
    at = rng.choice(plain)
    read = job.program[at]
    assert isinstance(read, Read)
    words = _words(job.setup, read.descriptor)
    beats = positions(config, words, read.rows, 0)
    first = rng.choice((0, 0, 3))
    ids = _random_ids(config, len(job.memory), beats, first, rng)
    if ids is None or len(job.memory) + len(ids[0]) > 1 << config.memory_bits:
        return job
    memory = np.concatenate([job.memory, ids[0]])
    setup = [*job.setup, *_setup(numbers[0], ids[1].words(config.beat_groups)), *_setup(numbers[1], _by_id(words))]
    # The register of the READ goes on, by a FETCH of nothing.
    front: list[Instruction] = [
        Set(Unit.READER, register, len(job.memory)),
        Fetch(numbers[0], register, len(ids[0]), MemoryMode.COLUMNS, first - len(job.memory),
              destination=Destination.IDS, fence=True),
        Fetch(numbers[0], read.register, 0, MemoryMode.COLUMNS, read.increment)]
    for after, after_beats in ((read.after, read.after_beats), (3, 0), (2, 0), (1, 0)):
        chosen = replace(read, descriptor=numbers[1], register=register, increment=0, after=after,
                         after_beats=after_beats, by_id=True)
        program = [*job.program[:at], chosen, *job.program[at + 1:]]
        found = replace(job, setup=setup, program=inserted(program, at, front), memory=memory)
        if is_legal(config, found):
            return found
    return job


def _random_ids(config: CoreConfig, depth: int, beats: Positions, first: int,
                rng: random.Random) -> tuple[np.ndarray, Descriptor] | None:
    """Beats of ids for the valid rows of ``beats`` behind ``first`` that nobody reads, and the descriptor of their
    FETCH; None where they have no room. What else stands in their beats is noise."""
    count = first + int(beats.row[beats.valid].max(initial=0)) + 1
    chunk = int(beats.chunk[beats.valid].max(initial=0))
    pitch = rng.randint(0, 3)
    if count > config.row_ids or chunk >= depth:
        return None
    base = rng.randrange(depth - chunk)
    last = min((depth - chunk - base - 1) >> pitch, (1 << config.element_width) - 1)
    last = min(last, rng.choice((0, 3, last)))
    numbers = np.random.default_rng(rng.getrandbits(32))
    half = 1 << config.element_width - 1
    found = numbers.integers(-half, half, (count, config.memory_elements))
    found[:, 0] = (numbers.integers(0, last + 1, count) + half) % (2 * half) - half
    groups = config.beat_groups
    steps = tuple(Move(groups << bit) for bit in range((-(-count // groups) - 1).bit_length()))
    keep = pack(ID_FIELDS, {"last_id": last, "log2_pitch": pitch})
    return found, Descriptor((), Move(1), steps, 1, 1, other=base, steps=-(-count // groups), keep=keep)


def _words(setup: Sequence[SetupWrite], number: int) -> list[int]:
    """The words of a descriptor of the reader; what is not written is 0."""
    words = [0] * DESCRIPTOR_WORDS
    for target, address, data in setup:
        if target == SETUP_READER and address // DESCRIPTOR_WORDS == number:
            words[address % DESCRIPTOR_WORDS] = data
    return words


def _by_id(words: Sequence[int]) -> list[int]:
    """The descriptor that counts up ids: one for a row, none for a chunk."""
    found = list(words)
    for entry in range(SHAPE):
        at = slice(ENTRY_WORDS * entry, ENTRY_WORDS * (entry + 1))
        moved = unpack(DIFFERENCE, bits_of_words(words[at]))
        rows = (moved["rows"] + 0x8000) % 0x10000 - 0x8000
        found[at] = words_of_bits(pack(DIFFERENCE, moved | {"beats": rows & 0xFFFFFFFF}), ENTRY_WORDS)
    return found


def _setup(number: int, words: Sequence[int]) -> list[SetupWrite]:
    return [(SETUP_READER, number * DESCRIPTOR_WORDS + at, word) for at, word in enumerate(words)]
