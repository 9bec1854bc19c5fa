"""Instructions of the array: fields, encoding, and the order in which words meet the streams.

A leaf without Amaranth: the hardware builds its instruction layouts from ``FIELDS`` and the models run
the same objects, so an encoding has one home.

An index names one word of one half of one engine. A program is a list of instructions that the fetch
unit hands, in order, to three units: ``Load`` and ``Store`` move one block between a stream and a half,
``Pass`` sends the whole block through the S columns of the engine. Blocks alternate between the halves.
So that loading, computing and storing overlap, the load of a block stands before the passes of the block
before it: see :func:`schedule`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any

import numpy as np

__all__ = ["Opcode", "Fault", "Mode", "MemoryMode", "SubOrder", "Unit", "Walk", "Load", "Pass", "Store", "Loop",
           "Halt", "Read", "Sums", "Write", "Set", "Instruction", "FIELDS", "INSTRUCTION_WORDS", "OPCODE_BITS",
           "LOAD_DECISION", "encode", "decode", "walk_indices", "schedule"]

LOAD_DECISION = 2       # steps that move between the decision to load a beat and the beat
INSTRUCTION_WORDS = 3  # 32-bit words of one instruction
OPCODE_BITS = 4
_MASK = 16             # bits of an index in an instruction, enough for the largest half


class Opcode(IntEnum):
    """Kind of an instruction, its lowest OPCODE_BITS bits."""

    HALT = 0   # wait until every unit is idle, then stop
    LOAD = 1
    PASS = 2
    STORE = 3
    LOOP = 4
    READ = 5
    WRITE = 6
    SET = 7
    SUMS = 8


class Fault(IntEnum):
    """Why a program was stopped, docs/processor.md."""

    NONE = 0
    OPCODE = 1
    WALK = 2
    PASS = 3
    LOOP = 4
    INPUT = 5
    OUTPUT = 6
    AFTER = 7
    REFUSED = 8
    WATCHDOG = 9
    MEMORY = 10


class MemoryMode(IntEnum):
    """How memory beats and array beats map, docs/processor.md; the last three only in a WRITE."""

    COLUMNS = 0
    ROWS = 1
    PAIRS = 2
    REAL = 3
    FOLD = 4
    SPLIT = 5


class Unit(IntEnum):
    """Whose address register a SET writes."""

    READER = 0
    WRITER = 1


class SubOrder(IntEnum):
    """What follows one another fastest in a walk; ``sub_at`` is the lowest bit of ``sub``, or n - 1 of the pairs."""

    NONE = 0
    UP = 1      # the bits of sub, the lowest first
    DOWN = 2    # the bits of sub, the highest first
    MIRROR = 3  # an index and its mirror image


class Mode(IntEnum):
    """What a column does with a word pair (A, B), design.md section 3."""

    PASS = 0   # Y1 = A, Y2 = B
    BPMM = 1   # unit-pivot real butterfly on both rows of a row pair
    FFT = 2    # complex butterfly with twiddle c0 + j*c1
    SCALE = 3  # Y1 = c0*A, Y2 = c1*B


# (name, bits) of every field behind the opcode, least significant first.
_WALK = [("inner", _MASK), ("outer", _MASK), ("window", _MASK), ("rotation", 2), ("reverse", 1),
         ("last_step", _MASK), ("sub_order", 2), ("sub_at", 4), ("sub_bits", 3)]
_MEMORY = [("descriptor", 6), ("register", 3), ("increment", 32), ("rows", 16), ("mode", 3)]
FIELDS: dict[Opcode, list[tuple[str, int]]] = {
    Opcode.HALT: [],
    Opcode.LOAD: [*_WALK, ("overlap", 1), ("lead", 15)],
    Opcode.PASS: [("mode", 2), ("active", 4), ("descending", 1), ("digit", 4), ("last_group", _MASK),
                  ("coef_base", _MASK), ("coef_shift", 4), ("coef_mask_bits", 5), ("shifts", 12),
                  ("block_float", 1), ("growth", 12),
                  ("gap", 8), ("first", 1), ("last", 1)],
    Opcode.STORE: [*_WALK],
    Opcode.LOOP: [("target", 12), ("count", 24)],
    Opcode.READ: [*_MEMORY, ("vector", 4), ("after", 6), ("after_beats", 16)],
    Opcode.WRITE: [*_MEMORY, ("vector", 4), ("fold_from", 1), ("fold_rows", 16)],
    Opcode.SET: [("unit", 1), ("register", 3), ("value", 32)],
    Opcode.SUMS: [*_MEMORY, ("vector", 4), ("after", 6), ("after_beats", 16)],
}


@dataclass(frozen=True)
class Walk:
    """The order in which the beats of a stream visit the words of a half.

    A beat holds the P words whose index differs in the ``window`` bits; lane bit j of the beat is index bit
    ``window[j]``. The bits of ``sub`` count up fastest, in the order in which they stand there, and are what a tile
    of the transposer delivers together; then the groups of engines take turns; then the bits of ``inner`` (a mask)
    and after them those of ``outer`` count up, the lowest first. An empty ``inner`` takes over the bits of
    ``outer``. The bank map asks that window[j] mod S are all different: a rotation, or a reversed rotation, of
    0..S-1.

    With ``mirror`` = n every step is a pair: index i and the one with -i mod 2^n in its low n bits, where
    2^(n-1) stands for -0. Then bit n-1 stands in none of the masks, and ``sub`` is empty.
    """

    window: tuple[int, ...]
    inner: int
    outer: int
    sub: tuple[int, ...] = ()
    mirror: int = 0

    def __post_init__(self):
        s = len(self.window)
        residues = [w % s for w in self.window]
        up = [(residues[0] + j) % s for j in range(s)]
        down = [(residues[0] - j) % s for j in range(s)]
        if residues not in (up, down):
            raise ValueError(f"window: index bits {self.window} do not reach {1 << s} different banks")
        if not self.inner:  # the walker counts its outer bits once the inner ones are through
            object.__setattr__(self, "inner", self.outer)
            object.__setattr__(self, "outer", 0)
        self._check_masks()

    def _check_masks(self) -> None:
        masks = (self.window_mask, self.sub_mask, self.inner, self.outer)
        union = 0
        for mask in masks:
            if union & mask:
                raise ValueError("window, sub, inner and outer: an index bit stands in two of them")
            union |= mask
        up = tuple(range(min(self.sub, default=0), max(self.sub, default=-1) + 1))
        if self.sub not in (up, up[::-1]):
            raise ValueError(f"sub: {self.sub} is not a run of neighbouring bits, up or down")
        if self.mirror and (self.sub or union >> self.mirror - 1 & 1):
            raise ValueError(f"mirror: bit {self.mirror - 1} and sub must be free for the pairs")

    @property
    def window_mask(self) -> int:
        return sum(1 << w for w in self.window)

    @property
    def sub_mask(self) -> int:
        return sum(1 << b for b in self.sub)

    @property
    def index_mask(self) -> int:
        """Index bits that the walk runs through."""
        pair = 1 << self.mirror - 1 if self.mirror else 0
        return self.window_mask | self.sub_mask | self.inner | self.outer | pair

    @property
    def sub_order(self) -> SubOrder:
        if self.mirror:
            return SubOrder.MIRROR
        if not self.sub:
            return SubOrder.NONE
        return SubOrder.UP if self.sub[0] <= self.sub[-1] else SubOrder.DOWN

    @property
    def sub_at(self) -> int:
        return self.mirror - 1 if self.mirror else min(self.sub, default=0)

    @property
    def rotation(self) -> int:
        return self.window[0] % len(self.window)

    @property
    def reverse(self) -> bool:
        s = len(self.window)
        return s > 1 and (self.window[1] - self.window[0]) % s != 1 % s

    @property
    def steps(self) -> int:
        """Steps of ``inner`` and ``outer`` in one block; every group of engines has ``step_beats`` beats in each."""
        return 1 << (self.inner | self.outer).bit_count()

    @property
    def step_beats(self) -> int:
        return 2 if self.mirror else 1 << len(self.sub)

    @property
    def beats(self) -> int:
        """Beats per engine group of one block."""
        return self.steps * self.step_beats


@dataclass(frozen=True)
class Load:
    """Fill a half from the input stream.

    With ``overlap`` beat t is accepted once the store that empties the same half has read beat t + lag;
    without it the load waits until that store has ended.
    """

    walk: Walk
    overlap: bool = False
    lag: int = 0


@dataclass(frozen=True)
class Pass:
    """Send ``groups`` groups of P words through the S columns and back in place.

    Group g holds the words whose index is g with the S bits of ``digit`` inserted as the lane. Column q pairs
    lane bit q, or lane bit S-1-q when ``descending``. Columns outside ``active`` (bit q = column q) pass
    their words on. Every butterfly unit of column q reads its coefficient bank at
    ``coef_base + ((g >> coef_shift) & (2^coef_mask_bits - 1))``. ``shifts[q]`` is the right shift of column
    q, also of a column that only passes. With ``block_float`` the shifts follow from the largest magnitude
    and ``growth`` instead: growth[q] bits is what columns 0..q together can add to a component (sim/array.py
    states the rule). ``first`` waits until the block is loaded, ``last`` hands it to the store; ``gap`` idle
    cycles precede the pass.
    """

    mode: Mode
    digit: int
    groups: int
    active: int
    shifts: tuple[int, ...]
    coef_base: int = 0
    coef_shift: int = 0
    coef_mask_bits: int = 0
    descending: bool = False
    block_float: bool = False
    growth: tuple[int, ...] = ()
    gap: int = 0
    first: bool = False
    last: bool = False


@dataclass(frozen=True)
class Store:
    """Send a computed half to the output stream."""

    walk: Walk


@dataclass(frozen=True)
class Loop:
    """Run from instruction number ``target`` up to here ``count`` times in all. Loops do not nest."""

    target: int
    count: int


@dataclass(frozen=True)
class Read:
    """Send one block from memory to the array, docs/processor.md.

    Beats are addressed by ``descriptor`` from the address in ``register`` on, to which ``increment`` beats (signed) are
    added afterwards; rows from ``rows`` on are zeros. It waits for the WRITE ``after`` tags back, or for the first
    ``after_beats`` beats of it. ``vector``: parameter set of the rows that are normalised, docs/vector.md; 0: none.
    """

    descriptor: int
    register: int
    rows: int
    mode: MemoryMode
    increment: int = 0
    after: int = 0
    after_beats: int = 0
    vector: int = 0


@dataclass(frozen=True)
class Sums(Read):
    """Sums of rows into the table of rows, docs/vector.md: a READ whose beats go no further. It has no tag; ``after``
    counts from the tag that the next READ has."""


@dataclass(frozen=True)
class Write:
    """Put one block from the array into memory; as :class:`Read`, rows from ``rows`` on are not written.

    In mode FOLD rows from ``fold_from`` (0 or 1) to ``fold_rows`` - 1 are also written mirrored. ``vector``: parameter
    set of what becomes of the elements before they are written, docs/vector.md; 0: nothing.
    """

    descriptor: int
    register: int
    rows: int
    mode: MemoryMode
    increment: int = 0
    fold_from: int = 0
    fold_rows: int = 0
    vector: int = 0


@dataclass(frozen=True)
class Set:
    """Put ``value``, the number of a beat, into an address register."""

    unit: Unit
    register: int
    value: int


@dataclass(frozen=True)
class Halt:
    """End of the program."""


Instruction = Load | Pass | Store | Loop | Halt | Read | Sums | Write | Set
_OPCODES = {Halt: Opcode.HALT, Load: Opcode.LOAD, Pass: Opcode.PASS, Store: Opcode.STORE, Loop: Opcode.LOOP,
            Read: Opcode.READ, Sums: Opcode.SUMS, Write: Opcode.WRITE, Set: Opcode.SET}


def _values(instruction: Instruction) -> dict[str, int]:
    values = {f.name: getattr(instruction, f.name) for f in fields(instruction)}
    if isinstance(instruction, (Load, Store)):
        walk = values.pop("walk")
        values |= {"inner": walk.inner, "outer": walk.outer, "window": walk.window_mask,
                   "rotation": walk.rotation, "reverse": walk.reverse, "last_step": walk.steps - 1,
                   "sub_order": walk.sub_order, "sub_at": walk.sub_at,
                   "sub_bits": walk.step_beats.bit_length() - 1}
        if isinstance(instruction, Load):
            values["lead"] = values.pop("lag") + LOAD_DECISION
    elif isinstance(instruction, Pass):
        values["last_group"] = values.pop("groups") - 1
        for name in ("shifts", "growth"):
            if not all(0 <= bits < 8 for bits in values[name]):
                raise ValueError(f"{name}: {values[name]} do not fit 3 bits each")
            values[name] = sum(bits << (3 * q) for q, bits in enumerate(values[name]))
    elif isinstance(instruction, Loop):
        values["target"] *= INSTRUCTION_WORDS
    elif isinstance(instruction, Read | Write) and -1 << 31 <= values["increment"] < 0:
        values["increment"] += 1 << 32
    return {name: int(value) for name, value in values.items()}


def encode(program: list[Instruction]) -> list[int]:
    """32-bit words of a program, least significant word of each instruction first.

    Raises ValueError naming the field when a value does not fit it.
    """
    words = []
    for number, instruction in enumerate(program):
        opcode = _OPCODES[type(instruction)]
        values, bits, at = _values(instruction), int(opcode), OPCODE_BITS
        for name, width in FIELDS[opcode]:
            value = values[name]
            if not 0 <= value < 1 << width:
                raise ValueError(f"instruction {number} {opcode.name}: {name} = {value} "
                                 f"does not fit {width} bits")
            bits |= value << at
            at += width
        words += [(bits >> (32 * i)) & 0xFFFFFFFF for i in range(INSTRUCTION_WORDS)]
    return words


def decode(words: list[int], layers: int) -> list[Instruction]:
    """Inverse of :func:`encode` for an array of ``layers`` layers."""
    kinds = {opcode: kind for kind, opcode in _OPCODES.items()}
    program = []
    for at in range(0, len(words), INSTRUCTION_WORDS):
        bits = sum(word << (32 * i) for i, word in enumerate(words[at:at + INSTRUCTION_WORDS]))
        opcode = Opcode(bits & (1 << OPCODE_BITS) - 1)
        bits >>= OPCODE_BITS
        values: dict[str, Any] = {}
        for name, width in FIELDS[opcode]:
            values[name], bits = bits & ((1 << width) - 1), bits >> width
        if opcode in (Opcode.LOAD, Opcode.STORE):
            # The window bit with residue r mod S belongs to the lane bit the rotation puts there.
            mask, rotation = values.pop("window"), values.pop("rotation")
            del values["last_step"]
            sign = -1 if values.pop("reverse") else 1
            by_residue = {b % layers: b for b in range(_MASK) if mask >> b & 1}
            window = tuple(by_residue[(rotation + sign * j) % layers] for j in range(layers))
            order, at, count = (values.pop(name) for name in ("sub_order", "sub_at", "sub_bits"))
            run = tuple(range(at, at + count)) if order != SubOrder.MIRROR else ()
            values["walk"] = Walk(window, values.pop("inner"), values.pop("outer"),
                                  run[::-1] if order == SubOrder.DOWN else run,
                                  at + 1 if order == SubOrder.MIRROR else 0)
            if opcode is Opcode.LOAD:
                values["lag"] = values.pop("lead") - LOAD_DECISION
                values["overlap"] = bool(values["overlap"])
        elif opcode is Opcode.PASS:
            values["groups"] = values.pop("last_group") + 1
            for name in ("shifts", "growth"):
                values[name] = tuple(values[name] >> (3 * q) & 7 for q in range(layers))
            if not values["block_float"]:
                values["growth"] = ()
            values["mode"] = Mode(values["mode"])
            for name in ("descending", "block_float", "first", "last"):
                values[name] = bool(values[name])
        elif opcode is Opcode.LOOP:
            values["target"] //= INSTRUCTION_WORDS
        elif opcode in (Opcode.READ, Opcode.SUMS, Opcode.WRITE):
            values["mode"] = MemoryMode(values["mode"])
            values["increment"] -= (values["increment"] >> 31) << 32
        elif opcode is Opcode.SET:
            values["unit"] = Unit(values["unit"])
        program.append(kinds[opcode](**values))
    return program


def _deposit(counts: np.ndarray, mask: int) -> np.ndarray:
    """Spread the low bits of ``counts`` over the set bits of ``mask``, lowest first."""
    out, bit = np.zeros_like(counts), 0
    for position in range(mask.bit_length()):
        if mask >> position & 1:
            out |= (counts >> bit & 1) << position
            bit += 1
    return out


def walk_indices(walk: Walk) -> np.ndarray:
    """Index of every word of a block in stream order, shape (beats, P), int64.

    With several groups of engines the beats of one step of all groups lie together: group by group.
    """
    steps = np.arange(walk.steps, dtype=np.int64)
    n_inner = walk.inner.bit_count()
    base = _deposit(steps & ((1 << n_inner) - 1), walk.inner) | _deposit(steps >> n_inner, walk.outer)
    if walk.mirror:
        modulus = 1 << walk.mirror
        element = base & modulus - 1
        partner = np.where(element, -element % modulus, modulus >> 1)
        base = np.stack([base, base - element + partner], axis=1).ravel()
    else:
        count = np.arange(walk.step_beats, dtype=np.int64)
        base = (base[:, None] | _spread(count, walk.sub)).ravel()
    lane = np.arange(1 << len(walk.window), dtype=np.int64)
    return base[:, None] | _spread(lane, walk.window)


def _spread(counts: np.ndarray, positions: tuple[int, ...]) -> np.ndarray:
    """Bit k of every count at bit ``positions[k]``."""
    out = np.zeros_like(counts)
    for bit, position in enumerate(positions):
        out |= (counts >> bit & 1) << position
    return out


def schedule(load: Load, bodies: Sequence[list[Pass]], store: Store, blocks: int) -> list[Instruction]:
    """Program that runs ``blocks`` equal blocks through each of ``bodies``, one body after the other.

    The load of a block stands before the passes of the block before it, so that the three units overlap; also
    where the next block belongs to the next body. The length does not depend on ``blocks`` beyond 2.
    """
    program: list[Instruction] = [load]
    for number, passes in enumerate(bodies):
        last = number == len(bodies) - 1
        count, start = blocks - last, len(program)
        if count:
            program += [load, *passes, store]
        if count > 1:
            program.append(Loop(start, count))
        if last:
            program += [*passes, store, Halt()]
    return program
