"""Random MACs for a job of a processor: blocks whose matrix streams from memory through the ring, softmaxes among them.

A block keeps its READ, LOAD and WRITE; MACs come among its passes (sim/stimulus/macs.py), and its STORE takes the rows
that they write. The words of all matrices are one stream. It is cut into FETCHes anywhere, and these stand anywhere
between the other instructions where the model accepts the program.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
import random
from typing import NamedTuple

import numpy as np

from ...hw.config import CoreConfig
from ...hw.isa.descriptor import DESCRIPTOR_WORDS, Descriptor, Move
from ...hw.isa.encoding import INSTRUCTION_WORDS, REGISTERS, encode
from ...hw.isa.instruction import (Destination, Fetch, Instruction, Load, Loop, Mac, MemoryMode, Pass, Read, Set, Store,
                                   Unit)
from ...hw.isa.record import record_beats
from ...hw.isa.setup import SETUP_READER
from ...hw.isa.sparse import pick_sets
from ...hw.isa.walk import Walk
from ...hw.numeric import largest, smallest
from ..model.processor import ProcessorModel
from ..model.ring import mac_groups, mac_words, pick_beats
from .macs import MacBlock, behind_ring, random_mac_block
from .processor import ProcessorJob, random_processor_job
from .softmax import random_lengths, random_patterns

__all__ = ["with_macs", "random_softmax_job"]

_TRIES = 30          # programs that are drawn for a job
_BLOCK_TRIES = 12    # of them for each of its blocks
_MOST_GROUPS = 6000  # of all MACs as they run
_MOST_BEATS = 2000   # of all matrices in memory


def with_macs(config: CoreConfig, job: ProcessorJob, rng: random.Random) -> ProcessorJob:
    """``job`` with MACs in some of its blocks, and the FETCHes of their matrices; no coefficients stand in the ring
    then. Without MACs where nothing of the job is free for FETCHes, or chance finds no program that the model accepts.
    """
    job = replace(job, program=[behind_ring(config, step, rng) for step in job.program])
    if config.softmax_pairs:
        job = replace(job, setup=[*job.setup, *random_lengths(config, rng)],
                      memory=random_patterns(config, job.memory, rng))
    descriptors, register = _free_descriptors(config, job), _free_register(job)
    if not descriptors or register is None or config.bank_rows < 4:
        return job
    for number in range(_TRIES):
        # The later, the fewer blocks and the plainer the places of FETCHes.
        found = _Draw(config, job, descriptors, register, rng, number / _TRIES).job()
        if found is not None:
            return found
    return job


def random_softmax_job(config: CoreConfig, rng: random.Random) -> ProcessorJob:
    """A random job that has MACs of a softmax, for a configuration that has room for them."""
    while True:
        job = with_macs(config, random_processor_job(config, rng), rng)
        if any(isinstance(step, Mac) and step.softmax for step in job.program):
            return job


def _free_descriptors(config: CoreConfig, job: ProcessorJob) -> list[int]:
    used = {address // DESCRIPTOR_WORDS for target, address, _ in job.setup if target == SETUP_READER}
    return [number for number in range(config.descriptors) if number not in used]


def _free_register(job: ProcessorJob) -> int | None:
    used = {step.register for step in job.program if isinstance(step, Read)}
    used |= {step.register for step in job.program if isinstance(step, Set) and step.unit is Unit.READER}
    return next((number for number in range(REGISTERS) if number not in used), None)


class _Block(NamedTuple):
    """A block of a segment: where its passes begin, where a FETCH behind its READ may stand, how many bits of the index
    its LOADs fill, and where a LOAD that is its alone stands, or -1; beats of its matrix, and the picks (words, P) of a
    sparse one. ``macs`` of a softmax: before how many of the beats each stands, and how far behind ``at``."""

    at: int
    behind_read: int
    bits: int
    load: int
    beats: int = 0
    picks: np.ndarray | None = None
    macs: tuple[tuple[int, int], ...] = ()

    def moved(self, place: int, by: int) -> "_Block":
        """As it is once there are more instructions behind ``place``."""
        at, behind_read = (old + by * (old > place) for old in self[:2])
        return self._replace(at=at, behind_read=behind_read)


@dataclass(eq=False)
class _Segment:
    """Instructions that run ``count`` times one after the other; a ``loop`` or straight code. ``blocks`` with MACs;
    ``more``: what is put in, and in front of what."""

    steps: list[Instruction]
    loop: bool
    count: int = 1
    blocks: list[_Block] = field(default_factory=list)
    more: list[tuple[int, list[Instruction]]] = field(default_factory=list)

    @property
    def beats(self) -> int:
        """Beats that its MACs take each time."""
        return sum(block.beats for block in self.blocks)

    def whole(self) -> Iterator[Instruction]:
        """The instructions with all that is put in."""
        for at, step in enumerate([*self.steps, None]):
            for place, steps in self.more:
                if place == at:
                    yield from steps
            if step is not None:
                yield step


def _segments(program: Sequence[Instruction]) -> list[_Segment]:
    """Straight code and loops in turn, without HALT."""
    found, begin = [], 0
    for at, step in enumerate(program):
        if isinstance(step, Loop):
            found += [_Segment(list(program[begin:step.target]), False),
                      _Segment(list(program[step.target:at]), True, step.count)]
            begin = at + 1
    return [*found, _Segment(list(program[begin:-1]), False)]


def _joined(segments: Sequence[_Segment], end: Instruction) -> list[Instruction]:
    program: list[Instruction] = []
    for segment in segments:
        start = len(program)
        program += segment.whole()
        if segment.loop:
            program.append(Loop(start, segment.count))
    return [*program, end]


@dataclass(frozen=True)
class _Kind:
    """A descriptor for FETCHes, ``number`` in the table: with ``rows`` in the instruction it brings ``beats`` out of
    ``span`` beats; where it is a ``line`` as many beats as there are rows."""

    number: int
    descriptor: Descriptor
    rows: int
    beats: int
    span: int
    line: bool


class _Draw:
    """One try: ``plain``, 0..1, how seldom anything unusual is drawn."""

    def __init__(self, config: CoreConfig, job: ProcessorJob, descriptors: Sequence[int], register: int,
                 rng: random.Random, plain: float):
        self._config, self._job, self._register, self._rng, self._plain = config, job, register, rng, plain
        self._segments = _segments(job.program)
        self._kinds = [_random_kind(config, number, n == 0, rng)
                       for n, number in enumerate(rng.sample(descriptors, min(len(descriptors), 3)))]
        self._beats = 0         # of matrices behind the memory of the job
        self._records: list[tuple[int, np.ndarray]] = []  # between them, from which beat on
        self._next: int | None = None  # what the register holds
        self._keeps_near = config.softmax_pairs > 0 and rng.random() < 0.7  # FETCHes to MACs of a softmax

    def job(self) -> ProcessorJob | None:
        """The job, None where the model refuses it."""
        if not self._exchange():
            return None
        ahead = self._ahead()
        for number, segment in enumerate(self._segments):
            self._fetch(number, ahead[number], segment.beats + ahead[number + 1] - ahead[number])
        config, job = self._config, self._job
        program = _joined(self._segments, job.program[-1])
        if len(program) * INSTRUCTION_WORDS > config.program_words or self._beats > _MOST_BEATS \
                or len(job.memory) + self._beats > 1 << config.memory_bits:
            return None
        setup = [*job.setup, *((SETUP_READER, kind.number * DESCRIPTOR_WORDS + at, word) for kind in self._kinds
                               for at, word in enumerate(kind.descriptor.words(config.beat_groups)))]
        memory = np.concatenate([job.memory, self._matrices()])
        found = replace(job, setup=setup, program=program, memory=memory)
        refusal = _refusal(config, found)
        if refusal.startswith("overlap"):
            # A LOAD may overtake the STORE of the block before, which goes other ways now.
            program[:] = [replace(step, overlap=False, lag=0) if isinstance(step, Load) else step for step in program]
            refusal = _refusal(config, found)
        return None if refusal else found

    def _chance(self, probability: float) -> bool:
        return self._rng.random() < probability * (1 - self._plain)

    def _matrices(self) -> np.ndarray:
        """Elements of all sizes, with extremes among them, and the records."""
        config, numbers = self._config, np.random.default_rng(self._rng.getrandbits(32))
        shape = (self._beats, config.memory_elements)
        low, high = smallest(config.element_width), largest(config.element_width)
        elements = numbers.integers(low, high + 1, shape) >> numbers.choice(np.array([0, 0, 0, 2]), (self._beats, 1))
        corners = numbers.random(shape) < self._rng.choice((0, 0.02, 0.5))
        elements = np.where(corners, numbers.choice(np.array([low, high, 0, -1]), shape), elements)
        if config.softmax_pairs:
            elements = random_patterns(config, elements, self._rng)
        for at, beats in self._records:
            elements[at:at + len(beats)] = beats
        return elements

    # --- blocks -----------------------------------------------------------------------------------

    def _exchange(self) -> bool:
        """Puts MACs into some blocks; whether there is one now."""
        config, rng = self._config, self._rng
        groups = 0
        share = rng.choice((0.5, 1, 1)) * (1 - self._plain / 2)
        for segment, blocks in zip(self._segments, self._blocks()):
            for block in reversed(blocks):
                steps, at = segment.steps, block.at
                end, store = next((place, step) for place, step in enumerate(steps) if place >= at
                                  and isinstance(step, Store))
                if rng.random() >= share:
                    continue
                sparse = config.sparse and block.load >= 0 and rng.random() < (0.2 if config.softmax_pairs else 0.85)
                found = self._mac_block(block, store, sparse)
                if found is None:
                    continue
                macs = [step for step in found.steps if isinstance(step, Mac)]
                new = segment.count * sum(mac_groups(config, mac) for mac in macs)
                if groups + new > _MOST_GROUPS:
                    continue
                groups += new
                segment.steps[at:end + 1] = [*found.steps, found.store]
                longer = len(found.steps) + at - end
                if sparse:
                    steps[block.load] = _plain(config, steps[block.load])
                block = block._replace(beats=_beats(config, macs), macs=_places(config, found.steps),
                                       picks=_random_picks(config, macs, rng) if sparse else None)
                segment.blocks = [block, *(old.moved(at, longer) for old in segment.blocks)]
        return groups > 0

    def _mac_block(self, block: _Block, store: Store, sparse: bool) -> MacBlock | None:
        tries = (random_mac_block(self._config, block.bits, store, self._rng, sparse) for _ in range(_BLOCK_TRIES))
        return next((found for found in tries if found), None)

    def _blocks(self) -> list[list[_Block]]:
        """The blocks of every segment."""
        found: list[dict[int, _Block]] = [{} for _ in self._segments]
        fronts: list[tuple[int, int, int, int]] = []
        begun = 0
        for number, segment in enumerate(self._segments):
            for _ in range(segment.count):
                read = 0
                for at, step in enumerate(segment.steps):
                    if type(step) is Read:
                        read = at
                    elif isinstance(step, Load):
                        fronts.append((number, read + 1, step.walk.index_mask.bit_length(), at))
                    elif isinstance(step, Pass) and step.first:
                        owner, behind_read, bits, load = fronts[begun]
                        here = owner == number and not segment.loop
                        old = found[number].get(at)
                        found[number][at] = _Block(at, behind_read if here else 0, min(bits, old.bits if old else bits),
                                                   load if here else -1)
                        begun += 1
        return [list(blocks.values()) for blocks in found]

    # --- the stream of matrices -------------------------------------------------------------------

    def _ahead(self) -> list[int]:
        """Beats that have been fetched in front of every segment for MACs from it on, and 0 at the end. Round a loop
        they are as many before and behind."""
        config, rng = self._config, self._rng
        found = [0]
        held = config.ring_words * config.lanes // config.memory_elements * config.layers
        has_picks = any(block.picks is not None for segment in self._segments for block in segment.blocks)
        for number, segment in enumerate(self._segments[:-1]):
            most = min(held, self._segments[number + 1 + self._segments[number + 1].loop].beats)
            # A FETCH with picks begins with a block.
            if segment.loop or has_picks or not self._chance(0.4):
                most = 0
            found.append(found[-1] if segment.loop else rng.randint(0, most))
        return [*found, 0]

    def _fetch(self, number: int, ahead: int, beats: int) -> None:
        """FETCHes of so many ``beats`` in a segment, of which the first ones are for MACs behind those that were
        fetched ``ahead``."""
        rng, segment = self._rng, self._segments[number]
        # In a loop the same beats again and again, or every time the next ones.
        goes_on = segment.loop and segment.count * beats < _MOST_BEATS // 4 and rng.random() < 0.5
        if any(block.picks is not None for block in segment.blocks):
            self._fetch_by_block(number)
            return
        taken = np.cumsum([0, *(block.beats for block in segment.blocks)])
        last, done, begin = 0, 0, self._beats
        for kind, rows, count, span in self._pieces(beats):
            block = int(np.searchsorted(taken, ahead + done, side="right")) - 1
            last = max(last, self._place(segment, block, ahead + done - int(taken[block])))
            shared = span <= len(self._job.memory) and not goes_on and self._chance(0.15)
            if shared:  # what blocks read and write
                place = rng.randint(0, len(self._job.memory) - span)
                setting: list[Instruction] = [Set(Unit.READER, self._register, place)]
                self._next = None
            else:
                setting = self._address(number, done == 0, goes_on, span)
            # Inside of a softmax stand many, and what they may wait for is often behind them.
            is_inside = block < len(segment.blocks) and len(segment.blocks[block].macs) > 0
            fetch = self._matrix_fetch(kind, rows, span, 0.02 if is_inside else 0.5 if shared else 0.2)
            more = self._coefficients() if not goes_on and self._chance(0.3) else []
            segment.more.append((last, [*setting, fetch, *more]))
            done += count
        if goes_on:
            self._beats += (segment.count - 1) * (self._beats - begin)
            self._next = len(self._job.memory) + self._beats

    def _fetch_by_block(self, number: int) -> None:
        """FETCHes of a segment in which blocks have sparse matrices, each with picks in front."""
        segment, last = self._segments[number], 0
        for at, block in enumerate(segment.blocks):
            pieces = self._pieces(block.beats) if block.picks is None else self._sparse_pieces(block)
            for kind, rows, _, span in pieces:
                last = max(last, self._place(segment, at))
                setting = self._address(number, True, False, span)
                fetch = self._matrix_fetch(kind, rows, span, 0.2)
                if block.picks is not None:
                    fetch = replace(fetch, destination=Destination.PICKS)
                segment.more.append((last, [*setting, fetch]))

    def _matrix_fetch(self, kind: "_Kind", rows: int, span: int, waits: float) -> Fetch:
        """A FETCH of part of a matrix, which waits for a block with probability ``waits``."""
        rng = self._rng
        after = rng.choice((1, 1, 2, 3)) if self._chance(waits) else 0
        return Fetch(kind.number, self._register, rows, rng.choice(list(MemoryMode)), span, after,
                     rng.choice((0, 0, 1, 5)) if after else 0, vector=rng.choice((0, 0, rng.randrange(16))),
                     destination=Destination.RING, fence=rng.random() < 0.2)

    def _sparse_pieces(self, block: _Block) -> Iterator[tuple["_Kind", int, int, int]]:
        """As :meth:`_pieces`, of whole sets with their picks, whose beats get their place in memory."""
        config, rng, line = self._config, self._rng, self._kinds[0]
        assert block.picks is not None
        members = block.picks.reshape(-1, config.memory_elements)
        served, done = pick_sets(config), 0
        while done < len(members):
            most = max(1, (line.beats - 1) // (config.layers * served + 1) * served)
            count = min(len(members) - done, most, rng.choice((most, most, rng.randint(1, most))))
            packed = pick_beats(config, members[done:done + count])
            beats = count * config.layers + len(packed)
            self._records += [(self._beats + at * (served * config.layers + 1), beat[None])
                              for at, beat in enumerate(packed)]
            yield line, beats, beats, beats
            done += count

    def _coefficients(self) -> list[Instruction]:
        """A FETCH of coefficients that no pass uses: banks are written while the ring is."""
        config, rng = self._config, self._rng
        used = {address for segment in self._segments for step in segment.steps if isinstance(step, Pass)
                for address in range(step.coef_base, step.coef_base + (1 << step.coef_mask_bits))}
        free = sorted({*range(config.ring_words, config.coefficient_words)} - used)
        if not free:
            return []
        records = [(rng.randrange(config.n_units), rng.choice(free), rng.getrandbits(config.coefficient_bits))
                   for _ in range(rng.randint(1, 24))]
        beats = record_beats(config, records)
        if len(beats) > self._kinds[0].beats:
            return []
        base, self._next = len(self._job.memory) + self._beats, None
        self._records.append((self._beats, beats))
        self._beats += len(beats)
        fetch = Fetch(self._kinds[0].number, self._register, len(beats), MemoryMode.COLUMNS)
        return [Set(Unit.READER, self._register, base), fetch]

    def _pieces(self, beats: int) -> Iterator[tuple[_Kind, int, int, int]]:
        """Kinds of FETCHes, with their rows, beats and span, that bring so many ``beats``."""
        rng, left = self._rng, beats
        most = rng.choice((beats, -(-beats // 2), rng.randint(1, max(1, beats)), -(-beats // 4)))
        least = 0
        if self._config.softmax_pairs:  # the matrices are large, and queues are short
            least = -(-beats // 8)
            most = max(most, least)
        while left:
            kind = rng.choice(self._kinds)
            if kind.line or kind.beats > left or kind.beats < least:
                kind = self._kinds[0]
                count = min(left, kind.beats, rng.choice((most, most, rng.randint(max(1, least), most))))
                yield kind, count, count, count
            else:
                count = kind.beats
                yield kind, kind.rows, count, kind.span
            left -= count

    def _place(self, segment: _Segment, block: int, beats: int = 0) -> int:
        """Where a FETCH for the MACs of a block may stand, in front of which instruction; ``beats`` come before its
        own. Those of a softmax are many, so it may keep to the MAC that waits for it."""
        rng, length = self._rng, len(segment.steps)
        if block >= len(segment.blocks):
            return rng.randint(0, length)
        own = segment.blocks[block]
        if own.macs and self._keeps_near:
            behind = max(place for before, place in own.macs if before <= beats)
            return max(0, own.at + behind - (rng.randint(0, 8) if self._chance(0.5) else 0))
        at = rng.choice(own[:2])
        if self._chance(0.7):
            at += rng.randint(-14, 10)
        return max(0, min(at, length))

    def _address(self, number: int, is_first: bool, goes_on: bool, span: int) -> list[Instruction]:
        """What lets the register hold the address of the next ``span`` beats: a SET, or nothing. Where a loop
        ``goes_on`` the SET stands in front of it."""
        base = len(self._job.memory) + self._beats
        setting: list[Instruction] = [Set(Unit.READER, self._register, base)]
        is_there = self._next == base and not is_first
        self._beats += span
        self._next = base + span
        if not goes_on:
            return [] if is_there and self._rng.random() < 0.6 else setting
        if is_first:
            before = self._segments[number - 1]
            before.more.append((len(before.steps), setting))
        return []


def _beats(config: CoreConfig, steps: Sequence[Instruction]) -> int:
    """Of the matrices of the MACs among ``steps``."""
    words = sum(mac_words(config, step) for step in steps if isinstance(step, Mac))
    return words * config.lanes // config.memory_elements * config.layers


def _places(config: CoreConfig, steps: Sequence[Instruction]) -> tuple[tuple[int, int], ...]:
    """Beats before each MAC, and its number, where there is a softmax."""
    macs = [at for at, step in enumerate(steps) if isinstance(step, Mac)]
    has_softmax = any(isinstance(step, Mac) and step.softmax for step in steps)
    return tuple((_beats(config, steps[:at]), at) for at in macs) if has_softmax else ()


def _plain(config: CoreConfig, step: Instruction) -> Load:
    """A plain LOAD of as many words as ``step``."""
    assert isinstance(step, Load)
    lanes = config.lanes - 1
    return Load(Walk(tuple(range(config.layers)), step.walk.index_mask & ~lanes, 0), plain=True)


def _random_picks(config: CoreConfig, macs: Sequence[Mac], rng: random.Random) -> np.ndarray:
    """Picks for the words of sparse MACs, int64 (words, P): of each group N members in any order."""
    numbers, found = np.random.default_rng(rng.getrandbits(32)), []
    for mac in macs:
        groups = mac_words(config, mac) // mac.picks
        order = numbers.random((groups, 1 << mac.log2_group, config.lanes)).argsort(axis=1)[:, :mac.picks]
        found.append(order.reshape(-1, config.lanes))
    return np.concatenate(found)


def _random_kind(config: CoreConfig, number: int, is_line: bool, rng: random.Random) -> _Kind:
    """Beats one behind the other as far as there are rows; or those of a grid in any order, with holes and more of them
    than are asked for."""
    groups = config.beat_groups
    if is_line:
        bits = rng.randint(6 if config.softmax_pairs else 3, 8)
        descriptor = Descriptor((), Move(1), tuple(Move(groups << bit) for bit in range(bits)), 1, 1)
        return _Kind(number, descriptor, 0, groups << bits, groups << bits, True)
    bits, sub_bits = rng.randint(0, 4), rng.randint(0, 3)
    digits = [("sub", i, 2) for i in range(sub_bits)] + [("step", i, 2) for i in range(bits)] + [("group", 0, groups)]
    rng.shuffle(digits)
    extent, moves = [1, 1], {}
    for kind, i, radix in digits:
        axis = rng.randrange(2)
        moves[kind, i] = Move(extent[axis], 0) if axis == 0 else Move(0, extent[axis])
        extent[axis] *= radix
    pitch = extent[1] + rng.choice((0, 0, 1, 3))
    chunks, rows = (most if rng.random() < 0.7 else rng.randint(1, most) for most in (extent[1], extent[0]))
    descriptor = Descriptor(tuple(moves["sub", i] for i in range(sub_bits)), moves["group", 0],
                            tuple(moves["step", i] for i in range(bits)), pitch, chunks,
                            tail=rng.choice((0, 0, rng.randrange(config.memory_elements))))
    return _Kind(number, descriptor, rows, rows * chunks, (extent[0] - 1) * pitch + extent[1], False)


def _refusal(config: CoreConfig, job: ProcessorJob) -> str:
    """Why the model refuses a job; empty for a legal one."""
    model = ProcessorModel(config, [], [], job.memory)
    for write in job.setup:
        if write[0] >= config.n_units:
            model.write_setup(*write)
    try:
        model.check(encode(job.program))
    except ValueError as refusal:
        return str(refusal)
    return ""
