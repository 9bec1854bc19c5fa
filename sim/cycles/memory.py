"""Cycle models of a memory, of the queues in front of the units of a processor, and of its reader: parts of
sim/cycles/estimate.py.

Register-accurate models of the control of hw/memory/sequence.py, hw/memory/reader.py and hw/primitives/queue.py, and of
gen/cosim/verilog/memory.v; the writer is sim/cycles/writer.py. They know nothing of values; of a beat they know whether
it is valid and what it turns into. One ``step`` is one clock cycle. Consumers step before their producers: what a unit
shows its consumer are registers, and what ``step`` returns is what it takes in this cycle.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np

from ...hw.config import CoreConfig
from ...hw.isa.descriptor import DESCRIPTOR_WORDS
from ...hw.isa.instruction import Destination, Fetch, MemoryMode, Read, Set, Sums
from ...hw.isa.setup import SETUP_READER, SETUP_WRITER, SetupWrite
from ...hw.memory.parameters import PLAYED_CYCLES, SequenceTiming
from ...hw.primitives.parameters import LATE_WORDS, SKID_WORDS
from ..model.memory import positions

__all__ = ["MEMORY_QUEUE", "BeatKind", "BeatSequence", "MemorySpeed", "Memory", "BeatPosition", "Player", "Queue",
           "Reader", "ReaderBeat", "Tables"]

MEMORY_QUEUE = 512  # requests under way, QUEUE of gen/cosim/verilog/memory.v


@dataclass(frozen=True)
class MemorySpeed:
    """Cycles, at least 1, from an accepted read to its beat and from an accepted write to its report; words that each
    direction moves per cycle on average, at most one beat ahead (0: a beat per cycle)."""

    latency: int = 1
    words_per_cycle: Fraction | int = 0

    def __post_init__(self):
        if self.latency < 1:
            raise ValueError(f"latency: {self.latency} cycles; at least 1 is allowed")
        if self.words_per_cycle < 0:
            raise ValueError(f"words_per_cycle: {self.words_per_cycle}; at least 0 is allowed")


class Memory:
    """gen/cosim/verilog/memory.v without stalls."""

    __slots__ = ("gain", "cost", "delay", "now", "reads", "writes", "read_credit", "write_credit", "read_ready",
                 "write_ready", "offers", "written")

    def __init__(self, speed: MemorySpeed, stream_words: int):
        rate = Fraction(speed.words_per_cycle or stream_words)
        self.gain, self.cost = rate.numerator, stream_words * rate.denominator
        self.delay, self.now = speed.latency - 1, 0
        self.reads: deque[int] = deque()
        self.writes: deque[int] = deque()
        self.read_credit = self.write_credit = self.cost + self.gain
        self.read_ready = self.write_ready = True
        self.offers = self.written = False

    @property
    def rests(self) -> bool:
        return not (self.reads or self.writes or self.offers or self.written)

    def step(self, read: bool, write: bool, taken: bool) -> None:
        """``read``, ``write``: requests that are accepted; ``taken``: the beat on offer leaves."""
        now, cost, reads, writes = self.now, self.cost, self.reads, self.writes
        if read:
            reads.append(now + self.delay)
        if write:
            writes.append(now + self.delay)
            self.write_credit -= cost
        if writes:
            self.written = now >= writes[0]
            if self.written:
                writes.popleft()
        else:
            self.written = False
        if taken:
            self.offers = False
        if reads and not self.offers and now >= reads[0] and self.read_credit >= cost:
            self.offers = True
            reads.popleft()
            self.read_credit -= cost
        self.now = now + 1
        self.read_credit = min(self.read_credit, cost) + self.gain
        self.write_credit = min(self.write_credit, cost) + self.gain
        self.read_ready = len(reads) < MEMORY_QUEUE
        self.write_ready = len(writes) < MEMORY_QUEUE and self.write_credit >= cost


class Queue:
    """hw/primitives/queue.py. ``ready`` and ``some``: whether there was room, or an item, a cycle ago; ``shows``: one
    is on offer; ``left``: one has been taken a cycle ago."""

    __slots__ = ("items", "entering", "depth", "some", "shows", "left", "ready")

    def __init__(self, depth: int):
        self.items: deque[Any] = deque()
        self.entering: Any = None
        self.depth = depth
        self.some = self.shows = self.left = False
        self.ready = True

    @property
    def rests(self) -> bool:
        """Whether a step without ``put`` and ``take`` changes nothing."""
        return (self.entering is None and not self.left and self.shows == self.some == bool(self.items)
                and self.ready == (len(self.items) != self.depth))

    @property
    def head(self) -> Any:
        """The item on offer, or None."""
        return self.items[0] if self.shows else None

    def step(self, put: Any, take: bool) -> None:
        self.ready = len(self.items) != self.depth
        self.shows = not take if self.shows else self.some and not self.left
        self.left, self.some = take, bool(self.items)
        if take:
            self.items.popleft()
        if self.entering is not None:
            self.items.append(self.entering)
        self.entering = put


# --- beats of a block ----------------------------------------------------------------------------


class BeatKind(Enum):
    """What becomes of a beat of the reader."""

    PASSES = auto()
    NORMALISED = auto()
    SUMS = auto()
    RECORDS = auto()
    MATRIX = auto()
    SPARSE = auto()
    IDS = auto()


_FETCHED = {Destination.SETUP: BeatKind.RECORDS, Destination.RING: BeatKind.MATRIX,
            Destination.PICKS: BeatKind.SPARSE, Destination.IDS: BeatKind.IDS}

# Mode, whether it is the last of its block, what it is (Tables.read_beats), and what becomes of it.
ReaderBeat = tuple[MemoryMode, bool, int, BeatKind]


@dataclass(frozen=True, slots=True)
class BeatPosition:
    """What the writer does at one beat of a WRITE: how many writes follow one another, whether the beat is written at
    all, and whether it takes its beat of the array with it."""

    writes: int
    valid: bool
    pops: bool
    last: bool


class Tables:
    """Descriptor tables of reader and writer, and the beats of the blocks that programs count through with them."""

    def __init__(self, config: CoreConfig, reader: Sequence[int], writer: Sequence[int]):
        self._config, self._tables = config, (list(reader), list(writer))
        self.read_beats = cache(self._read_beats)
        self.write_places = cache(self._write_places)

    def change(self, target: int, address: int, data: int) -> None:
        """A setup write of a record."""
        if target in (SETUP_READER, SETUP_WRITER) and address < len(self._tables[0]):
            self._tables[target == SETUP_WRITER][address] = data
            self.read_beats.cache_clear()
            self.write_places.cache_clear()

    def _table(self, side: int, descriptor: int) -> list[int]:
        size = DESCRIPTOR_WORDS
        return self._tables[side][descriptor * size:(descriptor + 1) * size]

    def _read_beats(self, descriptor: int, rows: int) -> list[int]:
        """Which beats of a READ are valid: 1."""
        return positions(self._config, self._table(0, descriptor), rows, 0).valid.tolist()

    def _write_places(self, descriptor: int, rows: int, mode: MemoryMode, fold_from: int,
                      fold_rows: int) -> list[BeatPosition]:
        beats = positions(self._config, self._table(1, descriptor), rows, 0)
        writes, pops = np.ones(len(beats.row), dtype=np.int64), np.ones(len(beats.row), dtype=bool)
        if mode is MemoryMode.FOLD:
            writes[beats.valid & (beats.row < fold_rows) & (beats.row >= fold_from)] = 3
        elif mode is MemoryMode.SPLIT:
            writes[beats.valid & (beats.row == 0)] = 2
            pops[::2] = False
        last = len(writes) - 1
        return [BeatPosition(w, v, p, number == last)
                for number, (w, v, p) in enumerate(zip(writes.tolist(), beats.valid.tolist(), pops.tolist()))]


class BeatSequence:
    """hw/memory/sequence.py: hands out the ``beats`` of one block. ``idle`` is its ``start.ready``; ``over``: the last
    beat has left."""

    __slots__ = ("start_cycles", "top", "idle", "over", "starting", "left", "pipe", "held", "at", "beats")

    def __init__(self, config: CoreConfig, reads: bool = False):
        timing = SequenceTiming.of(config, reads)
        self.start_cycles, self.top = timing.start_cycles, 1 << timing.count_stages - 1
        self.idle, self.over, self.starting, self.left = True, False, 0, 0
        self.pipe = self.held = self.at = 0
        self.beats: list[Any] = []

    def step(self, start: list[Any] | None, taken: bool) -> None:
        """``taken``: the beat on offer, ``beats[at]`` where ``held``, leaves."""
        if start is not None:
            self.idle, self.beats, self.at, self.starting = False, start, 0, self.start_cycles
            return
        if self.over:
            self.idle, self.over = True, False
            return
        held = self.held
        if held < SKID_WORDS:
            pipe = self.pipe
            if pipe & self.top:
                self.held += 1
                pipe ^= self.top
            self.pipe = pipe << 1
            if self.left:
                self.left -= 1
                self.pipe |= 1
        if taken:
            self.held -= 1
            self.at += 1
            self.over = self.at == len(self.beats)
        if self.starting:
            self.starting -= 1
            if not self.starting:
                self.left = len(self.beats)


class Player:
    """hw/memory/player.py. ``fetches``: records of the beats of each FETCH to come, in order; ``due``: those of beats
    that are asked for."""

    __slots__ = ("tables", "fetches", "due", "count", "left", "settling", "was_idle", "units", "banks", "holds")

    def __init__(self, config: CoreConfig, tables: Tables, fetches: Sequence[list[list[SetupWrite]]]):
        self.units, self.banks = config.n_units, deque[bool]()  # whether each record that is left is a coefficient
        self.holds = 0  # of the cycles before: a coefficient was at hand
        self.tables, self.fetches = tables, deque(fetches)
        self.due: deque[list[SetupWrite]] = deque()
        self.count, self.left, self.settling = config.memory_elements // config.record_elements, 0, 0
        self.was_idle = True  # before the last step

    @property
    def ready(self) -> bool:
        return self.left <= 1

    @property
    def idle(self) -> bool:
        return not self.left and not self.settling

    @property
    def holds_banks(self) -> bool:
        """The setup port writes coefficients in this cycle: a record that was at hand two cycles ago."""
        return self.holds & 2 != 0

    def begin(self) -> None:
        """The next FETCH of records begins, or one of a matrix, which has none."""
        self.due.extend(records for records in self.fetches.popleft() if records)

    def step(self, given: bool) -> None:
        self.was_idle = self.idle
        self.holds = (self.holds << 1 | (self.left > 0 and self.banks.popleft())) & 3
        self.settling = (self.settling << 1 | (self.left > 0)) & (1 << PLAYED_CYCLES) - 1
        if self.left > 1:
            self.left -= 1
            return
        self.left = self.count if given else 0
        if given:
            records = self.due.popleft()
            self.banks.extend(target < self.units for target, _, _ in records)
            for write in records:
                self.tables.change(*write)


class Reader:
    """hw/memory/reader.py. ``out`` holds the beats on offer."""

    __slots__ = ("tables", "player", "fenced", "sequence", "command", "held", "known", "begun", "may", "begins",
                 "blocked", "open", "mode", "kind",
                 "free", "space", "moved", "level", "top", "pipe", "way", "tokens", "out", "answered", "empty", "asks",
                 "waits", "running")

    def __init__(self, config: CoreConfig, tables: Tables, player: Player | None = None):
        self.tables, self.sequence = tables, BeatSequence(config, reads=True)
        self.player, self.fenced = player, False
        self.command: Read | None = None
        self.held = self.known = self.begun = self.may = self.begins = self.blocked = False
        self.open = 0
        self.mode, self.kind = MemoryMode.COLUMNS, BeatKind.PASSES
        self.free = config.in_flight
        self.space, self.moved = True, False
        # Tokens in the RAM, and behind it: a bit for each of its registers.
        self.level, self.pipe, self.top = 0, 0, 1 << config.ram_latency - 1
        self.way: deque[ReaderBeat] = deque()
        self.tokens = 0
        self.out: deque[ReaderBeat] = deque()  # beats in the buffer at the end
        self.empty, self.answered = True, False
        self.asks = self.waits = self.running = False

    @property
    def idle(self) -> bool:
        return self.empty and not self.held

    def step(self, offer: Read | Set | None, read_ready: bool, beats: bool, taken: bool, completed: bool,
             progress: int) -> bool:
        """``offer``: command in the queue, taken where True is returned; ``beats``: memory offers a beat; ``taken``:
        the first beat of ``out`` leaves. ``answered`` is then whether that of memory is taken.

        ``running``, ``waits`` and ``asks`` (a request that is accepted) are then those of this cycle.
        """
        sequence, command, held, fenced, was_empty = self.sequence, self.command, self.held, self.fenced, self.empty
        self.running = held or not sequence.idle
        begin = sequence.idle and self.begins
        self.waits = self.blocked and sequence.idle
        start = self._follow(begin, completed, progress) if held or self.open else None

        move = self.asks = stalled = False
        if sequence.held and self.space:
            valid = sequence.beats[sequence.at]
            move, self.asks = read_ready or not valid, read_ready and valid > 0
            stalled = not move
            if move:
                self.way.append((self.mode, sequence.at + 1 == len(sequence.beats), valid, self.kind))
        if not sequence.idle or start is not None:
            sequence.step(start, move)
        self.empty = not (self.running or self.moved or self.level or self.pipe or self.tokens or self.out)
        self.answered = False
        if not self.empty:
            self._deliver(move, stalled, beats, taken)
        if begin:
            assert command is not None
            if isinstance(command, Sums):
                self.kind = BeatKind.SUMS
            elif isinstance(command, Fetch):
                self.kind = _FETCHED[command.destination]
                assert self.player is not None
                self.player.begin()
            else:
                self.mode, self.kind = command.mode, BeatKind.NORMALISED if command.vector else BeatKind.PASSES
        if begin and isinstance(command, Fetch) and command.fence:
            self.fenced = True
        elif fenced and was_empty and self.player is not None and self.player.was_idle:
            self.fenced = False
        if held or fenced:
            return False
        if isinstance(offer, Read):
            self.command, self.held = offer, True
        return offer is not None

    def _follow(self, begin: bool, completed: bool, progress: int) -> list[int] | None:
        """Registers of the READ in front; the beats of one that begins."""
        command = self.command
        assert command is not None
        after, before = command.after, self.open
        asks = self.known and not begin and not self.begun
        self.begins, self.blocked = asks and self.may, asks and not self.may
        self.may = (not after or before < after
                    or (before == after and command.after_beats != 0 and progress >= command.after_beats))
        self.open += (self.begun and not isinstance(command, Sums | Fetch)) - completed
        self.known = self.held and not begin and not self.begun
        if self.begun:
            self.held = False
        self.begun = begin
        return self.tables.read_beats(command.descriptor, command.rows) if begin else None

    def _deliver(self, move: bool, stalled: bool, beats: bool, taken: bool) -> None:
        """Promises, the queue of tokens, the skid buffer behind it, and that of the beats."""
        out, delivered = self.out, False
        room = len(out) < SKID_WORDS
        if taken:
            out.popleft()
        if self.tokens and room:
            beat = self.way[0]
            valid = beat[2] > 0
            delivered = beats or not valid
            if delivered:
                self.answered = valid
                out.append(beat)
        moving, pop = self.tokens < SKID_WORDS, False
        if moving:
            pop = self.level > 0
            self.tokens += self.pipe & self.top != 0
            self.pipe = (self.pipe << 1 | pop) & 2 * self.top - 1
        self.space = self.free >= LATE_WORDS or stalled
        self.free += pop - self.moved
        self.level += self.moved - pop
        self.moved = move
        self.tokens -= delivered
        if delivered:
            self.way.popleft()
