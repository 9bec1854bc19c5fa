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
from ...hw.isa.encoding import INSTRUCTION_WORDS, instruction_fields, patched
from ...hw.isa.instruction import (Destination, Fault, Fetch, Halt, Load, Loop, Mac, Mask, MemoryMode, Mode, Opcode,
                                   Pass, Read, Set, Softmax, Store, Sums, Unit, Wait, Write)
from ...hw.isa.parameter_set import SET_WORDS, WriteSet
from ...hw.isa.record import record_beats
from ...hw.isa.setup import (CONTROL_START, HOST_TARGETS, LENGTHS, NO_TARGET, SETUP_READER, SETUP_WRITE_SETS,
                             SETUP_WRITER)
from ...hw.isa.walk import SubOrder, Walk
from ...hw.numeric import MAC_TERMS, largest, smallest
from ..model.ring import panel_words
from .processor import SetupWrites, random_setup
from .softmax import least_logits

__all__ = ["IllegalProgram", "illegal_programs"]

_MOST_SPAN = 256  # beats of the legal block
_FAR_SET = 13     # of a WRITE: it adds what stands behind the memory
_MOST_MACS = 16   # of a block
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
              ("descriptors", config.descriptors, 4 if config.ring_words else 3, 63))
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

    Descriptor 0 names its ``span`` beats, descriptor 1 twice, descriptor 2 half as many. With a ring descriptor 3 names
    one beat again and again, as often as there are rows: more than the ring holds.
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
        if config.ring_words:
            self.set_words = config.memory_elements // config.lanes  # of the ring, that S beats make
            self.most_sets = config.ring_words // self.set_words
            self._beats_of_set = s
            # Rows 0 and 1 to row 2, where there is one.
            self.mac = Mac(2, 1, 1, 1, 2 if config.bank_rows > 2 else 0, 0, 5, first=True, last=True)
            self.panel = panel_words(config, self.mac)
            self.can_multiply = config.bank_rows > 2 and self.panel <= config.ring_words
            self.stuck_sets = self.most_sets + 3  # what stands between reader and ring is not enough for them
            bits = (2 * (self.stuck_sets + 1) * s - 1).bit_length()
            self.descriptors.append(Descriptor((), Move(1), tuple(Move(groups << bit) for bit in range(bits)), 0, 1))

    def matrix(self, sets: int, beats: int = 0, **changed: int) -> list[Code]:
        """Brings so many sets and ``beats`` more into the ring."""
        rows = sets * self._beats_of_set + beats
        fetch = Fetch(3, 6, rows, MemoryMode.COLUMNS, destination=Destination.RING)
        return [patched(Set(Unit.READER, 6, 0)), patched(fetch, **changed)]

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
    yield "loop", [*legal.sets, *block, *fault, patched(Loop(start, 2)), halt]


def _faults(config: CoreConfig, legal: _Legal) -> Iterator[Faulty]:
    """Code, name and instructions of every fault."""
    known = config.records + bool(config.ring_words)
    for opcode in ((Opcode.FETCH, Opcode.WAIT, Opcode.MAC, 15), (Opcode.MAC, 13, 15), (13, 14, 15))[known]:
        yield Fault.OPCODE, f"opcode{opcode}", legal.block(step=[_unknown(opcode)])
    if not config.softmax_pairs:
        yield Fault.OPCODE, "mask-before-read", [_unknown(Opcode.MASK), *legal.block()]
    yield from _walk_faults(config, legal)
    yield from _pass_faults(config, legal)
    yield from _order_faults(legal)
    yield from _memory_faults(config, legal)
    yield from _vector_faults(config, legal) if config.vector_lanes else _faults_without_vector_unit(legal)
    yield from _count_faults(legal)
    yield from _fetch_faults(config, legal) if config.records else ()
    yield from _id_faults(config, legal)
    yield from _ring_faults(config, legal) if config.ring_words else _faults_without_ring(legal)
    yield from _softmax_faults(config, legal) if config.ring_words else ()
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
                         *(() if config.sparse else [("picks", {"destination": Destination.PICKS})]),
                         *(() if config.ring_words else [("ring", {"destination": Destination.RING})])):
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


def _id_faults(config: CoreConfig, legal: _Legal) -> Iterator[Faulty]:
    """READs by id where nobody keeps ids, or of rows that are normalised; ids that name no row."""
    block = legal.block()
    if not config.row_ids:
        yield Fault.MEMORY, "by-id", legal.block(read=[patched(legal.read, by_id=1)])
    if config.vector_lanes:
        yield Fault.MEMORY, "by-id-vector", legal.block(read=[patched(legal.read, by_id=1, vector=3)])
        yield Fault.MEMORY, "sums-by-id", [patched(legal.sums, by_id=1), *block]
    if not config.records:
        return
    yield Fault.MEMORY, "fetch-by-id", [patched(legal.fetch, by_id=1, rows=0), *block]
    for destination in (*(() if config.row_ids else (Destination.IDS,)), 5, 6, 7):
        changed = patched(legal.fetch, destination=int(destination), fence=1, rows=0)
        yield Fault.MEMORY, f"fetch-destination{int(destination)}", [changed, *block]
    if config.row_ids:
        ids = replace(legal.fetch, destination=Destination.IDS, fence=True)
        yield Fault.MEMORY, "ids-without-fence", [patched(ids, fence=0, rows=0), *block]
        # Descriptor 0 knows of row 0 alone, and a record for nobody begins with another number.
        for target, first in legal.host_records.items():
            setting = patched(Set(Unit.READER, 6, first))
            yield Fault.ID, f"id-{target}", [setting, patched(ids), *block]
            yield Fault.ID, f"id-{target}-behind", [*block, setting, patched(ids)]


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


def _faults_without_ring(legal: _Legal) -> Iterator[Faulty]:
    yield Fault.OPCODE, "mac", legal.block(step=[patched(Mac(2, 1, 1, 1, 0, 0, 5, first=True, last=True))])
    for base in (1, 1 << 15):
        yield Fault.WALK, f"store-base{base}", legal.block(store=[patched(legal.store, base=base)])


def _ring_faults(config: CoreConfig, legal: _Legal) -> Iterator[Faulty]:
    """A MAC is judged as a PASS; a FETCH of its matrix as any other."""
    rows = config.row_bits
    too_wide = min(config.ring_words // (config.lanes // config.layers), MAC_TERMS // config.lanes)
    changes: list[tuple[str, dict[str, int]]] = [
        ("one-group", {"last_input": 0}), ("panel", {"last_input": too_wide, "log2_in_stride": rows}),
        ("input-stride", {"last_input": 2}), ("input-rows", {"last_pair": 1, "log2_in_stride": rows}),
        ("output-stride", {"last_output": 1}), ("output-rows", {"last_pair": 1, "log2_out_stride": rows}),
        ("out-base", {"out_base": 1 << rows}), ("far-out-base", {"out_base": 1 << 15}), ("zero", {"zero": 1}),
        ("zeros", {"zero": -1})]
    changes += [("large-group", {"log2_group": 5}), ("group", {"log2_group": 7}), ("picks", {"last_pick": 1}),
                ("many-picks", {"log2_group": 2, "last_pick": 4}), ("all-picks", {"log2_group": 3, "last_pick": 15})]
    if not config.sparse:
        changes += [("sparse", {"log2_group": 1}), ("apart", {"log2_apart": 1})]
    sums = config.partial_words * config.layers // config.lanes
    most = sums.bit_length() - 1
    if most < rows:  # so many outputs have room in the half
        changes += [(f"{field}-sums", {field: 1, "last_output": sums, "log2_out_stride": 15}) for field in
                    ("merge", "keep")]
    for name, change in changes:
        yield Fault.PASS, f"mac-{name}", legal.block(step=[patched(legal.mac, **change)])
    window = instruction_fields(patched(legal.load))[1]["window"]
    others = [] if config.sparse and window == config.lanes - 1 else [window]
    for other in (*others, 2 * config.lanes - 2):
        yield Fault.WALK, f"plain-{other}", legal.block(load=[patched(legal.load, plain=1, window=other)])
    for name, base in (("store-base", 1 << config.index_bits), ("store-far-base", 1 << 15)):
        yield Fault.WALK, name, legal.block(store=[patched(legal.store, base=base)])
    read, load, step, _, _ = block = legal.block()
    mac, middle = patched(legal.mac), patched(legal.mac, first=0)
    yield Fault.INPUT, "mac-without-load", legal.block(load=[], step=[mac])
    yield Fault.INPUT, "mac-outside", legal.block(step=[step, middle])
    yield Fault.INPUT, "pass-behind-mac", legal.block(step=[mac, patched(legal.step, first=0)])
    for name, first in (("mac", mac), ("pass", step)):
        inside = [patched(legal.mac, last=0), first]
        yield Fault.INPUT, f"first-{name}-inside", legal.block(read=[read, read], load=[load, load], step=inside)
    yield Fault.OUTPUT, "store-inside-mac", legal.block(step=[patched(legal.mac, last=0)])
    yield Fault.AFTER, "matrix-after", [*legal.matrix(1, after=4), *block]
    behind = patched(Set(Unit.READER, 6, legal.depth))
    yield Fault.REFUSED, "matrix-behind", [behind, legal.matrix(1)[-1], *block]
    yield from _left_in_ring(legal)
    yield from _starved(config, legal)


def _softmax_faults(config: CoreConfig, legal: _Legal) -> Iterator[Faulty]:
    """MASKs that name no key or no length, and MACs of a softmax that no finisher can serve; without one, all of them.
    """
    step = patched(legal.step)
    for name, change in (("fresh", {"fresh": 1}), ("kind", {"softmax": 3}),
                         *(() if config.softmax_pairs else [(kind.name.lower(), {"softmax": kind})
                                                            for kind in (Softmax.LOGITS, Softmax.VALUES)])):
        yield Fault.PASS, f"softmax-{name}", legal.block(step=[patched(legal.mac, **change)])
    if not config.softmax_pairs:
        yield Fault.OPCODE, "mask", legal.block(step=[patched(Mask()), step])
        return
    for name, change in (("key", {"key": 1}), ("far-key", {"key": -1}), ("length", {"length": LENGTHS + 1}),
                         ("far-length", {"length": -1})):
        yield Fault.PASS, f"mask-{name}", legal.block(step=[patched(Mask(), **change), step])
    logits = least_logits(config)
    if logits is None:
        return
    logits = replace(logits, first=True, last=True)
    own = [("keep", {"keep": 1}), ("merge", {"merge": 1}), ("group", {"log2_group": 1}),
           ("few-inputs", {"last_input": logits.inputs - 2}), ("base", {"out_base": config.bank_rows})]
    if config.softmax_pairs < config.bank_rows:  # so many rows have room in the half, if their inputs have not
        own.append(("pairs", {"last_pair": config.softmax_pairs, "log2_out_stride": 0}))
    for name, change in own:
        yield Fault.PASS, f"logits-{name}", legal.block(step=[patched(logits, **change)])
    values = replace(logits, softmax=Softmax.VALUES, fresh=False)
    for name, change in (("fresh", {"fresh": 1}), *own[2:]):
        yield Fault.PASS, f"values-{name}", legal.block(step=[patched(values, **change)])
    yield Fault.WATCHDOG, "starved-logits", legal.block(step=[patched(logits)])
    yield Fault.OUTPUT, "store-inside-softmax", legal.block(step=[patched(logits, last=0), patched(values, first=0,
                                                                                                   last=0)])


def _left_in_ring(legal: _Legal) -> Iterator[Faulty]:
    """Words that no MAC takes; the program comes to its end."""
    block, some = legal.block(), legal.matrix(1)
    yield Fault.RING, "left", [*some, *block]
    yield Fault.RING, "left-behind", [*block, *some]
    yield Fault.RING, "left-fence", [*legal.matrix(1, fence=1), *block]
    yield Fault.RING, "left-wait", [*some, patched(Wait()), *block]
    if legal.can_multiply:
        more = legal.matrix(legal.panel // legal.set_words + 1)
        yield Fault.RING, "left-by-mac", legal.block(load=[patched(legal.load), *more], step=[patched(legal.mac)])


def _starved(config: CoreConfig, legal: _Legal) -> Iterator[Faulty]:
    """MACs and FETCHes that wait for ever, for each other or for nothing."""
    read, load, step, store, write = block = legal.block()
    mac, full = patched(legal.mac), legal.matrix(legal.most_sets + 1)
    needed = -(-legal.panel // legal.set_words)
    matrix = legal.matrix(needed)
    yield Fault.WATCHDOG, "starved", legal.block(step=[mac])
    yield Fault.WATCHDOG, "starved-of-a-beat", legal.block(load=[load, *legal.matrix(needed, -1)], step=[mac])
    yield Fault.WATCHDOG, "too-much", [*full, *block]
    yield Fault.WATCHDOG, "too-much-behind", [*block, *full]
    yield Fault.WATCHDOG, "too-much-wait", [*full, patched(Wait()), *block]
    # The READ of the next block waits for this one, and the matrix of this one stands behind it.
    late = patched(replace(legal.read, after=1))
    yield Fault.WATCHDOG, "circle-after", [read, load, late, load, *matrix, mac, store, write, step, store, write]
    # A matrix that does not fit the ring, in front of the READ of its block; behind that it could be fetched.
    words = legal.stuck_sets * legal.set_words
    outputs = min(config.bank_rows, -(-words // legal.panel))
    large = replace(legal.mac, outputs=outputs, log2_out_stride=config.row_bits)
    count = -(-words // (outputs * legal.panel))
    if count > _MOST_MACS:
        return
    macs = [patched(large, first=number == 0, last=number == count - 1) for number in range(count)]
    taken = -(-count * outputs * legal.panel // legal.set_words)
    yield Fault.WATCHDOG, "circle-room", [*legal.matrix(taken), *legal.block(step=macs)]
    if legal.can_multiply:
        one = legal.block(load=[load, *matrix, *legal.matrix(taken)], step=[mac])
        yield Fault.WATCHDOG, "circle-next", [*one, *legal.block(step=macs)]
