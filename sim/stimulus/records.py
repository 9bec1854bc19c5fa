"""Random FETCHes for a job of a processor: setup writes that come from memory while blocks are under way."""

from collections.abc import Sequence
from dataclasses import replace
import random

import numpy as np

from ...hw.config import CoreConfig
from ...hw.isa.descriptor import DESCRIPTOR_WORDS, Descriptor, Move
from ...hw.isa.encoding import INSTRUCTION_WORDS, REGISTERS, encode
from ...hw.isa.instruction import Fetch, Instruction, Loop, MemoryMode, Pass, Read, Set, Unit, Wait
from ...hw.isa.parameter_set import SET_WORDS, read_set
from ...hw.isa.record import record_beats
from ...hw.isa.setup import (LENGTHS, NO_TARGET, SETUP_LENGTHS, SETUP_READ_SETS, SETUP_READER, SETUP_WRITE_SETS,
                             SETUP_WRITER, SetupWrite)
from ..model.processor import ProcessorModel
from .processor import ProcessorJob

__all__ = ["with_records", "free_descriptors", "free_registers", "is_legal", "inserted"]

_MOST = 48        # records of one FETCH
_TRIES = 6        # FETCHes that are tried for a program
_ANY = MemoryMode.COLUMNS


def with_records(config: CoreConfig, job: ProcessorJob, rng: random.Random) -> ProcessorJob:
    """``job`` with some FETCHes more, each with the weakest ``after`` with which the program is legal; as it was where
    nothing of it is free for them."""
    descriptors, registers = free_descriptors(config, job), free_registers(job)
    if not descriptors or not registers:
        return job
    for _ in range(_TRIES):
        job = _with_one(config, job, descriptors[0], registers[0], rng)
    return job


def free_descriptors(config: CoreConfig, job: ProcessorJob) -> list[int]:
    """Numbers of the reader's descriptors that ``job`` does not use."""
    used = {address // DESCRIPTOR_WORDS for target, address, _ in job.setup if target == SETUP_READER}
    return [number for number in range(config.descriptors) if number not in used]


def free_registers(job: ProcessorJob) -> list[int]:
    """Numbers of the reader's registers that ``job`` does not use."""
    used = {step.register for step in job.program if isinstance(step, Read)}
    used |= {step.register for step in job.program if isinstance(step, Set) and step.unit is Unit.READER}
    return [number for number in range(REGISTERS) if number not in used]


def _with_one(config: CoreConfig, job: ProcessorJob, descriptor: int, register: int,
              rng: random.Random) -> ProcessorJob:
    """One FETCH more, or ``job`` itself where no place is legal."""
    records = _random_records(config, job, rng)
    beats, line = record_beats(config, records), _line(config)
    at = rng.choice([number for number, step in enumerate(job.program) if isinstance(step, Read)])
    if len(job.memory) + len(beats) > 1 << config.memory_bits or len(encode(job.program)) + 3 * INSTRUCTION_WORDS > \
            config.program_words:
        return job
    setup = [*job.setup, *((SETUP_READER, descriptor * DESCRIPTOR_WORDS + word, bits)
                           for word, bits in enumerate(line.words(config.beat_groups)))]
    memory = np.concatenate([job.memory, beats])
    fence = rng.random() < 0.5
    waits = [Wait()] if rng.random() < 0.3 else []
    for after, after_beats in ((0, 0), (3, 0), (2, 0), (1, rng.choice((1, 2, 5))), (1, 0)):
        fetch = Fetch(descriptor, register, 1, _ANY, 0, after, after_beats, fence=fence)
        program = inserted(job.program, at, [Set(Unit.READER, register, len(job.memory)), fetch, *waits])
        found = replace(job, setup=setup, program=program, memory=memory)
        if is_legal(config, found):
            return found
    return job


def is_legal(config: CoreConfig, job: ProcessorJob) -> bool:
    """Whether the model runs ``job``, and once more with the sets that its records have left."""
    model = ProcessorModel(config, [], [], job.memory.copy())
    for write in job.setup:
        model.write_setup(*write)
    try:
        model.check(encode(job.program))
        for _ in range(1 + (config.vector_lanes > 0)):
            model.run(job.program)  # rows that a set in the place of another one does not fit
    except ValueError:
        return False
    return True


def _line(config: CoreConfig) -> Descriptor:
    """Beats one behind the other; those behind ``chunks`` are not asked for."""
    groups, steps = config.beat_groups, _MOST
    bits = (steps - 1).bit_length()
    return Descriptor((), Move(0, 1), tuple(Move(0, groups << bit) for bit in range(bits)), pitch=1,
                      chunks=_MOST, steps=steps)


def _random_records(config: CoreConfig, job: ProcessorJob, rng: random.Random) -> list[SetupWrite]:
    """Coefficients, words of tables that the host has written, a parameter set in the place of another one, lengths,
    and writes to nobody; exactly as many as fill the beats of a FETCH."""
    places = config.memory_elements // config.record_elements
    count = _MOST * places
    tables = [write for write in job.setup if write[0] >= config.n_units]
    steps = [step for step in job.program if isinstance(step, Pass)]
    kinds = rng.choice((("coefficients",), ("coefficients", "nobody"), ("tables",), ("coefficients", "tables")))
    if config.ring_words == config.coefficient_words:  # no coefficient is the program's
        kinds = ("tables", "nobody")
    if config.softmax_pairs and rng.random() < 0.4:
        kinds = ("lengths", *kinds)
    records = _other_set(job, rng) if rng.random() < 0.5 else []
    base = rng.choice(steps).coef_base if steps else config.ring_words
    chosen = [write for write in tables if write[0] == rng.choice((SETUP_WRITER, SETUP_READER))]
    for _ in range(rng.randint(1, count - len(records))):
        kind = rng.choice(kinds)
        if kind == "coefficients":
            address = min(base + rng.randrange(4), config.coefficient_words - 1)
            records.append((rng.randrange(config.n_units), address, rng.getrandbits(config.coefficient_bits)))
        elif kind == "tables" and tables:
            records.append(rng.choice(chosen or tables))
        elif kind == "lengths":
            length = rng.choice((0, rng.randrange(64), rng.getrandbits(16)))
            records.append((SETUP_LENGTHS, rng.randrange(LENGTHS), length))
        else:
            records.append((rng.randrange(0x90, NO_TARGET + 1), rng.getrandbits(16), rng.getrandbits(40)))
    return records + [(NO_TARGET, 0, 0)] * (count - len(records))


def _other_set(job: ProcessorJob, rng: random.Random) -> list[SetupWrite]:
    """The words of one parameter set for the place of another one of the same side, where there are two. A set of READs
    must be for rows that stand as close, and are as long or longer."""
    target = rng.choice((SETUP_READ_SETS, SETUP_WRITE_SETS))
    words = {address: data for to, address, data in job.setup if to == target}
    numbers = sorted({address // SET_WORDS for address in words})
    if len(numbers) < 2:
        return []
    source, place = rng.sample(numbers, 2)
    if target == SETUP_READ_SETS:
        new, old = (read_set([words[SET_WORDS * number + at] for at in range(SET_WORDS)]) for number in (source, place))
        if new.chunk_shift != old.chunk_shift or new.n < old.n:
            return []
    return [(target, SET_WORDS * place + at, words[SET_WORDS * source + at]) for at in range(SET_WORDS)
            if SET_WORDS * source + at in words]


def inserted(program: Sequence[Instruction], at: int, more: Sequence[Instruction]) -> list[Instruction]:
    """``more`` in front of instruction ``at``; a LOOP that begins there begins with them."""
    moved = [replace(step, target=step.target + len(more)) if isinstance(step, Loop) and step.target > at else step
             for step in program]
    return [*moved[:at], *more, *moved[at:]]
