"""Setup of a program out of memory: coefficients, channels and parameter sets are fetched while blocks before compute.

What a block needs is one of a few *contents*: the coefficients of a stage, the channels or the parameter set of its
WRITE, the parameter set of its READ. A content lives in its table from the block in front of which it is fetched to the
last block that uses it; contents whose lives do not meet may share words. All records of a program stand behind each
other in memory, in the order in which they are needed, and are fetched in pieces of one size: in front of the first
block what that needs, then a few pieces in front of a READ.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import NamedTuple

import numpy as np

from ....hw.config import CoreConfig
from ....hw.errors import WingbeatError
from ....hw.isa.descriptor import (DESCRIPTOR_WORDS, ENTRY_WORDS, GROUP_EVENT, ORIGIN, OTHER, SHAPE, STEP_EVENT)
from ....hw.isa.instruction import Fetch, Instruction, Loop, MemoryMode, Pass, Set, Unit, Wait
from ....hw.isa.parameter_set import SET_WORDS, SETS, ReadSet, WriteSet
from ....hw.isa.record import record_beats
from ....hw.isa.setup import (NO_TARGET, SETUP_CHANNELS, SETUP_LENGTHS, SETUP_READ_SETS, SETUP_READER,
                              SETUP_WRITE_SETS, SETUP_WRITER, SetupWrite)
from .allocate import Lifetime, allocate, words_needed
from .assemble import (DescriptorTable, Fetched, Program, SumRows, TableNumbers, Transfer, Work, arrange,
                       check_assembled)
from .stage import Stage, line

__all__ = ["Streamed", "stream"]

_REGISTER = 2         # address register of the reader that no block and no SUMS uses
_PIECE = 512          # records of one FETCH: the reader does nothing else while they are played
_SHORT_PAUSE = 16     # blocks that a content stays for when nobody uses it, where not all can stay
# Pieces in front of one READ, and blocks between the last use of a word and the FETCH that overwrites it, in the order
# of preference: few pieces do not hold up the READ, and behind two blocks no FETCH has to wait.
_DENSITIES = ((1, 2), (2, 2), (4, 2), (4, 0))


class Streamed(NamedTuple):
    """``program`` whose host writes one descriptor, and its ``records``, beats int64 (n, 2K), that it fetches."""

    program: Program
    records: np.ndarray


class _Kind(Enum):
    """Tables whose words are given to contents for a time."""

    COEFFICIENTS = "coefficient_words"
    CHANNELS = "channel_beats"
    READ_SETS = "parameter sets of READs"
    WRITE_SETS = "parameter sets of WRITEs"


def _first(config: CoreConfig, kind: _Kind) -> int:
    """The first place. The lowest coefficients belong to the ring; place 0 of a table of sets stands for nothing to
    do."""
    return {_Kind.COEFFICIENTS: config.ring_words, _Kind.CHANNELS: 0}.get(kind, 1)


def _room(config: CoreConfig, kind: _Kind) -> int:
    return {_Kind.COEFFICIENTS: config.coefficient_words - config.ring_words,
            _Kind.CHANNELS: config.channel_beats}.get(kind, SETS - 1)


def _addresses(config: CoreConfig, kind: _Kind) -> int:
    """Setup addresses of one place."""
    return {_Kind.COEFFICIENTS: 1, _Kind.CHANNELS: config.memory_elements}.get(kind, SET_WORDS)


@dataclass(eq=False)
class _Life:
    """A content of a table from the first to the last block that uses it. ``records``: int64 (n, 3), target, address
    and data, for place 0; for a set of WRITEs they follow when its channels have their place."""

    kind: _Kind
    key: object
    first: int
    last: int
    size: int
    count: int
    records: np.ndarray | None = field(default=None, repr=False)
    fetched: int = 0  # the block in front of whose READ its first record is fetched
    place: int = 0


class _Contents:
    """The contents that ``work`` uses, and by which blocks."""

    def __init__(self, config: CoreConfig, work: Work, channels: np.ndarray):
        self.config, self.channels = config, channels
        self.uses: dict[_Kind, dict[object, list[int]]] = {kind: {} for kind in _Kind}
        self.images: dict[object, np.ndarray] = {}
        self.beats: dict[object, int] = {}
        for number in range(len(work.blocks) + 1):
            for at in work.in_front(number):
                self._use(_Kind.READ_SETS, work.sums[at].normalise, number)
            if number < len(work.blocks):
                self._add_stage(work.blocks[number].stage, number)

    def _add_stage(self, stage: Stage, number: int) -> None:
        if len(stage.image):
            key = coefficient_place(stage)
            self.images.setdefault(key, stage.image)
            self._use(_Kind.COEFFICIENTS, key, number)
        if stage.normalise:
            self._use(_Kind.READ_SETS, stage.normalise, number)
        if stage.finish:
            self._use(_Kind.WRITE_SETS, stage.finish, number)
            if stage.finish.rescale:
                self.beats[stage.finish.base] = stage.finish.chunk_mask + 1
                self._use(_Kind.CHANNELS, stage.finish.base, number)

    def _use(self, kind: _Kind, key: object, number: int) -> None:
        blocks = self.uses[kind].setdefault(key, [])
        if not blocks or blocks[-1] != number:
            blocks.append(number)

    def lives(self, pause: int) -> list[_Life]:
        """Each content as often as it lives: it goes where nobody uses it for more than ``pause`` blocks. In the order
        of their first blocks."""
        found = [self._life(kind, key, part) for kind, contents in self.uses.items() if kind is not _Kind.WRITE_SETS
                 for key, blocks in contents.items() for part in _parts(blocks, pause)]
        channels = [life for life in found if life.kind is _Kind.CHANNELS]
        for key, blocks in self.uses[_Kind.WRITE_SETS].items():
            # A set of WRITEs names the place of its channels: with a new place it is a new set.
            assert isinstance(key, WriteSet)
            mine = [life for life in channels if life.key == key.base] if key.rescale else []
            parts = [[number for number in blocks if life.first <= number <= life.last] for life in mine] or [blocks]
            found += [self._life(_Kind.WRITE_SETS, key, part) for part in parts if part]
        return sorted(found, key=lambda life: life.first)

    def _life(self, kind: _Kind, key: object, blocks: Sequence[int]) -> _Life:
        first, last = blocks[0], blocks[-1]
        if kind is _Kind.COEFFICIENTS:
            image = self.images[key]
            least, most = int(image[:, 1].min()), int(image[:, 1].max())
            return _Life(kind, key, first, last, most - least + 1, len(image), image - np.array([0, least, 0]))
        if kind is _Kind.CHANNELS:
            assert isinstance(key, int)
            elements, beats = self.config.memory_elements, self.beats[key]
            own = self.channels[self.channels[:, 1] // elements >= key]
            own = own[own[:, 1] // elements < key + beats]
            return _Life(kind, key, first, last, beats, len(own), own - np.array([0, key * elements, 0]))
        if kind is _Kind.READ_SETS:
            assert isinstance(key, ReadSet)
            return _Life(kind, key, first, last, 1, SET_WORDS, _set_records(SETUP_READ_SETS, key))
        return _Life(kind, key, first, last, 1, SET_WORDS)


def stream(config: CoreConfig, tasks: Sequence[Transfer | SumRows], setup: Sequence[SetupWrite], base: int) -> Streamed:
    """As :func:`~.assemble.assemble`, with places for all coefficients, channels and sets, whatever those in ``tasks``
    are, and with a setup of one descriptor; the program fetches the rest from beat ``base`` on, lengths
    first.

    Raises WingbeatError where what must stand in a table at one time, or the descriptors, do not fit, or program or
    memory are too small.
    """
    work = Work.of(tasks)
    readers, writers = (DescriptorTable(config, unit) for unit in ("reader", "writer"))
    fixed = [*_descriptors(work, readers, writers), *(word for word in setup if word[0] != SETUP_CHANNELS)]
    fixed.sort(key=lambda write: write[0] != SETUP_LENGTHS)
    channels = np.array([word for word in setup if word[0] == SETUP_CHANNELS], dtype=np.int64).reshape(-1, 3)
    contents = _Contents(config, work, channels)
    plan = _first_plan(config, contents, len(work.blocks), len(fixed))
    records = np.concatenate([np.array(fixed, dtype=np.int64).reshape(-1, 3), plan.records()])
    places = config.memory_elements // config.record_elements
    size = -(-plan.piece // (places * config.beat_groups)) * config.beat_groups
    records_line = line(config, size)
    number = readers.number(records_line)
    # Where a matrix is fetched in equal pieces the host has written their descriptor.
    is_known = (records[:, 0] == SETUP_READER) & (records[:, 1] // DESCRIPTOR_WORDS == number)
    records[is_known, 0] = NO_TARGET
    beats = _pieces(config, records, plan.piece, size)
    if base + len(beats) > 1 << config.memory_bits:
        raise WingbeatError(f"memory.address_bits: {config.memory_bits} are too few for {base + len(beats)} beats, "
                            f"{len(beats)} of them records; allowed are {(base + len(beats) - 1).bit_length()} and "
                            "more")
    fetch = Fetch(number, _REGISTER, size, MemoryMode.COLUMNS, size)
    fetched: dict[int, list[Fetched]] = {}
    for position, behind in zip(plan.positions, plan.behind()):
        fetched.setdefault(position, []).append(Fetched(fetch, behind))
    first: list[Instruction] = [Set(Unit.READER, _REGISTER, base), fetch]
    at_start = len(fetched.pop(0))
    if at_start > 1:
        first.append(Loop(1, at_start))
    moved = Work.of(_moved(tasks, plan))
    tables = TableNumbers(readers, writers, _Numbers(plan, _Kind.READ_SETS), _Numbers(plan, _Kind.WRITE_SETS))
    instructions = arrange(config, moved, tables, [*first, Wait()], fetched)
    check_assembled(config, instructions, readers)
    words = readers.setup(SETUP_READER)  # raises where they are too many
    own = {GROUP_EVENT, ORIGIN, SHAPE, OTHER, *(STEP_EVENT + bit for bit in range(len(records_line.step)))}
    mine = [word for word in words if word[1] // DESCRIPTOR_WORDS == fetch.descriptor
            and word[1] % DESCRIPTOR_WORDS // ENTRY_WORDS in own]  # the others are not looked at
    return Streamed(Program(instructions, mine, [task.stage for task in moved.blocks]), beats)


def _descriptors(work: Work, readers: DescriptorTable, writers: DescriptorTable) -> list[SetupWrite]:
    """All that the program needs but that of its FETCHes."""
    for sums in work.sums:
        readers.number(sums.read)
    for stage, block in work.blocks:
        readers.number(stage.read)
        writers.number(stage.write)
        if block.ids is not None:
            readers.number(block.ids.descriptor)
        if stage.matrix:
            for piece in stage.matrix.pieces:
                readers.number(piece.descriptor)
    return [*readers.setup(SETUP_READER), *writers.setup(SETUP_WRITER)]


def _pieces(config: CoreConfig, records: np.ndarray, piece: int, size: int) -> np.ndarray:
    """Beats of all records, ``piece`` of them in ``size`` beats."""
    room = size * config.memory_elements // config.record_elements
    count = -(-len(records) // piece)
    filled = np.zeros((count, room, 3), dtype=np.int64)
    filled[:, :, 0] = NO_TARGET
    for number in range(count):
        part = records[number * piece:(number + 1) * piece]
        filled[number, :len(part)] = part
    return record_beats(config, filled.reshape(-1, 3))


def _first_plan(config: CoreConfig, contents: _Contents, blocks: int, fixed: int) -> "_Plan":
    """The first one that fits of those in the order of preference."""
    fault = None
    for pause in (blocks, _SHORT_PAUSE):
        lives = contents.lives(pause)
        for density, distance in _DENSITIES:
            try:
                return _Plan(config, lives, fixed, density, distance)
            except WingbeatError as found:
                fault = found
    assert fault is not None
    raise fault


class _Plan:
    """Where and when every life is fetched, behind ``fixed`` other records: ``positions``, the block in front of whose
    READ each piece stands."""

    def __init__(self, config: CoreConfig, lives: Sequence[_Life], fixed: int, density: int, distance: int):
        self.config, self.lives = config, lives
        self.found: dict[tuple[_Kind, object], list[_Life]] = {}
        ends = np.cumsum([fixed, *(life.count for life in lives)]).tolist()
        self.starts, self.count = ends[:-1], ends[-1]
        self.piece = min(_PIECE, self.count)
        self.positions = self._positions(density)
        for life, start in zip(lives, self.starts):
            self.found.setdefault((life.kind, life.key), []).append(life)
            life.fetched = self.positions[start // self.piece]
        for kind in _Kind:
            self._place([life for life in lives if life.kind is kind], kind, distance)
        for life in lives:
            if life.kind is _Kind.WRITE_SETS:
                life.records = _set_records(SETUP_WRITE_SETS, self._write_set(life))

    def _positions(self, density: int) -> list[int]:
        """Of all pieces. Backwards: every piece as late as it may come, ``density`` of them in front of one READ."""
        positions: list[int] = []
        for number in reversed(range(-(-self.count // self.piece))):
            owner = bisect_right(self.starts, number * self.piece) - 1
            latest = self.lives[owner].first if owner >= 0 else 0
            if positions:
                is_full = positions[-density:] == [positions[-1]] * density
                latest = min(latest, positions[-1] - is_full)
            positions.append(max(0, latest))
        return positions[::-1]

    def _place(self, lives: Sequence[_Life], kind: _Kind, distance: int) -> None:
        spans = [Lifetime(life.fetched - distance, life.last, life.size) for life in lives]
        places = allocate(spans)
        need, room = words_needed(spans, places), _room(self.config, kind)
        if need > room:
            raise WingbeatError(f"{kind.value}: {room} are too few for what the program needs at one time; allowed are "
                                f"{need} and more")
        for life, place in zip(lives, places):
            life.place = _first(self.config, kind) + place

    def life(self, kind: _Kind, key: object, number: int) -> _Life:
        """The content as block ``number`` uses it."""
        return next(life for life in self.found[kind, key] if life.first <= number <= life.last)

    def _write_set(self, life: _Life) -> WriteSet:
        """The set with the place of its channels."""
        chosen = life.key
        assert isinstance(chosen, WriteSet)
        if not chosen.rescale:
            return chosen
        return replace(chosen, base=self.life(_Kind.CHANNELS, chosen.base, life.first).place)

    def behind(self) -> list[int]:
        """Of each piece, the last block that uses what it overwrites, -1 for none."""
        found = [-1] * len(self.positions)
        for life, start in zip(self.lives, self.starts):
            before = max((other.last for other in self.lives
                          if other.kind is life.kind and other.last < life.fetched
                          and other.place < life.place + life.size and life.place < other.place + other.size),
                         default=-1)
            for piece in range(start // self.piece, -(-(start + life.count) // self.piece)):
                found[piece] = max(found[piece], before)
        return found

    def records(self) -> np.ndarray:
        """Of all lives, int64 (n, 3)."""
        found = [np.empty((0, 3), dtype=np.int64)]
        for life in self.lives:
            assert life.records is not None
            found.append(life.records + np.array([0, life.place * _addresses(self.config, life.kind), 0]))
        return np.concatenate(found)


class _Numbers:
    """Numbers of the parameter sets of one side, out of a plan."""

    def __init__(self, plan: _Plan, kind: _Kind):
        self.plan, self.kind = plan, kind

    def number(self, chosen: ReadSet | WriteSet, block: int) -> int:
        return self.plan.life(self.kind, chosen, block).place


def coefficient_place(stage: Stage) -> int:
    """The first coefficient word of a stage: what tells its coefficients from those of others."""
    return int(stage.image[:, 1].min())


def _parts(blocks: Sequence[int], pause: int) -> list[list[int]]:
    """``blocks`` where they do not follow each other within ``pause``."""
    parts = [[blocks[0]]]
    for number in blocks[1:]:
        if number - parts[-1][-1] > pause:
            parts.append([])
        parts[-1].append(number)
    return parts


def _set_records(target: int, chosen: ReadSet | WriteSet) -> np.ndarray:
    return np.array([(target, at, word) for at, word in enumerate(chosen.words())], dtype=np.int64)


def _moved(tasks: Sequence[Transfer | SumRows], plan: _Plan) -> list[Transfer | SumRows]:
    """The tasks with coefficients where ``plan`` puts them."""
    stages: dict[tuple[int, int], Stage] = {}
    found: list[Transfer | SumRows] = []
    number = 0
    for task in tasks:
        if isinstance(task, Transfer):
            stage, number = task.stage, number + 1
            if not len(stage.image):
                found.append(task)
                continue
            least = coefficient_place(stage)
            move = plan.life(_Kind.COEFFICIENTS, least, number - 1).place - least
            passes = tuple(replace(step, coef_base=step.coef_base + move) for step in stage.passes
                           if isinstance(step, Pass))
            moved = stages.setdefault((id(stage), move), replace(stage, passes=passes,
                                                                image=stage.image + np.array([0, move, 0])))
            task = task._replace(stage=moved)
        found.append(task)
    return found


