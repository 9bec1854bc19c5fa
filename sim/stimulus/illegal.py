"""Programs that a processor must stop with an error code: one fault each, in three surroundings.

The surroundings are copies of a block that is legal: nothing before the fault, some blocks before and one behind it, or
a loop around it. Faults are raw program words, so that they go where :func:`~wingbeat.hw.isa.instruction.encode` does
not.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
import random

import numpy as np

from ...hw.array.parameters import QUEUE_PLACES
from ...hw.config import CoreConfig
from ...hw.isa.descriptor import Descriptor, Move
from ...hw.isa.encoding import patched, INSTRUCTION_WORDS
from ...hw.isa.instruction import (Fault, Fetch, Halt, Load, Loop, MemoryMode, Mode, Opcode, Pass, Read, Set, Store,
                                   Sums, Unit, Wait, Write)
from ...hw.isa.parameter_set import SET_WORDS, WriteSet
from ...hw.isa.record import record_beats
from ...hw.isa.setup import (CONTROL_START, HOST_TARGETS, NO_TARGET, SETUP_READER, SETUP_WRITE_SETS, SETUP_WRITER)
from ...hw.isa.walk import SubOrder, Walk
from ...hw.numeric import largest, smallest
from .processor import SetupWrites, random_setup

__all__ = ["IllegalProgram", "illegal_programs"]

_MOST_SPAN = 256  # beats of the legal block
_FAR_SET = 13     # of a WRITE: it adds what stands behind the memory
Code = list[int]  # the three words of one instruction


@dataclass(frozen=True, eq=False)
class IllegalProgram:
    """A run that ends with error ``code``.

    ``setup`` as in ProcessorJob, ``words`` the program, ``memory`` int64 (beats, 2K), smaller than the addresses reach.
    Beats outside ``writable`` must not change.
    """

    name: str
    setup: SetupWrites = field(repr=False)
    words: list[int] = field(repr=False)
    memory: np.ndarray = field(repr=False)
    code: Fault
    writable: range


def illegal_programs(config: CoreConfig, rng: random.Random) -> list[IllegalProgram]:
    """The corpus for ``config``: every code several times, about two hundred programs.

    Raises ValueError for a configuration in which some of the faults would be legal.
    """
    ranges = (("memory_bits", config.memory_bits, 12, 31), ("index_bits", config.index_bits, 2, 15),
              ("descriptors", config.descriptors, 3, 63))
    for name, value, least, most in ranges:
        if not least <= value <= most:
            raise ValueError(f"{name}: {value} is not in {least}..{most}, where the corpus is illegal")
    legal = _Legal(config)
    numbers = np.random.default_rng(rng.getrandbits(32))
    low, high = smallest(config.element_width), largest(config.element_width)
    memory = numbers.integers(low, high + 1, (legal.depth, config.memory_elements))
    for target, first in legal.host_records.items() if config.records else ():
        memory[first:first + config.beat_groups] = _records_for(config, target)
    tables = dict(enumerate(legal.descriptors))
    far = [(SETUP_WRITE_SETS, _FAR_SET * SET_WORDS + at, word)
           for at, word in enumerate(WriteSet(residual=True, offset=legal.depth).words())]
    setup = random_setup(config, {SETUP_READER: tables, SETUP_WRITER: tables}, rng,
                         far if config.vector_lanes else [])
    return [IllegalProgram(f"{code.value}-{name}-{place}", setup, _words(config, program), memory,
                           code, range(2 * legal.span, legal.depth))
            for code, name, fault in _faults(config, legal) for place, program in _surrounded(config, legal, fault)]


def _words(config: CoreConfig, program: list[Code]) -> list[int]:
    """As much of ``program`` as the program memory holds."""
    return [word for code in program for word in code][:config.program_words]


def _records_for(config: CoreConfig, target: int) -> np.ndarray:
    """Beats of row 0 of the legal block with records for nobody, and a last one for ``target``."""
    count = config.beat_groups * (config.memory_elements // config.record_elements)
    return record_beats(config, [*[(NO_TARGET, 0, 0)] * (count - 1), (target, 0, CONTROL_START)])


def _unknown(opcode: int) -> Code:
    return [opcode, 0, 0]


class _Legal:
    """The legal block: the lowest words of the halves, from beats 0.. to beats 2 * span.., in COLUMNS mode.

    Descriptor 0 names its ``span`` beats, descriptor 1 twice, descriptor 2 half as many.
    """

    def __init__(self, config: CoreConfig):
        groups, s = config.beat_groups, config.layers
        steps = config.row_bits
        while steps > 1 and groups << steps > _MOST_SPAN:
            steps -= 1
        self.span = groups << steps
        self.depth = 4 * self.span + 3
        self.descriptors = [
            Descriptor((), Move(0, 1), tuple(Move(1 << i) for i in range(count)), groups, groups)
            for count in (steps, steps + 1, steps - 1)]
        self.walk = Walk(tuple(range(s)), (1 << s + steps) - (1 << s), 0)
        self.read = Read(0, 1, 0xFFFF, MemoryMode.COLUMNS)
        self.sums = Sums(0, 1, 0xFFFF, MemoryMode.COLUMNS, vector=3)
        self.load, self.store = Load(self.walk), Store(self.walk)
        self.step = Pass(Mode.PASS, 0, 1 << steps, 0, (0,) * s, first=True, last=True)
        self.write = Write(0, 2, 0xFFFF, MemoryMode.COLUMNS)
        self.fetch = Fetch(0, 6, 1, MemoryMode.COLUMNS)
        # First beat of records that name a target which is the host's alone, behind all that the block touches.
        self.host_records = {target: self.depth - groups * number for number, target in enumerate(HOST_TARGETS, 1)}
        self.sets = [patched(Set(Unit.READER, 1, 0)), patched(Set(Unit.WRITER, 2, 2 * self.span))]

    def block(self, **changed: list[Code]) -> list[Code]:
        """The block with some of its instructions replaced, or left out where the list is empty."""
        parts: dict[str, list[Code]] = {
            "read": [patched(self.read)], "load": [patched(self.load)], "step": [patched(self.step)],
            "store": [patched(self.store)], "write": [patched(self.write)]} | changed
        return [code for part in parts.values() for code in part]


Faulty = tuple[Fault, str, list[Code]]


def _surrounded(config: CoreConfig, legal: _Legal, fault: list[Code]) -> Iterator[tuple[str, list[Code]]]:
    """Programs around ``fault``. A LOOP in it that shall jump far has a target beyond all of these."""
    block, halt = legal.block(), patched(Halt())
    yield "first", [*legal.sets, *fault, halt]
    yield "later", [*legal.sets, *block, *block, *block, *fault, *block, halt]
    start = len(legal.sets) + len(block)
    yield "loop", [*legal.sets, *block, *fault, patched(Loop(start, 3)), halt]


def _faults(config: CoreConfig, legal: _Legal) -> Iterator[Faulty]:
    """Code, name and instructions of every fault."""
    for opcode in (11, 13, 15) if config.records else (Opcode.FETCH, Opcode.WAIT, 11, 15):
        yield Fault.OPCODE, f"opcode{opcode}", legal.block(step=[_unknown(opcode)])
    yield Fault.OPCODE, "opcode12-before-read", [_unknown(12), *legal.block()]
    yield from _walk_faults(config, legal)
    yield from _pass_faults(config, legal)
    yield from _order_faults(legal)
    yield from _memory_faults(config, legal)
    yield from _vector_faults(config, legal) if config.vector_lanes else _faults_without_vector_unit(legal)
    yield from _count_faults(legal)
    yield from _fetch_faults(config, legal) if config.records else ()
    nop = patched(Set(Unit.READER, 0, 0))
    yield Fault.LOOP, "forward", [nop, patched(Loop(1000, 2)), *legal.block()]
    yield Fault.LOOP, "out-of-program", [nop, patched(Loop(0, 2), target=0xFFF), *legal.block()]
    yield Fault.LOOP, "above", [nop, patched(Loop(0, 2), target_above=8), *legal.block()]
    yield Fault.LOOP, "nested", [*legal.block(), patched(Loop(2, 2)), nop, patched(Loop(1, 2))]
    # Longer than the memory: the words that would hold a HALT are cut off.
    yield Fault.LOOP, "no-halt", [nop] * (config.program_words // INSTRUCTION_WORDS + 1)


def _walk_faults(config: CoreConfig, legal: _Legal) -> Iterator[Faulty]:
    outside = 1 << config.index_bits
    changes: list[tuple[str, dict[str, int]]] = [
        ("steps", {"last_step": (1 << config.row_bits + 1) - 1}),
        ("sub-place", {"sub_order": SubOrder.UP, "sub_bits": 1, "sub_at": config.index_bits}),
        ("sub-bits", {"sub_order": SubOrder.DOWN, "sub_bits": config.sub_bits + 1}),
        ("mirror", {"sub_order": SubOrder.MIRROR, "sub_bits": 1, "sub_at": 15}),
        ("inner", {"inner": legal.walk.inner | outside}), ("outer", {"outer": outside}),
        ("window", {"window": outside})]
    for name, change in changes:
        yield Fault.WALK, f"load-{name}", legal.block(load=[patched(legal.load, **change)])
        yield Fault.WALK, f"store-{name}", legal.block(store=[patched(legal.store, **change)])


def _pass_faults(config: CoreConfig, legal: _Legal) -> Iterator[Faulty]:
    changes: list[tuple[str, dict[str, int]]] = [
        ("digit", {"digit": 15}), ("next-digit", {"digit": config.index_bits // config.layers}),
        ("groups", {"last_group": config.bank_rows}),
        ("coefficients", {"mode": Mode.FFT, "active": 1, "coef_base": config.coefficient_words}),
        ("reach", {"mode": Mode.FFT, "active": 1, "coef_base": config.coefficient_words - 1, "coef_mask_bits": 1}),
        ("mask", {"mode": Mode.BPMM, "active": 1, "coef_mask_bits": 31})]
    for name, change in changes:
        yield Fault.PASS, name, legal.block(step=[patched(legal.step, **change)])


def _order_faults(legal: _Legal) -> Iterator[Faulty]:
    read, load, step, store, write = legal.block()
    middle = patched(legal.step, first=0)
    yield Fault.INPUT, "pass-without-load", legal.block(load=[])
    yield Fault.INPUT, "load-without-read", legal.block(read=[])
    yield Fault.INPUT, "second-load", legal.block(load=[load, load])
    yield Fault.INPUT, "pass-outside", legal.block(step=[step, middle])
    yield Fault.INPUT, "first-inside", legal.block(read=[read, read], load=[load, load],
                                                   step=[patched(legal.step, last=0), step])
    yield Fault.INPUT, "read-without-passes", [read, *legal.block(), load]
    yield Fault.OUTPUT, "store-without-passes", legal.block(step=[])
    yield Fault.OUTPUT, "store-inside", legal.block(step=[patched(legal.step, last=0)])
    yield Fault.OUTPUT, "write-without-store", legal.block(store=[])
    yield Fault.OUTPUT, "second-write", legal.block(write=[write, write])
    yield Fault.OUTPUT, "second-store", legal.block(store=[store, store])
    yield Fault.OUTPUT, "never-written", legal.block(write=[])
    for after in (4, 7, 63):
        yield Fault.AFTER, f"after{after}", legal.block(read=[patched(legal.read, after=after)])
    yield Fault.AFTER, "after-beats", legal.block(read=[patched(legal.read, after=5, after_beats=1)])


def _memory_faults(config: CoreConfig, legal: _Legal) -> Iterator[Faulty]:
    top = (1 << config.memory_bits) - legal.span  # further up a block would name the first beats, too
    for name, base in (("behind", legal.depth), ("across", legal.depth - 1), ("top", top)):
        for unit, part in ((Unit.READER, "read"), (Unit.WRITER, "write")):
            setting = patched(Set(unit, 5, base))
            here = {part: [setting, patched(getattr(legal, part), register=5)]}
            yield Fault.REFUSED, f"{part}-{name}", legal.block(**here)
    yield Fault.REFUSED, "read-walks-out", legal.block(read=[patched(legal.read, increment=legal.depth)]) * 2
    for mode in (MemoryMode.REAL, MemoryMode.FOLD, MemoryMode.SPLIT, 7):
        yield Fault.MEMORY, f"read-mode{int(mode)}", legal.block(read=[patched(legal.read, mode=mode)])
    for mode in (6, 7):
        yield Fault.MEMORY, f"write-mode{mode}", legal.block(write=[patched(legal.write, mode=mode)])
    yield Fault.MEMORY, "read-descriptor", legal.block(read=[patched(legal.read, descriptor=config.descriptors)])
    yield Fault.MEMORY, "write-descriptor", legal.block(write=[patched(legal.write, descriptor=63)])
    yield Fault.MEMORY, "set", [patched(Set(Unit.READER, 0, 1 << config.memory_bits)), *legal.block()]


def _vector_faults(config: CoreConfig, legal: _Legal) -> Iterator[Faulty]:
    """A SUMS is judged as a READ, but that it is none; what a WRITE adds must be there."""
    block = legal.block()
    for mode in (MemoryMode.REAL, 7):
        yield Fault.MEMORY, f"sums-mode{int(mode)}", [patched(legal.sums, mode=mode), *block]
    for descriptor in (config.descriptors, 63):
        yield Fault.MEMORY, f"sums-descriptor{descriptor}", [patched(legal.sums, descriptor=descriptor), *block]
    setting = patched(Set(Unit.READER, 5, legal.depth))
    yield Fault.REFUSED, "sums-behind", [setting, patched(legal.sums, register=5), *block]
    yield Fault.REFUSED, "residual-behind", legal.block(write=[patched(legal.write, vector=_FAR_SET)])
    yield Fault.INPUT, "sums-for-read", legal.block(read=[patched(legal.sums)])
    for after in (4, 63):
        yield Fault.AFTER, f"sums-after{after}", [patched(legal.sums, after=after), *block]


def _faults_without_vector_unit(legal: _Legal) -> Iterator[Faulty]:
    """Whatever names a parameter set, and SUMS even if it names none."""
    for vector in (1, 8, 15):
        yield Fault.MEMORY, f"read-vector{vector}", legal.block(read=[patched(legal.read, vector=vector)])
        yield Fault.MEMORY, f"write-vector{vector}", legal.block(write=[patched(legal.write, vector=vector)])
    for vector in (0, 9):
        yield Fault.MEMORY, f"sums{vector}", [patched(legal.sums, vector=vector), *legal.block()]
    yield Fault.MEMORY, "sums-for-read", legal.block(read=[patched(legal.sums)])


def _fetch_faults(config: CoreConfig, legal: _Legal) -> Iterator[Faulty]:
    """A FETCH is judged as a READ, but that it is none; its records must be for the tables."""
    block = legal.block()
    for name, change in (("descriptor", {"descriptor": config.descriptors}), ("no-destination", {"destination": 0}),
                         ("destination", {"destination": 3})):
        yield Fault.MEMORY, f"fetch-{name}", [patched(legal.fetch, **change), *block]
    for target, first in legal.host_records.items():
        setting = patched(Set(Unit.READER, 6, first))
        yield Fault.RECORD, f"record-{target}", [setting, patched(legal.fetch), *block]
        yield Fault.RECORD, f"record-{target}-fence", [setting, patched(legal.fetch, fence=1), *block]
    setting = patched(Set(Unit.READER, 6, legal.depth))
    yield Fault.REFUSED, "fetch-behind", [setting, patched(legal.fetch), *block]
    yield Fault.INPUT, "fetch-for-read", legal.block(read=[patched(legal.fetch, rows=0)])
    read, load, step, store, write = block
    wait = patched(Wait())
    yield Fault.INPUT, "wait-behind-read", [read, wait, load, step, store, write]
    yield Fault.INPUT, "wait-inside", [read, load, patched(legal.step, last=0), wait]
    yield Fault.OUTPUT, "wait-before-write", [read, load, step, store, wait, write]
    for after in (4, 63):
        yield Fault.AFTER, f"fetch-after{after}", [patched(legal.fetch, rows=0, after=after), *block]


def _count_faults(legal: _Legal) -> Iterator[Faulty]:
    """What waits for ever."""
    nop = patched(Set(Unit.READER, 0, 0))
    second = patched(replace(legal.read, after=1))
    # The WRITE that the second READ waits for stands behind more than the queue of the reader holds.
    yield Fault.WATCHDOG, "circle", [*legal.block(load=[patched(legal.load), second, *[nop] * (QUEUE_PLACES + 2)]),
                                     *legal.block(read=[])]
    for descriptor, name in ((1, "longer"), (2, "shorter")):
        yield Fault.WATCHDOG, f"read-{name}", legal.block(read=[patched(legal.read, descriptor=descriptor)])
        yield Fault.WATCHDOG, f"write-{name}", legal.block(write=[patched(legal.write, descriptor=descriptor)])
